"""What the script really printed on real systems, byte for byte: Debian 12 with its own kdump-tools, under QEMU."""

from __future__ import annotations

from pathlib import Path

import pytest

from trigger.preflight.checks import host_findings
from trigger.preflight.facts import Facts
from trigger.preflight.learn import build_id
from trigger.preflight.readings import parse

FOLDER = Path(__file__).parents[2] / "checks" / "printed"

ROOT = {
    "nmi-settings": "pass", "sysrq-mask": "pass", "sysrq-serial": "pass", "sysrq-root": "pass",
    "console-registered": "pass", "console-awake": "pass", "crashkernel-reserved": "pass", "crashkernel-size": "pass",
    "crashkernel-words": "pass", "kdump-loaded": "pass", "kdump-service": "pass", "kdump-kernel": "pass",
    "kdump-tools": "warn", "target-settings": "pass", "target-reachable": "pass", "target-space": "pass",
    "target-tried": "warn", "host-script": "pass", "nmi-persistence": "pass", "sysrq-persistence": "pass",
}  # fmt: skip
USER = {**ROOT, "sysrq-root": "fail", "host-script": "warn", "console-awake": "warn"}  # its getty was stopped then


@pytest.mark.parametrize(("name", "expected"), [("debian-12-root", ROOT), ("debian-12-user", USER)])
def test_a_real_host(name: str, expected: dict[str, str]) -> None:
    facts = Facts(parse((FOLDER / f"{name}.txt").read_text()))
    found = {finding.check: finding.verdict.value for finding in host_findings(facts)}
    assert {check: found.get(check) for check in expected} == expected
    assert facts.complete
    assert facts.distribution == "debian"
    assert len(build_id(facts.text("notes"))) == 40
    assert [folder.path for folder in facts.folders] == ["/var/crash"]
