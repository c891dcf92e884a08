"""The controller as a witness after the fire: power state and event log, asked slowly with logins of their own.

Its log has a clock of its own: an entry is news when it was not there at the first look, or when it is younger than the
shot by the controller's own clock, where the controller tells its time. Nothing of it is proof.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable

from trigger.clock import Clock, Deadline
from trigger.driver import Driver, EventLogEntry, HasEventLog, Power, ReportsPower
from trigger.errors import LoginFailed, TriggerError
from trigger.text import harmless, without_secrets
from trigger.watch.report import Report

FIRST_LOOK_S = 6.0  # the answer to the shot and the console's login come first
POLL_S = 30.0
LOOK_S = 10.0
NEWEST = 20
MOST_ENTRIES = 30  # that are told of in one run
# A log's clock has whole seconds, and an entry is written after what it tells of.
_CLOCK_SLACK_S = 2.0
# What an entry is evidence of. The words are those of drivers/ipmi_sel.py and of Redfish message registries.
_MEANS = (
    (re.compile(r"(?i)critical stop|os stop|kernel panic|panic text|\bpanic\b"), "strong", "panicked"),
    (re.compile(r"(?i)watchdog"), "strong", ""),
    (re.compile(r"(?i)diagnostic interrupt|\bNMI\b"), "weak", ""),
    (re.compile(r"(?i)reset|power"), "weak", ""),
)

Tell = Callable[[Report], None]


class ControllerWatch:
    """What one controller says after a shot. `make` returns a driver of it that is not logged in."""

    def __init__(self, make: Callable[[], Driver], name: str, fired_at: float, clock: Clock) -> None:
        """`fired_at` is in seconds since the epoch on our clock."""
        self._make, self._name, self._fired_at, self._clock = make, name, fired_at, clock
        self._known: set[str] | None = None  # the entries that have been seen
        self._power = Power.UNKNOWN
        self._problem = ""
        self._told = 0

    def run(self, tell: Tell, stop: threading.Event) -> None:
        """Look every POLL_S until `stop`; raises nothing. An account that is rejected is not tried again."""
        pause = FIRST_LOOK_S
        while not stop.wait(pause):
            pause = POLL_S
            try:
                self.look(tell)
                self._problem = ""
            except Exception as error:  # whatever a third party's driver raises
                said = error.message if isinstance(error, TriggerError) else f"{type(error).__name__}: {error}"
                text = f"{self._name} cannot be asked: {harmless(without_secrets(said.split(' Nothing was sent')[0]))}"
                if not self._problem:
                    tell(Report("controller", "weak", text))
                self._problem = text
                if isinstance(error, LoginFailed) and error.rejected:
                    return

    def look(self, tell: Tell) -> None:
        """Log in, look once, log out. Raises what the driver raises."""
        deadline = Deadline(LOOK_S, self._clock)
        with self._make() as driver:
            if not isinstance(driver, HasEventLog | ReportsPower):
                return
            self._tell_power(driver.probe(deadline).power, tell)
            if isinstance(driver, HasEventLog):
                offset = self._clock_offset(driver, deadline)
                self._tell_entries(driver.event_log(deadline, NEWEST), offset, tell)

    def _clock_offset(self, driver: Driver, deadline: Deadline) -> float | None:
        """Return how far the controller's clock is ahead of ours, in seconds; None where it does not tell its time."""
        ask = getattr(driver, "controller_time", None)
        said = ask(deadline) if callable(ask) else None
        return said - self._clock.time() if isinstance(said, float | int) else None

    def _tell_power(self, power: Power, tell: Tell) -> None:
        if power is self._power:
            return
        before, self._power = self._power, power
        if power is Power.OFF:
            tell(Report("controller", "strong", f"{self._name}: the power is off"))
        elif before is Power.OFF:
            tell(Report("controller", "strong", f"{self._name}: the power was off, and is {power.value} again"))
        elif before is not Power.UNKNOWN:
            tell(Report("controller", "weak", f"{self._name}: the power is {power.value}"))

    def _tell_entries(self, entries: Iterable[EventLogEntry], offset: float | None, tell: Tell) -> None:
        known, self._known = self._known, (self._known or set())
        for entry in entries:
            key = entry.key or f"{entry.time} {entry.text}"
            if key in self._known:
                continue
            self._known.add(key)
            if known is None and not self._is_after_the_shot(entry, offset):
                continue
            self._told += 1
            if self._told <= MOST_ENTRIES:
                tell(self._report(entry))

    def _is_after_the_shot(self, entry: EventLogEntry, offset: float | None) -> bool:
        """Return whether an entry of the first look is news; without the controller's clock nobody knows."""
        return offset is not None and entry.time is not None and entry.time - offset >= self._fired_at - _CLOCK_SLACK_S

    def _report(self, entry: EventLogEntry) -> Report:
        text = f"{self._name}: log: {harmless(without_secrets(entry.text), limit=200)}"
        for pattern, grade, phase in _MEANS:
            if pattern.search(entry.text):
                return Report("controller", grade, text, phase)
        return Report("controller", "weak", text)
