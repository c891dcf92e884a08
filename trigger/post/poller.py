"""Watch a target until the dump has landed and is proved, or until it is known that none will.

Each round is one look: list the target, list the new entries, judge them (landing.py), prove what has landed
(formats.py), and say whose it is (verify.py). Looks never overlap. A target that goes away is opened again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from trigger.clock import Clock, Deadline
from trigger.errors import TriggerError
from trigger.post import looks
from trigger.post.following import Following, TargetState
from trigger.post.landing import Baseline, State
from trigger.post.one_call import OneCall
from trigger.post.target import Store
from trigger.post.verify import Expectation
from trigger.text import harmless

POLL_SECONDS = 2.0
IDLE_SECONDS = 10.0  # of a remote target where nothing happens
LOOK_SECONDS = 60.0
_ORDER = (State.VERIFIED, State.LANDED, State.WRITING, State.FAILED, State.INCOMPLETE)

logger = logging.getLogger(__name__)
T = TypeVar("T")


def watch_target(
    store_factory: Callable[[], Store],
    baseline: Baseline,
    fire_time: float,
    expectation: Expectation,
    deadline: Deadline,
    clock: Clock,
    on_change: Callable[[TargetState], None],
    stop: threading.Event,
    *,
    host_back: Callable[[], bool] = lambda: False,
) -> TargetState:
    """Watch until the dump is verified, or is proved never to come, or `deadline`, or `stop`.

    `fire_time` is seconds since the epoch on our clock. `on_change` is told of every change; what it raises
    is logged and forgotten. `host_back` says that the host has booted anew since the fire. Raises nothing: an
    unreadable target is a state. At the deadline a dump that has landed or failed keeps its state; everything
    else is timed out.
    """
    watch = _Watch(store_factory, baseline, fire_time, expectation, clock, host_back)
    last = TargetState(State.WAITING, reason="nothing was seen yet")
    interval = POLL_SECONDS
    try:
        while not stop.is_set():
            state = watch.look()
            if state != last:
                last = state
                _tell(on_change, state)
            if state.final:
                return state
            if deadline.passed():
                return _timed_out(state)
            interval = watch.interval(interval, state)
            _pause(clock, min(interval, deadline.left()), stop)
        return last
    finally:
        watch.close()


def _timed_out(last: TargetState) -> TargetState:
    if last.state in (State.LANDED, State.INCOMPLETE, State.FAILED):
        return last
    reason = last.reason
    if last.state is State.WRITING:
        reason = f"the dump was still being written: {last.bytes} bytes so far"
    return replace(last, state=State.TIMED_OUT, reason=reason)


def _tell(on_change: Callable[[TargetState], None], state: TargetState) -> None:
    try:
        on_change(state)
    except Exception:
        logger.warning("showing the target's state failed; the watch goes on", exc_info=True)


def _pause(clock: Clock, seconds: float, stop: threading.Event) -> None:
    end = clock.monotonic() + seconds
    while not stop.is_set() and (left := end - clock.monotonic()) > 0:
        clock.sleep(min(0.2, left))


def _best(states: Sequence[TargetState]) -> TargetState:
    """Return the state that says most; a failure or a doubtful dump is final only while nothing else is written."""
    if not states:
        return TargetState(State.WAITING, reason="nothing new is there")
    best = min(states, key=lambda state: (_ORDER.index(state.state), not state.final))
    alone = not any(state is not best and state.state in (State.WRITING, State.LANDED) for state in states)
    return best if best.state is State.VERIFIED or alone else replace(best, final=False)


@dataclass
class _Watch:
    """The memory of one watch: the open store, the entries that are followed, and those that are not ours."""

    store_factory: Callable[[], Store]
    baseline: Baseline
    fire_time: float
    expectation: Expectation
    clock: Clock
    host_back: Callable[[], bool]
    store: Store | None = None
    local: bool = False
    calls: OneCall = field(default_factory=OneCall)
    followed: dict[str, Following] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)

    def interval(self, last: float, state: TargetState) -> float:
        """Return how long to wait: 2 s on a local target or while something happens, else up to 10 s."""
        if state.unproved:
            return 0.0  # it was shown at once; now prove it
        if self.local or state.state not in (State.WAITING, State.UNREADABLE):
            return POLL_SECONDS
        return min(max(last, POLL_SECONDS) * 1.25, IDLE_SECONDS)

    def look(self) -> TargetState:
        """Look once; raises nothing."""
        try:
            state = self._look()
        except TriggerError as error:
            state = TargetState(State.UNREADABLE, reason=error.message)
        except OSError as error:
            said = error.strerror or str(error)
            where = f"{error.filename}: " if isinstance(error.filename, str) else ""
            state = TargetState(State.UNREADABLE, reason=where + said)
        except Exception as error:  # a defect of ours must not end the watch of an open fire
            logger.exception("a look at the target failed")
            state = TargetState(State.UNREADABLE, reason=f"{type(error).__name__}: {error}")
        if state.state is State.UNREADABLE:
            self.close()
        others = tuple(harmless(text) for text in self.others.values())
        return replace(state, reason=harmless(state.reason), others=others)

    def _look(self) -> TargetState:
        known = frozenset(self.others)
        host_back = self.host_back()  # asked first: a listing from before says nothing of what came until then
        found = self._call(lambda store: looks.candidates(store, self.baseline, known), LOOK_SECONDS)
        if found is None:
            reason = f"{self.baseline.path} does not exist yet"
            return TargetState(State.WAITING, reason=reason, searched=host_back)
        states = []
        for candidate in found:
            now = self.clock.monotonic()
            if candidate.name not in self.followed:
                self.followed[candidate.name] = Following(self.baseline, self.expectation, self.fire_time, changed=now)
            following = self.followed[candidate.name]
            state = following.update(candidate, now, self._call, host_back=host_back)
            if following.another:
                self.others[candidate.name] = following.another
            else:
                states.append(state)
        return replace(_best(states), searched=host_back)

    def _call(self, function: Callable[[Store], T], seconds: float) -> T:
        """Run `function` on the store, opening one first if needed, in a thread and within `seconds`."""
        held = [self.store] if self.store is not None else []

        def work() -> T:
            if not held:
                held.append(self.store_factory())
            return function(held[0])

        def late() -> None:
            for store in held:
                store.close()

        self.store = None  # a call that is given up closes what it holds when it comes back
        try:
            return self.calls.run(work, seconds, late=late)
        finally:
            if held and not self.calls.busy():
                self.store, self.local = held[0], held[0].local

    def close(self) -> None:
        """Close the store, if one is open."""
        store, self.store = self.store, None
        if store is not None:
            store.close()
