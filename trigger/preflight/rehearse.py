"""--rehearse: does a BREAK on this console reach the kernel? BREAK and `h` print SysRq's help, and harm
nothing.

The only way to find a controller that answers "sent" and drops the BREAK. `h` does not prove that `c` is
allowed: the mask does (sysrq-mask). Source: Linux include/linux/serial_core.h, drivers/tty/sysrq.c;
linux-crash-path 2.3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from trigger.clock import Clock, Deadline
from trigger.driver import Console, HasConsole
from trigger.errors import TriggerError

ANSWER_S = 3.0
OPEN_S = 10.0
_HELP = re.compile(rb"(?:sysrq: |SysRq : )HELP : ")
_KEPT = 65536


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What came of it: `proved`, and a clause that says what was seen."""

    proved: bool
    says: str


def rehearse(driver: HasConsole, clock: Clock) -> Rehearsal:
    """Open the console, send BREAK and h, and look for the help; never takes a console from somebody else."""
    try:
        console = driver.open_console(Deadline(OPEN_S, clock), steal=False)
    except TriggerError as error:
        return Rehearsal(False, f"the console could not be opened: {error.message}")
    try:
        return _dialogue(console, clock)
    except (TriggerError, EOFError, OSError) as error:
        return Rehearsal(False, f"the console was lost: {error}")
    finally:
        console.close()


def _dialogue(console: Console, clock: Clock) -> Rehearsal:
    """Try twice: a BREAK that somebody sent before and never followed up makes the first one cancel it.

    The character after it clears that state, so that the second BREAK counts.
    """
    _listen(console, Deadline(0.2, clock))  # what is old is no answer
    for attempt in ("", " at the second attempt"):
        console.send_break()
        console.write(b"h")
        if _HELP.search(_listen(console, Deadline(ANSWER_S, clock))):
            return Rehearsal(True, f"BREAK and h: the kernel printed SysRq's help{attempt}")
    return Rehearsal(False, "BREAK and h were sent twice and the kernel printed nothing: the BREAK does not arrive")


def _listen(console: Console, deadline: Deadline) -> bytes:
    """Return what comes until the help is complete or the time is over."""
    heard = b""
    while not deadline.passed():
        heard = (heard + console.read(deadline))[-_KEPT:]
        if _HELP.search(heard):
            break
    return heard
