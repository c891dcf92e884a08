"""One operator at a time, held by the kernel: an abstract Unix socket, gone with the process that holds it.

No pid files: a lock cannot be stale, kill -9 included. The keys are the host's name and every controller's
address, so that two configurations, two users and two aliases of one controller meet in the same lock. Abstract
sockets are per network namespace (unix(7)); the holder is named from SO_PEERCRED, which needs no help of his.
Other systems have no such sockets: there trigger/lock_file.py holds them, by flock(2).
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from trigger.errors import GuardRefused


class Held(Protocol):
    """One lock that is held, until it is closed."""

    def close(self) -> None:
        """Let go."""
        ...


class Locks:
    """The locks of one fire, all or none; a context manager."""

    def __init__(self, keys: Sequence[str], host: str, take: Callable[[str], Held] | None = None) -> None:
        """Take every key in `keys`, or raise GuardRefused (rule `locked`) that names the holder.

        `take` takes one key, or raises BlockingIOError whose text names the holder; this system's way when None.
        """
        self._held: list[Held] = []
        self.keys: list[str] = []
        self._host = host
        self._take = take or _of_this_system()
        self.extend(keys)

    def extend(self, keys: Sequence[str]) -> None:
        """Take more keys; raises GuardRefused (rule `locked`) and lets go of everything when one is held."""
        try:
            # One order for everybody, so that two operators never wait in a circle (they never wait at all).
            for key in sorted(set(keys) - set(self.keys)):
                self._held.append(self._take(key))
                self.keys.append(key)
        except BlockingIOError as held:
            self.release()
            raise GuardRefused(
                f"Another fire holds the lock on {key}: {held}. Nothing was sent.",
                rule="locked",
                next_step=f"Watch that run: trigger wait {self._host}",
            ) from None
        except GuardRefused:
            self.release()
            raise

    def release(self) -> None:
        """Let go of every lock."""
        for held in self._held:
            held.close()
        self._held.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _of_this_system() -> Callable[[str], Held]:
    if sys.platform == "linux":
        return bind
    from trigger.lock_file import flock_file

    return flock_file


def lock_name(key: str) -> str:
    """Return a name for `key` that tells nobody which host is meant."""
    return sha256(key.encode()).hexdigest()[:32]


def bind(key: str) -> socket.socket:
    """Take `key` as an abstract Unix socket. Raises BlockingIOError that names the holder."""
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | getattr(socket, "SOCK_CLOEXEC", 0))
    address = f"\0trigger/fire/{lock_name(key)}"
    try:
        lock.bind(address)
        lock.listen(4096)  # so that others can connect and read our credentials; nobody ever accepts them
    except OSError:
        lock.close()
        raise BlockingIOError(_holder(address)) from None
    return lock


def _holder(address: str) -> str:
    """Return who holds a lock: user, process and since when, as far as the kernel tells."""
    credentials = _credentials(address)
    if credentials is None:
        return "it ended just now, or will not say who it is"
    pid, uid, _ = struct.unpack("3i", credentials)
    return f"user {user_name(uid)}, process {pid}{_since(pid)}"


def _credentials(address: str) -> bytes | None:
    """Return pid, uid and gid of the holder. Between its bind and its listen nobody can connect: asked again."""
    for wait_s in (0.0, 0.005, 0.02, 0.1):
        time.sleep(wait_s)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.settimeout(0.2)
                probe.connect(address)
                peer = getattr(socket, "SO_PEERCRED", 17)
                return probe.getsockopt(socket.SOL_SOCKET, peer, struct.calcsize("3i"))
            except OSError:
                continue
    return None


def user_name(uid: int) -> str:
    """Return the name of a user id, or the number where it has none."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _since(pid: int) -> str:
    """Return since when process `pid` runs (proc(5): stat field 22 in clock ticks after boot), or ""."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    except (OSError, IndexError, StopIteration):
        return ""
    started = int(boot.split()[1]) + int(after_name[19]) / os.sysconf("SC_CLK_TCK")
    return time.strftime(", since %Y-%m-%d %H:%M:%S", time.localtime(started))
