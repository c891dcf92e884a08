"""SysRq for real: ipmi_sim's serial-over-LAN, QEMU's serial port, a Linux kernel that takes BREAK and a key."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from tests.drivers.terminal_session import TerminalSession
from tests.lab.chain import Lab
from tests.lab.test_nmi import Program

pytestmark = pytest.mark.lab
HOST = "sysrq42"


@pytest.fixture(scope="module")
def program(lab: Lab, home: Path) -> Program:
    return Program(lab, home)


def breaks(lab: Lab) -> int:
    """Return how many BREAKs the guest's serial port has received (serial_core.c, uart_line_info)."""
    found = re.search(r"^0:.*\bbrk:(\d+)", lab.ssh("cat /proc/tty/driver/serial"), re.MULTILINE)
    return int(found[1]) if found else 0


def test_help_is_one_break(lab: Lab, program: Program) -> None:
    before = breaks(lab)
    code, rows, said = program.run("sysrq", HOST, "h", "--json")
    assert code == 0, said
    assert [(row["key"], row["heard"]) for row in rows] == [("h", "help")]
    assert breaks(lab) == before + 1
    assert "sysrq: HELP : loglevel(0-9)" in lab.console_text()


def test_keys_are_answered(lab: Lab, program: Program) -> None:
    before = breaks(lab)
    code, rows, said = program.run("sysrq", HOST, "w", "l", "m", "--json")
    assert code == 0, said
    assert [(row["key"], row["heard"]) for row in rows] == [(key, "answered") for key in "wlm"]
    assert breaks(lab) == before + 4
    dmesg = lab.ssh("dmesg")
    for words in ("sysrq: Show Blocked State", "sysrq: Show backtrace of all active CPUs", "Mem-Info:"):
        assert words in dmesg


def test_a_mask_that_forbids(lab: Lab, program: Program) -> None:
    lab.ssh("echo 16 >/proc/sys/kernel/sysrq")
    try:
        code, rows, said = program.run("sysrq", HOST, "w", "--json")
    finally:
        lab.ssh("echo 1 >/proc/sys/kernel/sysrq")
    assert (code, rows[-1]["heard"]) == (6, "disabled"), said


def test_a_person_at_the_console(lab: Lab, program: Program, home: Path) -> None:
    """Log in to the guest, run a command, BREAK and h, leave: one BREAK, a sane terminal, a recording that replays."""
    before = breaks(lab)
    command = [sys.executable, "-m", "trigger", "console", HOST]
    with TerminalSession(command, {"TERM": "vt100", **program._environment}, home) as desk:
        desk.await_text("~. leaves")
        desk.type("\r")
        desk.await_text("login: ")
        desk.type("root\r")
        desk.await_text("# ")
        desk.type("\x1b[5;1R")  # busybox's shell asks for the cursor's position, and terminals answer
        desk.type("echo $((6*7))\r")
        desk.await_text("\n42\r")
        desk.await_text("# ")
        desk.type("~sh")
        desk.await_text("[y/N] ")
        desk.type("y\r")
        desk.await_text("sysrq: HELP : loglevel(0-9)")
        desk.type("exit\r~.")
        assert desk.end() == 0
        assert desk.modes() == desk.before
    assert breaks(lab) == before + 1
    casts = sorted(home.glob(f"state/trigger/hosts/{HOST}/runs/*/console.cast"))
    header, *events = map(json.loads, casts[-1].read_text().splitlines())
    assert header["version"] == 2
    played = "".join(text for _, kind, text in events if kind == "o")
    assert "\n42\r" in played
    assert "sysrq: HELP" in played


def test_a_crash_that_the_mask_forbids_is_proved_to_be_none(lab: Lab, program: Program) -> None:
    """The console says "disabled", which is no proof; that the same boot runs on is: exit code 8."""
    assert program.run("preflight", HOST)[0] == 0
    boot, before = lab.boot_id(), breaks(lab)
    lab.ssh("echo 16 >/proc/sys/kernel/sysrq")
    try:
        options = ("--override", "alive", "--reason", "lab", "--json")
        code, events, said = program.run("sysrq", HOST, "c", "--confirm", HOST, *options)
    finally:
        lab.ssh("echo 1 >/proc/sys/kernel/sysrq")
    assert (code, events[-1]["ends_fire"]) == (8, True), said
    assert "its console says that kernel.sysrq forbids it" in events[-1]["text"]
    assert lab.boot_id() == boot
    assert breaks(lab) == before + 1


def test_a_hung_kernel_dumps(lab: Lab, program: Program, home: Path) -> None:
    assert program.run("preflight", HOST)[0] == 0
    boot, nmis = lab.boot_id(), lab.nmi_count()
    already = len(lab.console_text())
    lab.hang()
    code, events, said = program.run("sysrq", HOST, "c", "--confirm", HOST, "--reason", "lab", "--json")
    assert code == 0, said
    assert (lab.boot_id() != boot, lab.nmi_count()) == (True, nmis)
    end, dump = events[-1], [event for event in events if event["event"] == "DumpFound"][-1]
    assert (end["event"], end["exit_code"], end["safe_to_power_cycle"]) == ("Finished", 0, "yes")
    assert (dump["state"], dump["complete"], dump["panic"]) == ("verified", "yes", "sysrq triggered crash")
    # Exactly one key reached the old kernel: no help before, no second crash after.
    console = lab.console_text()[already:]
    assert re.findall(r"sysrq: [A-Z][a-z]+|sysrq: HELP", console) == ["sysrq: Trigger"]
    recordings = list(home.glob(f"state/trigger/hosts/{HOST}/runs/{end['run']}/console.txt"))
    assert len(recordings) == 1
    assert "Trigger a crash" in recordings[0].read_text()


def test_crash_climbs_from_an_nmi_that_is_ignored_to_sysrq(lab: Lab, program: Program) -> None:
    """Where `trigger nmi` ends 8 (test_nmi.py), `trigger crash` goes on to BREAK and c, and ends with the dump."""
    assert program.run("preflight", HOST)[0] == 0
    nmis = lab.nmi_count()
    knobs = ("unknown_nmi_panic", "panic_on_io_nmi", "panic_on_unrecovered_nmi")
    lab.ssh("; ".join(f"echo 0 >/proc/sys/kernel/{knob}" for knob in knobs))
    options = ("--confirm", HOST, "--override", "alive", "--reason", "lab", "--json")
    code, events, said = program.run("crash", HOST, *options, "--gather")
    assert code == 0, said
    assert [(event["outcome"], event["controller"]) for event in events if event["event"] == "Fired"] == [
        ("accepted", "ipmi"), ("accepted", "ipmi"),
    ]  # fmt: skip
    requests = [event["request"] for event in events if event["event"] == "Firing"]
    assert ["SysRq" in request for request in requests] == [False, True]
    proofs = [event for event in events if event["event"] == "Observed" and event["phase"] == "no-crash"]
    assert [proof["grade"] for proof in proofs] == ["proof"]
    dump = [event for event in events if event["event"] == "DumpFound"][-1]
    assert (dump["state"], dump["panic"]) == ("verified", "sysrq triggered crash")
    assert lab.nmi_count() == nmis + 1
    console = lab.console_text()
    for words in ("Dazed and confused", "sysrq: Show Blocked State", "Mem-Info:"):
        assert words in console, "--gather asks before the crash"
