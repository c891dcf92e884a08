"""Consoles by conserver: Debian's own server and client, in front of a port that counts."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.conserver import ConserverDriver
from tests.drivers.conserver_server import conserver
from tests.drivers.ipmi_bmcs import Secret, free_port, options
from tests.drivers.serial_port import SerialPort
from trigger.clock import Deadline
from trigger.console.line import Line
from trigger.console.sysrq import Dialogue, Heard
from trigger.errors import ConfigError, ConsoleBusy, DriverError, LoginFailed, Unreachable
from trigger.host import Controller, SecretReference


def driver(port: int, user: str = "operator", **given: Any) -> ConserverDriver:
    controller = Controller(
        "cons", "conserver", "127.0.0.1", port, user, system=given.pop("system", "server42"), **given
    )
    return ConserverDriver(controller, options())


@pytest.fixture
def far_end() -> Iterator[SerialPort]:
    with SerialPort() as port:
        yield port


@pytest.fixture
def server(tmp_path: Path, far_end: SerialPort) -> Iterator[int]:
    with conserver(tmp_path, "server42", far_end.port) as port:
        yield port


def test_a_key_is_one_break_and_one_character(server: int, far_end: SerialPort) -> None:
    console = driver(server).open_console(Deadline(30))
    try:
        answer = Line(console).press(Dialogue("w"))
    finally:
        console.close()
    assert (answer.heard, far_end.breaks, far_end.pressed) == (Heard.ANSWERED, 1, ["w"])


def test_the_clients_escape_is_only_data(server: int, far_end: SerialPort) -> None:
    console = driver(server).open_console(Deadline(30))
    console.write(b"a\x05c.b\x05cl0")
    far_end.await_got("a\x05c.b\x05cl0", 20)
    console.close()


def test_who_has_it_is_named_and_can_be_made_to_wait(server: int, far_end: SerialPort) -> None:
    first = driver(server, "bob").open_console(Deadline(30))
    with pytest.raises(ConsoleBusy, match=r"bob@localhost has the console\. They were not disturbed"):
        driver(server, "carl").open_console(Deadline(30))
    first.write(b"still mine")
    far_end.await_got("still mine", 20)
    second = driver(server, "carl").open_console(Deadline(30), steal=True)
    assert Line(second).press(Dialogue("h")).heard is Heard.HELP
    second.close()
    assert re.search(rb"forced to .spy. mode by carl", read_until(first, b"[attached]"))
    first.close()


def read_until(console: Any, wanted: bytes) -> bytes:
    said, deadline = b"", Deadline(30)
    while wanted not in said and not deadline.passed():
        said += console.read(deadline)
    assert wanted in said
    return said


def test_the_password_is_asked_for(tmp_path: Path, far_end: SerialPort) -> None:
    with conserver(tmp_path, "server42", far_end.port, "allowed") as port:
        (tmp_path / "passwd").write_text(f"operator:{hashed(Secret().password())}\n")
        with pytest.raises(LoginFailed):
            driver(port).open_console(Deadline(30))
        wanted = SecretReference("env", "BMC_PASSWORD")
        driver(port, password=wanted).open_console(Deadline(30)).close()
        (tmp_path / "passwd").write_text(f"operator:{hashed('another')}\n")
        with pytest.raises(LoginFailed) as raised:
            driver(port, password=wanted).open_console(Deadline(30))
    assert Secret().password() not in raised.value.message


def hashed(password: str) -> str:
    command = ["openssl", "passwd", "-6", "-stdin"]
    return subprocess.run(command, input=password, capture_output=True, text=True, check=True).stdout.strip()


def test_a_console_that_it_does_not_know(server: int) -> None:
    with pytest.raises(DriverError, match=r"did not let us in, saying: .*not found"):
        driver(server, system="server43").open_console(Deadline(30))


def test_nobody_listens() -> None:
    with pytest.raises(Unreachable, match="cannot be reached"):
        driver(free_port()).open_console(Deadline(30))


def test_a_name_is_needed() -> None:
    for name in ("", "-f"):
        with pytest.raises(ConfigError, match="no `system:`"):
            driver(1, system=name)


def test_a_lost_console_says_so(server: int) -> None:
    console = driver(server).open_console(Deadline(30))
    console._client.process.kill()  # type: ignore[attr-defined]
    with pytest.raises(EOFError):
        while True:
            console.read(Deadline(30))
    console.close()
    with pytest.raises(DriverError):
        console.write(b"x")
