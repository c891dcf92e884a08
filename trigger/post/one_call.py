"""One call at a time, bounded in time: a dead NFS server must neither hang the watch nor collect threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from trigger.errors import Unreachable

T = TypeVar("T")


class OneCall:
    """Runs calls in a thread, one at a time.

    A call that does not come back in time is left alone, since a thread cannot be ended; until it does come
    back, no other is started. Daemon threads: they do not keep the process from ending.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def busy(self) -> bool:
        """Return whether a call that was given up is still running."""
        return self._thread is not None and self._thread.is_alive()

    def run(self, function: Callable[[], T], seconds: float, *, late: Callable[[], None]) -> T:
        """Return what `function` returns, or raise what it raises.

        Raises Unreachable after `seconds`, or at once when the last call is still running. `late` is called
        in the thread when a call that was given up comes back, to free what it held.
        """
        if self.busy():
            raise Unreachable("an earlier look at the target has not come back yet.")
        result: list[Any] = []
        given_up = threading.Event()
        lock = threading.Lock()

        def work() -> None:
            outcome: tuple[bool, Any]
            try:
                outcome = (True, function())
            except BaseException as error:  # it is raised again in the caller's thread
                outcome = (False, error)
            with lock:
                result.append(outcome)
                abandoned = given_up.is_set()
            if abandoned:
                late()

        self._thread = threading.Thread(target=work, name="target", daemon=True)
        self._thread.start()
        self._thread.join(seconds)
        with lock:
            if not result:
                given_up.set()
                raise Unreachable(f"the target did not answer within {seconds:.0f} seconds.")
        good, value = result[0]
        if not good:
            raise value
        returned: T = value
        return returned
