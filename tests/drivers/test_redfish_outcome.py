"""What an answer to the POST proves, status by status."""

from __future__ import annotations

import json
from typing import Any

import pytest

from drivers.redfish_connection import Answer
from drivers.redfish_outcome import judge
from trigger.clock import Deadline, SystemClock
from trigger.errors import OutcomeUnknown, Refused

NOT_READY = "The server is not ready. Retry later."
CASES: dict[str, list[tuple[int, str]]] = {
    "accepted": [(200, ""), (201, ""), (202, ""), (204, "")],
    "refused": [
        *((status, "") for status in (301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 415, 422, 501)),
        (409, NOT_READY), (503, NOT_READY), (503, "iDRAC is not yet initialized"), (409, "The resource is in use."),
        (409, "The action cannot be performed while the system is powered off."),
    ],
    "unknown": [
        *((status, "") for status in (101, 402, 406, 408, 409, 410, 412, 413, 418, 425, 426, 428, 429, 431, 451)),
        *((status, "") for status in (500, 502, 503, 504, 505, 507, 511, 599)),
        *((status, NOT_READY) for status in (408, 429, 500, 502, 504)),
        (503, "The service is temporarily unavailable."), (409, "Something happened."), (503, "ready, not steady"),
    ],
}  # fmt: skip


def answer(status: int, message: str, body: bytes | None = None) -> Answer:
    error = {"error": {"@Message.ExtendedInfo": [{"MessageId": "Test.1.0.X", "Message": message}]}}
    return Answer(status, {}, json.dumps(error).encode() if body is None and message else body or b"")


def outcome(given: Answer) -> tuple[str, str]:
    session: Any = None  # only a task would need it
    try:
        return "accepted", judge(session, "bmc: URL", given, Deadline(1), SystemClock()).answer
    except Refused as error:
        return "refused", error.message
    except OutcomeUnknown as error:
        return "unknown", error.message


@pytest.mark.parametrize(
    ("expected", "status", "message"), [(name, *case) for name, cases in CASES.items() for case in cases]
)
def test_status(expected: str, status: int, message: str) -> None:
    claimed, text = outcome(answer(status, message))
    assert claimed == expected
    assert message in text
    assert str(status) in text


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b"<html>Log in</html>", "unknown"),
        (200, b"[]", "unknown"),
        (200, b"{", "unknown"),
        (204, b" \r\n", "accepted"),
        (200, b'{"error": {"@Message.ExtendedInfo": [{"MessageId": "Base.1.8.Success"}]}}', "accepted"),
        (200, b'{"error": {"@Message.ExtendedInfo": 7}}', "accepted"),
        (404, b"<html>nginx</html>", "refused"),
        (503, b"<html>server is not ready</html>", "unknown"),
        (503, b'{"error": {"@Message.ExtendedInfo": "not ready"}}', "unknown"),
        (503, b'{"error": {"code": "x", "message": "not ready"}}', "refused"),
        (503, b'{"Messages": [{"Message": "iDRAC not ready"}]}', "refused"),
    ],
)
def test_body(status: int, body: bytes, expected: str) -> None:
    assert outcome(answer(status, "", body))[0] == expected


def test_what_the_controller_says_is_made_harmless() -> None:
    assert "\x1b" not in outcome(answer(400, "\x1b]0;owned\x07"))[1]
