"""One operator at a time, held by the kernel: an abstract Unix socket, gone with the process that holds it.

No pid files: a lock cannot be stale, kill -9 included. The keys are the host's name and every controller's
address, so that two configurations, two users and two aliases of one controller meet in the same lock. Abstract
sockets are per network namespace (unix(7)); the holder is named from SO_PEERCRED, which needs no help of his.
Other systems have no such sockets; there nothing is fired.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

from trigger.errors import GuardRefused


class Locks:
    """The locks of one fire, all or none; a context manager."""

    def __init__(self, keys: Sequence[str], host: str) -> None:
        """Take every key in `keys`, or raise GuardRefused (rule `locked`) that names the holder."""
        self._held: list[socket.socket] = []
        self.keys: list[str] = []
        self._host = host
        self.extend(keys)

    def extend(self, keys: Sequence[str]) -> None:
        """Take more keys; raises GuardRefused (rule `locked`) and lets go of everything when one is held."""
        try:
            # One order for everybody, so that two operators never wait in a circle (they never wait at all).
            for key in sorted(set(keys) - set(self.keys)):
                self._held.append(_bind(key, self._host))
                self.keys.append(key)
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


def _name(key: str) -> str:
    return "\0trigger/fire/" + sha256(key.encode()).hexdigest()[:32]


def _bind(key: str, host: str) -> socket.socket:
    if sys.platform != "linux":
        raise GuardRefused(
            "Locks that the kernel holds need Linux. Nothing was sent.", rule="locked",
            next_step="Run trigger on a Linux machine that reaches the controllers.",
        )  # fmt: skip
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | getattr(socket, "SOCK_CLOEXEC", 0))
    try:
        lock.bind(_name(key))
        lock.listen(4096)  # so that others can connect and read our credentials; nobody ever accepts them
    except OSError:
        lock.close()
        raise GuardRefused(
            f"Another fire holds the lock on {key}: {_holder(key)}. Nothing was sent.",
            rule="locked",
            next_step=f"Watch that run: trigger wait {host}",
        ) from None
    return lock


def _holder(key: str) -> str:
    """Return who holds `key`: user, process and since when, as far as the kernel tells."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.settimeout(0.2)
            probe.connect(_name(key))
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return "it ended just now, or will not say who it is"
    pid, uid, _ = struct.unpack("3i", credentials)
    return f"user {_user(uid)}, process {pid}{_since(pid)}"


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _since(pid: int) -> str:
    """Return since when process `pid` runs (proc(5): stat field 22 in clock ticks after boot), or ""."""
    import time

    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    except (OSError, IndexError, StopIteration):
        return ""
    started = int(boot.split()[1]) + int(after_name[19]) / os.sysconf("SC_CLK_TCK")
    return time.strftime(", since %Y-%m-%d %H:%M:%S", time.localtime(started))
