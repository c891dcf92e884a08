"""The host itself as a witness: its SSH port, and the boot that it runs, read over authenticated SSH.

When did it boot? `now - uptime`, both read by us at the same moment, needs no clock of the host's: a boot after
the shot proves a crash (or a reset), a boot before it proves that the shot had no effect. But a guest's clock can run
several times too fast after a boot (TSC calibrated on a busy hypervisor: 3.7 times was seen), and then a new boot looks
like an old one. So a boot is old only when its id is known from before, or when its uptime is many times longer than
the shot is ago.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from trigger.clock import Clock, Deadline
from trigger.errors import TriggerError
from trigger.host import Ssh
from trigger.text import harmless
from trigger.watch.liveness import banner

POLL_S = 2.0
LOGIN_S = 15.0
# A command's answer travels for a while, and /proc/uptime counts in whole ticks.
BOOT_TOLERANCE_S = 3.0
# The clocks of the machines that preflighted and that watch may differ by so much.
CLOCKS_DIFFER_S = 60.0
# No clock runs this many times too fast: an uptime so many times longer than the shot is ago began before it.
FASTEST_CLOCK = 20.0
# The crash kernel has /proc/vmcore (fs/proc/vmcore.c): a host that runs it is saving, it is not back.
_ASK = "cat /proc/uptime /proc/sys/kernel/random/boot_id; ls /proc/vmcore 2>/dev/null; true"


@dataclass(frozen=True, slots=True)
class HostState:
    """What the host shows. `port` is banner, silent, closed or unknown (trigger/watch/liveness.py).

    `boot` is "" (nothing authenticated seen yet), same, new, or crash-kernel. `text` is a sentence, `problem` the
    kind of error when SSH answers and cannot be asked; `at` is since when it is known, in seconds since the epoch:
    an answer may have travelled for a while.
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


class BootWitness:
    """Judges one look after the other at one host; `known_boot_id` is that of the record, "" without one."""

    def __init__(self, fired_at: float, known_boot_id: str = "", known_at: float | None = None) -> None:
        """`fired_at`, and `known_at`, when the record's boot was seen, are in seconds since the epoch."""
        self._fired_at, self._old_id = fired_at, known_boot_id
        self._known_id, self._known_at = known_boot_id, known_at
        self._seen_id = ""  # since the shot

    def judge(self, answer: str, asked_at: float) -> HostState:
        """Judge what the host answered to _ASK at `asked_at`, in seconds since the epoch."""
        lines = answer.split("\n")
        try:
            uptime = float(lines[0].split()[0])
        except (IndexError, ValueError):
            text = f"SSH answers, but not with an uptime: {harmless(answer)[:80]!r}"
            return HostState("banner", text=text, problem="answer")
        boot_id = harmless(lines[1].strip())[:40] if len(lines) > 1 else ""
        if "/proc/vmcore" in lines:
            return HostState("banner", "crash-kernel", boot_id, "its crash kernel is running", at=asked_at)
        if doubt := self._doubt(boot_id, asked_at - uptime):
            return HostState("banner", "", boot_id, f"{doubt}: not proved", "clock", at=asked_at)
        seen, self._seen_id = self._seen_id, boot_id
        if asked_at - uptime > self._fired_at - BOOT_TOLERANCE_S:
            text = f"it is back: a new boot, up for {uptime:.0f} s"
            return HostState("banner", "new", boot_id, text, at=asked_at)
        if seen and boot_id and seen != boot_id:
            return HostState("banner", "new", boot_id, "it is back: its boot id has changed", at=asked_at)
        age = self._fired_at - (asked_at - uptime)
        if (boot_id and boot_id == self._old_id) or uptime > FASTEST_CLOCK * (asked_at - self._fired_at):
            self._old_id = boot_id
            text = f"it still runs the boot of {age:.0f} s before the shot"
            return HostState("banner", "same", boot_id, text, at=asked_at)
        text = f"it says that it booted {age:.0f} s before the shot, but its clock may run wrong: not proved"
        return HostState("banner", "", boot_id, text, "clock", at=asked_at)

    def _doubt(self, boot_id: str, booted_at: float) -> str:
        """Return why this answer cannot be of this host, or its time cannot be right; "" when it may be."""
        if not boot_id or not self._known_id:
            return ""
        if boot_id == self._known_id:
            since = booted_at > self._fired_at - BOOT_TOLERANCE_S
            return "its boot is the one of the preflight, and its uptime says that it is a new one" if since else ""
        if self._known_at is not None and booted_at < self._known_at - CLOCKS_DIFFER_S:
            return "its boot is older than the preflight, which saw another one: it is another machine"
        return ""


def watch_host(
    ssh: Ssh, witness: BootWitness, clock: Clock, tell: Callable[[HostState], None], stop: threading.Event
) -> None:
    """Tell the host's state after every look, until `stop`; ends by itself when a new boot has been proved.

    Raises nothing: what cannot be read is told.
    """
    while not stop.is_set():
        state = look_at_host(ssh, witness, clock)
        tell(state)
        if state.boot == "new":
            return
        stop.wait(POLL_S)


def look_at_host(ssh: Ssh, witness: BootWitness, clock: Clock) -> HostState:
    """Return what the host shows now; takes a few seconds at most, raises nothing."""
    seen = banner(ssh, seconds=POLL_S)
    if seen.state != "banner":
        words = {"silent": "accepts connections but its SSH says nothing", "closed": "does not answer on its SSH port"}
        return HostState(seen.state, text=words.get(seen.state, ""))
    from trigger.ssh.connection import run

    asked_at = clock.time()
    try:
        answer = run(ssh, _ASK, Deadline(LOGIN_S, clock), limit=4096)
        return replace(witness.judge(answer, clock.time()), at=asked_at)
    except TriggerError as error:
        text = f"SSH answers, but cannot be asked: {harmless(error.message)}"
        return HostState("banner", text=text, problem=type(error).__name__)
