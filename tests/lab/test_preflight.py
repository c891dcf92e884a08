"""Preflight against the real guest: healthy, then broken in one way after the other; the printed remedy cures it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.chain import Lab

pytestmark = pytest.mark.lab

STOP_GETTY = "sed -i /getty/d /etc/inittab; kill -HUP 1; killall getty"
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


def breaks(lab: Lab) -> int:
    """Return how many BREAKs the guest's serial port has received (serial_core.c, uart_line_info)."""
    found = re.search(r"^0:.*\bbrk:(\d+)", lab.ssh("cat /proc/tty/driver/serial"), re.MULTILINE)
    return int(found[1]) if found else 0


def test_a_break_is_rehearsed_once_per_boot(preflight: Preflight, lab: Lab) -> None:
    before = breaks(lab)
    preflight()
    assert breaks(lab) == before, "only when asked for"
    row = preflight("--rehearse")
    assert row["verdicts"]["console-break"] == "pass"
    assert breaks(lab) == before + 1
    record = json.loads(preflight.record.read_text())
    assert record["console"]["device"] == "ttyS0"
    assert record["console"]["proved_at"] is not None
    made = record["rehearsals"]["ipmi"]
    assert (made["result"], made["boot_id"]) == ("proved", lab.boot_id())
    again = preflight("--rehearse")
    assert "not again" in next(f["says"] for f in again["findings"] if f["check"] == "console-break")
    assert breaks(lab) == before + 1
    assert lab.boot_id() == record["boot_id"], "a rehearsal harms nothing"


def test_a_mask_of_0_is_named(preflight: Preflight, lab: Lab) -> None:
    lab.ssh("echo 0 >/proc/sys/kernel/sysrq")
    try:
        row = preflight("--rehearse")
    finally:
        lab.ssh("echo 1 >/proc/sys/kernel/sysrq")
    assert row["verdicts"]["console-break"] == "fail"
    assert json.loads(preflight.record.read_text())["rehearsals"]["ipmi"]["result"] == "mask-0"


@pytest.mark.parametrize(
    ("broken", "check", "before", "after", "undo"),
    [
        ("echo 0 >/proc/sys/kernel/unknown_nmi_panic; echo 0 >/proc/sys/kernel/panic_on_unrecovered_nmi",
         "nmi-settings", "fail", "pass", ""),
        ("echo 0 >/proc/sys/kernel/unknown_nmi_panic", "nmi-settings", "warn", "pass", ""),
        ("echo 16 >/proc/sys/kernel/sysrq", "sysrq-mask", "fail", "pass", ""),
        ("kexec -p -u", "kdump-loaded", "fail", "pass", ""),
        ("mount -o remount,ro /var/crash", "target-reachable", "fail", "pass", ""),
        (STOP_GETTY, "console-awake", "warn", "pass", ""),
        (FILL, "target-space", "fail", "fail", "rm -r -- /var/crash/fill"),
    ],
    ids=["nmi", "unknown nmi", "sysrq", "kexec -p -u", "read-only", "getty", "full"],
)  # fmt: skip
def test_broken_found_and_cured(
    preflight: Preflight, lab: Lab, broken: str, check: str, before: str, after: str, undo: str
) -> None:
    lab.ssh(broken)
    row = preflight()
    assert row["verdicts"][check] == before
    remedy = next(finding for finding in row["findings"] if finding["check"] == check)["remedy"]
    assert remedy
    if check.startswith(("kdump", "target")):
        assert (row["code"], row["state"]) == (4, "not-ready")
    preflight.cure()
    end = time.monotonic() + 60
    while preflight()["verdicts"][check] != after:  # init starts a getty again when it gets to it
        assert time.monotonic() < end
    if undo:  # no program decides which old dumps may go: it is printed as a remark
        assert any(line.startswith("# ") and line.endswith(undo) for line in remedy)
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
