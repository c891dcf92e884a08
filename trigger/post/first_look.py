"""A first look: what the kernel log beside the dump says of the crash, and of what was wrong before it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from trigger.post import stack
from trigger.post.reader import Reader
from trigger.post.stack import Crash
from trigger.text import harmless

MAX_DMESG = 4 * 1024 * 1024
_MAX_LINE = 1000
_KEEP = 5

_STAMP = re.compile(r"(?:<\d+>)?\[\s*(\d{1,12}\.\d{1,9})\]")  # seconds since boot (CONFIG_PRINTK_TIME)
_PANIC = re.compile(r"Kernel panic - not syncing: (.*)")
# What shot it: the lines of the diagnostic interrupt or of SysRq (arch/x86/kernel/nmi.c, drivers/tty/sysrq.c)
_TRIGGER = re.compile(
    r"sysrq: (?:SysRq : )?Trigger a crash|SysRq : Trigger a crash"
    r"|Uhhuh\. NMI received|NMI: IOCK error|NMI: PCI system error|An NMI occurred\."
    r"|Arm Generic Diagnostic Dump and Reset"
)
# What was wrong before: kernel/hung_task.c, kernel/watchdog.c, RCU stalls, mm/oom_kill.c, MCE, EDAC, block,
# filesystems
_TROUBLE = (
    ("hung task", re.compile(r"INFO: task .{1,80} blocked for more than \d+ seconds")),
    ("lockup", re.compile(r"soft lockup - CPU#\d+ stuck|hard LOCKUP on cpu \d+")),
    ("RCU stall", re.compile(r"self-detected stall|detected stalls? on")),
    ("machine check", re.compile(r"\[Hardware Error\]|[Mm]achine check")),
    ("memory error", re.compile(r"EDAC .*(?:\bCE\b|\bUE\b|error)")),
    ("I/O error", re.compile(r"I/O error|blk_update_request|nvme .*timeout|rejecting I/O")),
    ("filesystem", re.compile(r"Remounting filesystem read-only|EXT4-fs error|XFS .*(?:[Cc]orrupt|shut)")),
    ("out of memory", re.compile(r"Out of memory: |invoked oom-killer|oom-kill:")),
    ("oops", re.compile(r"BUG: |Oops: |general protection fault|WARNING: CPU: \d+ PID: \d+ at ")),
)


@dataclass(frozen=True, slots=True)
class FirstLook:
    """What a dmesg says, harmless to print. `panic` is the reason of the last panic; "" when there is none.

    `trigger` are the lines of the NMI or SysRq that caused it; `before` the last lines of trouble before
    that, oldest first, each with its kind in front. `crash` is where the kernel was; None without a panic.
    `uptime` is for how many seconds the kernel had run at its panic, None where its log has no times.
    """

    panic: str = ""
    trigger: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    crash: Crash | None = None
    uptime: float | None = None


def read_dmesg(reader: Reader) -> str:
    """Return the last 4 MB of a kernel log; raises what the Reader raises."""
    size = reader.size()
    length = min(size, MAX_DMESG)
    return reader.read_at(size - length, length).decode("utf-8", "replace")


def look(dmesg: str) -> FirstLook:
    """Read a kernel log."""
    lines = [line[:_MAX_LINE] for line in re.split(r"[\r\n]+", dmesg)]
    panics = [number for number, line in enumerate(lines) if "Kernel panic" in line and _PANIC.search(line)]
    shots = [number for number, line in enumerate(lines) if _TRIGGER.search(line)]
    end = panics[-1] if panics else len(lines)
    shots = [number for number in shots if number <= end][-3:]
    first = min([end, *shots])
    found = _PANIC.search(lines[end]) if panics else None
    return FirstLook(
        panic=harmless(found[1].strip()) if found else "",
        trigger=tuple(harmless(lines[number].strip()) for number in shots),
        before=_trouble(lines[:first]),
        crash=stack.read(lines, end) if panics else None,
        uptime=_uptime(lines[end]) if panics else None,
    )


def _uptime(line: str) -> float | None:
    stamp = _STAMP.match(line.strip())
    return float(stamp[1]) if stamp else None


def _trouble(lines: list[str]) -> tuple[str, ...]:
    """Return the last lines of each kind of trouble, in the order of the log."""
    found: list[tuple[int, str]] = []
    for kind, pattern in _TROUBLE:
        hits = [(number, line) for number, line in enumerate(lines) if pattern.search(line)]
        found += [(number, f"{kind}: {harmless(line.strip())}") for number, line in hits[-_KEEP:]]
    return tuple(text for _, text in sorted(found))
