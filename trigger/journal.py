"""The journal: one append-only file per host, the memory that makes "at most once" true.

Each line is JSON: `{"v", "run", "host", "seq", "time", "prev", "event", ...}`. `prev` is the SHA-256 (hex) of the
line before, without its newline, so that a changed, inserted or removed line shows (trigger/chain.py). `time` is
seconds since the epoch. A line cut by a crash is closed with a newline by the next writer and passed over by readers.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from hashlib import sha256
from typing import Any, NamedTuple

from trigger.clock import Clock
from trigger.errors import GuardRefused, TriggerError
from trigger.events import VERSION, Event, Fired, Firing, from_json, is_number, to_json
from trigger.mounts import network_file_system
from trigger.state import JOURNAL, StateFolder

# Enough for thousands of events; an open fire is at most hours old, so older lines are history only.
TAIL_BYTES = 4 << 20
# A disk that has not confirmed a line by then is as good as one that refuses it.
SYNC_SECONDS = 10.0


class Line(NamedTuple):
    """One line of a journal: the envelope, and the event, which is None for a kind of a newer version.

    `raw` is its JSON. A line that was just written has in `raw` also `head`: its own SHA-256, which no line can
    hold itself; kept elsewhere it vouches for every line up to this one.
    """

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

        Raises GuardRefused (rule `journal`) when it cannot be written, or is where other machines may write as
        well: then nothing may be sent.
        """
        self._state, self.host, self.run, self._clock = state, host, run, clock
        self._seq = seq
        self._folder_synced = False
        self._work: threading.Thread | None = None
        self._withdrawn: Firing | None = None
        self._unsure: tuple[int, bytes] | None = None  # what may stand in the file, and from which byte on
        self.head = ""
        self.durable: Event | None = None  # the last event that is known to be on disk
        self.when_durable: Callable[[Line], None] | None = None
        try:
            with state.host(host) as folder:
                network = network_file_system(folder)
                if network:
                    raise self._on_a_network(network)
                self._file = state.open_file(folder, JOURNAL, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        except OSError as error:
            raise self._refused(error) from None

    def append(self, event: Event, *, durable: bool = False) -> Line:
        """Write one line; with `durable` it is on disk (fsync of file and folder) when this returns.

        Raises GuardRefused (rule `journal`) when it could not be written, or not confirmed within SYNC_SECONDS.
        """
        try:
            line = self._durably(event) if durable else self._write(event)
        except OSError as error:
            raise self._refused(error) from None
        if durable:
            self.durable = event
            if self.when_durable is not None:
                with suppress(Exception):
                    self.when_durable(line)
        return line

    def withdraw(self, firing: Firing) -> bool:
        """Take back a `firing` that could not be made durable, so that it leaves no open fire: nothing was sent.

        It may stand in the file although fsync failed. A line that says "refused" ends it; the file stays
        append-only. Where that cannot be written either, the file is cut back to what it was. Returns whether
        one of the two worked; if not, an open fire may be seen that is none, which refuses and never repeats.
        """
        self._withdrawn = firing
        if self._busy():
            return False  # the disk hangs; the thread that waits for it withdraws when it is through
        if not self._unsure:
            return True
        before, text = self._unsure
        try:
            self._write(Fired(firing.controller, "refused", "nothing was sent: this shot could not be journalled"))
        except OSError:
            return self._cut(before, text)
        return True

    def close(self) -> None:
        """Close the file; nothing is lost, since nothing is buffered."""
        if not self._busy():
            os.close(self._file)

    def _cut(self, before: int, text: bytes) -> bool:
        """Cut the file back to `before` bytes if what follows is `text` and nothing else; return whether it is gone."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                written = os.pread(self._file, len(text) + 1, before)
                if text.startswith(written):
                    os.ftruncate(self._file, before)
                return text.startswith(written)
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        except OSError:
            return False

    def _busy(self) -> bool:
        return self._work is not None and self._work.is_alive()

    def _durably(self, event: Event) -> Line:
        """Write and sync in a thread, since nothing else ends the wait for a disk that hangs."""
        if self._busy():
            raise OSError(errno.ETIMEDOUT, "the disk has not confirmed the line before")
        done: list[Line | BaseException] = []
        self._unsure = None

        def work() -> None:
            try:
                line = self._write(event)
                os.fsync(self._file)
                self._sync_folder()
                done.append(line)
            except BaseException as error:  # raised below, by the thread that waits
                done.append(error)
            if self._withdrawn is event:
                self._work = None
                self.withdraw(event)

        self._work = threading.Thread(target=work, name="journal", daemon=True)
        self._work.start()
        self._work.join(SYNC_SECONDS)
        if not done:
            raise OSError(errno.ETIMEDOUT, f"the disk did not confirm the line within {SYNC_SECONDS:.0f} s")
        if isinstance(done[0], BaseException):
            raise done[0]
        return done[0]

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
            added = (b"" if whole else b"\n") + text + b"\n"
            self._unsure = (os.fstat(self._file).st_size, added)
            _write_all(self._file, added)
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self.head = sha256(text).hexdigest()
        self._seq += 1
        return Line(self.run, self.host, self._seq - 1, moment, event, {**raw, "head": self.head})

    def _sync_folder(self) -> None:
        if self._folder_synced:
            return
        with self._state.host(self.host) as folder:
            os.fsync(folder)
        self._folder_synced = True

    def _on_a_network(self, kind: str) -> GuardRefused:
        return GuardRefused(
            f"The state folder {self._state.path} is on a network file system ({kind}). Nothing was sent: other"
            " machines may write to the same journal, and the lock that prevents a second shot holds on this one only.",
            rule="journal",
            next_step="Name a folder on a local disk with `state_dir:`; `record_dirs:` may stay on the network.",
        )

    def _refused(self, error: OSError) -> GuardRefused:
        path = self._state.host_folder(self.host) / JOURNAL
        return GuardRefused(
            f"The journal {path} cannot be written ({error.strerror or error}). Nothing was sent by this step:"
            " a shot that is not on disk must not leave.",
            rule="journal",
            next_step=f"Free or mend the disk below {self._state.path}, then run the same command again.",
        )


def read_journals(
    state: StateFolder, hosts: Iterable[str], unread: list[TriggerError]
) -> Iterator[tuple[str, tuple[Line, ...]]]:
    """Yield each host and its lines; a journal that cannot be read goes to `unread`, and says nothing of the others."""
    for host in hosts:
        try:
            lines = read_journal(state, host)
        except TriggerError as error:
            unread.append(error)
        else:
            yield host, lines


def read_journal(state: StateFolder, host: str) -> tuple[Line, ...]:
    """Return the lines of a host's journal, oldest first; empty when there is none.

    Reads at most the last TAIL_BYTES. Lines that are cut or not JSON are passed over (`trigger history --verify`
    is what finds them). Raises GuardRefused (rule `journal`) when the file is there and cannot be read: what may
    hide an open fire is no reason to fire.
    """
    try:
        with state.host(host, create=False) as folder:
            file = state.open_file(folder, JOURNAL, os.O_RDONLY)
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
            if not (is_number(raw["seq"]) and is_number(raw["time"])):
                continue
            yield Line(str(raw["run"]), str(raw["host"]), int(raw["seq"]), float(raw["time"]), event, raw)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
            continue


def _last_line(file: int) -> tuple[bytes, bool]:
    """Return the last line without its newline, and whether the file ends with one (or is empty)."""
    size = os.fstat(file).st_size
    if not size:
        return b"", True
    step = 1 << 16
    while True:
        length = min(step, size)
        tail = os.pread(file, length, size - length)
        _, newline, last = tail.rstrip(b"\n").rpartition(b"\n")
        if newline or length == size:
            return last, tail.endswith(b"\n")
        step *= 8


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
