"""One shot at one host, from the plan to the outcome of the request: the order of things, and nothing else.

lock -> (per route) probe -> guard -> fire. The next route is tried only after a failed login or after `refused`;
never after accepted or unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from trigger.clock import Clock, Deadline
from trigger.driver import Answers, Driver, DriverOptions, Identity, Probe
from trigger.errors import ConfigError, DriverError, TriggerError
from trigger.events import Fired, Firing, Guarded, Probed
from trigger.fire import fire
from trigger.fires import open_fires_everywhere
from trigger.guard import Facts, Finding, judge, refusal
from trigger.host import Controller
from trigger.known import Known
from trigger.plan import ANSWER_DEADLINE_S, LOGIN_DEADLINE_S, ROUTES_DEADLINE_S, Plan, Route
from trigger.registry import ABILITIES, load_driver
from trigger.run import Run
from trigger.state import StateFolder
from trigger.text import harmless
from trigger.watch.liveness import LivenessProbe


@dataclass(frozen=True, slots=True)
class Wish:
    """What the operator said: the command as typed, the confirmation, the overrides and their reason."""

    command: str
    confirmed_by: str = ""
    accepted: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a shot needs from outside: state, clock, where passwords come from, how dump targets are read."""

    state: StateFolder
    clock: Clock
    answers: Callable[[Controller], Answers]
    dump_stores: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shot:
    """What became of the request, and when it left (seconds since the epoch)."""

    outcome: str
    at: float


@dataclass(frozen=True, slots=True)
class Opened:
    """A route whose controller answered: the driver holds the connection that will fire."""

    route: Route
    driver: Driver
    probe: Probe


def survey(plan: Plan, known: Known, wish: Wish, around: Surroundings, run: Run | None) -> tuple[Finding, ...]:
    """Probe the first route that can be used and return what the guard finds; sends nothing that acts.

    For `--dry-run` and for the confirmation. Raises DriverError when no controller could be used.
    """
    liveness = LivenessProbe(plan.host.ssh)
    failures: list[TriggerError] = []
    for route in plan.routes:
        opened = _open(route, known, wish, around, run, Deadline(LOGIN_DEADLINE_S), failures)
        if opened is not None:
            with opened.driver:
                return judge(_facts(plan, opened, known, wish, liveness, around))
    raise no_route(plan, failures)


def shoot(plan: Plan, known: Known, wish: Wish, around: Surroundings, run: Run) -> Shot:
    """Fire once and return what became of it: accepted or unknown.

    The locks are held by the caller. Raises GuardRefused or NotReady when the guard refuses, DriverError when
    every route failed or refused; then nothing was delivered.
    """
    liveness = LivenessProbe(plan.host.ssh)
    whole = Deadline(ROUTES_DEADLINE_S)
    failures: list[TriggerError] = []
    for route in plan.routes:
        opened = _open(route, known, wish, around, run, whole.at_most(LOGIN_DEADLINE_S), failures)
        if opened is None:
            continue
        with opened.driver:
            _guard(plan, opened, known, wish, liveness, around, run)
            left_at = around.clock.time()
            fired = _press(plan, opened, known, around, run)
        if fired.outcome != "refused":
            return Shot(fired.outcome, left_at)
        failures.append(DriverError(f"{route.controller.name} refused: {fired.answer}"))
    raise no_route(plan, failures)


def no_route(plan: Plan, failures: Sequence[TriggerError]) -> TriggerError:
    """Return the error that sums up why no route could be used; a single failure speaks for itself."""
    if len(failures) == 1:
        return failures[0]
    text = " ".join(f"{n}. {error.message}" for n, error in enumerate(failures, 1))
    return DriverError(
        f"{plan.host.name}: none of {len(failures)} controllers could be used; nothing was delivered. {text}",
        next_step=next((error.next_step for error in failures if error.next_step), ""),
    )


def _open(
    route: Route,
    known: Known,
    wish: Wish,
    around: Surroundings,
    run: Run | None,
    deadline: Deadline,
    failures: list[TriggerError],
) -> Opened | None:
    """Log in through `route`, or note in `failures` why it could not be used."""
    controller = route.controller
    driver: Driver | None = None
    try:
        driver = _driver(route, known, wish, around)
        probe = driver.probe(deadline)
    except (DriverError, ConfigError) as error:
        if driver is not None:
            driver.close()
        failures.append(error)
        if run is not None:
            run.emit(Probed(controller.name, error=harmless(error.message)))
        return None
    except BaseException:
        if driver is not None:
            driver.close()
        raise
    if run is not None:
        run.emit(_probed(controller, probe))
    return Opened(route, driver, probe)


def _driver(route: Route, known: Known, wish: Wish, around: Surroundings) -> Driver:
    controller = route.controller
    cls = load_driver(controller.driver)
    if not callable(getattr(cls, route.ability, None)):
        able = next(name for name, protocol in ABILITIES.items() if hasattr(protocol, route.ability))
        raise ConfigError(
            f"{controller.name}: driver {controller.driver!r} has no {able}. Nothing was sent.",
            next_step="trigger drivers shows what each can do.",
        )
    options = DriverOptions(
        secrets=around.answers(controller),
        known=known.routes.get(controller.name, {}),
        expected=known.identities.get(controller.name, Identity()),
        accept_new="tls-changed" in wish.accepted,
        clock=around.clock,
    )
    return cls(controller, options)


def _probed(controller: Controller, probe: Probe) -> Probed:
    return Probed(
        controller.name,
        harmless(probe.identity.uuid),
        harmless(probe.identity.serial),
        probe.power.value,
        dict(probe.learned),
        tuple(map(harmless, probe.warnings)),
    )


def _facts(
    plan: Plan, opened: Opened, known: Known, wish: Wish, liveness: LivenessProbe, around: Surroundings
) -> Facts:
    host = plan.host
    recorded = known.identities.get(opened.route.controller.name, Identity())
    written = Identity(uuid=host.identity.uuid, serial=host.identity.serial)
    return Facts(
        host=host.name,
        probe=opened.probe,
        has_record=known.present,
        expected=tuple(identity for identity in (written, recorded) if identity != Identity()),
        confirmed_by=wish.confirmed_by,
        not_ready=known.not_ready,
        liveness=liveness.result(),
        open_fires=tuple(open_fires_everywhere(around.state, host.name, plan.keys, around.clock.time())),
        protected=host.protected,
    )


def _guard(
    plan: Plan,
    opened: Opened,
    known: Known,
    wish: Wish,
    liveness: LivenessProbe,
    around: Surroundings,
    run: Run,
) -> None:
    findings = judge(_facts(plan, opened, known, wish, liveness, around))
    error = refusal(findings, wish.accepted, wish.command, wish.reason)
    if error is not None:
        run.emit(Guarded(False, getattr(error, "rule", "not-ready"), error.message, reason=wish.reason))
        raise error
    overridden = tuple(finding.rule for finding in findings)
    warnings = tuple(finding.message for finding in findings)
    run.emit(Guarded(True, overridden=overridden, reason=wish.reason, warnings=warnings))


def _press(plan: Plan, opened: Opened, known: Known, around: Surroundings, run: Run) -> Fired:
    controller = opened.route.controller
    firing = Firing(
        controller=controller.name,
        driver=controller.driver,
        address=controller.address,
        request=opened.driver.describe_nmi(),
        keys=plan.keys,
        deadline_at=around.clock.time() + plan.deadline_s,
        boot_id=known.boot_id,
    )
    send = getattr(opened.driver, opened.route.ability)
    deadline = Deadline(ANSWER_DEADLINE_S)
    return run.fire(lambda journal: fire(journal, firing, lambda: send(deadline)), firing)
