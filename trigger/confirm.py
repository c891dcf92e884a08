"""Asking a person, and `--dry-run`: what the guard finds is shown before anything can be sent.

The typed name of the host accepts the rules that were listed, and those only: a rule that speaks up between
the question and the shot refuses.
"""

from __future__ import annotations

import sys
import termios
import time
from collections.abc import Sequence

import click

from trigger.driver import EventLogEntry
from trigger.errors import GuardRefused
from trigger.events import DumpFound, Finished, Fired, Observed
from trigger.guard import Finding, refusal
from trigger.journal import Line
from trigger.known import Known
from trigger.plan import Plan, Route
from trigger.shot import Surroundings, Survey, Wish, survey
from trigger.text import harmless


def dry_run(plan: Plan, known: Known, wish: Wish, around: Surroundings) -> int:
    """Print the plan and what the guard finds; raise what it would raise, or return 0. Takes no lock."""
    _print_plan(plan, known, around)
    findings = _look(plan, known, wish, around).findings
    error = refusal(findings, wish.accepted, wish.command, wish.reason)
    if error is not None:
        raise error
    click.echo("The guard says go. Nothing was sent: this was a dry run.", err=True)
    return 0


def ask(plan: Plan, known: Known, wish: Wish, around: Surroundings) -> Wish:
    """Show the plan and the findings, ask for the host's name, and return `wish` with what was accepted.

    Raises GuardRefused when another word was typed, or when a rule speaks that no word can pass.
    """
    _print_plan(plan, known, around)
    seen = _look(plan, known, wish, around, log=True)
    findings = seen.findings
    rules = tuple(finding.rule for finding in findings if finding.overridable)
    error = refusal(findings, rules, wish.command, wish.reason)
    if error is not None:
        raise error
    _show_life(plan, findings)
    name = plan.host.name
    click.echo(f"This crashes {name}. Type its name to go on (anything else stops):", err=True)
    typed = sys.stdin.readline().strip()
    if typed != name:
        raise GuardRefused(
            f"{harmless(typed)!r} is not {name!r}, so nothing was sent.",
            rule="operator",
            next_step="Run the same command again and type the host's name.",
        )
    reason = wish.reason or ("accepted on the terminal" if rules else "")
    return wish._replace(confirmed_by=name, accepted=tuple({*wish.accepted, *rules}), reason=reason, log=seen.log)


def ask_next_rung(plan: Plan, finished: Finished, lines: Sequence[Line], route: Route) -> bool:
    """Show the evidence since the last shot and ask whether to fire the next rung; only the typed host name is yes."""
    from trigger.display import sentence

    click.echo(f"\n{harmless(finished.text)}\nSeen since the last shot:", err=True)
    for line in lines:
        if isinstance(line.event, (Fired, Observed, DumpFound)):
            when = time.strftime("%H:%M:%S", time.localtime(line.time))
            click.echo(f"  {when}  {harmless(sentence(line.event))}", err=True)
    way = "SysRq c on the console of" if route.ability == "send_sysrq_crash" else "an NMI through"
    click.echo(
        f"The next rung is {way} {route.controller.name}. Silence proves nothing: a working kdump without a console"
        " is silent, and a second shot destroys its dump.",
        err=True,
    )
    name = plan.host.name
    if sys.stdin.isatty():  # what was typed before the evidence was in view answers nothing
        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
    click.echo(f"If you know that {name} is not dumping, type its name to fire (anything else stops):", err=True)
    return sys.stdin.readline().strip() == name


def log_line(entry: EventLogEntry) -> str:
    """Return one entry of an event log in one harmless line."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry.time)) if entry.time is not None else "-"
    return harmless(f"{when}  {entry.severity}  {entry.text}", limit=160)


def _print_plan(plan: Plan, known: Known, around: Surroundings) -> None:
    click.echo(f"{plan.action} of {plan.host.name}", err=True)
    for number, route in enumerate(plan.routes, 1):
        controller = route.controller
        port = f" port {controller.port}" if controller.port else ""
        way = " by SysRq c on its console" if route.ability == "send_sysrq_crash" else ""
        click.echo(
            f"  route {number}: {controller.name}: {controller.driver} at {controller.address}{port}{way}",
            err=True,
        )
    click.echo(f"  watched for at most {plan.deadline_s / 60:.0f} min", err=True)
    click.echo(f"  dump expected at {harmless(plan.dump_target)}", err=True)
    if known.record is not None:
        click.echo(f"  the preflight's record is {known.record.age(around.clock.time())}", err=True)


def _look(plan: Plan, known: Known, wish: Wish, around: Surroundings, log: bool = False) -> Survey:
    """Probe, read-only, and show what was found; with `log` also the newest of the controller's event log."""
    seen = survey(plan, known, wish, around, log=log)
    if seen.request:
        click.echo(f"  request: {harmless(seen.request)}", err=True)
        click.echo(f"  power: {seen.power}", err=True)
    for warning in seen.warnings:
        click.echo(f"  note: {warning}", err=True)
    if seen.log:  # never a reason to refuse: a "Critical Interrupt" is often why the host hung
        click.echo("  newest of the controller's event log (its clock):", err=True)
    for entry in seen.log:
        click.echo(f"    {log_line(entry)}", err=True)
    for finding in seen.findings:
        mark = "!" if finding.overridable else "X"
        click.echo(f"  {mark} {finding.rule}: {harmless(finding.message)}", err=True)
    return seen


def _show_life(plan: Plan, findings: Sequence[Finding]) -> None:
    """For a host that is alive, show what it is doing: the commonest accident is the wrong server."""
    if plan.host.ssh is None or not any(finding.rule == "alive" for finding in findings):
        return
    from trigger.clock import Deadline
    from trigger.errors import TriggerError
    from trigger.ssh.connection import run

    blocked = "ps -eo stat= 2>/dev/null | grep -c '^D'"
    try:
        said = run(plan.host.ssh, f'uptime; echo "tasks blocked: $({blocked})"', Deadline(5.0))
    except TriggerError as error:
        said = error.message
    for line in str(said).splitlines()[:4]:
        click.echo(f"    {plan.host.name} says: {harmless(line.strip())}", err=True)
