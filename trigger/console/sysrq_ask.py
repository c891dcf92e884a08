"""`trigger sysrq HOST KEY...` for every key but c: refuse what is hopeless, open a console, prove it, press, show.

A crash is another matter: trigger/action.py with the action sysrq-c.
"""

from __future__ import annotations

import json
import shlex
import sys
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from trigger.action import Choices, answers_of, find_host
from trigger.clock import Clock, SystemClock
from trigger.console.line import Answer, Line
from trigger.console.opening import Opener
from trigger.console.recording import Recording
from trigger.console.sysrq import KEYS, Dialogue, Do, Heard, allowed, explain, mask_that_allows, shown
from trigger.errors import DriverError, GuardRefused, TriggerError
from trigger.events import Finished, Planned
from trigger.fires import open_fires_everywhere
from trigger.guard import judge_open_fires, refusal
from trigger.known import Known, known_of
from trigger.lock import Locks
from trigger.plan import Plan, make_plan
from trigger.policy.under import policies_of
from trigger.resolve import resolve_all
from trigger.run import Run, actor
from trigger.state import StateFolder
from trigger.text import harmless

if TYPE_CHECKING:
    from trigger.policy.rules import Policy

_TAKEN = (Heard.HELP, Heard.ANSWERED)


def ask_kernel(host_name: str, keys: tuple[str, ...], choices: Choices, *, steal: bool = False) -> int:
    """Press `keys` one after the other and print what the kernel says; return the exit code.

    Raises ConfigError, GuardRefused, ConsoleBusy or DriverError; when a key may have been sent the message says so.
    """
    from trigger.config.loading import load
    from trigger.logs import set_up_logging

    set_up_logging(choices.verbose)
    clock = SystemClock()
    config = load(choices.config)
    host = find_host(config, host_name, choices)
    state = StateFolder.choose(config.state_dir)
    known = known_of(state, config, host)
    plan = make_plan(
        host,
        "sysrq",
        via=choices.via,
        addresses=resolve_all(controller.address for controller in host.controllers),
    )
    if plan.routes[0].controller.driver != "host":  # /proc/sysrq-trigger asks no mask
        check_mask(host.name, keys, recorded_mask(known))
    check_confirmed(host.name, keys, choices)
    plan = _under_policies(policies_of(config), plan, keys, choices)
    with ExitStack() as stack:
        stack.enter_context(Locks(plan.keys, host.name))
        _check_open_fires(state, plan, clock)
        opener = Opener(plan, known, answers_of(host), clock)
        stack.callback(opener.close)
        # Only keys that do harm pay for the login that asks the controller who it is.
        harmful = any(KEYS[key].danger != "harmless" for key in keys)
        console = opener.open(steal=steal, check_identity=harmful)
        run = stack.enter_context(closing(Run(state, host.name, clock, [])))
        recording = stack.enter_context(Recording(state, host.name, run.id, clock))
        return _Asking(plan, known, keys, choices).press(Line(console, recording, clock), run, recording)


def recorded_mask(known: Known) -> int | None:
    """Return kernel.sysrq as the last preflight saw it; None when nobody knows."""
    return known.record.sysrq_mask if known.record is not None else None


def check_mask(host: str, keys: tuple[str, ...], mask: int | None) -> None:
    """Raise GuardRefused (rule `sysrq-mask`) for keys that the recorded mask makes hopeless."""
    hopeless = [key for key in keys if mask is not None and not allowed(mask, key)]
    if mask is None or not hopeless:
        return
    wanted = mask
    for key in hopeless:
        wanted = mask_that_allows(wanted, key)
    raise GuardRefused(
        f"{host}: kernel.sysrq was {mask} at the last preflight, which forbids {' '.join(hopeless)} on a console."
        " Nothing was sent.",
        rule="sysrq-mask",
        next_step=f"While the host answers: sysctl kernel.sysrq={wanted}; then: trigger preflight {host}",
    )


def check_confirmed(host: str, keys: tuple[str, ...], choices: Choices) -> None:
    """Raise GuardRefused (rule `confirm`) when a key that is not harmless was not confirmed by the host's name."""
    harmful = [key for key in keys if KEYS[key].danger != "harmless"]
    if not harmful or choices.confirm == host:
        return
    what = "; ".join(f"{key}: {KEYS[key].meaning} ({KEYS[key].danger})" for key in harmful)
    raise GuardRefused(
        f"Nobody confirmed this for {host}: {what}. Nothing was sent.",
        rule="confirm",
        next_step=f"If you are sure: trigger sysrq {host} {' '.join(keys)} --confirm {host}",
    )


def _under_policies(policies: tuple[Policy, ...], plan: Plan, keys: tuple[str, ...], choices: Choices) -> Plan:
    """Return the plan as the policies leave it for keys that do harm; harmless ones are nobody's business.

    Raises GuardRefused for what a policy forbids. Nothing was sent then.
    """
    if not policies or all(KEYS[key].danger == "harmless" for key in keys):
        return plan
    from trigger.policy.file import this_person
    from trigger.policy.rules import enforce

    command = shlex.join(["trigger", "sysrq", plan.host.name, *keys, "--confirm", plan.host.name])
    plan, findings, _ = enforce(policies, plan, this_person(), choices.reason, command)
    error = refusal(findings, choices.overrides, command, choices.reason)
    if error is not None:
        raise error
    return plan


def _check_open_fires(state: StateFolder, plan: Plan, clock: Clock) -> None:
    fires = open_fires_everywhere(state, plan.host.name, plan.keys, clock.time())
    error = refusal(judge_open_fires(fires), (), "", "")
    if error is not None:
        raise error


class _Asking:
    """One run of `trigger sysrq`: the keys, and what was done with them."""

    def __init__(self, plan: Plan, known: Known, keys: tuple[str, ...], choices: Choices) -> None:
        self._plan, self._known, self._keys, self._choices = plan, known, keys, choices
        self._harmful = any(KEYS[key].danger != "harmless" for key in keys)
        self._typed: list[str] = []  # of the asked keys, those that were sent
        self._doubtful = ""  # the key that was under way when the console was lost

    def press(self, line: Line, run: Run, recording: Recording) -> int:
        """Prove the console with h, then press each key once; return the exit code."""
        if self._harmful:  # who did it is on disk before it is done
            run.emit(Planned(f"sysrq {' '.join(self._keys)}", (), 0.0, "", actor(), self._choices.reason))
        try:
            code = self._press_all(line)
        except TriggerError as error:
            self._journal_end(run, error.exit_code, error.message)
            raise
        finally:
            if recording.problem:
                print(f"trigger: note: {recording.problem}", file=sys.stderr)
        self._journal_end(run, code, "the kernel took every key" if code == 0 else "not every key was taken")
        print(f"trigger: the console's output is kept in {recording.path}", file=sys.stderr)
        return code

    def _journal_end(self, run: Run, code: int, what: str) -> None:
        """Write which of the harmful keys were typed, and what came of them."""
        if not self._harmful:
            return
        sent = f"sent: {' '.join(self._typed) or 'no key'}"
        if self._doubtful:
            sent += f"; perhaps sent: {self._doubtful}"
        answer = "yes" if self._typed else "maybe" if self._doubtful else "no"
        run.emit(Finished(code, answer, f"sysrq {' '.join(self._keys)}: {sent}; {harmless(what)}"))

    def _press_all(self, line: Line) -> int:
        proof = line.press(Dialogue("h", tries=2))
        if self._keys == ("h",):
            return self._show(proof)
        if proof.heard not in _TAKEN or not proof.trusted:
            self._show(proof)
            raise DriverError(
                f"{self._plan.host.name}: this console is not proved: {self._why(proof)}"
                f" {' '.join(self._keys)}: not sent.",
                next_step=f"trigger preflight {self._plan.host.name} checks the console while the host answers.",
            )
        for key in self._keys:
            dialogue = Dialogue(key)
            try:
                answer = line.press(dialogue)
            except DriverError:
                self._doubtful = "" if dialogue.next() is Do.CLEAR else key
                raise
            self._typed += [key] * answer.typed
            code = self._show(answer)
            if code:
                return code
        return 0

    def _show(self, answer: Answer) -> int:
        """Print what the kernel said; return 0 when it took the key, else 6 with the reason on standard error."""
        host = self._plan.host.name
        if self._choices.as_json:
            row = {"event": "SysRq", "host": host, "key": answer.key, "sent": answer.typed}
            print(json.dumps({**row, "heard": answer.heard.value, "bytes": len(answer.said)}), flush=True)
        else:
            print(shown(answer.said).strip("\n"), flush=True)
        if answer.heard in _TAKEN and answer.typed:
            return 0
        if answer.key in "beiko" and answer.typed and answer.heard is Heard.SILENT:
            return 0  # a host that is gone says nothing
        print(f"trigger: {host}: {self._why(answer)}", file=sys.stderr)
        return DriverError.exit_code

    def _why(self, answer: Answer) -> str:
        if answer.broken:
            return f"{harmless(answer.broken)}; {answer.key} was not sent, nor any other BREAK."
        return explain(answer.heard, answer.key, recorded_mask(self._known))
