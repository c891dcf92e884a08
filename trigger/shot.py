"""One shot at one host, from the plan to the outcome of the request: the order of things, and nothing else.

lock -> (per route) probe -> guard -> fire. The next route is tried only after a failed login or after `refused`;
never after accepted or unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple

from trigger.clock import Clock, Deadline
from trigger.driver import Answers, Driver, EventLogEntry, HasEventLog, Probe
from trigger.errors import ConfigError, DriverError, TriggerError
from trigger.events import Event, Fired, Firing, Guarded, Probed
from trigger.fire import fire
from trigger.fires import open_fires_everywhere
from trigger.guard import Facts, Finding, judge, judge_open_fires, refusal
from trigger.host import Controller
from trigger.known import Known
from trigger.notify import Notify
from trigger.plan import ANSWER_DEADLINE_S, LOGIN_DEADLINE_S, ROUTES_DEADLINE_S, Plan, Route
from trigger.registry import ABILITIES, load_driver
from trigger.run import Run
from trigger.state import StateFolder
from trigger.text import harmless, without_secrets
from trigger.watch.liveness import LivenessProbe

# What a person is shown of the controller's event log before the question, and for how many seconds they wait for it.
LOG_ENTRIES = 8
LOG_S = 5.0


class Wish(NamedTuple):
    """What the operator said: the command as typed, the confirmation, the overrides and their reason.

    `log` is what was shown of the controller's event log before the question.
    """

    command: str
    confirmed_by: str = ""
    accepted: tuple[str, ...] = ()
    reason: str = ""
    log: tuple[EventLogEntry, ...] = ()


def _nothing() -> str:
    return ""


def _free_nothing() -> None:
    return None


def _no_warnings(opened: Opened, run: Run) -> tuple[str, ...]:
    return ()


class Surroundings(NamedTuple):
    """What a shot needs from outside: state, clock, where passwords come from, how dump targets are read.

    `policy` is what the policies say of this fire. `dump_in_progress` is asked at the last moment and says what was
    seen of a dump being written, "" for nothing. `before_firing` does what is to be done between the guard's word
    and the fire, and returns warnings; it may raise GuardRefused. `free_console` gives the host's console back, before
    another is opened to crash the host by SysRq.
    """

    state: StateFolder
    clock: Clock
    answers: Callable[[Controller], Answers]
    dump_stores: Mapping[str, str] = MappingProxyType({})
    policy: tuple[Finding, ...] = ()
    dump_in_progress: Callable[[], str] = _nothing
    before_firing: Callable[[Opened, Run], tuple[str, ...]] = _no_warnings
    syslog: str = ""
    notify: Notify = Notify()
    free_console: Callable[[], None] = _free_nothing


class Shot(NamedTuple):
    """What became of the request, when it left (seconds since the epoch), and which route of the plan it took."""

    outcome: str
    at: float
    route: int = 0


class Survey(NamedTuple):
    """What a look at the first usable route showed; `request` is what would be sent, "" when none was looked at.

    `log` is the newest of the controller's event log, oldest first, when it was asked for.
    """

    findings: tuple[Finding, ...]
    request: str = ""
    power: str = ""
    warnings: tuple[str, ...] = ()
    log: tuple[EventLogEntry, ...] = ()


class Opened(NamedTuple):
    """A route whose controller answered: the driver holds the connection that will fire."""

    route: Route
    driver: Driver
    probe: Probe


def survey(plan: Plan, known: Known, wish: Wish, around: Surroundings, *, log: bool = False) -> Survey:
    """Probe the first route that can be used and return what the guard finds; sends nothing that acts.

    For `--dry-run` and for the confirmation; `log` asks for the controller's event log as well, for LOG_S at most.
    Raises DriverError when no controller could be used.
    """
    attempt = _Attempt(plan, known, wish, around, None)
    if any(not finding.overridable for finding in attempt.judge_open_fires()):
        return Survey(tuple(attempt.judge_open_fires()))
    for route in plan.routes:
        opened = attempt.open(route, Deadline(LOGIN_DEADLINE_S))
        if opened is not None:
            with opened.driver:
                findings = judge(attempt.facts(opened))
                warnings = tuple(map(harmless, opened.probe.warnings))
                entries = _event_log(opened.driver) if log else ()
                return Survey(findings, opened.driver.describe_nmi(), opened.probe.power.value, warnings, entries)
    raise attempt.no_route()


def shoot(plan: Plan, known: Known, wish: Wish, around: Surroundings, run: Run) -> Shot:
    """Fire once and return what became of it: accepted or unknown.

    The locks are held by the caller. Raises GuardRefused or NotReady when the guard refuses, DriverError when
    every route failed or refused; then nothing was delivered.
    """
    attempt = _Attempt(plan, known, wish, around, run)
    attempt.refuse(attempt.judge_open_fires())
    whole = Deadline(ROUTES_DEADLINE_S)
    for number, route in enumerate(plan.routes):
        opened = attempt.open(route, whole.at_most(LOGIN_DEADLINE_S))
        if opened is None:
            continue
        with opened.driver:
            attempt.guard(opened)
            left_at = around.clock.time()
            fired = attempt.press(opened, run)
        if fired.outcome != "refused":
            return Shot(fired.outcome, left_at, number)
        attempt.failures.append(DriverError(f"{route.controller.name} refused: {fired.answer}"))
    raise attempt.no_route()


def _overheard(driver: Driver) -> str:
    """Return what a console that is the button says of a dump being written, "" for nothing (sysrq_crash.py)."""
    listen = getattr(driver, "dump_in_progress", None)
    return str(listen()) if callable(listen) else ""


def _event_log(driver: Driver) -> tuple[EventLogEntry, ...]:
    """Return the newest entries of the controller's log, or one that says why there are none; raises nothing."""
    if not isinstance(driver, HasEventLog):
        return ()
    try:
        return driver.event_log(Deadline(LOG_S), LOG_ENTRIES)
    except Exception as error:  # whatever a third party's driver raises: a look at the log stops nobody
        return (EventLogEntry(None, "", f"the log cannot be read: {without_secrets(str(error))}"),)


class _Attempt:
    """What the steps of one attempt share: what is known, and why routes could not be used so far."""

    def __init__(self, plan: Plan, known: Known, wish: Wish, around: Surroundings, run: Run | None) -> None:
        self.plan, self.known, self.wish, self.around = plan, known, wish, around
        self.failures: list[TriggerError] = []
        self._run = run
        self._liveness = LivenessProbe(plan.host.ssh)
        now = around.clock.time()
        found = open_fires_everywhere(around.state, plan.host.name, plan.keys, now)
        # Those of this very run are no news: trigger/ladder.py knows why it may fire again.
        self.open_fires = tuple(fire for fire in found if run is None or fire.run != run.id)
        self.proofs = self._proofs()

    def judge_open_fires(self) -> list[Finding]:
        """Return what the open fires forbid."""
        return judge_open_fires(self.open_fires, self.proofs)

    def _proofs(self) -> Mapping[str, str]:
        """Return by run why an open fire is proved to have had no effect; asked only with `--override open-fire`."""
        if not self.open_fires or "open-fire" not in self.wish.accepted:
            return {}
        from trigger.no_effect import prove_no_effect

        return prove_no_effect(self.open_fires, self.plan, self.known, self.around)

    def open(self, route: Route, deadline: Deadline) -> Opened | None:
        """Log in through `route`, or note in `failures` why it could not be used."""
        name = route.controller.name
        driver: Driver | None = None
        try:
            driver = self._driver(route)
            probe = driver.probe(deadline)
        except (DriverError, ConfigError) as error:
            self.failures.append(error)
            self._emit(Probed(name, error=harmless(without_secrets(error.message))))
            if driver is not None:
                driver.close()
            return None
        except BaseException:
            if driver is not None:
                driver.close()
            raise
        identity, warnings = probe.identity, tuple(map(harmless, probe.warnings))
        self._emit(
            Probed(
                name,
                harmless(identity.uuid),
                harmless(identity.serial),
                probe.power.value,
                dict(probe.learned),
                warnings,
            )
        )
        return Opened(route, driver, probe)

    def facts(self, opened: Opened) -> Facts:
        """Return everything that the guard judges by."""
        host = self.plan.host
        return Facts(
            host=host.name,
            probe=opened.probe,
            has_record=self.known.present,
            expected=self.known.expected(host, opened.route.controller.name),
            confirmed_by=self.wish.confirmed_by,
            not_ready=self.known.reasons_against(opened.route.ability, opened.route.controller.driver),
            liveness=self._liveness.result(),
            open_fires=self.open_fires,
            protected=host.protected,
            proofs=self.proofs,
            policy=self.around.policy,
            dump_in_progress=self.around.dump_in_progress() or _overheard(opened.driver),
        )

    def guard(self, opened: Opened) -> None:
        """Ask the guard; raises what it refuses with."""
        findings = judge(self.facts(opened))
        self.refuse(findings)
        overridden = tuple(finding.rule for finding in findings)
        warnings = tuple(finding.message for finding in findings)
        warnings += self.known.age_warning(self.around.clock.time())
        if self._run is not None:
            warnings += self.around.before_firing(opened, self._run)
        self._emit(Guarded(True, overridden=overridden, reason=self.wish.reason, warnings=warnings))

    def refuse(self, findings: Collection[Finding]) -> None:
        """Raise the error of the first finding that refuses, if any."""
        wish = self.wish
        error = refusal(findings, wish.accepted, wish.command, wish.reason)
        if error is not None:
            self._emit(Guarded(False, getattr(error, "rule", "not-ready"), error.message, reason=wish.reason))
            raise error

    def press(self, opened: Opened, run: Run) -> Fired:
        """Fire through `opened`, once."""
        controller, driver = opened.route.controller, opened.driver
        firing = Firing(
            controller=controller.name,
            driver=controller.driver,
            address=controller.address,
            request=driver.describe_nmi(),
            keys=self.plan.keys,
            deadline_at=self.around.clock.time() + self.plan.deadline_s,
            boot_id=self.known.boot_id,
        )
        send = getattr(driver, opened.route.ability)
        deadline = Deadline(ANSWER_DEADLINE_S)
        return run.fire(lambda journal: fire(journal, firing, lambda: send(deadline)), firing)

    def no_route(self) -> TriggerError:
        """Return the error that sums up why no route could be used; a single failure speaks for itself."""
        if len(self.failures) == 1:
            return self.failures[0]
        text = " ".join(f"{n}. {error.message}" for n, error in enumerate(self.failures, 1))
        return DriverError(
            f"{self.plan.host.name}: none of {len(self.failures)} controllers could be used; nothing was delivered."
            f" {text}",
            next_step=next((error.next_step for error in self.failures if error.next_step), ""),
        )

    def _driver(self, route: Route) -> Driver:
        controller = route.controller
        cls = load_driver(controller.driver)
        # A driver may crash by SysRq itself, as the host's own does; others by their console.
        by_console = route.ability == "send_sysrq_crash" and not hasattr(cls, route.ability)
        ability = "open_console" if by_console else route.ability
        if not callable(getattr(cls, ability, None)):
            able = next(name for name, method in ABILITIES.items() if method == ability)
            raise ConfigError(
                f"{controller.name}: driver {controller.driver!r} has no {able}. Nothing was sent.",
                next_step="trigger drivers shows what each can do.",
            )
        new = "tls-changed" in self.wish.accepted
        options = self.known.options(controller, self.around.answers(controller), self.around.clock, new=new)
        driver = cls(controller, options)
        return self._by_console(driver) if by_console else driver

    def _by_console(self, driver: Driver) -> Driver:
        """Return `driver` with its console as the button, recorded where there is a run to record for."""
        from trigger.console.recording import Recording
        from trigger.console.sysrq_crash import CrashByConsole

        self.around.free_console()
        state, host, run, clock = self.around.state, self.plan.host.name, self._run, self.around.clock
        return CrashByConsole(driver, None if run is None else lambda: Recording(state, host, run.id, clock))

    def _emit(self, event: Event) -> None:
        if self._run is not None:
            self._run.emit(event)
