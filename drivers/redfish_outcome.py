"""What an answer to the one POST proves: accepted, refused, or nothing.

`Refused` is an allow-list (docs/drivers.md, "Outcomes"): an HTTP status by which the controller itself says that it
did nothing. A bare 5xx, 408 and 429 are not on it: BMCs send them after acting.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from drivers.redfish_body import local_path, messages, parse_object, said, said_location
from drivers.redfish_connection import Answer, Lost
from drivers.redfish_session import RedfishSession
from trigger.clock import Clock, Deadline
from trigger.driver import Accepted
from trigger.errors import DriverError, OutcomeUnknown, Refused

_REFUSED = frozenset({400, 401, 403, 404, 405, 415, 422, 501})
# 503 is refused only when the controller says that it is not ready yet, 409 also when it says what is in the way.
_NOT_READY = re.compile(r"\bnot (yet )?(ready|initiali[sz]ed)\b|\binitiali[sz]ing\b", re.IGNORECASE)
_IN_THE_WAY = re.compile(
    r"\bin use\b|\bconflict|\bpowered? ?off\b|\bcan ?not\b|\bunable to\b|\bnot (allowed|permitted|supported|possible)\b"
    r"|\b(current|present|invalid)\b.*\bstate\b",
    re.IGNORECASE,
)
_ENDED_WELL = frozenset({"Completed"})
_ENDED_BADLY = frozenset({"Exception", "Killed", "Cancelled"})
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 1.0


def judge(session: RedfishSession, where: str, answer: Answer, deadline: Deadline, clock: Clock) -> Accepted:
    """Return Accepted; raise Refused, or OutcomeUnknown for everything that proves nothing.

    `where` is the URL for the sentence. A 202 with a task is followed to the task's end, or to `deadline`.
    """
    status = answer.status
    if 300 <= status < 400:
        raise Refused(f"{where} redirects to {said_location(answer)} (HTTP {status}), which is not followed")
    if status in _REFUSED or (status == 503 and _says(answer, _NOT_READY)):
        raise Refused(f"{where} refused with HTTP {status}{said(answer)}")
    if status == 409 and (_says(answer, _NOT_READY) or _says(answer, _IN_THE_WAY)):
        raise Refused(f"{where} refused with HTTP {status}{said(answer)}")
    if not 200 <= status < 300:
        raise OutcomeUnknown(f"{where} answered HTTP {status}{said(answer)}, which proves nothing either way")
    if answer.body.strip() and parse_object(answer.body) is None:
        raise OutcomeUnknown(f"{where} answered HTTP {status} with a body that is not JSON")
    task = _task(answer) if status == 202 else ""
    if task:
        return _follow(session, where, task, deadline, clock)
    return Accepted(f"HTTP {status}{said(answer)}")


def _says(answer: Answer, pattern: re.Pattern[str]) -> bool:
    return any(pattern.search(str(message.get("Message", ""))) for message in messages(answer))


def _task(answer: Answer) -> str:
    """Return the path of the task (its monitor before its resource), "" when none is named."""
    location = urlsplit(answer.headers.get("location", ""))
    body = parse_object(answer.body) or {}
    named = location.path + (f"?{location.query}" if location.query else "")
    return named or str(body.get("TaskMonitor") or body.get("@odata.id") or "")


def _follow(session: RedfishSession, where: str, task: str, deadline: Deadline, clock: Clock) -> Accepted:
    """Read the task until it has ended (DSP0266, "Asynchronous operations").

    A failed task is unknown, not refused: no list says that a task which failed had not acted yet.
    """
    pause = _FIRST_PAUSE_S
    try:
        path = local_path(task)
        while not deadline.passed():
            answer = session.request("GET", path, deadline)
            state = str((parse_object(answer.body) or {}).get("TaskState", ""))
            if state in _ENDED_WELL or (answer.status in (200, 201, 204) and not state):
                return _completed(where, answer)
            if state in _ENDED_BADLY or answer.status >= 300:
                ended = f"ended as {state}" if state else f"answers HTTP {answer.status}"
                raise OutcomeUnknown(f"{where} began a task ({path}) that {ended}{said(answer)}")
            clock.sleep(min(pause, deadline.left()))
            pause = min(pause * 2, _LONGEST_PAUSE_S)
    except (Lost, DriverError) as error:
        raise OutcomeUnknown(f"{where} began a task that could not be followed: {error}") from error
    raise OutcomeUnknown(f"{where} began a task ({task}) that had not ended in time")


def _completed(where: str, answer: Answer) -> Accepted:
    body = parse_object(answer.body)
    if answer.body.strip() and body is None:
        raise OutcomeUnknown(f"{where} began a task whose end is not JSON")
    if (body or {}).get("TaskStatus") == "Critical":
        raise OutcomeUnknown(f"{where} began a task that completed as Critical{said(answer)}")
    return Accepted(f"HTTP {answer.status}, task completed{said(answer)}")
