"""Policies at the command line: exit 5 with rule and file:line, nothing sent, whatever else the command says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.program import Bench

Benches = Callable[..., Bench]
ROOT = Path(__file__).resolve().parents[2]


def under(b: Bench, policy: str) -> Path:
    """Write a policy and name it in the configuration."""
    path = b.folder / "policy.yaml"
    path.write_text(policy)
    b.config.write_text(f"{b.config.read_text()}policy: {path}\n")
    return path


@pytest.mark.parametrize(
    ("policy", "rule"),
    [
        ("may_fire: {users: [somebody-else]}\n", "policy.yaml:1"),
        ("\nreason: {pattern: 'INC[0-9]{6}'}\n", "policy.yaml:2"),
        ("routes:\n  - nmi/redfish\n", "policy.yaml:2"),
        ("protected: [127.0.0.1]\n", "policy.yaml:1"),
    ],
    ids=["user", "reason", "route", "protected"],
)
def test_a_policy_refuses_before_a_packet_leaves(bench: Benches, policy: str, rule: str) -> None:
    b = bench()
    under(b, policy)
    result = b.nmi()
    assert result.code == 5, result.err
    assert rule in result.err
    assert result.event("Finished")["sent"] == "no"
    assert b.machine.delivered() == 0
    if "protected" not in policy:
        assert sum(b.machine.requests().values()) == 0
        assert b.nmi("--override", "protected").code == 5, "no override passes a policy"
    assert b.run("nmi", b.host, "--dry-run", "--override", "no-record", "--reason", "x").code == 5


def test_a_limit_over_the_fleet_and_a_pause_around_the_fire(bench: Benches) -> None:
    b = bench(host="healthy", nmi="ignore")
    b.hurry()
    script = b.folder / "pause"
    script.write_text(f'#!/bin/sh\necho "$1 $2" >>{b.folder}/said\n')
    script.chmod(0o700)
    under(b, f"fires_per_hour: 1\ninhibit: {{command: [{json.dumps(str(script))}]}}\n")
    assert b.nmi("--override", "alive", "--no-wait").code == 0
    assert (b.folder / "said").read_text().splitlines() == [f"begin {b.host}"], "a dump may be being written"
    assert b.run("wait", b.host, "--json").code == 8
    assert (b.folder / "said").read_text().splitlines() == [f"begin {b.host}", f"end {b.host}"]
    second = b.nmi("--override", "alive")
    assert second.code == 5, second.err
    assert "policy.yaml:1" in second.err
    assert b.machine.requests()["nmi"] == 1
    assert (b.folder / "said").read_text().count("begin") == 1


def test_the_system_policy_holds_beside_one_that_allows(bench: Benches) -> None:
    b = bench()
    under(b, "may_fire: {users: [root]}\n")
    system = b.folder / "system.yaml"
    system.write_text("may_fire: {users: [somebody-else]}\n")
    code = (
        "import sys, trigger.config.file\n"
        f"trigger.config.file.SYSTEM_POLICY = {str(system)!r}\n"
        "from trigger.cli import main\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "nmi", b.host, *b.confirmed()],
        env={**b.environment(), "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 5, done.stderr
    assert f"{system}:1" in done.stderr
    assert b.machine.delivered() == 0


def test_without_a_policy_nothing_of_it_is_loaded(bench: Benches) -> None:
    b = bench()
    code = (
        "import sys\nfrom trigger.cli import main\ncode = main()\n"
        "print([name for name in sys.modules if 'trigger.policy.rules' in name])\nsys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "nmi", b.host, *b.confirmed(), "--no-wait"],
        env={**b.environment(), "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[]"), done.stderr
