"""Time as an argument, so that a simulated minute of silence costs nothing.

Deadlines use the monotonic clock: a jump of the wall clock neither ends a wait nor prolongs it.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """What the program may ask of time. All values are seconds."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        ...

    def time(self) -> float:
        """Seconds since the epoch, as the operator's wall clock has it."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait at least `seconds`."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        """Return `time.monotonic()`."""
        return time.monotonic()

    def time(self) -> float:
        """Return `time.time()`."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Sleep for `seconds`; returns at once for zero or less."""
        if seconds > 0:
            time.sleep(seconds)


class SteadyClock:
    """A clock whose wall clock cannot be set: it counts on from what `clock` showed when this was made."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begun = clock.time() - clock.monotonic()

    def monotonic(self) -> float:
        """Return the monotonic clock of `clock`."""
        return self._clock.monotonic()

    def time(self) -> float:
        """Return seconds since the epoch as of the start, whatever was done to the wall clock since."""
        return self._begun + self._clock.monotonic()

    def sleep(self, seconds: float) -> None:
        """See Clock.sleep."""
        self._clock.sleep(seconds)


class FastClock:
    """A clock for simulated runs: sleeping moves it on at once. Safe to share between threads."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = 0.0
        self._start = start
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        """Return the simulated seconds slept so far."""
        return self._now

    def time(self) -> float:
        """Return the simulated wall clock."""
        return self._start + self._now

    def sleep(self, seconds: float) -> None:
        """Move the clock on by `seconds` without waiting."""
        with self._lock:
            self._now += max(0.0, seconds)


class Deadline:
    """A moment on the monotonic clock by which something must be over."""

    def __init__(self, seconds: float, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self._end = self.clock.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds left, never less than zero."""
        return max(0.0, self._end - self.clock.monotonic())

    def passed(self) -> bool:
        """Return whether no time is left."""
        return self.left() <= 0.0

    def at_most(self, seconds: float) -> Deadline:
        """Return a deadline that ends `seconds` from now or with this one, whichever comes first."""
        return Deadline(min(seconds, self.left()), self.clock)
