"""Many hosts at the same time: each in a thread, `fanout` at most, none waiting for another.

The threads are daemons: after Ctrl-C nobody waits for a host that hangs. SSH itself runs on one loop in one
thread (trigger/ssh/connection.py); what these threads do is wait.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO, TypeVar

from trigger.clock import Clock

T = TypeVar("T")
_REDRAW_S = 0.2


def all_of(names: Sequence[str], look: Callable[[str], T], fanout: int) -> Iterator[T | BaseException]:
    """Yield what `look` returns for every name, or the exception it raised, as each is done."""
    todo: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[T | BaseException] = queue.SimpleQueue()

    def work() -> None:
        while (name := todo.get()) is not None:
            try:
                done.put(look(name))
            except BaseException as error:
                done.put(error)

    for name in names:
        todo.put(name)
    workers = min(fanout, len(names))
    for number in range(workers):
        todo.put(None)
        threading.Thread(target=work, name=f"preflight-{number}", daemon=True).start()
    try:
        for _ in names:
            yield done.get()
    finally:
        _empty(todo, workers)


def _empty(todo: queue.SimpleQueue[str | None], workers: int) -> None:
    """Let the workers end after what they are at."""
    try:
        while True:
            todo.get_nowait()
    except queue.Empty:
        for _ in range(workers):
            todo.put(None)


class Progress:
    """A line on a terminal: how many, how fast, how long yet. Silent where there is no terminal."""

    def __init__(self, total: int, clock: Clock, stream: TextIO | None = None) -> None:
        self._total = total
        self._clock = clock
        self._stream = stream or sys.stderr
        self._live = total > 1 and self._stream.isatty()
        self._started = clock.monotonic()
        self._drawn = 0.0
        self._counts: dict[str, int] = {}

    def add(self, state: str) -> None:
        """Count a host that is done, by its state."""
        self._counts[state] = self._counts.get(state, 0) + 1
        now = self._clock.monotonic()
        if self._live and (now - self._drawn >= _REDRAW_S or self._done() == self._total):
            self._drawn = now
            self._stream.write(f"\r\x1b[K{self.text()}")
            self._stream.flush()

    def text(self) -> str:
        """Return the line: "127/1000 hosts, 41/s, 21 s left, 3 not-ready"."""
        done = self._done()
        rate = done / max(0.001, self._clock.monotonic() - self._started)
        bad = "".join(f", {count} {state}" for state, count in self._counts.items() if state != "ready")
        return f"{done}/{self._total} hosts, {rate:.0f}/s, {(self._total - done) / max(rate, 0.001):.0f} s left{bad}"

    def end(self) -> None:
        """Take the line away."""
        if self._live:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _done(self) -> int:
        return sum(self._counts.values())
