"""Watch one shot to its end: threads bring what they see into one queue, one loop folds it and decides.

The loop alone emits events, so that their order is the order in which things were learned.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from functools import partial

from trigger.clock import Clock, Deadline, SteadyClock
from trigger.events import Event, Finished
from trigger.text import harmless
from trigger.verdict import decide
from trigger.watch.evidence import Evidence, News
from trigger.watch.host import BootWitness, watch_host
from trigger.watch.report import Report
from trigger.watch.status import Status
from trigger.watch.targets import Targets
from trigger.watch.watched import Watched

# How often the loop looks at the clock and the console; what other witnesses say wakes it at once.
TICK_S = 0.1
THREADS_END_S = 3.0

Emit = Callable[[Event], None]


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
        # How long ago the shot was decides what proves what: a wall clock that is set meanwhile must not.
        self._watched, self._clock = watched, (clock := SteadyClock(clock))
        self._deadline = Deadline(watched.deadline_at - clock.time(), clock)
        self._queue: queue.SimpleQueue[News] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._targets = Targets(
            watched, clock, self._deadline, self._queue.put, self._stop, lambda: self._evidence.host
        )
        self._evidence = Evidence(watched, clock.monotonic(), harmless, own_disk=self._targets.own_disk)

    def start(self) -> None:
        """Start one thread for each source of evidence; the console has its own already."""
        for number, place in enumerate(self._targets.places):
            self._run(f"target {place.where}", partial(self._targets.watch, number))
        if self._watched.host.ssh is not None:
            self._run("host", self._watch_host)
        if self._watched.controller is not None:
            self._run("controller", partial(self._watched.controller.run, self._queue.put, self._stop))

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
            now = self._clock.monotonic()
            seen = self._evidence.seen(
                now=now,
                since_fire_s=self._clock.time() - self._watched.fired_at,
                timed_out=self._deadline.passed(),
                detached=detach.is_set(),
            )
            finished = decide(self._watched.host.name, seen)
            if finished is not None:
                return finished
            status(self._evidence.status(seen, now))
            self._wait(emit)

    def _wait(self, emit: Emit) -> None:
        try:
            self._take(self._queue.get(timeout=TICK_S), emit)
        except queue.Empty:
            return

    def _fold(self, emit: Emit) -> None:
        while not self._queue.empty():
            self._take(self._queue.get(), emit)
        for said in self._watched.console.news() if self._watched.console is not None else ():
            self._take(said, emit)
        for packet in self._watched.fence.news() if self._watched.fence is not None else ():
            self._take(Report("fence_kdump", "weak", packet.text, "crash-kernel" if packet.heard else ""), emit)

    def _take(self, news: News, emit: Emit) -> None:
        for event in self._evidence.take(news, self._clock.monotonic()):
            emit(event)

    def _run(self, name: str, function: Callable[[], None]) -> None:
        thread = threading.Thread(target=function, name=f"watch {name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _watch_host(self) -> None:
        ssh = self._watched.host.ssh
        if ssh is not None:
            record = self._watched.known.record
            known_at = record.host_seen_at if record is not None else None
            witness = BootWitness(self._watched.fired_at, self._watched.known.boot_id, known_at)
            watch_host(ssh, witness, self._clock, self._queue.put, self._stop)
