"""Every check against what real systems print: the cases are data, in tests/checks/*.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.unit.preflight.cases import all_cases, printed
from trigger.preflight.check import ALL_ROUTES, STAGES, Finding, Verdict
from trigger.preflight.checks import CHECKS, host_findings
from trigger.preflight.facts import Facts
from trigger.preflight.readings import parse
from trigger.preflight.verdict import matrix, route_passes, worst

CASES = [pytest.param(name, case, id=f"{name}: {case['name']}") for name, case in all_cases()]


def look(name: str, case: Mapping[str, Any]) -> dict[str, Finding]:
    return {finding.check: finding for finding in host_findings(Facts(parse(printed(name, case))))}


@pytest.mark.parametrize(("name", "case"), CASES)
def test_case(name: str, case: Mapping[str, Any]) -> None:
    findings = look(name, case)
    found = {check: findings[check].verdict.value if check in findings else None for check in case["expect"]}
    assert found == case["expect"], {check: findings[check].says for check in case["expect"] if check in findings}
    for check, words in case.get("says", {}).items():
        assert words in findings[check].says
    for check, words in case.get("remedy", {}).items():
        assert any(words in line for line in findings[check].remedy), findings[check].remedy
    table = matrix(list(findings.values()), seen=True)
    below = {route: {stage: table[route][stage] for stage in STAGES} for route in ALL_ROUTES}
    routes = {route.value: worst(below[route].values()).value for route in ALL_ROUTES}
    assert {route: routes[route] for route in case.get("routes", {})} == case.get("routes", {}), below
    if "ready" in case:
        assert any(route_passes(below[route]) for route in ALL_ROUTES[:2]) is case["ready"], below


@pytest.mark.parametrize(("name", "case"), CASES)
def test_every_finding_helps(name: str, case: Mapping[str, Any]) -> None:
    for finding in look(name, case).values():
        assert finding.why.endswith("."), finding.check
        assert finding.source, finding.check
        assert finding.says, finding.check
        if finding.verdict is Verdict.FAIL:
            assert finding.remedy, f"{finding.check} says what is wrong and not what to do"


def test_every_check_is_tried_and_every_verdict_seen() -> None:
    seen: dict[str, set[str]] = {}
    for _, case in all_cases():
        for check, verdict in case["expect"].items():
            seen.setdefault(check, set()).add(str(verdict))
    assert {check.name for check in CHECKS} - {"host-clock"} == set(seen)
    deciding = [check.name for check in CHECKS if check.decides]
    assert [name for name in deciding if not seen[name] & {"fail", "unknown"}] == []
    assert [name for name in deciding if "pass" not in seen[name]] == []
