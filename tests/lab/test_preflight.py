"""Preflight against the real guest: healthy, then broken in one way after the other; the printed remedy cures it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.chain import Lab

pytestmark = pytest.mark.lab

FILL = "set -- $(df -Pk /var/crash | tail -n 1); busybox fallocate -l $(($4 - 1000))k /var/crash/fill"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab.start(tmp_path_factory.mktemp("lab")) as started:
        yield started


class Preflight:
    """The real program against the lab, with a state folder of its own."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._lab = lab
        self._config = folder / "config.yaml"
        self._config.write_text(lab.config())
        self._environment = {**os.environ, "HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}
        self._environment["TRIGGER_CONFIG"] = str(self._config)
        self.record = folder / "state" / "trigger" / "hosts" / lab.name / "record.json"

    def __call__(self, *words: str) -> dict[str, Any]:
        done = self.run("--json", *words)
        row: dict[str, Any] = json.loads(done.stdout)
        row["code"] = done.returncode
        row["verdicts"] = {finding["check"]: finding["verdict"] for finding in row["findings"]}
        return row

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "trigger", "preflight", self._lab.name, *words]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=120)

    def configure(self, old: str, new: str) -> None:
        self._config.write_text(self._config.read_text().replace(old, new))

    def cure(self) -> None:
        """Run the fix plan in the guest, as a person would who has read it."""
        plan = self.run("--fix-plan").stdout
        done = self._lab.access.run(f"sh -s <<'PLAN'\n{plan}\nPLAN", 60)
        assert done.returncode == 0, done.stderr


@pytest.fixture
def preflight(lab: Lab, tmp_path: Path) -> Preflight:
    return Preflight(lab, tmp_path)


def test_healthy(preflight: Preflight, lab: Lab) -> None:
    row = preflight("--probe-target")
    assert (row["code"], row["state"]) == (0, "ready")
    assert row["verdicts"]["controller-identity"] == "pass"
    assert row["verdicts"]["target-reachable"] == "pass"
    assert "fail" not in row["routes"]["nmi"].values()
    assert "fail" not in row["routes"]["sysrq-ssh"].values()
    assert "fail" not in row["routes"]["sysrq-sol"].values()
    record = json.loads(preflight.record.read_text())
    assert record["boot_id"] == lab.boot_id()
    assert record["build_id"] in lab.ssh("od -An -v -tx1 /sys/kernel/notes").replace(" ", "").replace("\n", "")
    assert record["kernel_release"] == lab.ssh("uname -r").strip()
    assert lab.nmi_count() == 0, "a preflight fires nothing"


def test_a_break_is_rehearsed(preflight: Preflight, lab: Lab) -> None:
    row = preflight("--rehearse")
    assert row["verdicts"]["console-break"] == "pass"
    record = json.loads(preflight.record.read_text())
    assert record["console"]["device"] == "ttyS0"
    assert record["console"]["proved_at"] is not None
    assert lab.boot_id() == record["boot_id"], "a rehearsal harms nothing"


@pytest.mark.parametrize(
    ("broken", "check", "before", "after", "undo"),
    [
        ("echo 0 >/proc/sys/kernel/unknown_nmi_panic; echo 0 >/proc/sys/kernel/panic_on_unrecovered_nmi",
         "nmi-settings", "fail", "pass", ""),
        ("echo 0 >/proc/sys/kernel/unknown_nmi_panic", "nmi-settings", "warn", "pass", ""),
        ("echo 16 >/proc/sys/kernel/sysrq", "sysrq-mask", "fail", "pass", ""),
        ("kexec -p -u", "kdump-loaded", "fail", "pass", ""),
        ("mount -o remount,ro /var/crash", "target-reachable", "fail", "pass", ""),
        (FILL, "target-space", "fail", "fail", "rm /var/crash/fill"),
    ],
    ids=["nmi", "unknown nmi", "sysrq", "kexec -p -u", "read-only", "full"],
)  # fmt: skip
def test_broken_found_and_cured(
    preflight: Preflight, lab: Lab, broken: str, check: str, before: str, after: str, undo: str
) -> None:
    lab.ssh(broken)
    row = preflight()
    assert row["verdicts"][check] == before
    assert next(finding for finding in row["findings"] if finding["check"] == check)["remedy"]
    if check.startswith(("kdump", "target")):
        assert (row["code"], row["state"]) == (4, "not-ready")
    preflight.cure()
    assert preflight()["verdicts"][check] == after
    if undo:  # no program decides which old dumps may go
        lab.ssh(undo)
    row = preflight()
    assert (row["code"], row["verdicts"][check]) == (0, "pass")
    assert lab.nmi_count() == 0


def test_wrong_identity_in_the_configuration(preflight: Preflight) -> None:
    preflight.configure("    ssh:", '    identity: {"uuid": "99999999-1234-5678-9abc-def012345678"}\n    ssh:')
    row = preflight()
    assert (row["code"], row["state"]) == (4, "not-ready")
    assert row["verdicts"]["controller-identity"] == "fail"
    says = next(f["says"] for f in row["findings"] if f["check"] == "controller-identity")
    assert "WRONG MACHINE" in says


def test_a_hung_host_is_not_waited_for_long(preflight: Preflight, lab: Lab) -> None:
    before = preflight()
    lab.hang()
    row = preflight()
    assert (row["host_seen"], row["controllers_seen"]) == (False, 1)
    assert row["verdicts"]["host-login"] == "fail"
    record = json.loads(preflight.record.read_text())
    assert record["kernel_release"] == before["kernel"], "what is known of it stays"
