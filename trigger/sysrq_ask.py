"""`trigger sysrq HOST KEY...` for every key but c: refuse what is hopeless, open a console, prove it, press, show.

A crash is another matter: trigger/action.py with the action sysrq-c.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from trigger.action import Choices, answers_of, find_host
from trigger.clock import Clock, Deadline, SystemClock
from trigger.console import Answer, Line
from trigger.driver import Console, Driver, DriverOptions, HasConsole, Identity
from trigger.errors import ConfigError, ConsoleBusy, DriverError, GuardRefused, TriggerError
from trigger.events import Finished, Planned
from trigger.fires import open_fires_everywhere
from trigger.guard import judge_open_fires, refusal
from trigger.identity import Match, compare_identities
from trigger.known import Known, known_of
from trigger.lock import Locks
from trigger.plan import LOGIN_DEADLINE_S, Plan, make_plan
from trigger.recording import Recording
from trigger.registry import load_driver
from trigger.resolve import resolve_all
from trigger.run import Run, actor
from trigger.state import StateFolder
from trigger.sysrq import KEYS, Dialogue, Heard, allowed, explain, mask_that_allows, shown
from trigger.text import harmless

if TYPE_CHECKING:
    from collections.abc import Callable

    from trigger.driver import Answers
    from trigger.host import Controller

_TAKEN = (Heard.HELP, Heard.ANSWERED)


def ask_kernel(host_name: str, keys: tuple[str, ...], choices: Choices, *, steal: bool = False) -> int:
    """Press `keys` one after the other and print what the kernel says; return the exit code.

    Raises ConfigError, GuardRefused, ConsoleBusy or DriverError; when a key may have been sent the message says so.
    """
    from trigger.config import load
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
    check_mask(host.name, keys, recorded_mask(known))
    check_confirmed(host.name, keys, choices)
    with ExitStack() as stack:
        stack.enter_context(Locks(plan.keys, host.name))
        _check_open_fires(state, plan, clock)
        asking = _Asking(plan, known, keys, choices, answers_of(host), clock)
        stack.callback(asking.close)
        console = asking.open(steal)
        run = stack.enter_context(closing(Run(state, host.name, clock, [])))
        recording = stack.enter_context(Recording(state, host.name, run.id, clock))
        return asking.press(Line(console, recording, clock), run, recording)


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


def _check_open_fires(state: StateFolder, plan: Plan, clock: Clock) -> None:
    fires = open_fires_everywhere(state, plan.host.name, plan.keys, clock.time())
    error = refusal(judge_open_fires(fires), (), "", "")
    if error is not None:
        raise error


class _Asking:
    """One run of `trigger sysrq`: the console, and the keys that go to it."""

    def __init__(
        self,
        plan: Plan,
        known: Known,
        keys: tuple[str, ...],
        choices: Choices,
        answers: Callable[[Controller], Answers],
        clock: Clock,
    ) -> None:
        self._plan, self._known, self._keys, self._choices = plan, known, keys, choices
        self._answers, self._clock = answers, clock
        self._harmful = any(KEYS[key].danger != "harmless" for key in keys)
        self._opened: list[Driver | Console] = []

    def open(self, steal: bool) -> Console:
        """Return the console of the first controller that gives one; raises what the last one said."""
        failures: list[TriggerError] = []
        for route in self._plan.routes:
            try:
                return self._open_one(route.controller, steal)
            except (DriverError, ConfigError) as error:
                failures.append(error)
        # One that could be used but for somebody else says more than one that never could.
        busy = next((error for error in failures if isinstance(error, ConsoleBusy)), None)
        raise busy or next((error for error in failures if isinstance(error, DriverError)), failures[-1])

    def _open_one(self, controller: Controller, steal: bool) -> Console:
        options = DriverOptions(
            secrets=self._answers(controller),
            known=self._known.routes.get(controller.name, {}),
            expected=self._known.identities.get(controller.name, Identity()),
            clock=self._clock,
        )
        driver = load_driver(controller.driver)(controller, options)
        if not isinstance(driver, HasConsole):
            raise ConfigError(
                f"{controller.name}: driver {controller.driver!r} has no console. Nothing was sent.",
                next_step="trigger drivers shows what each can do.",
            )
        self._opened.append(driver)
        deadline = Deadline(LOGIN_DEADLINE_S)
        if self._harmful:
            self._check_identity(driver, deadline)
        console = driver.open_console(deadline, steal=steal)
        self._opened.append(console)
        return console

    def _check_identity(self, driver: Driver, deadline: Deadline) -> None:
        """Refuse a machine that is proved to be another one; only keys that do harm pay for the login."""
        host = self._plan.host
        written = Identity(uuid=host.identity.uuid, serial=host.identity.serial)
        recorded = self._known.identities.get(driver.controller.name, Identity())
        found = driver.probe(deadline).identity
        for expected in (written, recorded):
            match, why = compare_identities(expected, found)
            if expected != Identity() and match is Match.DIFFERENT:
                raise GuardRefused(
                    f"The controller is not the one of {host.name}: {harmless(why)}. Nothing was sent.",
                    rule="identity-mismatch",
                    next_step=f"Check the address of {host.name}'s controller: trigger preflight {host.name}",
                )

    def close(self) -> None:
        """Give every console and login back."""
        for opened in reversed(self._opened):
            opened.close()

    def press(self, line: Line, run: Run, recording: Recording) -> int:
        """Prove the console with h, then press each key once; return the exit code."""
        if self._harmful:  # who did it is on disk before it is done
            run.emit(Planned(f"sysrq {' '.join(self._keys)}", (), 0.0, "", actor(), self._choices.reason))
        try:
            code = self._press_all(line)
        finally:
            if recording.problem:
                print(f"trigger: note: {recording.problem}", file=sys.stderr)
        if self._harmful:
            done = "the kernel took every key" if code == 0 else "not every key was taken"
            run.emit(Finished(code, "yes", f"sysrq {' '.join(self._keys)}: {done}"))
        print(f"trigger: the console's output is kept in {recording.path}", file=sys.stderr)
        return code

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
            answer = line.press(Dialogue(key))
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
