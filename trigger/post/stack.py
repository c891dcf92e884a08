"""What the kernel prints of a crash: CPU, task, taint, RIP, call trace (lib/dump_stack.c, dumpstack.c)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from trigger.text import harmless

_MAX_TRACE = 48
_STAMP = re.compile(r"^(?:<\d{1,3}>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?")
# UID since 6.11; "Kdump: loaded" is there when a crash kernel was loaded
_TASK = re.compile(
    r"CPU: (?P<cpu>\d+)(?: UID: \d+)? PID: (?P<pid>\d+) Comm: (?P<command>.{1,32}?)(?: Kdump: loaded)?"
    r" (?:Not tainted|Tainted: (?P<taint>[A-Z ]+?)) +\S+ #"
)
_HARDWARE = re.compile(r"Hardware name: (.+)")
_KERNEL_RIP = re.compile(r"(?:RIP: 0010:|\bpc : |NIP \[[0-9a-f]+\] )(\S+)")
_CALL = re.compile(r"^ *(?:\? )?(?:\[<[0-9a-f]+>\] )?[\w.$]+\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[[\w-]+\])?")
_MARK = re.compile(r"^ *</?(?:NMI|IRQ|TASK|ENTRY_TRAMPOLINE|#[A-Z]+)>")
_MODULE = re.compile(r"([\w-]+)\(([A-Z+-]+)\)")


@dataclass(frozen=True, slots=True)
class Crash:
    """Where the kernel was when it crashed; empty where its log does not say. All harmless to print.

    `rip` is the kernel's instruction as symbol+offset; `taint` are the kernel's letters (P O E ...);
    `foreign_modules` those out of the tree or proprietary, with their flags.
    """

    cpu: int | None = None
    pid: int | None = None
    command: str = ""
    taint: str = ""
    hardware: str = ""
    rip: str = ""
    trace: tuple[str, ...] = ()
    foreign_modules: tuple[str, ...] = ()


def read(lines: Sequence[str], panic: int) -> Crash:
    """Read the crash around the line `panic` of a log: from the oops that led to it, if one did."""
    start = _oops_before(lines, panic)
    block = [_STAMP.sub("", line) for line in lines[start : panic + 200]]
    text = "\n".join(block)
    task, hardware, rip = _TASK.search(text), _HARDWARE.search(text), _KERNEL_RIP.search(text)
    return Crash(
        cpu=int(task["cpu"][:6]) if task else None,
        pid=int(task["pid"][:10]) if task else None,
        command=harmless(task["command"]) if task else "",
        taint=" ".join((task["taint"] or "").split()) if task else "",
        hardware=harmless(hardware[1].strip()) if hardware else "",
        rip=harmless(rip[1]) if rip else "",
        trace=_trace(block),
        foreign_modules=_foreign_modules(lines[: panic + 200]),
    )


def _oops_before(lines: Sequence[str], panic: int) -> int:
    """An oops that ends in "Fatal exception" has printed the stack before the panic, not after it."""
    if "Fatal exception" in lines[panic] or "Fatal hardware error" in lines[panic]:
        for number in range(panic, max(0, panic - 200), -1):
            if re.search(r"BUG: |Oops: |general protection fault|Internal error: |Unable to handle", lines[number]):
                return number
    return panic


def _trace(block: Sequence[str]) -> tuple[str, ...]:
    """Return the first call trace, with the marks of the stacks it crosses."""
    begin = next((number for number, line in enumerate(block) if re.match(r" *[Cc]all [Tt]race:", line)), None)
    if begin is None:
        return ()
    trace: list[str] = []
    strange = 0
    for line in block[begin + 1 :]:
        if _CALL.match(line) or _MARK.match(line):
            trace.append(harmless(line.strip()))
        elif not re.match(r"(?:RIP|RSP|RAX|RDX|RBP|R10|R13|Code|ORIG_RAX)\b", line.strip()):
            strange += 1
        if strange > 3 or len(trace) >= _MAX_TRACE:
            break
    return tuple(trace)


def _foreign_modules(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the modules flagged O (out of tree) or P (proprietary) in the last list that was printed."""
    for line in reversed(lines):
        if "Modules linked in:" in line:
            found = _MODULE.findall(line.partition("Modules linked in:")[2])
            return tuple(f"{name}({flags})" for name, flags in found if set(flags) & {"O", "P"})
    return ()
