"""A command that fires, whole: config -> plan -> confirm -> lock -> shot -> watch -> end.

`nmi`, `sysrq HOST c` and `crash` are this one function with different actions.
"""

from __future__ import annotations

import gc
import shlex
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from trigger.clock import Clock, SystemClock
from trigger.display import People, print_json
from trigger.driver import Answers
from trigger.errors import GuardRefused, TriggerError
from trigger.events import Finished, Planned, to_json
from trigger.host import Controller, Host
from trigger.interrupts import Interrupts
from trigger.journal import Line
from trigger.known import Known, known_of
from trigger.lock import Locks
from trigger.plan import Plan, Route, make_plan, shot_words
from trigger.policy.under import held, policies_of, under
from trigger.registry import abilities_of
from trigger.report.aftermath import Aftermath
from trigger.resolve import resolve_all
from trigger.run import Listener, Run, actor
from trigger.shot import Opened, Shot, Surroundings, Wish, shoot
from trigger.state import StateFolder
from trigger.text import harmless, without_secrets
from trigger.verdict import Seen, decide
from trigger.watch.baseline import BaselineProbe
from trigger.watch.growing import GrowthProbe
from trigger.watch.watched import Watched

if TYPE_CHECKING:
    from trigger.config.loading import Config
    from trigger.ladder import Ask
    from trigger.policy.hold import Hold
    from trigger.policy.rules import Policy
    from trigger.watch.listening import Ears

    Policies = tuple[Policy, ...]


class Choices(NamedTuple):
    """The options of a command that fires, as parsed."""

    action: str
    config: Path | None = None
    via: str = ""
    ad_hoc: str = ""
    confirm: str = ""
    reason: str = ""
    overrides: tuple[str, ...] = ()
    until: str = "verified"
    deadline_s: float | None = None
    dry_run: bool = False
    as_json: bool = False
    verbose: int = 0
    gather: bool = False


def act(host_name: str, choices: Choices, clock: Clock | None = None) -> int:
    """Do it, and return the exit code. Errors before the fire are raised as TriggerError."""
    from trigger.logs import set_up_logging

    set_up_logging(choices.verbose)
    clock = clock or SystemClock()
    people = People()
    try:
        return _act(host_name, choices, clock, people)
    except KeyboardInterrupt:
        if Run.something_sent:
            raise  # trigger/cli.py says that it was
        error = GuardRefused("Stopped by the operator before anything was sent.", rule="operator")
        _say_end(error, host_name, choices, clock)
        raise error from None
    except TriggerError as error:
        _say_end(error, host_name, choices, clock)
        raise
    finally:
        people.close()


def _act(host_name: str, choices: Choices, clock: Clock, people: People) -> int:
    from trigger.config.loading import load

    config = load(choices.config)
    host = find_host(config, host_name, choices)
    state = StateFolder.choose(config.state_dir)
    if state.private:
        _note(f"state folder {state.path}: runs of other users are not seen")
    known = known_of(state, config, host)
    plan = make_plan(
        host,
        choices.action,
        via=choices.via,
        deadline_s=choices.deadline_s,
        memory_bytes=known.memory_bytes,
        dump_target=known.dump_target,
        addresses=resolve_all(controller.address for controller in host.controllers),
        abilities={c.driver: abilities_of(c.driver) for c in host.controllers} if choices.action == "crash" else None,
    )
    around = Surroundings(
        state, clock, answers_of(host), config.dump_stores, syslog=config.syslog, notify=config.notify
    )
    wish = Wish(_command(host_name, choices), choices.confirm, choices.overrides, choices.reason)
    _check_reason(wish)
    policies = policies_of(config)
    if policies:
        plan, around = under(policies, plan, wish, around)
    if choices.dry_run:
        from trigger.confirm import dry_run

        return dry_run(plan, known, wish, around)
    wish = _confirmed(plan, known, wish, around)
    return _run(plan, known, wish, around, choices, people, policies)


def _run(
    plan: Plan, known: Known, wish: Wish, around: Surroundings, choices: Choices, people: People, policies: Policies
) -> int:
    listens = choices.until != "accepted"
    after = Aftermath(around, plan.host, known, wish.log, brief=not listens)
    listeners: list[Listener] = [people, *([print_json] if choices.as_json else []), after]
    run = Run(around.state, plan.host.name, around.clock, listeners, syslog=around.syslog)
    ears: Ears | None = None
    if listens:  # now: an import swallows a Ctrl-C that comes in its very middle
        from trigger.ladder import climb
        from trigger.watch.listening import Ears
    with ExitStack() as end:
        end.callback(after.conclude)
        end.callback(run.close)
        with (
            Locks(plan.keys, plan.host.name),
            Interrupts(run) as interrupts,
            held(policies, plan, around.state, run) as hold,
        ):
            run.emit(_planned(plan, wish))
            before = BaselineProbe(plan.dump_target if listens else "", around.dump_stores)
            around = _at_the_last_moment(plan, known, around, choices, hold, interrupts)
            if listens:
                ears = Ears(plan, known, around, run)
                end.callback(ears.close)
                around = ears.around

            def watch_shot(shot: Shot) -> Finished:
                watched = _watched(plan, known, shot, choices.until, around, before, ears)
                return watch(watched, run, interrupts.detach, people)

            shot = shoot(plan, known, wish, around, run)
            if plan.action == "crash" and listens:
                finished = climb(shot, plan, known, wish, around, run, watch_shot, _asking(plan, choices, interrupts))
            else:
                finished = watch_shot(shot)
            run.emit(finished)
            if hold is not None:
                hold.over = finished.ends_fire
            return finished.exit_code


def _watched(
    plan: Plan, known: Known, shot: Shot, until: str, around: Surroundings, before: BaselineProbe, ears: Ears | None
) -> Watched:
    """Return what is to be watched after `shot`."""
    watched = Watched(
        plan.host,
        plan.dump_target,
        known,
        shot.outcome,
        shot.at,
        shot.at + plan.deadline_s,
        until,
        before.result(),
        around.dump_stores,
        shot_words(plan.routes[shot.route].ability),
    )
    if ears is None:
        return watched
    return watched._replace(shot=ears.shot, console=ears.console, controller=ears.controller, fence=ears.fence)


def _at_the_last_moment(
    plan: Plan, known: Known, around: Surroundings, choices: Choices, hold: Hold | None, interrupts: Interrupts
) -> Surroundings:
    """Return `around` with what is asked and done between the last login and the fire."""
    growth = GrowthProbe(plan.dump_target, plan.host, known.hostname, around.clock.time)
    gathered: list[str] = []

    def before_firing(opened: Opened, run: Run) -> tuple[str, ...]:
        interrupts.check()
        warnings = hold.begin(run.clock.time()) if hold is not None else ()
        if choices.gather and not gathered:
            from trigger.console.gather import gather

            gathered.append(gather(opened, plan, known, around, run))
            warnings += (gathered[0],)
        return warnings

    return around._replace(dump_in_progress=growth.result, before_firing=before_firing)


def _asking(plan: Plan, choices: Choices, interrupts: Interrupts) -> Ask | None:
    """Return who asks a person for the next rung, None where nobody can be asked, or a program reads along."""
    if choices.as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    from trigger.confirm import ask_next_rung

    def ask(finished: Finished, lines: list[Line], route: Route) -> bool:
        yes = ask_next_rung(plan, finished, lines, route)
        if yes:
            interrupts.detach.clear()
        return yes

    return ask


def watch(watched: Watched, run: Run, detach: threading.Event, people: People) -> Finished:
    """Watch until the end and return it; whatever happens here, something was sent before."""
    try:
        finished = decide(watched.host.name, Seen(watched.outcome, until=watched.until, shot=watched.shot))
        if finished is None:
            gc.enable()
            from trigger.watch.follow import follow

            finished = follow(watched, run.emit, run.clock, detach, people.status)
    except Exception as error:
        finished = _broken(watched.host.name, watched.outcome, error)
    people.end_view()
    return finished


def _broken(host: str, outcome: str, error: Exception) -> Finished:
    """Return the end of a run whose watching failed: a bug of ours must not hide that something was sent."""
    import logging

    what = harmless(without_secrets(f"{type(error).__name__}: {error}"))
    logging.getLogger("trigger").debug("watching failed", exc_info=error)
    return Finished(
        7,
        "yes" if outcome == "accepted" else "maybe",
        f"Watching {host} failed ({what}); the shot was sent before. This is a bug.",
        "",
        "unknown",
        "a dump may be being written",
        f"trigger wait {host}",
    )


def find_host(config: Config, name: str, choices: Choices) -> Host:
    """Return the host, with the controller that --controller names. Raises ConfigError."""
    if not choices.ad_hoc:
        for warning in config.warnings_for(name):
            _note(warning)
        return config.host(name)
    from trigger.config.loading import ad_hoc_controller

    controller = ad_hoc_controller(choices.ad_hoc)
    if name in config:
        return config.host(name)._replace(controllers=(controller,))
    return Host(name=name, controllers=(controller,), where="--controller")


def answers_of(host: Host) -> Callable[[Controller], Answers]:
    """Return where the passwords of the host's controllers come from; each is asked for once."""
    from trigger.secrets import ControllerSecrets, ask_on_terminal

    ask = ask_on_terminal if sys.stdin.isatty() and sys.stderr.isatty() else None
    made: dict[str, Answers] = {}

    def answers(controller: Controller) -> Answers:
        return made.setdefault(controller.name, ControllerSecrets(host, controller, ask))

    return answers


def _check_reason(wish: Wish) -> None:
    if wish.accepted and not wish.reason:
        raise GuardRefused(
            "An override needs a reason, which the journal keeps. Nothing was sent.",
            rule="reason",
            next_step=f"{wish.command} --reason 'WHY'",
        )


def _confirmed(plan: Plan, known: Known, wish: Wish, around: Surroundings) -> Wish:
    """Return `wish` with a confirmation: given with --confirm, or typed on the terminal."""
    if wish.confirmed_by:
        return wish
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise GuardRefused(
            f"Nobody confirmed that {plan.host.name} is to be crashed, and there is no terminal to ask on."
            " Nothing was sent.",
            rule="confirm",
            next_step=f"{wish.command} --confirm {plan.host.name}",
        )
    from trigger.confirm import ask

    return ask(plan, known, wish, around)


def _planned(plan: Plan, wish: Wish) -> Planned:
    routes = tuple(
        {
            "controller": r.controller.name,
            "driver": r.controller.driver,
            "address": r.controller.address,
            "shot": shot_words(r.ability),
        }
        for r in plan.routes
    )
    return Planned(plan.action, routes, plan.deadline_s, plan.dump_target, actor(), wish.reason)


def _command(host: str, choices: Choices) -> str:
    """Return the command that was typed, quoted, for the next step of a refusal."""
    words = ["trigger", "sysrq", host, "c"] if choices.action == "sysrq-c" else ["trigger", choices.action, host]
    for option, value in (
        ("--config", choices.config),
        ("--via", choices.via),
        ("--controller", choices.ad_hoc),
        ("--confirm", choices.confirm),
        ("--reason", choices.reason),
    ):
        words += [option, str(value)] if value else []
    words += ["--gather"] if choices.gather else []
    for rule in choices.overrides:
        words += ["--override", rule]
    return shlex.join(words)


def _say_end(error: TriggerError, host: str, choices: Choices, clock: Clock) -> None:
    """End the JSON of a run that sent nothing with the same last line as any other."""
    if choices.as_json:
        event = Finished(error.exit_code, "no", error.message, next=error.next_step, safe_to_power_cycle="unknown")
        raw = {"host": host, "time": clock.time(), **to_json(event)}
        print_json(Line("", host, 0, clock.time(), event, raw))


def _note(text: str) -> None:
    print(f"trigger: note: {harmless(text)}", file=sys.stderr)
