"""Is the host alive? Its SSH port tells, without logging in.

A hung kernel still completes TCP handshakes; only a living user space sends the banner `SSH-2.0-...`
(RFC 4253 section 4.2). So: banner = alive, connected but silent = hung, refused or unreachable = closed.
"""

from __future__ import annotations

import socket
import threading

from trigger.clock import Deadline
from trigger.guard import Liveness
from trigger.host import Ssh
from trigger.text import harmless

# The longest a fire waits for a banner (design.md, "Is it hung at all?").
BANNER_S = 0.5
_MOST_BYTES = 4096


def banner(ssh: Ssh, seconds: float = BANNER_S) -> Liveness:
    """Return what the SSH port of `ssh` did within `seconds`; never raises, never logs in.

    Whatever it says is a banner, even a part of one: a hung kernel says nothing at all.
    """
    deadline = Deadline(seconds)
    heard = b""
    try:
        with socket.create_connection((ssh.host, ssh.port), timeout=seconds) as connection:
            while len(heard) < _MOST_BYTES and not _whole(heard):
                connection.settimeout(max(deadline.left(), 0.001))
                more = connection.recv(256)
                if not more:
                    break
                heard += more
    except TimeoutError:
        pass
    except OSError as error:
        if not heard:
            return Liveness("closed", str(error.strerror or error))
    if not heard:
        return Liveness("silent")
    words = _line(heard)[:80].decode("ascii", "replace")
    return Liveness("banner", f" {harmless(words)!r}")


def _line(heard: bytes) -> bytes:
    """Return the line that begins with SSH-; others may come before it (RFC 4253, section 4.2)."""
    lines = heard.split(b"\n")
    return next((line for line in lines if line.startswith(b"SSH-")), lines[0]).rstrip(b"\r")


def _whole(heard: bytes) -> bool:
    return any(line.startswith(b"SSH-") for line in heard.split(b"\n")[:-1])


class LivenessProbe:
    """A banner probe in a thread of its own, so that it costs a fire at most BANNER_S."""

    def __init__(self, ssh: Ssh | None) -> None:
        self._result = Liveness("unknown", "no `ssh:` in the configuration")
        self._deadline = Deadline(BANNER_S + 0.05)
        self._thread: threading.Thread | None = None
        if ssh is not None:
            self._result = Liveness("silent")
            self._thread = threading.Thread(target=self._run, args=(ssh,), name="liveness", daemon=True)
            self._thread.start()

    def result(self) -> Liveness:
        """Return what is known, waiting for no longer than the probe's own time."""
        if self._thread is not None:
            self._thread.join(self._deadline.left())
        return self._result

    def _run(self, ssh: Ssh) -> None:
        self._result = banner(ssh)
