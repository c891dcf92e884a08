"""A run on a terminal: the view while it lasts, the verdict that stays, and lines only for those who want them."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyte
import pytest

from tests.drivers.serial_port import SerialPort
from tests.drivers.terminal_session import LIMIT_S, TerminalSession
from tests.e2e.program import Bench
from tests.e2e.test_ladder import two_ways

Benches = Callable[..., Bench]


def watched(b: Bench, *options: str, command: str = "nmi", **environment: str) -> TerminalSession:
    words = [sys.executable, "-m", "trigger", command, b.host, *b.confirmed(), *options]
    return TerminalSession(words, {"TERM": "linux", **b.environment(), **environment}, b.folder)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


class Emulator:
    """A terminal emulator that shows what a session writes."""

    def __init__(self, session: TerminalSession, columns: int, rows: int) -> None:
        self.screen = pyte.HistoryScreen(columns, rows, history=1000, ratio=0.5)
        self._stream = pyte.ByteStream(self.screen)
        self._session = session
        self._fed = 0

    def lines(self) -> list[str]:
        self._stream.feed(self._session.shown[self._fed :])
        self._fed = len(self._session.shown)
        return [line.rstrip() for line in self.screen.display]

    def everything(self) -> str:
        """Return the scrollback and the screen, wrapped lines joined."""
        above = ["".join(row[n].data for n in range(self.screen.columns)) for row in self.screen.history.top]
        return "".join(line.ljust(self.screen.columns) for line in (*above, *self.lines()))

    def wait_for(self, pattern: str, limit: float = LIMIT_S) -> list[str]:
        end = time.monotonic() + limit
        while True:
            self._session.read(0.05)
            lines = self.lines()
            if any(re.search(pattern, line) for line in lines):
                return lines
            ended = self._session.process.poll() is not None and not self._session.read(0.1)
            assert time.monotonic() < end and not ended, f"{pattern!r} did not appear:\n" + "\n".join(lines)


def test_the_view_while_it_lasts_and_the_verdict_that_stays(bench: Benches) -> None:
    b = bench(dump_seconds=2.0, reboot_seconds=0.5)
    with watched(b) as session:
        terminal = Emulator(session, 80, 24)
        lines = terminal.wait_for(rf"^-- {b.host}: .* since the shot -")
        assert [line for line in lines if line.startswith("safe to power-cycle: ")]
        terminal.wait_for("^dump: writing")
        session.resize(24, 40)
        terminal.screen.resize(24, 40)
        terminal.wait_for(rf"^-- {b.host}: .{{,{37 - len(b.host)}}}$")
        lines = terminal.lines()
        assert len([line for line in lines if line.startswith(f"-- {b.host}")]) == 1, lines
        assert session.end() == 0
        lines = terminal.lines()
    assert not [line for line in lines if line.startswith(("-- server42", "safe to power-cycle"))]
    said = re.sub(r"\s+", "", terminal.everything())
    assert f"Acompletedumpof{b.host}haslanded" in said
    assert "power-cycle:safe:yes" in said


def test_a_question_stands_alone(bench: Benches) -> None:
    """The ladder asks at the deadline: the view is gone before, and comes again after the next rung was fired."""
    b = two_ways(bench(crash="never"))
    with watched(b, "--deadline", "3s", command="crash") as session:
        terminal = Emulator(session, 80, 40)
        terminal.wait_for(f"^-- {b.host}: .* since the shot")
        lines = terminal.wait_for("^If you know that")
        assert not [line for line in lines if line.startswith((f"-- {b.host}", "safe to power-cycle"))]
        session.type(f"{b.host}\n")
        terminal.wait_for(f"^-- {b.host}: .* since the shot")
        terminal.wait_for("^The next rung is SysRq c")
        session.type("no\n")
        assert session.end() == 10
    assert b.machine.delivered() == 2


@pytest.mark.parametrize(("options", "environment"), [(("--plain",), {}), ((), {"TERM": "dumb"})])
def test_lines_only(bench: Benches, options: tuple[str, ...], environment: dict[str, str]) -> None:
    b = bench(dump_seconds=0.5, reboot_seconds=0.5)
    with watched(b, *options, **environment) as session:
        assert session.end() == 0
    assert b"\x1b" not in session.shown
    assert re.search(rb"\r(?!\n)", session.shown) is None
    assert b"A complete dump of" in session.shown


def test_in_the_background_of_a_shell_the_line_that_a_person_types_is_left_alone(bench: Benches) -> None:
    b = bench(dump_seconds=1.0, reboot_seconds=0.5)
    shell = ["bash", "--norc", "--noediting", "-i"]
    environment = {"TERM": "linux", "PS1": "# ", **b.environment()}
    with TerminalSession(shell, environment, b.folder) as session:
        words = [sys.executable, "-m", "trigger", "nmi", b.host, *b.confirmed()]
        session.type(f"{shlex.join(words)} &\n")
        session.await_text("report: ")
        session.type("wait $!; exit $?\n")
        assert session.end() == 0
    assert b"\x1b" not in session.shown
    assert b"A complete dump of" in session.shown


def test_json_on_the_same_terminal_is_not_drawn_over(bench: Benches) -> None:
    b = bench(dump_seconds=0.5, reboot_seconds=0.5)
    with watched(b, "--json") as session:
        assert session.end() == 0
    assert b"\x1b" not in session.shown
    events = [json.loads(line) for line in session.shown.splitlines() if line.startswith(b"{")]
    assert [event["event"] for event in events] == [line["event"] for line in b.journal()], "whole, and every one"


def test_no_colour(bench: Benches) -> None:
    b = bench(dump_seconds=0.5, reboot_seconds=0.5)
    with watched(b, NO_COLOR="1") as session:
        assert session.end() == 0
    assert b"safe to power-cycle" in session.shown
    assert re.search(rb"\x1b\[[0-9;]*m", session.shown) is None


def test_a_phase_is_on_the_screen_soon(tmp_path: Path) -> None:
    """From the words on the console to the view: 0.5 s on a quiet machine; asked here for 5 s, since it is shared."""
    with SerialPort() as port:
        host = f"live{port.port}"
        controller = {"driver": "telnet", "address": "127.0.0.1", "port": port.port}
        config = tmp_path / "config.yaml"
        config.write_text(f"hosts:\n  {host}:\n    controllers: [{json.dumps(controller)}]\n")
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
        command = [sys.executable, "-m", "trigger", "sysrq", host, "c", "--config", str(config), "--confirm", host]
        command += ["--override", "no-record", "--override", "identity-unproved", "--reason", "test"]
        with TerminalSession(command, {**environment, "TERM": "linux"}, tmp_path) as session:
            terminal = Emulator(session, 80, 24)
            terminal.wait_for("^-- .*: the kernel panicked")
            for words, shown in (
                (b"\r\n[    0.000000] Command line: root=/dev/sda elfcorehdr=0x2a000000\r\n", "the crash kernel is up"),
                (b"\rCopying data                       : [ 45.0 %] /  eta: 12s", "the dump is being written"),
                (b"\r\n[    9.56] kdump[1]: saving vmcore complete\r\n", "the dump is written"),
            ):
                said = time.monotonic()
                port.say(words)
                terminal.wait_for(f"^-- {host}: {shown}")
                took = time.monotonic() - said
                print(f"{shown}: {took:.2f} s")
                assert took < 5.0
            session.type("\x03")
            assert session.end() == 10


def test_watching_costs_little(bench: Benches) -> None:
    """Under 2 % of a core while nothing happens; asked here for 6 %, since the machine is shared."""
    b = bench(dump_seconds=60.0)
    with watched(b) as session:
        terminal = Emulator(session, 80, 24)
        terminal.wait_for(" 2 s since the shot")
        before, begin = cpu_s(session.process.pid), time.monotonic()
        terminal.wait_for(" 6 s since the shot")
        used = (cpu_s(session.process.pid) - before) / (time.monotonic() - begin)
        session.type("\x03")
        assert session.end() == 10
    assert used < 0.06
