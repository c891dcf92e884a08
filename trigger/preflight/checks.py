"""Every check of the host, in the order in which a dump comes about, and the host's own findings."""

from __future__ import annotations

from trigger.preflight import afterwards, clock, console, crashkernel, kdump, nmi, sysrq, target
from trigger.preflight.check import Check, Finding, look
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
