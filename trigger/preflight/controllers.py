"""The controllers: does each answer, let us in, allow an NMI, and belong to this very host?

Read-only: everything comes from `Driver.probe`. A login that was rejected is not tried again before the
configuration changes, for a shared account would be locked by the nightly audit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from trigger.clock import Clock, Deadline, SystemClock
from trigger.driver import (
    Answers,
    Driver,
    DriverOptions,
    HasConsole,
    Identity,
    Power,
    Probe,
    ReportsSettings,
    SendsNmi,
    Settings,
)
from trigger.errors import ConfigError, LoginFailed, TriggerError
from trigger.host import Controller, Host
from trigger.preflight import identity, settings
from trigger.preflight.check import Check, Finding, Judgement, Route, Stage, fail, finding, good, warn
from trigger.preflight.facts import Facts
from trigger.preflight.identity import Claim
from trigger.preflight.proved import ProvedDump
from trigger.preflight.reading import Reader
from trigger.preflight.rehearse import BREAK, Rehearsal, judge_rehearsal
from trigger.record import Record, config_hash
from trigger.registry import load_driver
from trigger.resolve import resolve_all

PROBE_S = 15.0
SETTINGS_S = 10.0
_MONTH_S = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What one controller answered: `probe`, or the `error` instead. `routes` is what its driver is able to do.

    `settings` is None where it says nothing of itself, `addresses` are the numeric ones at which it was reached.
    """

    controller: Controller
    routes: tuple[Route, ...] = ()
    probe: Probe | None = None
    error: TriggerError | None = None
    settings: Settings | None = None
    addresses: tuple[str, ...] = ()
    rehearsal: Rehearsal | None = None

    @property
    def claim(self) -> Claim:
        """Who it says it is, and where it is."""
        return Claim(self.probe.identity if self.probe else Identity(), self.addresses)


@dataclass(frozen=True, slots=True)
class Asking:
    """What the operator allows: certificates never seen before, another attempt of a rejected login.

    `dump_stores` is the configuration's: what hosts write to -> where that is read from here. `shared` says whether a
    UUID stands in the record of another host than the one named, `reader` tries to read dump targets from here.
    """

    answers: Callable[[Controller], Answers]
    trust_new: bool = False
    retry_auth: bool = False
    accept_identity: bool = False
    probe_target: bool = False
    rehearse: bool = False
    dump_stores: Mapping[str, str] = field(default_factory=dict)
    reader: Reader | None = None
    clock: Clock = field(default_factory=SystemClock)
    shared: Callable[[str, str], bool] = lambda uuid, host: False


Rehearse = Callable[[HasConsole, Asked], Rehearsal | None]


def ask(
    controller: Controller,
    host: Host,
    expected: Identity,
    old: Record | None,
    asking: Asking,
    rehearse: Rehearse | None = None,
) -> Asked:
    """Probe one controller; whatever goes wrong is in the answer. `rehearse` is done last, where there is a console."""
    try:
        driver_class = load_driver(controller.driver)
    except ConfigError as error:
        return Asked(controller, error=error)
    routes = _routes(controller, driver_class)
    rejected = old.rejected_logins.get(controller.name) if old else None
    if rejected == config_hash(host) and not asking.retry_auth:
        return Asked(controller, routes, error=_still_rejected(controller))
    # Only the certificate counts as known: everything else is to be learned anew.
    fingerprint = str(old.routes.get(controller.name, {}).get("fingerprint", "")) if old else ""
    options = DriverOptions(
        asking.answers(controller),
        known={"fingerprint": fingerprint} if fingerprint else {},
        expected=expected,
        accept_new=asking.trust_new,
        clock=asking.clock,
    )
    try:
        with driver_class(controller, options) as driver:
            probe = driver.probe(Deadline(PROBE_S, asking.clock))
            found = _settings(driver, asking.clock)
            probe = _with_settings(probe, driver, found, asking.clock)
            reached = resolve_all([controller.address]).get(controller.address, ())
            asked = Asked(controller, routes, probe, settings=found, addresses=reached)
            if rehearse is None or not isinstance(driver, HasConsole) or Route.SYSRQ_SOL not in routes:
                return asked
            return replace(asked, rehearsal=rehearse(driver, asked))
    except TriggerError as error:
        return Asked(controller, routes, error=error)
    except Exception as error:  # one broken driver must not end the audit of a fleet
        return Asked(controller, routes, error=TriggerError(f"driver {controller.driver}: {error!r}"))


def _settings(driver: Driver, clock: Clock) -> Settings | None:
    """Return how the controller is set up; None where the driver cannot tell, or the controller would not."""
    if not isinstance(driver, ReportsSettings):
        return None
    try:
        return driver.settings(Deadline(SETTINGS_S, clock))
    except TriggerError:
        return None  # what was asked for is only worth knowing; the probe has decided


def _with_settings(probe: Probe, driver: Driver, found: Settings | None, clock: Clock) -> Probe:
    """Return the probe with what else the record keeps: the exact request, the clock's offset, the firmware."""
    learned = dict(probe.learned)
    if isinstance(driver, SendsNmi):
        learned["request"] = driver.describe_nmi()
    offset = settings.clock_offset(found, clock.time())
    if offset is not None:
        learned["clock_offset_s"] = round(offset, 1)
    firmware = probe.identity.firmware or (found.firmware if found is not None else "")
    return probe._replace(learned=learned, identity=probe.identity._replace(firmware=firmware))


def _routes(controller: Controller, driver_class: type[Driver]) -> tuple[Route, ...]:
    """Return the routes that a driver's abilities open; the method is the ability.

    The host itself (driver `host`) has a console as well, but one that a hung host does not have.
    """
    if controller.driver == "host":
        return (Route.SYSRQ_SSH,)
    abilities = ((Route.NMI, SendsNmi), (Route.SYSRQ_SOL, HasConsole))
    return tuple(route for route, ability in abilities if issubclass(driver_class, ability))


def _still_rejected(controller: Controller) -> LoginFailed:
    return LoginFailed(
        f"{controller.name} rejected this login before, and nothing has changed since; not tried again",
        rejected=True,
        next_step="Correct the account, or try again with --retry-auth.",
    )


def controller_findings(
    asked: Sequence[Asked], host: Host, facts: Facts | None, old: Record | None, asking: Asking
) -> list[Finding]:
    """Return what is found of every controller, and which routes have none."""
    found: list[Finding] = []
    for answer in asked:
        found += _findings(answer, host, facts, old, asking)
    for route, what in ((Route.NMI, "can send an NMI"), (Route.SYSRQ_SOL, "has the serial console")):
        if not any(route in answer.routes for answer in asked):
            found.append(finding(_for(NONE, (route,)), fail(f"no configured controller {what}")))
    return found


def _findings(answer: Asked, host: Host, facts: Facts | None, old: Record | None, asking: Asking) -> list[Finding]:
    name = answer.controller.name
    if answer.probe is None:
        says = answer.error.message if answer.error else "was not asked"
        remedy = (f"# {answer.error.next_step}",) if answer.error and answer.error.next_step else ()
        return [finding(_for(LOGIN, answer.routes), fail(says, *remedy), name)]
    probe = answer.probe
    accept = asking.accept_identity
    judged = [
        (LOGIN, good(f"logged in{_described(probe.identity)}")),
        (POWER, _power(probe)),
        (identity.IDENTITY, judge_whose(answer, host, facts, old, asking)),
        (identity.CHANGED, identity.judge_changed(probe.identity, old, name, host, accept=accept)),
        (identity.ADDRESS, identity.judge_address(answer.claim, facts)),
        (CERTIFICATE, _certificate(probe, asking)),
        (settings.ACCESS, settings.judge_access(answer.controller, probe, answer.settings)),
    ]
    if answer.settings is not None:
        judged.append((settings.PRIVILEGE, settings.judge_privilege(answer.settings)))
        judged.append((settings.CLOCK, settings.judge_clock(answer.settings, asking.clock)))
    found = [finding(_for(check, answer.routes), judgement, name) for check, judgement in judged if judgement]
    if Route.NMI in answer.routes:
        proved = facts.proved_dump if facts is not None else None
        found.append(finding(ALLOWED, _allowed(probe, proved, name), name))
    sol = settings.judge_sol(answer.settings, facts) if answer.settings is not None else None
    if sol is not None and Route.SYSRQ_SOL in answer.routes:
        found.append(finding(settings.SOL, sol, name))
    if answer.rehearsal is not None:
        found.append(finding(BREAK, judge_rehearsal(answer.rehearsal), name))
    found += [finding(_for(SAID, answer.routes), warn(sentence.rstrip(".")), name) for sentence in probe.warnings]
    return found


def judge_whose(answer: Asked, host: Host, facts: Facts | None, old: Record | None, asking: Asking) -> Judgement:
    """Judge whether the controller that answered is the host's."""
    return identity.judge_identity(
        answer.claim,
        host,
        facts,
        identity.before(old, answer.controller.name, facts),
        accept=asking.accept_identity,
        shared=lambda uuid: asking.shared(uuid, host.name),
    )


def _for(check: Check, routes: tuple[Route, ...]) -> Check:
    return replace(check, routes=routes or check.routes)


def _described(who: Identity) -> str:
    words = " ".join(word for word in (who.vendor, who.model, who.firmware and f"firmware {who.firmware}") if word)
    return f" ({words})" if words else ""


def _power(probe: Probe) -> Judgement:
    if probe.power is Power.OFF:
        return fail("the system is powered off")
    if probe.not_ready:
        return fail(f"the system is not ready: {probe.not_ready}")
    return good(f"the power is {probe.power.value}")


def _allowed(probe: Probe, proved: ProvedDump | None, name: str) -> Judgement:
    if proved is not None and proved.nmi_through == name:
        return good(f"an NMI through it gave a dump on {proved.day}: verified")
    if probe.nmi_allowed is False:
        return fail(
            "the controller does not list an NMI among what it can do",
            "# update its firmware, or use another route",
        )
    if probe.nmi_allowed is None:
        return good("the controller does not say whether it allows an NMI; most do")
    return good("the controller lists an NMI among what it can do")


def _certificate(probe: Probe, asking: Asking) -> Judgement | None:
    expires = probe.learned.get("expires_at")
    if not isinstance(expires, int | float):
        return None
    days = (expires - asking.clock.time()) / 86400
    if days < 0:
        return warn(
            f"its certificate expired {-days:.0f} days ago",
            "# renew it, then: trigger preflight HOST --trust-new",
        )
    if expires - asking.clock.time() < _MONTH_S:
        return warn(
            f"its certificate expires in {days:.0f} days",
            "# renew it, then: trigger preflight HOST --trust-new",
        )
    return good(f"its certificate is good for {days:.0f} days (SHA-256 {probe.identity.fingerprint})")


def _check(
    name: str,
    why: str,
    source: str,
    *,
    stage: Stage = Stage.TRIGGER,
    decides: bool = True,
    routes: tuple[Route, ...] = (),
) -> Check:
    return Check(name, stage, routes or (Route.NMI, Route.SYSRQ_SOL), why, source, lambda facts: None, decides=decides)


_DRIVER = "docs/drivers.md"
NONE = _check("controller", "Without a controller nothing reaches a hung host.", "design.md, the way through")
LOGIN = _check("controller-login", "The button is behind a login.", _DRIVER)
POWER = _check(
    "controller-power",
    "A system that is off has no kernel to write a dump.",
    "IPMI 2.0, 28.2; DSP0268 PowerState",
)
ALLOWED = _check(
    "controller-nmi",
    "Some controllers have no diagnostic interrupt, and some list it and do nothing.",
    "DSP0266 AllowableValues, ActionInfo",
    routes=(Route.NMI,),
)
CERTIFICATE = _check(
    "controller-certificate",
    "An expired certificate stops the login on the day it matters.",
    "RFC 5280",
    decides=False,
)
SAID = _check("controller-remark", "The driver noticed it while it probed.", _DRIVER, stage=Stage.REMARK, decides=False)
CHECKS = (NONE, LOGIN, POWER, *identity.CHECKS, ALLOWED, *settings.CHECKS, BREAK, CERTIFICATE, SAID)
