"""The operator's own terminal while a console has it: raw, and given back whatever happens.

What the host wrote may have changed modes of the terminal emulator (alternate screen, mouse, hidden cursor): those
are switched back too. Sources: termios(3), xterm's control sequences (ctlseqs), DECSTR of the VT510 manual.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import termios
import tty
from types import FrameType, TracebackType
from typing import Any, Self

# Leave the alternate screen, the scroll region (cursor kept), attributes, character sets, mouse, focus and paste
# reports, application keys; show the cursor; wrap lines; insert mode off.
SANE = (
    b"\x1b[?47l\x1b7\x1b[r\x1b8\x1b[0m\x1b(B\x0f\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1006l\x1b[?2004l"
    b"\x1b[?1l\x1b>\x1b[?25h\x1b[?7h\x1b[4l"
)
_STUCK_S = 0.5  # a terminal whose other side reads nothing must not keep us
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Stops:
    """Signals that end a session, kept from killing it halfway: the console and the terminal are given back first.

    Until `hold` they raise KeyboardInterrupt, later they are kept in `number`. One that is ignored (nohup) stays so.
    """

    def __init__(self) -> None:
        self.number = 0  # of the signal that came
        self._raises = True
        self._read, self._write = os.pipe()
        self._previous: list[tuple[signal.Signals, Any]] = []

    def __enter__(self) -> Self:
        for number in _STOPS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous.append((number, signal.signal(number, self._handle)))
        # Stopped from outside the terminal would stay raw under the operator's shell.
        self._previous.append((signal.SIGTSTP, signal.signal(signal.SIGTSTP, signal.SIG_IGN)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous:
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def wake(self) -> None:
        """End a `wait_for` from another thread."""
        os.write(self._write, b"w")

    def hold(self) -> None:
        """From now on a signal only ends `wait_for`."""
        self._raises = False

    def wait_for(self, file: int | None, seconds: float | None = None) -> bool:
        """Wait until `file` has input, and return true; false after a signal, `wake` or `seconds`."""
        if self.number:
            return False
        files = [self._read] if file is None else [file, self._read]
        ready = select.select(files, [], [], seconds)[0]
        if self._read in ready:
            os.read(self._read, 4096)
            return False
        return bool(ready)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        if self._raises:
            raise KeyboardInterrupt
        self.wake()


class RawTerminal:
    """A terminal without echo, line editing or signals; a context manager that gives it back as it was."""

    def __init__(self, keyboard: int, screen: int) -> None:
        self._keyboard, self._screen = keyboard, screen
        self._saved = termios.tcgetattr(keyboard)

    def __enter__(self) -> Self:
        tty.setraw(self._keyboard, termios.TCSANOW)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A terminal that has gone takes nothing back. Not TCSADRAIN: nobody may be reading what was written.
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._keyboard, termios.TCSANOW, self._saved)
        with contextlib.suppress(OSError):
            if select.select([], [self._screen], [], _STUCK_S)[1]:
                os.write(self._screen, SANE)

    def write(self, data: bytes) -> None:
        """Write all of `data` to the screen. Raises OSError when the terminal has gone."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._screen, view) :]
