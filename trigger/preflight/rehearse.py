"""--rehearse: does a BREAK on this console reach the kernel? BREAK and `h` print SysRq's help, and harm nothing.

The only way to find a controller that answers "sent" and drops the BREAK. `h` does not prove that `c` is
allowed: the mask does (sysrq-mask). A BREAK or a stray `h` can stop other systems than Linux, so it is sent only
where SSH has just shown a running Linux, on this host's own controller, and once per boot. Source: Linux
include/linux/serial_core.h, drivers/tty/sysrq.c; linux-crash-path 2.3.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from trigger.clock import Clock, Deadline
from trigger.console.line import DRAIN_S, Line
from trigger.console.recording import Recording
from trigger.console.sysrq import CLEARING, Dialogue, Heard, explain, is_garbage
from trigger.driver import Console, HasConsole
from trigger.errors import TriggerError
from trigger.preflight.check import Check, Judgement, Route, Stage, Verdict, fail, good, unknown
from trigger.preflight.facts import Facts
from trigger.record import Record, Rehearsed

OPEN_S = 10.0
FIRST_S = 1.0  # a getty takes as long to print its prompt again
# ^U before it: it erases what somebody may have typed and not sent, which a CR alone would run.
_CR = CLEARING + b"\r"
# Serial-over-LAN has one console in a program at a time (drivers/ipmi_sol.py): a fleet waits here, not there.
TURN = threading.Lock()


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What came of it. `result` is proved, lost, prompt, mask-0, garbage or not-sent; `says` a clause.

    `sent` is whether a BREAK may have been sent now; not when an earlier one of this boot is told again.
    """

    result: str
    says: str
    sent: bool = True

    @property
    def proved(self) -> bool:
        """Whether the kernel answered."""
        return self.result == "proved"


def why_not(facts: Facts | None, now: Facts | None, whose: Judgement) -> str:
    """Return why no BREAK may be sent, as a clause; "" when it may.

    `facts` are those of the preflight and `now` what SSH has just shown, None where it did not; `whose` is the
    judgement of the controller's identity.
    """
    if facts is None or now is None or not now.word("boot_id") or not now.release:
        return "SSH did not show a running Linux here, and a BREAK or a stray h can stop other systems"
    if now.word("boot_id") != facts.word("boot_id"):
        return "the host was booted anew while it was looked at"
    if any(word.startswith("elfcorehdr=") for word in now.words):
        return "the crash kernel is running there"
    if whose.verdict is Verdict.FAIL:
        return "this controller is not the host's"
    return ""


def of_this_boot(facts: Facts, old: Record | None, controller: str) -> Rehearsal | None:
    """Return what an earlier rehearsal in this very boot came to; None when there was none."""
    earlier = old.rehearsals.get(controller) if old is not None else None
    if earlier is None or earlier.boot_id != facts.word("boot_id"):
        return None
    return Rehearsal(earlier.result, f"{earlier.says} (rehearsed before in this boot, not again)", sent=False)


def rehearsed(found: Rehearsal, facts: Facts, now: float) -> Rehearsed:
    """Return what the record keeps of it."""
    return Rehearsed(found.result, found.says, facts.word("boot_id"), now)


def rehearse(
    driver: HasConsole, clock: Clock, mask: int | None = None, recording: Callable[[], Recording] | None = None
) -> Rehearsal:
    """Open the console, send one CR, then BREAK and h, and look for the help; takes no console from anybody.

    `mask` is the kernel.sysrq that SSH has just shown. Everything that comes is recorded.
    """
    try:
        console = driver.open_console(Deadline(OPEN_S, clock), steal=False)
    except TriggerError as error:
        return Rehearsal("not-sent", f"the console could not be opened: {error.message}", sent=False)
    try:
        if recording is None:
            return _dialogue(console, Line(console, None, clock), mask)
        with recording() as kept:
            return _dialogue(console, Line(console, kept, clock), mask)
    except (TriggerError, EOFError, OSError) as error:
        return Rehearsal("lost", f"the console was lost: {error}")
    finally:
        console.close()


def _dialogue(console: Console, line: Line, mask: int | None) -> Rehearsal:
    """Send the CR, then BREAK and h, at most twice and never two BREAKs in a row (trigger/console/sysrq.py)."""
    line.listen(DRAIN_S, DRAIN_S)  # what is old is no answer
    console.write(_CR)
    greeting = line.listen(FIRST_S, DRAIN_S, 3.0)
    if is_garbage(greeting.decode("utf-8", "replace")):
        text = "garbage came after a CR: the line's speed is not the console's. No BREAK was sent"
        return Rehearsal("garbage", text, sent=False)
    dialogue = Dialogue("h", tries=2)
    dialogue.done()  # the CR has cleared the port already
    answer = line.press(dialogue)
    if answer.heard is Heard.HELP:
        return Rehearsal("proved", "BREAK and h: the kernel printed SysRq's help")
    if answer.heard is Heard.ECHOED:
        console.write(CLEARING)  # no h is left at the login prompt
    if mask == 0 and answer.heard in (Heard.SILENT, Heard.ECHOED):
        return Rehearsal("mask-0", "the kernel did not answer BREAK and h, for kernel.sysrq is 0")
    said = f"{answer.broken}: " if answer.broken else ""
    result = {Heard.GARBAGE: "garbage", Heard.ECHOED: "prompt"}.get(answer.heard, "lost")
    return Rehearsal(result, said + explain(answer.heard, "h", mask).rstrip("."))


def judge_rehearsal(found: Rehearsal) -> Judgement:
    """Judge a rehearsal; one that was not made decides nothing."""
    if found.proved:
        return good(found.says)
    if found.result == "not-sent":
        return unknown(f"not rehearsed: {found.says}")
    return fail(found.says, *_remedy(found.result))


def _remedy(result: str) -> tuple[str, ...]:
    return {
        "mask-0": ("sysctl -w kernel.sysrq=1",),
        "garbage": ("# make the speed of serial-over-LAN, of console= and of the getty the same",),
        "prompt": (
            "# does the controller pass a BREAK on? OpenBMC does not (obmc-console issue 25): use the NMI",
            "cat /proc/consoles; grep -E '^[0-9]+: uart:1' /proc/tty/driver/serial",
        ),
    }.get(result, ("# is serial-over-LAN wired to the console of console-registered? if not, use the NMI",))


BREAK = Check(
    "console-break", Stage.TRIGGER, (Route.SYSRQ_SOL,),
    "Some controllers answer that a BREAK was sent, and drop it; only the kernel's answer proves the way.",
    "obmc-console issue 25; Linux include/linux/serial_core.h", lambda facts: None,
)  # fmt: skip
