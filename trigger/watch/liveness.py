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


def banner(ssh: Ssh, seconds: float = BANNER_S) -> Liveness:
    """Return what the SSH port of `ssh` did within `seconds`; never raises, never logs in."""
    deadline = Deadline(seconds)
    try:
        with socket.create_connection((ssh.host, ssh.port), timeout=seconds) as connection:
            connection.settimeout(max(deadline.left(), 0.001))
            heard = connection.recv(256)
    except TimeoutError:
        return Liveness("silent")
    except OSError as error:
        return Liveness("closed", str(error.strerror or error))
    if not heard.startswith(b"SSH-"):
        return Liveness("silent")
    words = heard.split(b"\r\n")[0][:80].decode("ascii", "replace")
    return Liveness("banner", f" {harmless(words)!r}")


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
