"""All targets of one shot, each watched for itself, and what they say together: landed at any of them is landed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from trigger.clock import Clock, Deadline
from trigger.errors import Unreachable
from trigger.post.following import TargetState
from trigger.post.landing import Baseline, State
from trigger.post.poller import watch_target
from trigger.post.target import Store
from trigger.post.verify import Expectation
from trigger.text import harmless
from trigger.watch.evidence import News
from trigger.watch.host import HostState
from trigger.watch.report import Report
from trigger.watch.target import Place, places_of
from trigger.watch.watched import Watched

# What says most comes first. Something may still come where nothing is yet, so a failure elsewhere says less; and it
# may lie already where nobody can look, so that nothing is at another target says less than that.
_ORDER = (
    State.VERIFIED, State.LANDED, State.WRITING, State.UNREADABLE, State.WAITING, State.TIMED_OUT,
    State.INCOMPLETE, State.FAILED,
)  # fmt: skip


class Targets:
    """The places where the dump of one shot may land. `host` tells what the host shows now."""

    def __init__(
        self, watched: Watched, clock: Clock, deadline: Deadline, tell: Callable[[News], None],
        stop: threading.Event, host: Callable[[], HostState],
    ) -> None:  # fmt: skip
        self._watched, self._clock, self._deadline = watched, clock, deadline
        self._tell, self._stop, self._host = tell, stop, host
        self.places = places_of(watched)
        waiting = TargetState(State.WAITING)
        self._states = [waiting if place.target else _unreadable(place) for place in self.places]
        self._told: dict[int, State] = {}
        self._lock = threading.Lock()

    @property
    def own_disk(self) -> bool:
        """Whether every place is the host's own disk, which nobody reads before it is back."""
        return all(place.target is not None and place.target.own_disk for place in self.places)

    def watch(self, number: int) -> None:
        """Watch one of the places to its end; raises nothing."""
        place, watched = self.places[number], self._watched
        if place.target is None:
            return self._heard(number, self._states[number])
        path, before = place.target.path, watched.baseline
        final = watch_target(
            lambda: self._open(place),
            before if before is not None and before.path == path else Baseline(path),
            watched.fired_at,
            expectation(watched),
            self._deadline,
            self._clock,
            lambda state: self._heard(number, state),
            self._stop,
            host_back=lambda: self._host().boot == "new",
        )
        return self._heard(number, final)

    def _heard(self, number: int, state: TargetState) -> None:
        """Tell what all say together, and of several what each says when it changes."""
        place = self.places[number]
        state = replace(state, path=place.shown(state.path, self._watched.host.name))
        with self._lock:
            self._states[number] = state
            if len(self.places) > 1 and self._told.get(number) is not state.state:
                self._told[number] = state.state
                grade = "strong" if state.state in (State.LANDED, State.VERIFIED) else "weak"
                self._tell(Report("target", grade, harmless(_said(place, state))))
            self._tell(together(self._states))

    def _open(self, place: Place) -> Store:
        """Open a place; the host's own directory only once its SSH answers, so as not to wait for a dead one.

        Nor while it still runs the boot of before the shot: a dump that lies there is of an older crash, even where
        that was so shortly before that no clock tells them apart.
        """
        assert place.target is not None
        host, name = self._host(), self._watched.host.name
        if place.target.own_disk and host.port != "banner":
            raise Unreachable(f"{name} is not back yet, and the dump is on its own disk")
        if place.target.own_disk and host.boot == "same":
            raise Unreachable(f"{name} has not crashed since the shot, and the dump would be on its own disk")
        return place.target.open()


def together(states: Sequence[TargetState]) -> TargetState:
    """Return the state that says most; it is final when it is verified, or when no place will change any more.

    `searched` is when every place was, or will not change any more.
    """
    best = min(states, key=lambda state: _ORDER.index(state.state))
    final = best.state is State.VERIFIED or all(state.final for state in states)
    return replace(best, final=final, searched=all(state.searched or state.final for state in states))


def expectation(watched: Watched) -> Expectation:
    """Return what the record knows of the host and of the boot in which it was made."""
    record = watched.known.record
    if record is None:
        return Expectation(watched.host.name)
    return Expectation(
        watched.host.name,
        record.identity.hostname,
        record.clock_offset_s,
        build_id=record.build_id,
        stext=record.stext,
        kernel_offset=record.kerneloffset,
        recorded_at=record.host_seen_at,
    )


def _unreadable(place: Place) -> TargetState:
    return TargetState(State.UNREADABLE, reason=place.problem)


def _said(place: Place, state: TargetState) -> str:
    reason = f": {state.reason}" if state.reason and state.state is not State.VERIFIED else ""
    return f"{place.where}: {state.state.value}{reason}"
