"""Several controllers of one host: in order, on to the next only after refused or a failed login."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.program import Bench

Benches = Callable[..., Bench]
GUID = str(uuid.UUID("5f1a2b3c-4d5e-4f60-8123-456789abcdef"))


def two(bench: Benches, first: dict[str, Any], second: dict[str, Any]) -> tuple[Bench, Bench]:
    """Return two BMCs of the same host, configured in this order as `first` and `second`; the second one crashes it."""
    one = bench(guid=GUID, host="dead", crash="never", **first)
    other = bench(guid=GUID, host="dead", crash="never", **second)
    entry = one.machine.host_entry(name="first")
    controllers = [*entry["controllers"], *other.machine.host_entry(name="second")["controllers"]]  # type: ignore[misc]
    one.config.write_text(json.dumps({"hosts": {one.host: {**entry, "controllers": controllers}}}))
    return one, other


@pytest.mark.parametrize(
    "first",
    [{"refuse": 0xCC}, {"privilege": "user"}, {"user": "somebody"}, {"loss": 1.0}],
    ids=["refuses", "no privilege", "knows nobody of this name", "is dead"],
)
def test_the_next_is_tried_after_a_refusal_or_a_failed_login(bench: Benches, first: dict[str, Any]) -> None:
    one, other = two(bench, first, {})
    if "user" in first:
        one.config.write_text(one.config.read_text().replace('"somebody"', '"nobody"'))
    result = one.nmi("--no-wait")
    assert result.code == 0, result.err
    assert result.event("Fired")["controller"] == "second"
    assert (one.machine.delivered(), other.machine.delivered()) == (0, 1)


@pytest.mark.parametrize("first", [{"lose_replies": -1}, {"nmi": "ignore"}], ids=["unknown", "accepted"])
def test_nothing_follows_an_answer_or_the_lack_of_one(bench: Benches, first: dict[str, Any]) -> None:
    one, other = two(bench, first, {})
    result = one.nmi("--no-wait")
    assert result.code in (0, 7), result.err
    assert result.event("Fired")["controller"] == "first"
    assert other.machine.requests().get("datagrams", 0) == 0


def test_via_uses_only_the_one_that_it_names(bench: Benches) -> None:
    one, other = two(bench, {}, {})
    result = one.nmi("--no-wait", "--via", "second")
    assert result.code == 0, result.err
    assert one.machine.requests().get("datagrams", 0) == 0
    assert other.machine.delivered() == 1
    unknown = one.nmi("--via", "third")
    assert unknown.code == 3
    assert "first, second" in unknown.err


def test_dead_controllers_cost_at_most_a_minute_and_are_all_named(bench: Benches) -> None:
    one, _ = two(bench, {"loss": 1.0}, {"loss": 1.0})
    begun = time.monotonic()
    result = one.nmi("--no-wait")
    assert time.monotonic() - begun < 60
    assert result.code == 6, result.err
    assert "none of 2 controllers" in result.err
    assert result.event("Finished")["sent"] == "no"
