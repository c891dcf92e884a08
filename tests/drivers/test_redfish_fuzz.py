"""Any JSON at all in place of what a service should send: a DriverError at worst, never another exception."""

from __future__ import annotations

import contextlib
import json
import os
import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.redfish_body import messages, parse_object, said
from drivers.redfish_connection import Answer
from drivers.redfish_log import parse_entry, parse_time
from drivers.redfish_outcome import judge
from drivers.redfish_system import choose, members, read_system, reset_values, with_action_info
from tests.drivers.simulators.redfish_trees import idrac9, ilo4, ilo5, machine
from trigger.clock import Deadline, SystemClock
from trigger.driver import Accepted, Identity
from trigger.errors import DriverError, OutcomeUnknown, Refused

COUNT = 5000 if os.environ.get("TRIGGER_SOAK") == "1" else 250
fuzz = settings(max_examples=COUNT, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(["Nmi", "On"])
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
SYSTEMS = [tree[path] for tree in (machine(), ilo4(), ilo5(), idrac9()) for path in tree if "/Systems/" in path][:40]


def mutated(body: Any, value: Any, chance: random.Random) -> Any:
    """Return `body` with one thing somewhere in it replaced by `value`."""
    copy = json.loads(json.dumps(body))
    at = copy
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            return copy
        key = chance.choice(keys)
        if not isinstance(at[key], dict | list) or chance.random() < 0.3:
            at[key] = value
            return copy
        at = at[key]


@fuzz
@given(st.sampled_from(SYSTEMS), JSON, st.integers(0, 2**32))
def test_a_system_with_anything_in_it(body: dict[str, Any], value: Any, seed: int) -> None:
    broken = mutated(body, value, random.Random(seed))
    with contextlib.suppress(DriverError):
        system = read_system("/redfish/v1/Systems/1", broken)
        choose([system], "", Identity())
        if system.reset is not None:
            assert system.reset.uri.startswith(("/redfish/", "/rest/"))
            with_action_info(system.reset, broken)


@fuzz
@given(JSON)
def test_anything_as_a_list_of_values_or_members(value: Any) -> None:
    reset_values(value)
    with contextlib.suppress(DriverError):
        members({"Members": value})
    body = value if isinstance(value, dict) else {"Created": value, "Message": value}
    parse_entry(body, "key")
    parse_time(str(value))


@fuzz
@given(st.integers(100, 599), JSON | st.binary(max_size=60), st.booleans())
def test_anything_as_an_answer(status: int, value: Any, wrapped: bool) -> None:
    body = value if isinstance(value, bytes) else json.dumps({"error": value} if wrapped else value).encode()
    answer = Answer(status, {}, body)
    parse_object(body), messages(answer), said(answer)
    if status == 202:
        return  # a task would be asked for
    session: Any = None
    outcome: object = None
    try:
        outcome = judge(session, "bmc: URL", answer, Deadline(1), SystemClock())
    except (Refused, OutcomeUnknown) as error:
        outcome = error
    if isinstance(outcome, Accepted):
        assert 200 <= status < 300
    if isinstance(outcome, Refused):
        assert status in {*range(300, 400), 400, 401, 403, 404, 405, 409, 415, 422, 501, 503}
