"""Watch one shot to its end: threads bring what they see into one queue, one loop folds it and decides.

The loop alone emits events, so that their order is the order in which things were learned.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from trigger.clock import Clock, Deadline
from trigger.errors import TriggerError, Unreachable
from trigger.events import DumpFound, Event, Finished, Observed
from trigger.post.following import TargetState
from trigger.post.landing import Baseline, State
from trigger.post.poller import watch_target
from trigger.post.target import Store, Target
from trigger.post.verify import Expectation
from trigger.text import harmless
from trigger.verdict import Seen, decide
from trigger.watch.host import HostState, watch_host
from trigger.watch.status import Status
from trigger.watch.target import shown, target_of
from trigger.watch.watched import Watched

# How often the loop looks at the clock; a state change wakes it at once.
TICK_S = 0.25
# A dump that grows is a line of the journal this often.
PROGRESS_S = 30.0
THREADS_END_S = 3.0

Emit = Callable[[Event], None]
_GRADES = {"new": "proof", "same": "strong", "crash-kernel": "strong"}
_PHASES = {"new": "back", "same": "same-boot", "crash-kernel": "crash-kernel"}


@dataclass
class _Known:
    """What the loop has folded so far. Times are monotonic seconds."""

    target: TargetState = field(default_factory=lambda: TargetState(State.WAITING))
    host: HostState = field(default_factory=HostState)
    back_at: float | None = None
    told: tuple[State, str, bool] | None = None
    told_at: float = 0.0


def follow(
    watched: Watched, emit: Emit, clock: Clock, detach: threading.Event, status: Callable[[Status], None]
) -> Finished:
    """Watch until the verdict, and return it; `status` is told how things stand.

    `detach` ends the watching, not the fire. Raises ConfigError when the dump's target cannot be understood and
    the host cannot be watched either.
    """
    follower = _Follower(watched, clock)
    follower.start()
    try:
        return follower.loop(emit, detach, status)
    finally:
        follower.stop()


class _Follower:
    def __init__(self, watched: Watched, clock: Clock) -> None:
        self._watched, self._clock = watched, clock
        self._deadline = Deadline(watched.deadline_at - clock.time(), clock)
        self._queue: queue.SimpleQueue[TargetState | HostState] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._known = _Known()
        self._threads: list[threading.Thread] = []
        self._target: Target | None = None

    def start(self) -> None:
        """Start one thread for each source of evidence."""
        try:
            self._target = target_of(self._watched)
        except TriggerError as error:
            self._queue.put(TargetState(State.UNREADABLE, reason=error.message))
        else:
            self._run("target", self._watch_target)
        if self._watched.host.ssh is not None:
            self._run("host", self._watch_host)

    def stop(self) -> None:
        """Ask the threads to end; one that hangs in a dead mount is left behind (it is a daemon)."""
        self._stop.set()
        end = Deadline(THREADS_END_S)
        for thread in self._threads:
            thread.join(end.left())

    def loop(self, emit: Emit, detach: threading.Event, status: Callable[[Status], None]) -> Finished:
        """Fold what comes until there is a verdict."""
        while True:
            self._fold(emit)
            seen = self._seen(detach.is_set())
            finished = decide(self._watched.host.name, seen)
            if finished is not None:
                return finished
            status(self._status(seen))
            self._wait(emit)

    def _wait(self, emit: Emit) -> None:
        try:
            self._take(self._queue.get(timeout=TICK_S), emit)
        except queue.Empty:
            return

    def _fold(self, emit: Emit) -> None:
        while not self._queue.empty():
            self._take(self._queue.get(), emit)

    def _take(self, news: TargetState | HostState, emit: Emit) -> None:
        known, now = self._known, self._clock.monotonic()
        if isinstance(news, HostState):
            before, known.host = known.host, news
            if news.boot == "new" and known.back_at is None:
                known.back_at = now
            if news.differs(before):
                phase, grade = _PHASES.get(news.boot, news.port), _GRADES.get(news.boot, "weak")
                emit(Observed(phase, "host", grade, news.text))
            return
        known.target = news
        change = (news.state, news.path, news.facts is not None)
        if change != known.told or now - known.told_at >= PROGRESS_S:
            known.told, known.told_at = change, now
            emit(self._dump_found(news))

    def _seen(self, detached: bool) -> Seen:
        known, now = self._known, self._clock.monotonic()
        return Seen(
            outcome=self._watched.outcome,
            dump=known.target.state.value,
            dump_path=self._shown(known.target.path),
            dump_text=harmless(known.target.reason),
            dump_ours=known.target.ours,
            dump_final=known.target.final,
            boot=known.host.boot if known.host.boot in ("same", "new") else "",
            since_fire_s=self._clock.time() - self._watched.fired_at,
            same_boot_s=known.host.at - self._watched.fired_at if known.host.boot == "same" else 0.0,
            since_back_s=now - known.back_at if known.back_at is not None else 0.0,
            timed_out=self._deadline.passed(),
            detached=detached,
            until=self._watched.until,
        )

    def _status(self, seen: Seen) -> Status:
        target, host = self._known.target, self._known.host
        return Status(
            self._watched.host.name,
            elapsed_s=seen.since_fire_s,
            dump=seen.dump,
            bytes=target.bytes,
            bytes_per_s=target.rate,
            evidence=(f"host: {host.text or host.port}",),
        )

    def _dump_found(self, state: TargetState) -> DumpFound:
        facts, look = state.facts, state.look
        reason = state.reason if state.state is not State.VERIFIED else ""
        found = DumpFound(state.state.value, self._shown(state.path), state.bytes, text=harmless(reason))
        if look is not None:
            found = found._replace(panic=look.panic)
        if facts is None:
            return found
        return found._replace(
            format=facts.described(),
            complete=facts.complete.value,
            release=harmless(facts.release),
            crash_time=facts.crash_time,
        )

    def _shown(self, path: str) -> str:
        return harmless(shown(self._target, path, self._watched.host.name)) if self._target is not None and path else ""

    def _run(self, name: str, function: Callable[[], None]) -> None:
        thread = threading.Thread(target=function, name=f"watch {name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _watch_host(self) -> None:
        ssh = self._watched.host.ssh
        if ssh is not None:
            watch_host(ssh, self._watched.fired_at, self._clock, self._queue.put, self._stop)

    def _watch_target(self) -> None:
        assert self._target is not None
        final = watch_target(
            self._open,
            self._watched.baseline or Baseline(self._target.path),
            self._watched.fired_at,
            _expectation(self._watched),
            self._deadline,
            self._clock,
            self._queue.put,
            self._stop,
            host_back=lambda: self._known.host.boot == "new",
        )
        self._queue.put(final)

    def _open(self) -> Store:
        """Open the target; the host's own directory only once its SSH answers, so as not to wait for a dead one."""
        assert self._target is not None
        if self._target.own_disk and self._known.host.port != "banner":
            raise Unreachable(f"{self._watched.host.name} is not back yet, and the dump is on its own disk")
        return self._target.open()


def _expectation(watched: Watched) -> Expectation:
    record = watched.known.record
    if record is None:
        return Expectation(watched.host.name)
    return Expectation(watched.host.name, record.identity.hostname, record.clock_offset_s)
