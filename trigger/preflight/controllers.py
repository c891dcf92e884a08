"""The controllers: does each answer, let us in, allow an NMI, and belong to this very host?

Read-only: everything comes from `Driver.probe`. A login that was rejected is not tried again before the
configuration changes, for a shared account would be locked by the nightly audit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from trigger.clock import Clock, Deadline, SystemClock
from trigger.driver import Answers, Driver, DriverOptions, HasConsole, Identity, Power, Probe, SendsNmi
from trigger.errors import ConfigError, LoginFailed, TriggerError
from trigger.host import Controller, Host
from trigger.identity import Match, compare_identities, compare_uuids, has_own_identity
from trigger.preflight.check import (
    Check,
    Finding,
    Judgement,
    Route,
    Stage,
    Verdict,
    fail,
    finding,
    good,
    unknown,
    warn,
)
from trigger.preflight.facts import Facts
from trigger.preflight.rehearse import Rehearsal, rehearse
from trigger.record import Record, config_hash
from trigger.registry import load_driver

PROBE_S = 15.0
_MONTH_S = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What one controller answered: `probe`, or the `error` instead. `routes` is what its driver is able to
    do.
    """

    controller: Controller
    routes: tuple[Route, ...] = ()
    probe: Probe | None = None
    error: TriggerError | None = None
    rehearsal: Rehearsal | None = None


@dataclass(frozen=True, slots=True)
class Asking:
    """What the operator allows: certificates never seen before, another attempt of a rejected login.

    `dump_stores` is the configuration's: what hosts write to -> where that is read from here.
    """

    answers: Callable[[Controller], Answers]
    trust_new: bool = False
    retry_auth: bool = False
    accept_identity: bool = False
    probe_target: bool = False
    rehearse: bool = False
    dump_stores: Mapping[str, str] = field(default_factory=dict)
    clock: Clock = field(default_factory=SystemClock)


def ask(controller: Controller, host: Host, expected: Identity, old: Record | None, asking: Asking) -> Asked:
    """Probe one controller; whatever goes wrong is in the answer."""
    try:
        driver_class = load_driver(controller.driver)
    except ConfigError as error:
        return Asked(controller, error=error)
    routes = _routes(driver_class)
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
            probe = replace(probe, learned=_learned(driver, probe))
            heard = rehearse(driver, asking.clock) if asking.rehearse and isinstance(driver, HasConsole) else None
            return Asked(controller, routes, probe, rehearsal=heard)
    except TriggerError as error:
        return Asked(controller, routes, error=error)
    except Exception as error:  # one broken driver must not end the audit of a fleet
        return Asked(controller, routes, error=TriggerError(f"driver {controller.driver}: {error!r}"))


def _routes(driver_class: type[Driver]) -> tuple[Route, ...]:
    """Return the routes that a driver's abilities open; the method is the ability."""
    abilities = ((Route.NMI, SendsNmi), (Route.SYSRQ_SOL, HasConsole))
    return tuple(route for route, ability in abilities if issubclass(driver_class, ability))


def _learned(driver: Driver, probe: Probe) -> Mapping[str, object]:
    words = {"request": driver.describe_nmi()} if isinstance(driver, SendsNmi) else {}
    return {**probe.learned, **words}


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
    judged = [
        (LOGIN, good(f"logged in{_described(probe.identity)}")),
        (POWER, _power(probe)),
        (IDENTITY, _identity(probe.identity, host, facts, _before(old, name, facts), asking)),
        (CHANGED, _changed(probe.identity, old, name, host, asking)),
        (CERTIFICATE, _certificate(probe, asking)),
        (ACCESS, _access(answer)),
    ]
    found = [finding(_for(check, answer.routes), judgement, name) for check, judgement in judged if judgement]
    if Route.NMI in answer.routes:
        found.append(finding(ALLOWED, _allowed(probe), name))
    if answer.rehearsal is not None:
        found.append(finding(BREAK, (good if answer.rehearsal.proved else fail)(answer.rehearsal.says), name))
    found += [finding(_for(SAID, answer.routes), warn(sentence.rstrip(".")), name) for sentence in probe.warnings]
    return found


def _for(check: Check, routes: tuple[Route, ...]) -> Check:
    return replace(check, routes=routes or check.routes)


def _described(identity: Identity) -> str:
    words = " ".join(word for word in (identity.vendor, identity.model, identity.firmware) if word)
    return f" ({words})" if words else ""


def _power(probe: Probe) -> Judgement:
    if probe.power is Power.OFF:
        return fail("the system is powered off")
    if probe.not_ready:
        return fail(f"the system is not ready: {probe.not_ready}")
    return good(f"the power is {probe.power.value}")


def _allowed(probe: Probe) -> Judgement:
    if probe.nmi_allowed is False:
        return fail(
            "the controller does not list an NMI among what it can do",
            "# update its firmware, or use another route",
        )
    if probe.nmi_allowed is None:
        return good("the controller does not say whether it allows an NMI; most do")
    return good("the controller lists an NMI among what it can do")


def host_identity(facts: Facts) -> Identity:
    """Return who the host says it is, by its DMI (device tree on POWER, sysinfo on s390x)."""
    return Identity(
        uuid=facts.word("dmi.product_uuid"),
        serial=facts.word("dmi.product_serial") or facts.word("system-id").strip("\0"),
        hostname=facts.nodename,
        vendor=facts.word("dmi.sys_vendor"),
        model=facts.word("dmi.product_name") or facts.word("model").strip("\0"),
        firmware=facts.word("dmi.bios_version"),
    )


def _identity(
    controller: Identity, host: Host, facts: Facts | None, before: Identity | None, asking: Asking
) -> Judgement:
    """Compare a controller with what the owner wrote down, the host's DMI, and the BMC seen from inside.

    `before` is the controller at the last preflight, if the host was the same then: an identity is only ever
    recorded when it matched or was accepted.
    """
    written = Identity(uuid=host.identity.uuid, serial=host.identity.serial)
    match, why = compare_identities(written, controller)
    if match is Match.DIFFERENT:
        return fail(f"WRONG MACHINE: {why} (by the configuration)", *_wrong(host))
    if match is Match.SAME:
        return good(f"{why} (by the configuration)")
    if facts is not None:
        match, why = _against_host(controller, facts)
        if match is Match.SAME:
            return good(f"{why} (by the host itself)")
        if match is Match.DIFFERENT:
            return _foreign(f"{why} (by the host itself)", controller, host, before, asking)
    if not has_own_identity(controller):
        return warn(
            "the controller does not say who it is", "# write `identity:` into the configuration, or use Redfish"
        )
    if facts is None:
        return unknown("the host could not be asked who it is")
    return warn(
        "nothing proves that this controller is the host's: the host does not say who it is",
        "# write `identity: {uuid: ..., serial: ...}` of this host into the configuration",
    )


def _foreign(why: str, controller: Identity, host: Host, before: Identity | None, asking: Asking) -> Judgement:
    if asking.accept_identity:
        return warn(f"{why}; accepted as asked")
    if before is not None and compare_identities(before, controller)[0] is Match.SAME:
        return warn(f"{why}; accepted at an earlier preflight")
    return fail(
        f"WRONG MACHINE: {why}",
        *_wrong(host),
        f"# if its BMC is known to have a UUID of its own: trigger preflight {host.name} --accept-identity",
    )


def _against_host(controller: Identity, facts: Facts) -> tuple[Match, str]:
    for line in facts.text("bmc.guid").splitlines():
        key, _, value = line.partition(":")
        if "GUID" in key and compare_uuids(value.strip(), controller.uuid) is Match.SAME:
            return Match.SAME, "the host's own BMC has the same GUID"
    return compare_identities(host_identity(facts), controller)


def _wrong(host: Host) -> tuple[str, ...]:
    return (
        f"# an NMI would crash another machine than {host.name}: check the controller's address and its cable",
        "# if a board was replaced, correct `identity:` in the configuration",
    )


def _before(old: Record | None, name: str, facts: Facts | None) -> Identity | None:
    """Return who the controller was at the last preflight; None where the host itself is another one now."""
    if old is None or facts is None or compare_identities(old.identity, host_identity(facts))[0] is Match.DIFFERENT:
        return None
    return old.controllers.get(name)


def refused_controllers(findings: Sequence[Finding]) -> set[str]:
    """Return the controllers whose identity was refused: nothing of them may be recorded."""
    identity = (IDENTITY.name, CHANGED.name)
    return {f.controller for f in findings if f.check in identity and f.verdict is Verdict.FAIL}


def _changed(new: Identity, old: Record | None, name: str, host: Host, asking: Asking) -> Judgement | None:
    """Compare a controller with itself at the last preflight."""
    before = old.controllers.get(name) if old else None
    if before is None:
        return None
    match, why = compare_identities(before, new)
    if match is not Match.DIFFERENT:
        return None
    says = f"this is another controller than at the last preflight: {why}"
    if asking.accept_identity:
        return warn(f"{says}; accepted as asked")
    return fail(
        says,
        f"# check the address; if the board was replaced: trigger preflight {host.name} --accept-identity",
    )


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
    return good(f"its certificate is good for {days:.0f} days")


def _access(answer: Asked) -> Judgement | None:
    """Judge how safe the access itself is."""
    learned = answer.probe.learned if answer.probe else {}
    suite = learned.get("cipher_suite")
    if suite in (3, 15, 16):
        return warn(
            f"IPMI cipher suite {suite}: SHA-1, or no encryption; suite 17 is the good one",
            "# enable suite 17 only",
        )
    if answer.controller.options.get("scheme") == "http":
        return warn("HTTP without TLS: the password goes over the wire in the clear", "# use https")
    return None


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
IDENTITY = _check(
    "controller-identity",
    "A controller that belongs to another machine crashes that one: the address was reused, or a cable moved.",
    "IPMI 2.0, 20.8; SMBIOS 3.7, 7.2; DSP0268 ComputerSystem.UUID",
)
CHANGED = _check("controller-changed", "Another controller at the same address may mean another machine.", _DRIVER)
ALLOWED = _check(
    "controller-nmi",
    "Some controllers have no diagnostic interrupt, and some list it and do nothing.",
    "DSP0266 AllowableValues, ActionInfo",
    routes=(Route.NMI,),
)
BREAK = _check(
    "console-break",
    "Some controllers answer that a BREAK was sent, and drop it; only the kernel's answer proves the way.",
    "obmc-console issue 25; Linux include/linux/serial_core.h",
    routes=(Route.SYSRQ_SOL,),
)
CERTIFICATE = _check(
    "controller-certificate",
    "An expired certificate stops the login on the day it matters.",
    "RFC 5280",
    decides=False,
)
ACCESS = _check(
    "controller-access",
    "Whoever can read this login can crash the host.",
    "IPMI 2.0, 22.15.2; CVE-2013-4786",
    decides=False,
)
SAID = _check("controller-remark", "The driver noticed it while it probed.", _DRIVER, stage=Stage.REMARK, decides=False)
CHECKS = (NONE, LOGIN, POWER, IDENTITY, CHANGED, ALLOWED, BREAK, CERTIFICATE, ACCESS, SAID)
