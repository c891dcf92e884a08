"""Ctrl-C, a terminal that closes, and `kill`: what they mean depends on whether something was sent.

Before the button they end the command. While the answer is awaited they end that wait (the outcome is then
unknown). After it they only stop the watching: the shot cannot be taken back, and the journal knows of it.
"""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Self

from trigger.run import Run

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Python drops what a handler raises while a weak reference's callback runs, as in the middle of an import. A stop
# before the shot that is not on its way out after so long was dropped, and is raised again.
_AGAIN_S = 1.5


class Interrupts:
    """Handles the signals of one run; `detach` is set when watching should stop. A context manager."""

    def __init__(self, run: Run) -> None:
        self.detach = threading.Event()
        self._run = run
        self._came = False
        self._previous: list[tuple[signal.Signals, object]] = []

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays nohup
                    self._previous.append((number, signal.signal(number, self._handle)))
            self._previous.append((signal.SIGALRM, signal.signal(signal.SIGALRM, self._again)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._came:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in self._previous:
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned before

    def check(self) -> None:
        """Raise KeyboardInterrupt when a signal came before the shot and got lost: the last moment to heed it."""
        if self._came:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        stage, again = self._run.stage, self.detach.is_set()
        if stage in ("sending", "after"):
            self.detach.set()
        else:
            self._came = True
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S, _AGAIN_S)
        # A second one while the answer is awaited must not interrupt the bookkeeping of the first.
        if stage != "after" and not (again and stage == "sending"):
            raise KeyboardInterrupt

    def _again(self, number: int, frame: FrameType | None) -> None:
        if self._run.stage == "before" and not _is_on_its_way_out(sys.exc_info()[1]):
            raise KeyboardInterrupt


def _is_on_its_way_out(handled: BaseException | None) -> bool:
    """Return whether what is being handled comes of a stop: releasing what was held takes its time."""
    while handled is not None and not isinstance(handled, KeyboardInterrupt):
        handled = handled.__context__
    return handled is not None
