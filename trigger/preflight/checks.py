"""Every check of the host, in the order in which a dump comes about, and the host's own findings."""

from __future__ import annotations

from trigger.preflight import afterwards, clock, console, crashkernel, kdump, nmi, sysrq, target
from trigger.preflight.check import Check, Finding, Verdict, look
from trigger.preflight.facts import Facts

CHECKS: tuple[Check, ...] = (
    *nmi.CHECKS,
    *sysrq.CHECKS,
    *console.CHECKS,
    *crashkernel.CHECKS,
    *kdump.CHECKS,
    *target.CHECKS,
    *afterwards.CHECKS,
    *clock.CHECKS,
)


def host_findings(facts: Facts) -> list[Finding]:
    """Return what every check says of a host that was read; those that do not apply are left out."""
    found = (look(check, facts) for check in CHECKS)
    return [finding for finding in found if finding is not None]


def findings_that_matter(findings: list[Finding]) -> list[Finding]:
    """Return what a person should read: everything but passes, failures first."""
    order = {Verdict.FAIL: 0, Verdict.UNKNOWN: 1, Verdict.WARN: 2}
    return sorted((f for f in findings if f.verdict in order), key=lambda f: order[f.verdict])
