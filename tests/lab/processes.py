"""Start the lab's processes and end exactly these: each is known by its pid and its start time."""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.lab.errors import LabError

# Below the range from which Linux takes the local ports of outgoing connections (32768 and up).
_FIRST_PORT, _LAST_PORT = 20000, 32000


@dataclass(frozen=True)
class Process:
    """A process of the lab; the start time tells it from a later one with the same pid."""

    name: str
    pid: int
    started: int

    def is_running(self) -> bool:
        """Say whether this very process still runs."""
        return _start_time(self.pid) == self.started

    def end(self, patience: float = 5.0) -> None:
        """End it, politely first; a process that is already gone is fine."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + patience
            if self.is_running():
                with suppress(ProcessLookupError):
                    os.kill(self.pid, number)
            while self.is_running() and time.monotonic() < deadline:
                _reap(self.pid)
                time.sleep(0.02)
        if self.is_running():
            raise LabError(f"{self.name} (pid {self.pid}) does not end")


def start(name: str, command: list[str], log: Path, *, detached: bool) -> Process:
    """Start a program in a session of its own, its output in a log file.

    Unless detached, the kernel kills it when the thread that started it ends, however that happens.
    """
    # setpriv sets the death signal and becomes the program: no code of ours runs between fork and exec.
    argv = command if detached else ["setpriv", "--pdeathsig", "KILL", *command]
    pid = os.posix_spawnp(
        argv[0],
        argv,
        os.environ,
        setsid=True,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )
    started = _start_time(pid)
    if started is None:
        raise LabError(f"{name} ended at once: {log.read_text(errors='replace').strip()}")
    return Process(name, pid, started)


def free_ports(count: int) -> list[int]:
    """Return different ports of 127.0.0.1 that are free for both TCP and UDP now."""
    found: list[int] = []
    for port in random.sample(range(_FIRST_PORT, _LAST_PORT), 2000):
        if len(found) < count and _is_free(port):
            found.append(port)
    if len(found) < count:
        raise LabError(f"no {count} free ports between {_FIRST_PORT} and {_LAST_PORT} on 127.0.0.1")
    return found


def listens(port: int) -> bool:
    """Say whether somebody listens on this TCP port of 127.0.0.1; without connecting, which some take for a client."""
    return _in_state(f"0100007F:{port:04X}", "0A", column=1)


def is_connected_to(port: int) -> bool:
    """Say whether somebody has a TCP connection to this port of 127.0.0.1."""
    return _in_state(f"0100007F:{port:04X}", "01", column=2)


def _in_state(address: str, state: str, column: int) -> bool:
    """Look in the kernel's table: local address in column 1, the other side's in 2, the state in 3 (tcp_states.h)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[column] == address and row[3] == state for row in rows)


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def _start_time(pid: int) -> int | None:
    """Return when the process started, in clock ticks since boot; None when it is gone or a zombie."""
    try:
        # The name in parentheses may hold spaces and parentheses itself.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
