"""Positive proof that a shot had no effect: what `--override open-fire` needs, asked of the host itself.

Silence proves nothing. Two things do: the host runs the boot that it ran before the fire, read over authenticated
SSH; or its old kernel answers SysRq on the console and was seen to ignore the NMI ("Dazed and confused") since.
"""

from __future__ import annotations

from collections.abc import Sequence

from trigger.events import Firing, Observed
from trigger.fires import OpenFire
from trigger.journal import read_journal
from trigger.known import Known
from trigger.plan import Plan, Route
from trigger.shot import Surroundings
from trigger.verdict import SAME_BOOT_PROOF_S

IGNORED = "ignored"  # the phase of "Dazed and confused" (trigger/watch)
# Phases that an effective crash leads to: seen after "ignored", the host did crash after all.
CRASHED = ("panicked", "crash-kernel", "saving", "saved", "failed", "rebooting", "back")


def prove_no_effect(fires: Sequence[OpenFire], plan: Plan, known: Known, around: Surroundings) -> dict[str, str]:
    """Return by run the proof in words, for those of `fires` that are proved to have had no effect.

    Takes up to half a minute; sends nothing that acts (an SSH login; on the console one BREAK and h). Raises nothing.
    """
    proofs = {}
    for fire in fires:
        if fire.host != plan.host.name:
            continue  # under another name: what proves anything of this host need not prove it of that one
        proof = _by_ssh(fire, plan, known, around) or _by_console(fire, plan, known, around)
        if proof:
            proofs[fire.run] = proof
    return proofs


def _by_ssh(fire: OpenFire, plan: Plan, known: Known, around: Surroundings) -> str:
    if plan.host.ssh is None:
        return ""
    from trigger.watch.host import BootWitness, look_at_host

    record = known.record
    known_at = record.host_seen_at if record is not None and record.boot_id == fire.boot_id else None
    state = look_at_host(plan.host.ssh, BootWitness(fire.fired_at, fire.boot_id, known_at), around.clock)
    if state.boot != "same" or state.at - fire.fired_at < SAME_BOOT_PROOF_S:
        return ""
    boot = f" (boot id {state.boot_id})" if state.boot_id else ""
    return f"{state.at - fire.fired_at:.0f} s after it the host runs the same boot{boot}, read over authenticated SSH"


def _by_console(fire: OpenFire, plan: Plan, known: Known, around: Surroundings) -> str:
    if not ignored_since(fire, around):
        return ""
    from trigger.console.line import Line
    from trigger.console.opening import Opener
    from trigger.console.sysrq import Dialogue, Heard
    from trigger.errors import TriggerError

    routes = tuple(Route(controller, "open_console") for controller in plan.host.controllers)
    opener = Opener(plan._replace(routes=routes), known, around.answers, around.clock)
    try:
        answer = Line(opener.open(check_identity=True), None, around.clock).press(Dialogue("h"))
    except TriggerError:
        return ""
    finally:
        opener.close()
    if answer.heard is not Heard.HELP:
        return ""
    return "its kernel ignored the NMI ('Dazed and confused') and answers SysRq on the console now"


def ignored_since(fire: OpenFire, around: Surroundings) -> bool:
    """Return whether the watch of this fire saw on the console that the kernel ignored it, and no crash since."""
    ignored = False
    for line in read_journal(around.state, fire.host):
        event = line.event
        if line.run != fire.run or line.time < fire.fired_at:
            continue
        if isinstance(event, Firing):
            ignored = False
        elif isinstance(event, Observed) and event.phase in CRASHED:
            return False
        elif isinstance(event, Observed) and (event.source, event.phase) == ("console", IGNORED):
            ignored = True
    return ignored
