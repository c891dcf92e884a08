"""May this shot be fired? Pure rules over what is known; no input, no output, no clock.

Every rule that speaks gives a Finding. A Finding that cannot be overridden refuses; one that can refuses unless
its rule is among the accepted ones (`--override RULE`, or the host's name typed on a terminal that listed it).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from trigger.driver import Identity, Power, Probe
from trigger.errors import GuardRefused, NotReady, TriggerError
from trigger.fires import OpenFire
from trigger.identity import Match, compare_identities, compare_serials, compare_uuids, has_own_identity

# What --override takes. The others are never overridable (design.md, "Rules and overrides").
OVERRIDABLE = (
    "no-record",
    "identity-unproved",
    "not-ready",
    "not-listed",
    "alive",
    "tls-changed",
    "protected",
    "open-fire",  # only together with positive proof that the open fire had no effect
)


class Liveness(NamedTuple):
    """What the host's SSH port did: banner (alive), silent (connected, said nothing), closed, unknown."""

    state: str = "unknown"
    detail: str = ""


class Facts(NamedTuple):
    """Everything the guard judges by.

    `expected` is who the host should be, from the record or written by its owner; `confirmed_by` is what
    `--confirm` gave (the host's name, or a UUID or serial that the controller must then report).
    `not_ready` holds the reasons of the record, empty when it says ready. `proofs` says by run why an open fire is
    proved to have had no effect. `policy` is what policies found (trigger/policy/rules.py). `dump_in_progress` says
    what was seen within the last 600 s of a dump being written, "" for nothing.
    """

    host: str
    probe: Probe
    has_record: bool
    expected: tuple[Identity, ...]
    confirmed_by: str = ""
    not_ready: tuple[str, ...] = ()
    liveness: Liveness = Liveness()
    open_fires: tuple[OpenFire, ...] = ()
    protected: bool = False
    proofs: Mapping[str, str] = MappingProxyType({})
    policy: tuple[Finding, ...] = ()
    dump_in_progress: str = ""


class Finding(NamedTuple):
    """One rule that has something to say. `code` is the exit code when it refuses."""

    rule: str
    message: str
    overridable: bool
    code: int = 5
    next_step: str = ""


def judge(facts: Facts) -> tuple[Finding, ...]:
    """Return the findings, those that can never be overridden first."""
    rules = (
        _open_fires,
        _dump_in_progress,
        _identity_mismatch,
        _power,
        _protected,
        _alive,
        _no_record,
        _identity_unproved,
        _not_ready,
        _not_listed,
        _policy,
    )
    found = [finding for rule in rules for finding in rule(facts)]
    return tuple(sorted(found, key=lambda finding: finding.overridable))


def refusal(findings: Collection[Finding], accepted: Collection[str], command: str, reason: str) -> TriggerError | None:
    """Return the error of the first finding that refuses, or None when the shot may go.

    `command` is the command as typed; the error's next step is that command with what is missing added. An
    override needs a `reason`.
    """
    missing = [finding for finding in findings if not (finding.overridable and finding.rule in accepted)]
    if not missing:
        return None
    first = missing[0]
    next_step = first.next_step
    if not next_step and all(finding.overridable for finding in missing):
        flags = "".join(f" --override {rule}" for rule in dict.fromkeys(finding.rule for finding in missing))
        why = "" if reason else " --reason 'WHY'"
        next_step = f"If you are sure: {command}{flags}{why}"
    others = "".join(f" Also: {finding.message}" for finding in missing[1:])
    message = f"{first.message} Nothing was sent.{others}"
    if first.code == NotReady.exit_code:
        return NotReady(message, next_step=next_step)
    return GuardRefused(message, rule=first.rule, next_step=next_step)


def judge_open_fires(fires: Iterable[OpenFire], proofs: Mapping[str, str] = MappingProxyType({})) -> list[Finding]:
    """Return what open fires forbid; asked once more before anything is sent to a controller at all.

    Silence is no proof: a working kdump without a console is silent. So only what is in `proofs` (by run, the proof
    in words) may be overridden, and only by `--override open-fire`.
    """
    findings = []
    for fire in fires:
        sent = {
            "accepted": "was accepted by the controller",
            "unknown": "left and was not answered; it may have arrived",
        }.get(fire.outcome, "may have been sent; the program that sent it did not live to say")
        message = (
            f"{fire.host} has an open fire: run {fire.run}, through {fire.controller} at {fire.address}."
            f" {_shot(fire)} {sent}. A second shot can destroy the dump that the first one started."
        )
        proof = proofs.get(fire.run, "")
        if proof:
            findings.append(Finding("open-fire", f"{message} But it is proved to have had no effect: {proof}.", True))
            continue
        next_step = f"Watch it instead: trigger wait {fire.host}"
        findings.append(Finding("open-fire", message, False, next_step=next_step))
    return findings


def _shot(fire: OpenFire) -> str:
    """Return what was sent, as the beginning of a sentence; an old journal may not say."""
    return "A SysRq c" if fire.request.startswith("SysRq") else "An NMI" if fire.request else "A shot"


def _open_fires(facts: Facts) -> list[Finding]:
    return judge_open_fires(facts.open_fires, facts.proofs)


def _dump_in_progress(facts: Facts) -> list[Finding]:
    return [dump_seen(facts.host, facts.dump_in_progress)] if facts.dump_in_progress else []


def dump_seen(host: str, seen: str) -> Finding:
    """Return the refusal of a shot into a dump of `host` that somebody saw being written; `seen` is what they saw."""
    text = f"A dump of {host} seems to be being written: {seen}. A shot would destroy it."
    next_step = f"Wait for it: trigger wait {host} (where nobody fired from here: trigger console {host})"
    return Finding("dump-in-progress", text, False, next_step=next_step)


def _policy(facts: Facts) -> list[Finding]:
    return list(facts.policy)


def _identity_mismatch(facts: Facts) -> list[Finding]:
    for expected in facts.expected:
        match, why = compare_identities(expected, facts.probe.identity)
        if match is Match.DIFFERENT:
            text = f"The controller is not the one of {facts.host}: {why}."
            return [Finding("identity-mismatch", text, False, next_step=_mismatch_help(facts.host))]
    if facts.confirmed_by in ("", facts.host) or _reports(facts.confirmed_by, facts.probe.identity):
        return []
    text = (
        f"--confirm {facts.confirmed_by!r} is neither the host's name {facts.host!r} nor a UUID or serial"
        " number that its controller reports."
    )
    return [Finding("identity-mismatch", text, False, next_step=_mismatch_help(facts.host))]


def _reports(claimed: str, probed: Identity) -> bool:
    return Match.SAME in (compare_uuids(claimed, probed.uuid), compare_serials(claimed, probed.serial))


def _identity_unproved(facts: Facts) -> list[Finding]:
    matches = {compare_identities(expected, facts.probe.identity)[0] for expected in facts.expected}
    if matches & {Match.SAME, Match.DIFFERENT} or facts.confirmed_by not in ("", facts.host):
        return []
    says = has_own_identity(facts.probe.identity)
    why = "nobody wrote down who it should be" if says else "it does not say who it is"
    text = f"Nothing proves that this controller is the one of {facts.host}: {why}."
    return [Finding("identity-unproved", text, True)]


def _mismatch_help(host: str) -> str:
    return (
        f"Check the address of {host}'s controller, its cable and its record: trigger preflight {host}. This rule"
        " cannot be overridden: a shot at the wrong machine crashes a healthy one."
    )


def _power(facts: Facts) -> list[Finding]:
    if facts.probe.power is Power.OFF:
        text = f"{facts.host} is powered off, so there is no kernel to write a dump."
        return [Finding("power-off", text, False, NotReady.exit_code)]
    if facts.probe.not_ready:
        return [Finding("power-off", f"{facts.host}: {facts.probe.not_ready}.", False, NotReady.exit_code)]
    return []


def _protected(facts: Facts) -> list[Finding]:
    if not facts.protected:
        return []
    return [Finding("protected", f"{facts.host} is marked `protected` in the configuration.", True)]


def _alive(facts: Facts) -> list[Finding]:
    if facts.liveness.state != "banner":
        return []
    text = f"{facts.host} is alive: its SSH port answers{facts.liveness.detail}. A crash would take it down."
    return [Finding("alive", text, True)]


def _no_record(facts: Facts) -> list[Finding]:
    if facts.has_record:
        return []
    text = f"There is no record of a preflight of {facts.host}: nothing shows that a dump would result."
    return [Finding("no-record", text, True)]


def _not_ready(facts: Facts) -> list[Finding]:
    if not facts.not_ready:
        return []
    text = f"The last preflight of {facts.host} says that no dump would result: {'; '.join(facts.not_ready)}."
    return [Finding("not-ready", text, True, NotReady.exit_code)]


def _not_listed(facts: Facts) -> list[Finding]:
    if facts.probe.nmi_allowed is not False:
        return []
    return [Finding("not-listed", "The controller does not list an NMI among what it can do.", True)]
