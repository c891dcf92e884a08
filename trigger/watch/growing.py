"""Is a dump of this very host being written at its target already? Somebody else's shot, or the host's own crash.

Only growth that is seen counts: a file that is larger at a second look. An entry that merely is there is history.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

from trigger.clock import Deadline
from trigger.host import Host

# A dead mount is not waited for; a file that changed lately is looked at until it grows, or for LOOKS_S.
LIST_S = 0.5
LOOKS_S = 4.0
BETWEEN_LOOKS_S = 0.25
RECENT_S = 600.0


class GrowthProbe:
    """Looks at a local target in a thread of its own; costs a fire nothing where no entry of the host is recent."""

    def __init__(self, where: str, host: Host, hostname: str, now: Callable[[], float]) -> None:
        """`where` is the dump's target, `hostname` what the host calls itself ("" when nobody knows)."""
        self._path = where.removeprefix("file://").removeprefix("file:")
        self._host, self._hostname, self._now = host, hostname, now
        self._found = ""
        self._recent = threading.Event()  # something of this host changed lately: worth the second look
        self._done = threading.Event()
        self._deadline = Deadline(LIST_S)
        if self._path.startswith("/"):
            threading.Thread(target=self._run, name="growth", daemon=True).start()
        else:
            self._done.set()

    def result(self) -> str:
        """Return what was seen to grow as a clause, "" for nothing; waits for as long as the looks may take."""
        if not self._done.wait(self._deadline.left()) and self._recent.is_set():
            self._done.wait(LOOKS_S + LIST_S)
        return self._found

    def _run(self) -> None:
        try:
            before = self._look()
            if before:
                self._recent.set()
            looks = Deadline(LOOKS_S)
            while before and not self._found and not looks.passed():
                time.sleep(BETWEEN_LOOKS_S)
                self._found = grown(before, self._look())
        except OSError:
            return  # the watch will say why it cannot be read
        finally:
            self._done.set()

    def _look(self) -> dict[str, int]:
        """Return the size in bytes of every file of this host that changed within RECENT_S, by path."""
        try:
            with os.scandir(self._path) as entries:
                listed = list(entries)
        except FileNotFoundError:
            return {}
        names = own_names(self._host, self._hostname) if listed else ()
        sizes: dict[str, int] = {}
        for entry in listed:
            if not any(entry.name.lower().startswith(f"{name.lower()}-") for name in names):
                continue
            files = Path(entry.path).iterdir() if entry.is_dir(follow_symlinks=False) else [Path(entry.path)]
            for file in files:
                status = _status(file)
                if stat.S_ISREG(status.st_mode) and self._now() - status.st_mtime < RECENT_S:
                    sizes[str(file)] = status.st_size
        return sizes


def _status(file: Path) -> os.stat_result:
    """Return the status of a file, asked anew: NFS remembers a size for seconds, but not across an open (nfs(5))."""
    with contextlib.suppress(OSError):
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)
    return file.lstat()


def own_names(host: Host, hostname: str) -> Collection[str]:
    """Return what a folder of this host's dumps may begin with: kdump takes a name or an address of the host."""
    import socket

    names = {host.name, hostname, hostname.partition(".")[0]}
    if host.ssh is not None:
        names.add(host.ssh.host)
        with contextlib.suppress(OSError):
            names.update(str(found[4][0]) for found in socket.getaddrinfo(host.ssh.host, None))
    return names - {""}


def grown(before: dict[str, int], after: dict[str, int]) -> str:
    """Return which file grew between two looks as a clause, "" for none."""
    for path, size in after.items():
        if size > before.get(path, 0):
            return f"{path} grew from {before.get(path, 0)} to {size} bytes while we looked"
    return ""
