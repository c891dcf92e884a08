"""Every check against what real systems print: the cases are data, in tests/checks/*.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from trigger.preflight.check import ALL_ROUTES, STAGES, Finding, Verdict
from trigger.preflight.checks import CHECKS, host_findings
from trigger.preflight.facts import Facts
from trigger.preflight.readings import parse
from trigger.preflight.verdict import matrix, route_passes, worst

FOLDER = Path(__file__).parents[2] / "checks"
NONCE = "0f3c6a0b-2d3c-8a41-4f8c-697261dbaff8"
BANNER = "*** AUTHORIZED USE ONLY ***\n@ = 0\ntrigger-preflight 2 old\n"
ORDER = ("folder /var/crash", "df", "writable", "mount", "layers", "listing")


@cache
def system(name: str) -> Mapping[str, Any]:
    """Return a file with what it inherits laid below it."""
    own = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    if "like" not in own:
        return {"frames": {}, "files": {}, **own}
    base = system(own["like"])
    merged = {key: {**base.get(key, {}), **own.get(key, {})} for key in ("frames", "files")}
    return {**own, **merged}


def output(frames: Mapping[str, Any], files: Mapping[str, Any]) -> str:
    """Return what the script prints on a host with these readings."""
    lines = "\n".join(f"{path}:{text}" for path, text in files.items() if text is not None)
    frames = {"lines": lines, **frames}
    ordered = {name: frames[name] for name in frames if name not in ORDER}
    ordered |= {name: frames[name] for name in ORDER if name in frames}
    last = ordered.pop("last", None)
    printed = [BANNER, f"\ntrigger-preflight 1 {NONCE}\n"]
    for name, value in [*ordered.items(), ("last", last)]:
        if value is not None:
            text, status = (value["text"], value["status"]) if isinstance(value, dict) else (value, "0")
            printed.append(f"\n@{NONCE} {name}\n{text}\n@{NONCE} = {status}\n")
    return "".join(printed)


CASES = [
    pytest.param(path.stem, case, id=f"{path.stem}: {case['name']}")
    for path in sorted(FOLDER.glob("*.yaml"))
    for case in system(path.stem)["cases"]
]


def look(name: str, case: Mapping[str, Any]) -> tuple[Facts, dict[str, Finding]]:
    base = system(name)
    frames = {**base["frames"], **case.get("frames", {})}
    files = {**base["files"], **case.get("files", {})}
    facts = Facts(parse(output(frames, files)))
    return facts, {finding.check: finding for finding in host_findings(facts)}


@pytest.mark.parametrize(("name", "case"), CASES)
def test_case(name: str, case: Mapping[str, Any]) -> None:
    _, findings = look(name, case)
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
    for finding in look(name, case)[1].values():
        assert finding.why.endswith("."), finding.check
        assert finding.source, finding.check
        assert finding.says, finding.check
        if finding.verdict is Verdict.FAIL:
            assert finding.remedy, f"{finding.check} says what is wrong and not what to do"


def test_every_check_is_tried_and_every_verdict_seen() -> None:
    seen: dict[str, set[str]] = {}
    for path in FOLDER.glob("*.yaml"):
        for case in system(path.stem)["cases"]:
            for check, verdict in case["expect"].items():
                seen.setdefault(check, set()).add(str(verdict))
    assert {check.name for check in CHECKS} - {"host-clock"} == set(seen)
    deciding = [check.name for check in CHECKS if check.decides]
    assert [name for name in deciding if not seen[name] & {"fail", "unknown"}] == []
    assert [name for name in deciding if "pass" not in seen[name]] == []
