"""Is this controller the host's? The host's DMI, and its own BMC seen from inside, against what the controller says.

A cable that was moved, an address that was given away, a wrong line in the configuration: each would crash a
healthy machine. What many machines share (placeholders, a GUID that a whole batch has) proves nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trigger.driver import Identity
from trigger.host import Host
from trigger.identity import Match, compare_identities, compare_uuids, has_own_identity, written_identity
from trigger.preflight.check import Check, Finding, Judgement, Route, Stage, Verdict, fail, good, unknown, warn
from trigger.preflight.facts import Facts
from trigger.record import Record

_IP_ADDRESS = re.compile(r"^IP Address\s*: *(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Claim:
    """A controller's own words: who it says it is, and the numeric addresses at which it was reached."""

    identity: Identity
    addresses: tuple[str, ...] = ()


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


def own_bmc_guids(facts: Facts) -> tuple[str, ...]:
    """Return the GUID of the host's own BMC as the host reads it: by the kernel's driver, by ipmitool or FreeIPMI."""
    lines = (line.partition(":") for line in facts.text("bmc.guid").splitlines())
    told = (value.strip() for key, _, value in lines if "GUID" in key and "Encoding" not in key)
    return tuple(guid for guid in (facts.word("ipmi0.guid"), *told) if guid)


def own_bmc_address(facts: Facts) -> str:
    """Return the LAN address of the host's own BMC as the host reads it; "" where it has none or does not tell."""
    found = _IP_ADDRESS.search(facts.text("bmc.lan"))
    try:
        address = ipaddress.ip_address(found[1]) if found else None
    except ValueError:
        return ""
    return "" if address is None or address.is_unspecified or address.is_loopback else str(address)


def evidence(claim: Claim, facts: Facts, shared: Callable[[str], bool]) -> tuple[Match, str]:
    """Return what the host itself proves of a controller, and a clause that says why.

    The host's own BMC seen from inside outweighs its DMI: some BMCs have a GUID of their own. Its LAN address counts
    only where no UUID or serial number can tell. `shared` says of a UUID whether another host has it as well.
    """
    known = _not_shared(claim.identity, shared)
    inside = [(compare_uuids(guid, known.uuid), guid) for guid in own_bmc_guids(facts) if not shared(guid)]
    if any(match is Match.SAME for match, _ in inside):
        return Match.SAME, "the host's own BMC has the same GUID"
    match, why = compare_identities(_not_shared(host_identity(facts), shared), known)
    if match is Match.SAME:
        return match, why
    others = [guid for match, guid in inside if match is Match.DIFFERENT]
    if others:
        return Match.DIFFERENT, f"its GUID is {known.uuid}, and the host's own BMC has {others[0]}"
    return (match, why) if match is Match.DIFFERENT else _by_address(claim, facts)


def _by_address(claim: Claim, facts: Facts) -> tuple[Match, str]:
    own = own_bmc_address(facts)
    if not own or not claim.addresses:
        return Match.CANNOT_TELL, "the host does not say who it is"
    if own in claim.addresses:
        return Match.SAME, f"the host's own BMC has the address {own}"
    return Match.DIFFERENT, f"its address is {claim.addresses[0]}, and the host's own BMC has {own}"


def _not_shared(identity: Identity, shared: Callable[[str], bool]) -> Identity:
    return identity._replace(uuid="") if identity.uuid and shared(identity.uuid) else identity


def judge_identity(
    claim: Claim,
    host: Host,
    facts: Facts | None,
    before: Identity | None,
    *,
    accept: bool = False,
    shared: Callable[[str], bool] = lambda uuid: False,
) -> Judgement:
    """Compare a controller with what the owner wrote down, the host's DMI, and the BMC seen from inside.

    `before` is the controller at the last preflight, if the host was the same then: an identity is only ever
    recorded when it matched or was accepted (`accept`, --accept-identity).
    """
    by_owner, owners_why = compare_identities(written_identity(host), claim.identity)
    if by_owner is Match.DIFFERENT:
        return fail(f"WRONG MACHINE: {owners_why} (by the configuration)", *_wrong(host))
    match, why = evidence(claim, facts, shared) if facts is not None else (Match.CANNOT_TELL, "")
    if match is Match.DIFFERENT:
        # Even where the configuration agrees: whoever wrote the wrong address may have copied its UUID, too.
        return _foreign(f"{why} (by the host itself)", claim.identity, host, before, accept)
    if match is Match.SAME:
        return good(f"{why} (by the host itself)")
    if by_owner is Match.SAME:
        return good(f"{owners_why} (by the configuration)")
    return _unproved(claim, facts, shared)


def _unproved(claim: Claim, facts: Facts | None, shared: Callable[[str], bool]) -> Judgement:
    remedy = "# write `identity: {uuid: ..., serial: ...}` of this host into the configuration"
    if claim.identity.uuid and shared(claim.identity.uuid):
        return warn(f"its UUID {claim.identity.uuid} proves nothing: another host has the same", remedy)
    if not has_own_identity(claim.identity):
        return warn("the controller does not say who it is", f"{remedy}, or use Redfish")
    if facts is None:
        return unknown("the host could not be asked who it is")
    return warn("nothing proves that this controller is the host's: the host does not say who it is", remedy)


def _foreign(why: str, controller: Identity, host: Host, before: Identity | None, accept: bool) -> Judgement:
    if accept:
        return warn(f"{why}; accepted as asked")
    if before is not None and compare_identities(before, controller)[0] is Match.SAME:
        return warn(f"{why}; accepted at an earlier preflight")
    return fail(
        f"WRONG MACHINE: {why}",
        *_wrong(host),
        f"# if its BMC is known to have a UUID or an address of its own: trigger preflight {host.name}"
        " --accept-identity",
    )


def _wrong(host: Host) -> tuple[str, ...]:
    return (
        f"# an NMI would crash another machine than {host.name}: check the controller's address and its cable",
        "# if a board was replaced, correct `identity:` in the configuration",
    )


def before(old: Record | None, name: str, facts: Facts | None) -> Identity | None:
    """Return who the controller was at the last preflight; None where the host itself is another one now."""
    if old is None or facts is None or compare_identities(old.identity, host_identity(facts))[0] is Match.DIFFERENT:
        return None
    return old.controllers.get(name)


def judge_changed(new: Identity, old: Record | None, name: str, host: Host, *, accept: bool) -> Judgement | None:
    """Compare a controller with itself at the last preflight."""
    was = old.controllers.get(name) if old else None
    if was is None:
        return None
    match, why = compare_identities(was, new)
    if match is not Match.DIFFERENT:
        return None
    says = f"this is another controller than at the last preflight: {why}"
    if accept:
        return warn(f"{says}; accepted as asked")
    return fail(
        says,
        f"# check the address; if the board was replaced: trigger preflight {host.name} --accept-identity",
    )


def judge_address(claim: Claim, facts: Facts | None) -> Judgement | None:
    """Compare the address that is configured with the one that the host's own BMC says it has."""
    own = own_bmc_address(facts) if facts is not None else ""
    if not own or not claim.addresses:
        return None
    if own in claim.addresses:
        return good(f"the host's own BMC has this address ({own})")
    return warn(
        f"it is reached at {claim.addresses[0]}, and the host's own BMC says {own}: another channel of it, address"
        " translation, or a reused address",
        "ipmitool lan print",
    )


def refused_controllers(findings: Sequence[Finding]) -> set[str]:
    """Return the controllers whose identity was refused: nothing of them may be recorded."""
    names = (IDENTITY.name, CHANGED.name)
    return {f.controller for f in findings if f.check in names and f.verdict is Verdict.FAIL}


_ROUTES = (Route.NMI, Route.SYSRQ_SOL)
IDENTITY = Check(
    "controller-identity", Stage.TRIGGER, _ROUTES,
    "A controller that belongs to another machine crashes that one: the address was reused, or a cable moved.",
    "IPMI 2.0, 20.8; SMBIOS 3.7, 7.2; DSP0268 ComputerSystem.UUID", lambda facts: None,
)  # fmt: skip
CHANGED = Check(
    "controller-changed", Stage.TRIGGER, _ROUTES,
    "Another controller at the same address may mean another machine.", "docs/drivers.md", lambda facts: None,
)  # fmt: skip
ADDRESS = Check(
    "controller-address", Stage.REMARK, _ROUTES,
    "A BMC that says another address than the configured one may be another machine's.",
    "IPMI 2.0, 23.2 (IP Address)", lambda facts: None, decides=False,
)  # fmt: skip
CHECKS = (IDENTITY, CHANGED, ADDRESS)
