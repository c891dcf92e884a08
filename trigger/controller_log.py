"""Reads the newest entries of a controller's event log, for the incident folder: a login of its own, bounded."""

from __future__ import annotations

import time
from typing import Any

from trigger.clock import Deadline, SystemClock
from trigger.driver import Answers, EventLogEntry, HasEventLog
from trigger.errors import TriggerError
from trigger.host import Controller
from trigger.known import Known
from trigger.text import harmless, without_secrets


def read_log(controller: Controller, answers: Answers, known: Known, seconds: float, newest: int) -> dict[str, Any]:
    """Return the log as plain JSON: `controller`, `read_at` (our clock), `entries` (its own clock), or `problem`.

    Raises nothing of the controller's; sends nothing that acts.
    """
    from trigger.registry import load_driver

    told: dict[str, Any] = {"v": 1, "controller": controller.name, "driver": controller.driver}
    options = known.options(controller, answers, SystemClock())
    deadline = Deadline(seconds)
    try:
        with load_driver(controller.driver)(controller, options) as driver:
            if not isinstance(driver, HasEventLog):
                return {**told, "problem": f"driver {controller.driver} reads no event log"}
            driver.probe(deadline)
            entries = driver.event_log(deadline, newest)
    except TriggerError as error:
        return {**told, "read_at": time.time(), "problem": harmless(without_secrets(error.message))}
    return {**told, "read_at": time.time(), **as_plain(entries)}


def as_plain(entries: tuple[EventLogEntry, ...]) -> dict[str, Any]:
    """Return `entries` as plain JSON, harmless; or the `problem` that stands in their place (trigger/shot.py)."""
    if len(entries) == 1 and entries[0].time is None and entries[0].text.startswith("the log cannot be read"):
        return {"problem": harmless(entries[0].text)}
    plain = [
        {"time": e.time, "severity": harmless(e.severity), "text": harmless(e.text, limit=1000), "key": harmless(e.key)}
        for e in entries
    ]
    return {"entries": plain}
