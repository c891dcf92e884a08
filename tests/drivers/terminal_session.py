"""A program on a pseudo-terminal, and somebody who reads and types there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

LIMIT_S = 60.0


class TerminalSession:
    """`command` with its three streams on a terminal of its own. `shown` is everything that it wrote."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], folder: Path, size: tuple[int, int] = (24, 80)
    ) -> None:
        self._outside, self._inside = pty.openpty()
        self.resize(*size)
        self.before = self.modes()
        self.shown = b""
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command], stdin=self._inside, stdout=self._inside, stderr=self._inside,
            env=dict(env), cwd=folder,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait(LIMIT_S)
        self.hang_up()
        os.close(self._inside)

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal another size; the program gets SIGWINCH."""
        fcntl.ioctl(self._outside, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def modes(self) -> list[Any]:
        """Return the terminal's modes, as `stty -a` shows them."""
        return termios.tcgetattr(self._inside)

    def type(self, text: str | bytes) -> None:
        """Type."""
        os.write(self._outside, text.encode() if isinstance(text, str) else text)

    def read(self, seconds: float) -> bytes:
        """Return what the program writes within `seconds`, b"" for nothing."""
        if not select.select([self._outside], [], [], seconds)[0]:
            return b""
        try:
            said = os.read(self._outside, 65536)
        except OSError:
            return b""
        self.shown += said
        return said

    def await_text(self, text: str | bytes, limit: float = LIMIT_S) -> None:
        """Wait until the program has written `text` after what was waited for before."""
        wanted = text.encode() if isinstance(text, str) else text
        end = time.monotonic() + limit
        while (found := self.shown.find(wanted, self._seen)) < 0:
            ended = self.process.poll() is not None
            more = self.read(0.1)
            assert time.monotonic() < end and (more or not ended), f"{wanted!r} did not come: {self.shown!r}"
        self._seen = found + len(wanted)

    _seen = 0

    def end(self, limit: float = LIMIT_S) -> int:
        """Wait for the program's end, reading on, and return its exit code."""
        end = time.monotonic() + limit
        while self.process.poll() is None:
            assert time.monotonic() < end, f"it does not end: {self.shown!r}"
            self.read(0.1)
        while self.read(0.1):
            pass
        return self.process.returncode

    def hang_up(self) -> None:
        """Close the terminal's window."""
        if self._outside >= 0:
            with contextlib.suppress(OSError):
                os.close(self._outside)
            self._outside = -1
