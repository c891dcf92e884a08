"""A preflight for people: one line per host, and below it the findings that matter; --explain shows the
rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from trigger.preflight.check import ALL_ROUTES, STAGES
from trigger.preflight.rows import Row, described, failing, worth_reading

STATES = {"ready": "READY", "not-ready": "NOT READY", "unknown": "UNKNOWN", "unreachable": "UNREACHABLE"}
_COLOURS = {"ready": "green", "not-ready": "red", "unknown": "yellow", "unreachable": "magenta"}
_MARKS = {"pass": "ok", "warn": "warn", "fail": "FAIL", "unknown": "?"}
_VERDICT_COLOURS = {"fail": "red", "warn": "yellow", "unknown": "magenta", "pass": "green"}


def host_line(row: Row, width: int = 0) -> str:
    """Return the one line of a host."""
    routes = "  ".join(f"{route.value}: {route_words(row['routes'].get(route.value, {}))}" for route in ALL_ROUTES)
    if row["state"] == "unreachable":
        bad = failing(row)
        routes = str(row["problem"] or (bad[0]["says"] if bad else "nothing answered"))[:200]
    return f"{row['host']:<{width}}  {STATES[row['state']]:<11}  {routes}"


def route_words(stages: Mapping[str, str]) -> str:
    """Return what a route comes to: ok, warn, or its first stage that fails or is unknown."""
    for bad in ("fail", "unknown"):
        for stage in STAGES:
            if stages.get(stage.value) == bad:
                return f"{_MARKS[bad]} {stage.value}"
    return "warn" if "warn" in stages.values() else "ok"


def table_lines(
    rows: Iterable[Row], width: int, *, explain: bool = False, colour: bool = False, since_last: bool = False
) -> Iterator[str]:
    """Yield the table. `since_last` leaves out hosts and findings that are as they were."""
    import click

    for row in rows:
        if since_last and not row["changed"] and row["was_ready"] == row["ready"]:
            continue
        line = host_line(row, width)
        yield click.style(line, fg=_COLOURS[row["state"]], bold=True) if colour else line
        if row["problem"] and row["state"] != "unreachable":
            yield f"  note  {row['problem']}"
        if since_last:
            yield from _changes(row)
            continue
        for finding in described(row)["findings"] if explain else worth_reading(row):
            yield from finding_lines(finding, explain=explain, colour=colour)


def finding_lines(finding: Row, *, explain: bool, colour: bool) -> Iterator[str]:
    """Yield a finding with its remedy; with `explain` also what it decides, why, and where that is
    written.
    """
    import click

    mark = f"{_MARKS[finding['verdict']]:<4}"
    mark = click.style(mark, fg=_VERDICT_COLOURS[finding["verdict"]]) if colour else mark
    who = f"{finding['controller']}: " if finding.get("controller") else ""
    yield f"  {mark}  {finding['check']:<22} {who}{finding['says']}"
    if explain:
        routes = "all routes" if len(finding["routes"]) == len(ALL_ROUTES) else ", ".join(finding["routes"])
        yield f"        decides: {finding['stage']} of {routes}" + ("" if finding["decides"] else " (only warns)")
        yield f"        why:     {finding['why']}"
        yield f"        source:  {finding['source']}"
    for number, line in enumerate(finding.get("remedy", ())):
        yield f"        {'     ' if number else 'fix: '}{line}"


def _changes(row: Row) -> Iterator[str]:
    if row["was_ready"] is None:
        yield "  new   never looked at before"
    elif row["was_ready"] != row["ready"]:
        yield f"  {'better' if row['ready'] else 'WORSE'}  {'ready' if row['was_ready'] else 'not ready'} before"
    says = {finding["check"]: finding["says"] for finding in row["findings"]}
    for change in row["changed"]:
        name = change["check"]
        yield f"  {change['was']} -> {change['is']}  {name}  {says.get(name.rpartition(': ')[2], '')}".rstrip()


def summary(states: Mapping[str, int]) -> str:
    """Return the counts in one line."""
    words = ", ".join(f"{states[state]} {name.lower()}" for state, name in STATES.items() if states.get(state))
    total = sum(states.values())
    return f"{total} host{'' if total == 1 else 's'}: {words or 'none looked at'}"
