"""The host itself as a witness: its SSH port, and the boot that it runs, read over authenticated SSH.

When did it boot? `now - uptime`, both read by us at the same moment, needs no clock of the host's: a boot after
the shot proves a crash (or a reset), a boot before it proves that the shot had no effect.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from trigger.clock import Clock, Deadline
from trigger.errors import TriggerError
from trigger.host import Ssh
from trigger.text import harmless
from trigger.watch.liveness import banner

POLL_S = 2.0
LOGIN_S = 15.0
# A command's answer travels for a while, and /proc/uptime counts in whole ticks.
BOOT_TOLERANCE_S = 3.0
# The crash kernel has /proc/vmcore (fs/proc/vmcore.c): a host that runs it is saving, it is not back.
_ASK = "cat /proc/uptime /proc/sys/kernel/random/boot_id; ls /proc/vmcore 2>/dev/null; true"


@dataclass(frozen=True, slots=True)
class HostState:
    """What the host shows. `port` is banner, silent, closed or unknown (trigger/watch/liveness.py).

    `boot` is "" (nothing authenticated seen yet), same, new, or crash-kernel. `text` is a sentence, `problem` the
    kind of error when SSH answers and cannot be asked; `at` when it was asked, in seconds since the epoch.
    """

    port: str = "unknown"
    boot: str = ""
    boot_id: str = ""
    text: str = ""
    problem: str = ""
    at: float = 0.0

    def differs(self, other: HostState) -> bool:
        """Return whether this is news after `other`."""
        return (self.port, self.boot, self.problem) != (other.port, other.boot, other.problem)


def watch_host(
    ssh: Ssh, fired_at: float, clock: Clock, tell: Callable[[HostState], None], stop: threading.Event
) -> None:
    """Tell the host's state after every look, until `stop`; ends by itself when a new boot has been proved.

    `fired_at` is in seconds since the epoch. Raises nothing: what cannot be read is told.
    """
    while not stop.is_set():
        state = look_at_host(ssh, fired_at, clock)
        tell(state)
        if state.boot == "new":
            return
        stop.wait(POLL_S)


def look_at_host(ssh: Ssh, fired_at: float, clock: Clock) -> HostState:
    """Return what the host shows now; takes a few seconds at most, raises nothing."""
    seen = banner(ssh, seconds=POLL_S)
    if seen.state != "banner":
        words = {"silent": "accepts connections but its SSH says nothing", "closed": "does not answer on its SSH port"}
        return HostState(seen.state, text=words.get(seen.state, ""))
    from trigger.ssh import run

    try:
        answer = run(ssh, _ASK, Deadline(LOGIN_S, clock), limit=4096)
        asked_at = clock.time()
        return _judge(answer, asked_at, fired_at)
    except TriggerError as error:
        text = f"SSH answers, but cannot be asked: {harmless(error.message)}"
        return HostState("banner", text=text, problem=type(error).__name__)


def _judge(answer: str, asked_at: float, fired_at: float) -> HostState:
    """Judge what the host answered to _ASK at `asked_at`."""
    lines = answer.split("\n")
    try:
        booted_at = asked_at - float(lines[0].split()[0])
    except (IndexError, ValueError):
        text = f"SSH answers, but not with an uptime: {harmless(answer)[:80]!r}"
        return HostState("banner", text=text, problem="answer")
    boot_id = harmless(lines[1].strip())[:40] if len(lines) > 1 else ""
    if "/proc/vmcore" in lines:
        return HostState("banner", "crash-kernel", boot_id, "its crash kernel is running", at=asked_at)
    if booted_at > fired_at - BOOT_TOLERANCE_S:
        text = f"it is back: a new boot, up for {asked_at - booted_at:.0f} s"
        return HostState("banner", "new", boot_id, text, at=asked_at)
    text = f"it still runs the boot of {fired_at - booted_at:.0f} s before the shot"
    return HostState("banner", "same", boot_id, text, at=asked_at)
