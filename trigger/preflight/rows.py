"""One host's preflight as plain values: what audits/ keeps, --format json prints and every table is made of.

Texts of the host are made harmless here, once. What is the same for every host (why a check matters, where
that is written) is not repeated in a row; `described` adds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from trigger.preflight import controllers
from trigger.preflight.audit import LOGIN, HostResult
from trigger.preflight.check import ALL_ROUTES, Check, Finding, Verdict
from trigger.preflight.checks import CHECKS
from trigger.preflight.learn import finding_key
from trigger.preflight.reading import READABLE
from trigger.text import harmless

Row = Mapping[str, Any]


def row_of(result: HostResult) -> dict[str, Any]:
    """Return one host as plain JSON values."""
    record, old = result.record, result.old
    return {
        "host": harmless(result.host),
        "state": result.state,
        "ready": result.ready,
        "was_ready": old.ready if old else None,
        "time": round(record.written_at, 3) if record else None,
        "os": harmless(record.os_name) if record else "",
        "kernel": harmless(record.kernel_release) if record else "",
        "nodename": harmless(record.identity.hostname) if record else "",
        "dump_targets": [harmless(target.written) for target in record.dump_targets] if record else [],
        "host_seen": result.host_seen,
        "controllers_seen": result.controllers_seen,
        "problem": harmless(result.problem),
        "routes": {
            route.value: {stage.value: verdict.value for stage, verdict in result.table.get(route, {}).items()}
            for route in ALL_ROUTES
        },
        "findings": [_finding(finding) for finding in result.findings],
        "changed": _changed(result),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "check": finding.check,
        "verdict": finding.verdict.value,
        "says": harmless(finding.says),
        "stage": finding.stage.value,
        "routes": [route.value for route in finding.routes],
    }
    if finding.controller:
        plain["controller"] = harmless(finding.controller)
    if finding.verdict is not Verdict.PASS and finding.remedy:
        plain["remedy"] = [harmless(line) for line in finding.remedy]
    return plain


def _changed(result: HostResult) -> list[dict[str, str]]:
    """Return which checks say something else than at the last preflight."""
    if result.old is None:
        return []
    before = result.old.verdicts
    now = {finding_key(finding): finding.verdict.value for finding in result.findings}
    return [
        {"check": harmless(name), "was": before.get(name, "none"), "is": now.get(name, "none")}
        for name in dict.fromkeys((*before, *now))
        if before.get(name) != now.get(name)
    ]


@cache
def catalogue() -> Mapping[str, Check]:
    """Return every check by name, the host's and the controllers'."""
    return {check.name: check for check in (LOGIN, READABLE, *controllers.CHECKS, *CHECKS)}


def described(row: Row) -> dict[str, Any]:
    """Return a row whose findings say why they matter, where that is written, and whether they can decide."""
    findings = []
    for finding in row["findings"]:
        check = catalogue()[finding["check"]]
        findings.append({**finding, "why": check.why, "source": check.source, "decides": check.decides})
    return {**row, "findings": findings}


def failing(row: Row) -> list[Row]:
    """Return the findings of a row that fail."""
    return [finding for finding in row["findings"] if finding["verdict"] == Verdict.FAIL.value]


def worth_reading(row: Row) -> list[Row]:
    """Return the findings that a person should read: everything but passes, failures first."""
    order = ("fail", "unknown", "warn")
    found = [finding for finding in row["findings"] if finding["verdict"] in order]
    return sorted(found, key=lambda finding: order.index(finding["verdict"]))
