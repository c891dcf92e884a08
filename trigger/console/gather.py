"""`--gather`: what the hung kernel can still say of itself, into the recording, before it is crashed.

SysRq l, w and m (and t where the line is fast), only on a console that has just proved itself by h. Nothing here
stops a crash: whatever goes wrong is a sentence.
"""

from __future__ import annotations

from trigger.clock import Clock, Deadline
from trigger.console.line import Line
from trigger.console.opening import Opener
from trigger.console.recording import Recording
from trigger.console.sysrq import Dialogue, Heard, allowed, explain
from trigger.console.sysrq_crash import CrashByConsole
from trigger.driver import Console
from trigger.errors import TriggerError
from trigger.known import Known
from trigger.plan import Plan, Route
from trigger.run import Run
from trigger.shot import Opened, Surroundings
from trigger.text import harmless

KEYS = "lwm"
# A thousand tasks are some 2 MB (`t`): three minutes at 115200 baud, with interrupts off for some of it.
FAST_BAUD = 460800
# The session that will fire waits meanwhile; IPMI ends an idle one after 60 s (IPMI 2.0, section 6.12.15).
GATHER_S = 30.0
_TAKEN = (Heard.HELP, Heard.ANSWERED)


def gather(opened: Opened, plan: Plan, known: Known, around: Surroundings, run: Run) -> str:
    """Press the keys on the host's console and return a sentence of what came of it; raises nothing.

    Takes GATHER_S at most. A console that `opened` will fire through is used and stays open; any other is closed.
    """
    deadline = Deadline(GATHER_S, around.clock)
    routes = tuple(Route(controller, "open_console") for controller in plan.host.controllers)
    opener = Opener(plan._replace(routes=routes), known, around.answers, around.clock)
    try:
        if isinstance(opened.driver, CrashByConsole):
            return opened.driver.gather(known, deadline)
        console = opener.open(check_identity=True)
        with Recording(around.state, plan.host.name, run.id, around.clock) as recording:
            return gather_on(console, recording, known, around.clock, deadline)
    except TriggerError as error:
        return f"gather: {harmless(error.message)}"
    finally:
        opener.close()


def gather_on(console: Console, recording: Recording | None, known: Known, clock: Clock, deadline: Deadline) -> str:
    """Prove an open console by h, press the keys, and return a sentence. Raises DriverError when it is lost."""
    line = Line(console, recording, clock)
    proof = line.press(Dialogue("h"), deadline)
    if proof.heard not in _TAKEN or not proof.trusted:
        return f"gather: the console is not proved, so nothing more was asked of it. {explain(proof.heard, 'h')}"
    record, taken = known.record, ""
    mask = record.sysrq_mask if record is not None else None
    for key in KEYS + ("t" if record is not None and (record.console.speed or 0) >= FAST_BAUD else ""):
        if deadline.passed() or (mask is not None and not allowed(mask, key)):
            continue
        answer = line.press(Dialogue(key), deadline)
        if answer.heard in _TAKEN and answer.typed:
            taken += key
        if not answer.trusted:
            break
    return f"gather: the kernel took {' '.join(taken) or 'no key'}; its answers are in the recording"
