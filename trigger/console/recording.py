"""What a console said, kept in the run's folder: console.cast (asciicast v2, playable) and console.txt.

A run that is recorded again (`trigger wait`) gets console-2.cast and so on.
Output only, never keystrokes: what is typed may be a password. Bounded: beyond the limit the middle is dropped, and
both files say so. Nothing here may disturb a run: a full disk ends the recording, and `problem` says why.

Source: the asciicast v2 format, docs.asciinema.org/manual/asciicast/v2.
"""

from __future__ import annotations

import codecs
import contextlib
import itertools
import json
import os
import threading
from types import TracebackType
from typing import Self

from trigger.clock import Clock
from trigger.state import StateFolder
from trigger.text import harmless

LIMIT_BYTES = 64 * 1024 * 1024
_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_COPY_BYTES = 1 << 20
_LINE_CHARACTERS = 4096  # of console.txt; longer lines are broken


class BoundedFile:
    """A file of lines of which the beginning and the end are kept.

    The first half of the limit goes into NAME; what follows goes in turn into two pieces of a quarter each,
    NAME.1 and NAME.2, which `close` appends. A program that is killed leaves the pieces.
    """

    def __init__(self, folder: int, name: str, limit: int, mode: int) -> None:
        self._folder, self._name, self._limit, self._mode = folder, name, limit, mode
        self._file = self._open(name)
        self._pieces: list[str] = []
        self._room = limit // 2
        self._sizes: dict[str, int] = {}
        self.dropped = 0

    def write(self, line: bytes) -> None:
        """Append `line`, which is kept or dropped whole. Raises OSError."""
        if len(line) > self._limit // 4:
            self.dropped += len(line)
            return
        if len(line) > self._room:
            self._turn()
        _write_all(self._file, line)
        self._room -= len(line)
        if self._pieces:
            self._sizes[self._pieces[-1]] = self._sizes.get(self._pieces[-1], 0) + len(line)

    @property
    def whole(self) -> bool:
        """Whether everything so far went into the first half."""
        return not self._pieces

    def close(self, said_of_dropped: bytes) -> None:
        """Put the pieces together; where something was dropped, `said_of_dropped` stands in its place."""
        os.close(self._file)
        if not self._pieces and not self.dropped:
            return
        self._file = os.open(self._name, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)
        try:
            if self.dropped:
                _write_all(self._file, said_of_dropped)
            for piece in self._pieces:
                self._append(piece)
        finally:
            os.close(self._file)

    def _turn(self) -> None:
        """Go on in the next piece; the older of two is dropped."""
        os.close(self._file)
        name = f"{self._name}.1" if not self._pieces or self._pieces[-1].endswith(".2") else f"{self._name}.2"
        if len(self._pieces) == 2:
            self.dropped += self._sizes.pop(self._pieces.pop(0), 0)
        self._file = self._open(name)
        self._pieces.append(name)
        self._room = self._limit // 4

    def _append(self, piece: str) -> None:
        source = os.open(piece, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder)
        try:
            while block := os.read(source, _COPY_BYTES):
                _write_all(self._file, block)
        finally:
            os.close(source)
        os.unlink(piece, dir_fd=self._folder)

    def _open(self, name: str) -> int:
        return os.open(name, _NEW, self._mode, dir_fd=self._folder)


class Recording:
    """The two files of one console. Safe to use from several threads; raises nothing once it is made."""

    def __init__(self, state: StateFolder, host: str, run: str, clock: Clock, limit: int = LIMIT_BYTES) -> None:
        """Make the files below hosts/HOST/runs/RUN, readable for their owner alone. Raises GuardRefused, OSError."""
        self._clock, self._begin = clock, clock.monotonic()
        self._lock = threading.Lock()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.problem = ""
        self.heard = 0  # bytes that the console has said, those that were dropped included
        with state.run(host, run) as folder:
            self._folder = os.dup(folder)
        name = _free_name(self._folder)
        self.path = state.host_folder(host) / "runs" / run / f"{name}.txt"
        self._cast = BoundedFile(self._folder, f"{name}.cast", limit, 0o600)
        self._text = BoundedFile(self._folder, f"{name}.txt", limit, 0o600)
        self._open = True
        self._unfinished, self._unfinished_at = "", 0.0  # of console.txt; serial-over-LAN brings a few bytes at a time
        self._gap_after = 0.0  # when the last event before the middle came
        header = {"version": 2, "width": 80, "height": 24, "timestamp": int(clock.time()), "title": host}
        self._keep(_json_line(header), f"# console of {harmless(host)}, seconds since {header['timestamp']}\n".encode())

    def output(self, said: bytes) -> None:
        """Keep what the console said just now."""
        with self._lock:
            self.heard += len(said)
            text = self._decoder.decode(said)
            if text:
                after = round(self._clock.monotonic() - self._begin, 6)
                self._keep(_json_line([after, "o", text]), self._lines(text, after), after)

    def note(self, text: str) -> None:
        """Keep a remark of ours in its place, such as "BREAK": a marker, not a keystroke."""
        with self._lock:
            after = round(self._clock.monotonic() - self._begin, 6)
            plain = self._rest() + f"[{after:.3f}] -- {harmless(text)} --\n".encode()
            self._keep(_json_line([after, "m", text]), plain, after)

    def close(self) -> None:
        """Finish both files; raises nothing."""
        with self._lock:
            if not self._open:
                return
            self._keep(b"", self._rest())
            self._open = False
            said = f"{self._cast.dropped} bytes of this recording were dropped here"
            marker = _json_line([self._gap_after, "m", said])
            for file, gap in ((self._cast, marker), (self._text, b"-- the middle of this recording was dropped --\n")):
                try:
                    file.close(gap)
                except OSError as error:
                    self.problem = self.problem or f"the recording could not be finished: {error.strerror}"
            with contextlib.suppress(OSError):
                os.close(self._folder)

    def __enter__(self) -> Self:
        """Return the recording."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish it."""
        self.close()

    def _lines(self, text: str, after: float) -> bytes:
        """Return the lines of console.txt that `text` finishes, and remember what it begins."""
        if not self._unfinished:
            self._unfinished_at = after
        *finished, begun = (self._unfinished + text).split("\n")
        plain = b"".join(_plain(self._unfinished_at if n == 0 else after, line) for n, line in enumerate(finished))
        if finished:
            self._unfinished_at = after
        self._unfinished = begun
        return plain + (self._rest() if len(begun) > _LINE_CHARACTERS else b"")

    def _rest(self) -> bytes:
        rest, self._unfinished = _plain(self._unfinished_at, self._unfinished), ""
        return rest

    def _keep(self, cast: bytes, text: bytes, after: float = 0.0) -> None:
        if self.problem or not self._open:
            return
        try:
            self._cast.write(cast)
            if self._cast.whole:
                self._gap_after = after
            self._text.write(text)
        except OSError as error:
            self.problem = f"the recording of the console ended: {error.strerror}"


def _free_name(folder: int) -> str:
    """Return console, or console-2, console-3, ... when the run has been recorded before (`trigger wait`)."""
    there = set(os.listdir(folder))
    names = itertools.chain(["console"], (f"console-{number}" for number in itertools.count(2)))
    return next(name for name in names if f"{name}.cast" not in there)


def _plain(after: float, line: str) -> bytes:
    """Return a line, harmless, with the seconds at which it began."""
    shown = line.replace("\r", "")
    return f"[{after:.3f}] {harmless(shown)}\n".encode() if shown else b""


def _json_line(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
