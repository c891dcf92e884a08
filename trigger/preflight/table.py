"""A preflight for people: one line per host, and below it the findings that matter; --explain shows the
rest.
"""

from __future__ import annotations

from collections.abc import Sequence

from trigger.preflight.audit import HostResult
from trigger.preflight.check import ALL_ROUTES, STAGES, Finding, Route, Verdict
from trigger.preflight.checks import findings_that_matter
from trigger.text import harmless

_STATES = {"ready": "READY", "not-ready": "NOT READY", "unknown": "UNKNOWN", "unreachable": "UNREACHABLE"}
_COLOURS = {"ready": "green", "not-ready": "red", "unknown": "yellow", "unreachable": "magenta"}
_MARKS = {Verdict.PASS: "ok", Verdict.WARN: "warn", Verdict.FAIL: "FAIL", Verdict.UNKNOWN: "?"}
_VERDICT_COLOURS = {Verdict.FAIL: "red", Verdict.WARN: "yellow", Verdict.UNKNOWN: "magenta", Verdict.PASS: "green"}


def host_line(result: HostResult, width: int = 0) -> str:
    """Return the one line of a host, harmless."""
    routes = "  ".join(f"{route.value}: {route_words(result, route)}" for route in ALL_ROUTES)
    name = harmless(result.host).ljust(width)
    if result.state == "unreachable":
        routes = _first_failure(result)
    return f"{name}  {_STATES[result.state]:<11}  {routes}"


def route_words(result: HostResult, route: Route) -> str:
    """Return what a route comes to: ok, or its first stage that fails or is unknown."""
    stages = result.table.get(route, {})
    for bad in (Verdict.FAIL, Verdict.UNKNOWN):
        for stage in STAGES:
            if stages.get(stage) is bad:
                return f"{_MARKS[bad]} {stage.value}"
    return "warn" if Verdict.WARN in stages.values() else "ok"


def _first_failure(result: HostResult) -> str:
    failures = [finding.says for finding in result.findings if finding.verdict is Verdict.FAIL]
    return harmless(result.problem or (failures[0] if failures else "nothing answered"))[:200]


def table_lines(results: Sequence[HostResult], *, explain: bool, colour: bool, details: bool = True) -> list[str]:
    """Return the table. `details` adds the findings that matter below each host that is not ready or
    warns.
    """
    import click

    width = max((len(harmless(result.host)) for result in results), default=0)
    lines = []
    for result in results:
        line = host_line(result, width)
        lines.append(click.style(line, fg=_COLOURS[result.state], bold=True) if colour else line)
        if result.problem:
            lines.append(f"    note: {harmless(result.problem)}")
        shown = list(result.findings) if explain else findings_that_matter(list(result.findings)) if details else []
        for finding in shown:
            lines += finding_lines(finding, explain=explain, colour=colour)
    return lines


def finding_lines(finding: Finding, *, explain: bool, colour: bool) -> list[str]:
    """Return a finding with its remedy; with `explain` also what it decides, why, and where that is
    written.
    """
    import click

    mark = f"{_MARKS[finding.verdict]:<4}"
    mark = click.style(mark, fg=_VERDICT_COLOURS[finding.verdict]) if colour else mark
    who = f"{finding.controller}: " if finding.controller else ""
    lines = [f"  {mark}  {finding.check:<21} {harmless(who + finding.says)}"]
    if explain:
        routes = "all routes" if len(finding.routes) == len(ALL_ROUTES) else ", ".join(r.value for r in finding.routes)
        lines.append(
            f"        decides: {finding.stage.value} of {routes}" + ("" if finding.decides else " (only warns)")
        )
        lines.append(f"        why:     {finding.why}")
        lines.append(f"        source:  {finding.source}")
    if finding.verdict is not Verdict.PASS:
        lines += [f"        {'fix: ' if not n else '     '}{harmless(line)}" for n, line in enumerate(finding.remedy)]
    return lines


def summary(results: Sequence[HostResult]) -> str:
    """Return the counts in one line."""
    counts = {state: sum(result.state == state for result in results) for state in _STATES}
    words = {"ready": "ready", "not-ready": "not ready", "unknown": "unknown", "unreachable": "unreachable"}
    return f"{len(results)} hosts: " + ", ".join(f"{counts[s]} {words[s]}" for s in _STATES if counts[s])
