"""The main job, for real: a hung Linux kernel takes an NMI from its BMC, crashes, dumps and comes back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lab.chain import Lab

pytestmark = pytest.mark.lab
HOST = "nmi42"


class Program:
    """`trigger` with the lab's configuration and a state folder of its own."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "TRIGGER_CONFIG": str(lab.config_file),
        }

    def run(self, *arguments: str, timeout: float = 300) -> tuple[int, list[dict[str, Any]], str]:
        """Run `trigger`; return its exit code, the JSON lines of its output, and what it said to people."""
        done = subprocess.run(
            [sys.executable, "-m", "trigger", *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, env=self._environment,
        )  # fmt: skip
        events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return done.returncode, events, done.stderr


@pytest.fixture(scope="module")
def program(lab: Lab, home: Path) -> Program:
    return Program(lab, home)


def test_a_hung_kernel_dumps(lab: Lab, program: Program) -> None:
    ready, _, said = program.run("preflight", HOST)
    assert ready == 0, said
    boot, before = lab.boot_id(), lab.nmi_count()
    lab.hang()
    code, events, said = program.run("nmi", HOST, "--confirm", HOST, "--reason", "lab", "--json")
    assert code == 0, said
    assert lab.nmi_count() == before + 1
    assert lab.boot_id() != boot
    end, dump = events[-1], [event for event in events if event["event"] == "DumpFound"][-1]
    assert (end["event"], end["exit_code"], end["safe_to_power_cycle"]) == ("Finished", 0, "yes")
    assert (dump["state"], dump["complete"], dump["panic"]) == ("verified", "yes", "NMI: Not continuing")
    assert dump["release"] == lab.ssh("uname -r").strip()
    host, path = dump["path"].split(":", 1)
    assert host == HOST
    assert path in lab.dumps()
    inspected, found, _ = program.run("inspect", dump["path"], "--json")
    assert (inspected, found[0]["complete"]) == (0, "yes")


def test_a_host_that_answers_is_not_shot(lab: Lab, program: Program) -> None:
    before = lab.nmi_count()
    code, _, said = program.run("nmi", HOST, "--confirm", HOST)
    assert code == 5, said
    assert "is alive" in said
    assert lab.nmi_count() == before


def test_a_kernel_that_ignores_the_nmi_is_proved_unharmed(lab: Lab, program: Program) -> None:
    """The BMC says yes, the kernel says "Dazed and confused": exit code 8, and the host runs on."""
    boot, before = lab.boot_id(), lab.nmi_count()
    knobs = ("unknown_nmi_panic", "panic_on_io_nmi", "panic_on_unrecovered_nmi")
    lab.ssh("; ".join(f"echo 0 >/proc/sys/kernel/{knob}" for knob in knobs))
    try:
        options = ("--override", "alive", "--reason", "lab", "--json")
        code, events, said = program.run("nmi", HOST, "--confirm", HOST, *options)
    finally:
        lab.ssh("; ".join(f"echo 1 >/proc/sys/kernel/{knob}" for knob in knobs))
    assert code == 8, said
    assert lab.nmi_count() == before + 1
    assert lab.boot_id() == boot
    assert "Dazed and confused" in lab.ssh("dmesg")
    assert events[-1]["ends_fire"] is True
