"""`trigger console` as it is typed, on a pseudo-terminal, against a port that counts what arrives."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.drivers.serial_port import HELP, SerialPort
from tests.drivers.simulators.cli_server import PASSWORD, USER, host_key
from tests.drivers.simulators.ssh_console_server import SshConsoleServer
from tests.drivers.telnet_host import TelnetHost
from tests.drivers.terminal_session import LIMIT_S, TerminalSession
from trigger.console.escapes import Escapes, Meant, Typed


@pytest.fixture
def port() -> Iterator[SerialPort]:
    with SerialPort(greeting=b"login: ") as port:
        port.answers["s"] = b"\r\nsysrq: Emergency Sync\r\n"
        yield port


class Program(TelnetHost):
    """`trigger console` with one host whose only controller is the telnet port, and a state folder of its own."""

    def __init__(self, folder: Path, port: SerialPort) -> None:
        super().__init__(folder, port, "desk")

    def open(self, *options: str) -> TerminalSession:
        command = [sys.executable, "-m", "trigger", "console", self.host, *options]
        return TerminalSession(command, self.environment, self.folder)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "trigger", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=LIMIT_S, env=self.environment,
        )  # fmt: skip

    def recording(self, name: str = "console.cast") -> Path:
        [found] = self.folder.glob(f"state/trigger/hosts/{self.host}/runs/*/{name}")
        return found

    def journal(self) -> list[dict[str, Any]]:
        path = self.folder / f"state/trigger/hosts/{self.host}/journal.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def program(tmp_path: Path, port: SerialPort) -> Program:
    return Program(tmp_path, port)


def test_a_session(program: Program, port: SerialPort) -> None:
    """Log in, break, press, leave: what arrives, what is asked, what is kept, and a terminal as it was."""
    with program.open() as desk:
        desk.await_text("login: ")
        assert desk.modes() != desk.before  # raw
        desk.type("root\r")
        port.await_got("root\r")
        desk.type("~?")
        desk.await_text("stty rows 24 cols 80")
        desk.type("~sh")
        desk.await_text("[y/N] ")
        desk.type("y\r")
        desk.await_text(HELP)
        desk.type("~B")
        desk.await_text("[y/N] ")
        desk.type("n\r")
        desk.type("~ss")
        desk.await_text(f"Type {program.host} to send it: ")
        desk.type("server43\r")
        desk.await_text("s was not sent")
        desk.type("~ss")
        desk.await_text(f"Type {program.host} to send it: ")
        desk.type(f"{program.host}\r")
        desk.await_text("Emergency Sync")
        desk.type("~.")
        assert desk.end() == 0
        assert desk.modes() == desk.before
    assert port.got == "root\r\x15Bh\x15Bs"
    planned, finished = program.journal()
    assert (planned["action"], finished["sent"], finished["exit_code"]) == ("console s", "yes", 0)
    header, *events = map(json.loads, program.recording().read_text().splitlines())
    assert (header["version"], header["title"]) == (2, program.host)
    assert [time for time, _, _ in events] == sorted(time for time, _, _ in events)
    played = "".join(text for _, kind, text in events if kind == "o")
    assert played == "login: root" + HELP.decode() + "\r\nsysrq: Emergency Sync\r\n"


def test_no_crash_by_a_back_door(program: Program, port: SerialPort) -> None:
    with program.open() as desk:
        desk.await_text("login: ")
        desk.type("~sc")
        desk.await_text(f"`trigger sysrq {program.host} c` does it through the guard")
        desk.type("~B")
        desk.await_text("[y/N] ")
        desk.type("y\r")
        desk.await_text("the BREAK was sent")
        desk.type("cat /etc/motd\r")
        desk.await_text("c crashes the host and was not sent")
        desk.type("~B")
        desk.await_text("a second one would cancel it")
        desk.type("\r")  # an unknown key: help; the port is disarmed
        desk.await_text(HELP)
        desk.type("cat\r")
        port.await_got("B\rcat\r")
        desk.type("~.")
        assert desk.end() == 0
    assert port.pressed == []


def test_what_was_typed_too_early_answers_nothing(program: Program, port: SerialPort) -> None:
    """A text that is pasted must not confirm what it asked for itself."""
    with program.open() as desk:
        desk.await_text("login: ")
        desk.type("~By\ry\r")
        desk.await_text("[y/N] ")
        desk.type("\r")
        desk.type("~.")
        assert desk.end() == 0
    assert port.got == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_gives_the_terminal_back(program: Program, number: signal.Signals) -> None:
    with program.open() as desk:
        desk.await_text("login: ")
        assert desk.modes() != desk.before
        desk.process.send_signal(number)
        assert desk.end() == 128 + number
        assert desk.modes() == desk.before
        assert b"\x1b[?25h" in desk.shown  # the cursor is shown again


@pytest.mark.parametrize("leave", ["~.", signal.SIGTERM])
def test_a_controller_with_one_console_gets_it_back(tmp_path: Path, port: SerialPort, leave: str | int) -> None:
    """Supermicro keeps its only session for good when it is not left as its manual says; killed or not."""
    with SshConsoleServer("supermicro", port.port) as server:
        (tmp_path / "password").write_text(PASSWORD)
        (tmp_path / "password").chmod(0o600)
        options = {"kind": "supermicro", "host_key": host_key().get_fingerprint("sha256")}
        controller = {"driver": "ssh-console", "address": "127.0.0.1", "port": server.port, "user": USER,
                      "password": {"file": str(tmp_path / "password")}, "options": options}  # fmt: skip
        program = Program(tmp_path, port)
        config = tmp_path / "config.yaml"
        config.write_text(f"hosts:\n  {program.host}:\n    controllers: [{json.dumps(controller)}]\n")
        with program.open() as desk:
            desk.await_text("login: ")
            desk.type("root\r~sh")
            desk.await_text("[y/N] ")
            desk.type("y\r")
            desk.await_text("sysrq: HELP")
            if isinstance(leave, str):
                desk.type(leave)
            else:
                desk.process.send_signal(leave)
            assert desk.end() == (0 if isinstance(leave, str) else 128 + leave)
            assert desk.modes() == desk.before
        end = time.monotonic() + 20
        while (server.left, server.occupied) != (1, False) and time.monotonic() < end:
            time.sleep(0.01)
        assert (server.left, server.occupied, server.breaks) == (1, False, 1)
    assert port.got == "root\r\x15Bh\r"  # the last Enter is Supermicro's own way out


def test_a_window_that_closes_ends_it(program: Program) -> None:
    with program.open() as desk:
        desk.await_text("login: ")
        desk.hang_up()
        assert desk.process.wait(LIMIT_S) in (0, 128 + signal.SIGHUP)
    assert "login: " in program.recording("console.txt").read_text()


def test_a_lost_console_is_opened_again_and_nothing_is_sent(program: Program, port: SerialPort) -> None:
    with program.open() as desk:
        desk.await_text("login: ")
        port.hang_up()
        desk.await_text("the console was lost")
        desk.type("lost\r")
        desk.await_text("this was not sent")
        desk.await_text("the console is open again")
        desk.await_text("login: ")
        assert port.got == ""
        desk.type("root\r")
        port.await_got("root\r")
        desk.type("~.")
        assert desk.end() == 0
        assert desk.modes() == desk.before


def test_a_recording_without_anybody(program: Program, port: SerialPort) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "trigger", "console", program.host, "--log", "--json"], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, text=True, env=program.environment,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        opened = json.loads(process.stdout.readline())
        assert (opened["event"], opened["state"]) == ("Console", "opened")
        port.hang_up()
        assert [json.loads(process.stdout.readline())["state"] for _ in range(2)] == ["lost", "reopened"]
        process.send_signal(signal.SIGINT)
        closed = json.loads(process.stdout.readline())
        assert process.wait(LIMIT_S) == 0
    assert (closed["state"], port.got) == ("closed", "")
    assert "login" in program.recording("console.txt").read_text()


def test_usage(program: Program, port: SerialPort) -> None:
    for options in ((), ("--json",), ("--escape", "ab", "--log"), ("--via", "nobody", "--log")):
        done = program.run("console", program.host, *options)
        assert done.returncode == (3 if "--via" in options else 2), done.stderr
    assert port.got == ""


def test_the_host_itself_is_no_console(program: Program, port: SerialPort) -> None:
    config = program.folder / "config.yaml"
    config.write_text(f"{config.read_text()}    ssh: {{host: 127.0.0.1, port: {port.port}}}\n")
    done = program.run("console", program.host, "--via", "host", "--log")
    assert (done.returncode, port.got) == (3, "")
    assert f"trigger sysrq {program.host} KEY --via host" in done.stderr


def test_escapes_count_at_the_beginning_of_a_line_only() -> None:
    send = Meant.SEND
    assert Escapes().feed(b"cd ~/x\r") == [Typed(send, b"cd ~/x\r")]
    assert Escapes().feed(b"~~.\r~.") == [Typed(send, b"~.\r"), Typed(Meant.LEAVE)]
    assert Escapes().feed(b"~x~.") == [Typed(send, b"~x~.")]
    assert Escapes().feed(b"a\n~s w~?") == [Typed(send, b"a\n"), Typed(Meant.SYSRQ, b"w"), Typed(Meant.HELP)]
    assert Escapes().feed(b"~s\r~B") == [Typed(Meant.BREAK)]
    cut = Escapes(b"\x1d")
    assert cut.feed(b"\x1d") == []
    assert cut.feed(b".") == [Typed(Meant.LEAVE)]
    for answer in (b"\x1b[24;80R", b"\x1b[?1;2c", b"\x1b[0n", b"\x1b]11;rgb:00/00/00\x07", b"\x1bP>|tmux\x1b\\"):
        asked = Escapes()
        assert asked.feed(answer) == [Typed(send, answer)]
        assert asked.feed(b"~.") == [Typed(Meant.LEAVE)], answer
    assert Escapes().feed(b"\x1b[A~.") == [Typed(send, b"\x1b[A~.")]  # an arrow key begins a line's text
    assert Escapes(b"").feed(b"~.\r~.") == [Typed(send, b"~.\r~.")]
