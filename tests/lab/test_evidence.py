"""What the watch sees of a real kernel: ignored, kdump unloaded, hung in the crash kernel, without a console."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.lab import packages
from tests.lab.chain import Lab
from tests.lab.test_nmi import Program

pytestmark = pytest.mark.lab
HOST = "evidence42"
KNOBS = ("unknown_nmi_panic", "panic_on_io_nmi", "panic_on_unrecovered_nmi")
Events = list[dict[str, Any]]


@pytest.fixture(scope="module")
def program(lab: Lab, home: Path) -> Program:
    """The program with a record of the healthy guest: what the tests break later, it does not know."""
    program = Program(lab, home)
    code, _, said = program.run("preflight", HOST)
    assert code == 0, said
    return program


def fire(program: Program, *command: str) -> tuple[int, Events, str]:
    """Fire at the guest, which answers: these tests need it to be prepared over SSH just before."""
    return program.run(*command, "--confirm", HOST, "--override", "alive", "--reason", "lab", "--json")


def on_console(events: Events) -> list[tuple[str, str]]:
    """Return (phase, pattern) of what was seen on the console, in order."""
    return [
        (event["phase"], event["pattern"])
        for event in events
        if event["event"] == "Observed" and event["source"] == "console" and event["pattern"]
    ]


def test_an_ignored_nmi_is_seen_on_the_console(lab: Lab, program: Program, home: Path) -> None:
    boot = lab.boot_id()
    lab.ssh("; ".join(f"echo 0 >/proc/sys/kernel/{knob}" for knob in KNOBS))
    try:
        code, events, said = fire(program, "nmi", HOST)
    finally:
        lab.ssh("; ".join(f"echo 1 >/proc/sys/kernel/{knob}" for knob in KNOBS))
    assert code == 8, said
    assert lab.boot_id() == boot
    assert ("ignored", "nmi-ignored") in on_console(events)
    end = events[-1]
    assert "Its console says why: the kernel ignored the NMI" in end["text"]
    assert (end["safe_to_power_cycle"], end["ends_fire"]) == ("yes", True)
    fired = next(event["time"] for event in events if event["event"] == "Fired")
    assert end["time"] - fired < 18, "with the console's word the proof needs no 20 s"
    kept = home / "state" / "trigger" / "hosts" / HOST / "runs" / end["run"] / "console.txt"
    assert "Dazed and confused" in kept.read_text()


def test_without_kdump_the_host_reboots_and_no_dump_will_come(lab: Lab, program: Program) -> None:
    """By SysRq: on a panic by NMI this kernel's "Rebooting in" does not reach the serial port."""
    lab.ssh("kexec -p -u && echo 1 >/proc/sys/kernel/panic")
    boot, dumps = lab.boot_id(), lab.dumps()
    code, events, said = fire(program, "sysrq", HOST, "c")
    assert code == 9, said
    seen = on_console(events)
    assert seen[:2] == [("panicked", "sysrq-crash"), ("panicked", "panic")], "the console that fired is watched on"
    said_it = next(event for event in events if event.get("pattern") == "rebooting-in")
    assert (said_it["phase"], said_it["grade"]) == ("failed", "strong")
    end = events[-1]
    assert "kdump did not start" in end["text"]
    assert end["time"] - said_it["time"] < 30
    assert (end["safe_to_power_cycle"], end["ends_fire"]) == ("yes", True)
    lab.wait_for_reboot(boot)
    assert lab.dumps() == dumps


def test_a_crash_kernel_that_hangs_is_pending_and_not_called_safe(lab: Lab, program: Program) -> None:
    """Last in this guest: it is not seen to come back."""
    lab.ssh("kexec -p -u && /sbin/kdump-load lab.pause=900")
    code, events, said = fire(program, "nmi", HOST, "--deadline", "30s")
    assert code == 10, said
    end = events[-1]
    seen = on_console(events)
    assert ("crash-kernel", "crash-kernel") in seen, seen
    assert "Last seen: the kernel log is being saved" in end["text"]
    assert end["safe_to_power_cycle"] == "no"
    assert "Do not power-cycle" in end["text"]
    assert end["ends_fire"] is False


def test_a_host_without_a_console_dumps_all_the_same(tmp_path: Path) -> None:
    """Its BMC has no serial-over-LAN: a warning, and the dump is the proof."""
    packages.install(print)
    with Lab.start(tmp_path / "silent42", name="silent42", sol=False, report=print) as lab:
        program = Program(lab, tmp_path)
        # The record compares the clocks: the guest's lags on a busy machine, and its dump would look too old.
        code, _, said = program.run("preflight", "silent42")
        assert code == 0, said
        lab.hang()
        code, events, said = program.run("nmi", "silent42", "--confirm", "silent42", "--reason", "lab", "--json")
        assert code == 0, said
    assert on_console(events) == []
    assert any(event["event"] == "Observed" and "no console" in event["text"] for event in events)
    assert events[-1]["safe_to_power_cycle"] == "yes"
