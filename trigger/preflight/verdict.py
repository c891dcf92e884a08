"""From findings to verdicts: per route and stage, and whether the button would work. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from trigger.preflight.check import ALL_ROUTES, STAGES, Finding, Route, Stage, Verdict

Matrix = Mapping[Route, Mapping[Stage, Verdict]]

# What a hung kernel still takes. SysRq over SSH needs a living user space, so it alone makes no host ready.
READY_ROUTES = (Route.NMI, Route.SYSRQ_SOL)
_ORDER = (Verdict.PASS, Verdict.WARN, Verdict.UNKNOWN, Verdict.FAIL)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst verdict; pass of none."""
    return max(verdicts, key=_ORDER.index, default=Verdict.PASS)


def counted(finding: Finding) -> Verdict:
    """Return a finding's verdict as it counts for its stage: one that cannot decide only warns."""
    if finding.decides or finding.verdict is Verdict.PASS:
        return finding.verdict
    return Verdict.PASS if finding.verdict is Verdict.UNKNOWN else Verdict.WARN


def stage_verdict(findings: Sequence[Finding], route: Route, stage: Stage, *, seen: bool) -> Verdict:
    """Return the verdict of one stage on one route: the worst of the host's, and the best controller's."""
    mine = [finding for finding in findings if finding.stage is stage and route in finding.routes]
    if stage is not Stage.TRIGGER and not seen:
        return Verdict.UNKNOWN
    host = worst(counted(finding) for finding in mine if not finding.controller)
    controllers = {finding.controller for finding in mine if finding.controller}
    if not controllers:
        return host
    by_controller = [worst(counted(f) for f in mine if f.controller == name) for name in controllers]
    return worst((host, min(by_controller, key=_ORDER.index)))


def matrix(findings: Sequence[Finding], *, seen: bool) -> Matrix:
    """Return the verdict of every stage on every route. `seen` says whether the host itself was looked at."""
    return {
        route: {stage: stage_verdict(findings, route, stage, seen=seen) for stage in STAGES} for route in ALL_ROUTES
    }


def route_passes(stages: Mapping[Stage, Verdict]) -> bool:
    """Return whether a dump would result on this route: no stage fails, none is unknown."""
    return all(verdict in (Verdict.PASS, Verdict.WARN) for verdict in stages.values())


def is_ready(table: Matrix) -> bool:
    """Return whether at least one route that a hung kernel takes passes all four stages."""
    return any(route_passes(table[route]) for route in READY_ROUTES)


def reasons(findings: Sequence[Finding], table: Matrix, route: Route) -> tuple[str, ...]:
    """Return why no dump would result on `route`, as clauses; only what is known to fail, never what is
    unknown.
    """
    failing = {stage for stage, verdict in table[route].items() if verdict is Verdict.FAIL}
    return tuple(
        (f"{finding.controller}: " if finding.controller else "") + finding.says
        for finding in findings
        if finding.stage in failing and route in finding.routes and counted(finding) is Verdict.FAIL
    )
