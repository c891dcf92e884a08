"""The journal: one append-only file per host, the memory that makes "at most once" true.

Each line is JSON: `{"v", "run", "host", "seq", "time", "prev", "event", ...}`. `prev` is the SHA-256 (hex) of the
line before, without its newline, so that a changed, inserted or removed line shows. `time` is seconds since the
epoch. A line cut by a crash is closed with a newline by the next writer and passed over by readers.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, NamedTuple

from trigger.clock import Clock
from trigger.errors import GuardRefused
from trigger.events import VERSION, Event, from_json, to_json
from trigger.state import JOURNAL, StateFolder

# Enough for thousands of events; an open fire is at most hours old, so older lines are history only.
TAIL_BYTES = 4 << 20
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class Line(NamedTuple):
    """One line of a journal: the envelope, and the event, which is None for a kind of a newer version."""

    run: str
    host: str
    seq: int
    time: float
    event: Event | None
    raw: dict[str, Any]


class Journal:
    """The journal of one host, opened for one run."""

    def __init__(self, state: StateFolder, host: str, run: str, clock: Clock, seq: int = 0) -> None:
        """Open the file, making it where needed; `seq` is the number of the run's next line.

        Raises GuardRefused (rule `journal`) when it cannot be written: then nothing may be sent.
        """
        self._state, self.host, self.run, self._clock = state, host, run, clock
        self._seq = seq
        self._folder_synced = False
        self.head = ""
        try:
            with state.host(host) as folder:
                self._file = os.open(JOURNAL, _FLAGS | os.O_CREAT, 0o600, dir_fd=folder)
        except OSError as error:
            raise self._refused(error) from None

    def append(self, event: Event, *, durable: bool = False) -> Line:
        """Write one line; with `durable` it is on disk (fsync of file and folder) when this returns.

        Raises GuardRefused (rule `journal`) when it could not be written.
        """
        try:
            line = self._write(event)
            if durable:
                os.fsync(self._file)
                self._sync_folder()
        except OSError as error:
            raise self._refused(error) from None
        return line

    def close(self) -> None:
        """Close the file; nothing is lost, since nothing is buffered."""
        os.close(self._file)

    def _write(self, event: Event) -> Line:
        fcntl.flock(self._file, fcntl.LOCK_EX)  # `trigger wait` may append at the same time
        try:
            previous, whole = _last_line(self._file)
            moment = round(self._clock.time(), 3)
            envelope = {
                "v": VERSION,
                "run": self.run,
                "host": self.host,
                "seq": self._seq,
                "time": moment,
                "prev": sha256(previous).hexdigest() if previous else "",
            }
            raw = {**envelope, **to_json(event)}
            text = json.dumps(raw, separators=(",", ":")).encode()
            _write_all(self._file, (b"" if whole else b"\n") + text + b"\n")
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self.head = sha256(text).hexdigest()
        self._seq += 1
        return Line(self.run, self.host, self._seq - 1, moment, event, raw)

    def _sync_folder(self) -> None:
        if self._folder_synced:
            return
        with self._state.host(self.host) as folder:
            os.fsync(folder)
        self._folder_synced = True

    def _refused(self, error: OSError) -> GuardRefused:
        path = self._state.host_folder(self.host) / JOURNAL
        return GuardRefused(
            f"The journal {path} cannot be written ({error.strerror or error}). Nothing was sent by this step:"
            " a shot that is not on disk must not leave.",
            rule="journal",
            next_step=f"Free or mend the disk below {self._state.path}, then run the same command again.",
        )


def read_journal(state: StateFolder, host: str) -> tuple[Line, ...]:
    """Return the lines of a host's journal, oldest first; empty when there is none.

    Reads at most the last TAIL_BYTES. Lines that are cut or not JSON are passed over (`trigger history --verify`
    is what finds them). Raises GuardRefused (rule `journal`) when the file is there and cannot be read: what may
    hide an open fire is no reason to fire.
    """
    try:
        with state.host(host, create=False) as folder:
            file = os.open(JOURNAL, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise _unreadable(state, host, error) from None
    try:
        size = os.fstat(file).st_size
        data = os.pread(file, TAIL_BYTES, max(0, size - TAIL_BYTES))
    except OSError as error:
        raise _unreadable(state, host, error) from None
    finally:
        os.close(file)
    return tuple(_lines(data.split(b"\n")))


def _lines(texts: Iterable[bytes]) -> Iterable[Line]:
    for text in texts:
        try:
            raw = json.loads(text)
            event = from_json(raw)
            yield Line(str(raw["run"]), str(raw["host"]), int(raw["seq"]), float(raw["time"]), event, raw)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue


def _last_line(file: int) -> tuple[bytes, bool]:
    """Return the last line without its newline, and whether the file ends with one (or is empty)."""
    size = os.fstat(file).st_size
    if not size:
        return b"", True
    tail = os.pread(file, 1 << 16, max(0, size - (1 << 16)))
    whole = tail.endswith(b"\n")
    return tail.rstrip(b"\n").rsplit(b"\n", 1)[-1], whole


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _unreadable(state: StateFolder, host: str, error: OSError) -> GuardRefused:
    path = state.host_folder(host) / JOURNAL
    return GuardRefused(
        f"The journal {path} cannot be read ({error.strerror or error}), so an open fire cannot be excluded."
        " Nothing was sent.",
        rule="journal",
        next_step=f"Make {path} readable for you, then run the same command again.",
    )
