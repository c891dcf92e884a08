"""Consoles over SSH, of every family: the way in and out, one BREAK, who has it, and taking it over."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic, sleep
from typing import Any

import pytest

from drivers.drac import DracDriver
from drivers.ilo import IloDriver
from drivers.ssh_console import WAYS, SshConsoleDriver
from tests.drivers.serial_port import SerialPort
from tests.drivers.simulators.cli_server import PASSWORD, USER, host_key
from tests.drivers.simulators.ssh_console_server import FAMILIES, SshConsoleServer
from trigger.clock import Deadline
from trigger.console.line import Line
from trigger.console.sysrq import Dialogue, Heard
from trigger.driver import Driver, DriverOptions, HasConsole
from trigger.errors import ConfigError, ConsoleBusy, DriverError, Unreachable, Untrusted
from trigger.host import Controller

WITH_PROMPT = tuple(kind for kind, family in FAMILIES.items() if family.prompt)
STEALABLE = tuple(kind for kind, family in FAMILIES.items() if family.steal)


class Answers:
    def password(self) -> str:
        return PASSWORD


def driver(family: str, port: int, **options: Any) -> Driver:
    """Return the driver of `family`, its host key pinned."""
    given = {"host_key": host_key().get_fingerprint("sha256"), **options}
    if family in WAYS:
        controller = Controller("con", "ssh-console", "127.0.0.1", port, USER, options={"kind": family, **given})
        return SshConsoleDriver(controller, DriverOptions(Answers()))
    made = {"ilo": IloDriver, "drac": DracDriver}[family]
    controller = Controller("con", family, "127.0.0.1", 443, USER, options={"ssh_port": port, **given})
    return made(controller, DriverOptions(Answers()))


def console_of(kind: str, port: int, *, steal: bool = False, **options: Any) -> Any:
    with driver(kind, port, **options) as made:
        assert isinstance(made, HasConsole)
        return made.open_console(Deadline(20), steal=steal)


@pytest.fixture
def far_end() -> Iterator[SerialPort]:
    with SerialPort() as port:
        yield port


def await_left(server: SshConsoleServer, times: int) -> None:
    end = monotonic() + 20
    while (server.left, server.occupied) != (times, False) and monotonic() < end:
        sleep(0.01)
    assert (server.left, server.occupied) == (times, False)


def test_every_row_is_tried() -> None:
    assert set(WAYS) | {"ilo", "drac"} == set(FAMILIES)
    assert all(way.source for way in WAYS.values())


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_key_is_one_break_and_one_character(kind: str, far_end: SerialPort) -> None:
    with SshConsoleServer(kind, far_end.port) as server:
        console = console_of(kind, server.port)
        try:
            answer = Line(console).press(Dialogue("w"))
        finally:
            console.close()
        assert (answer.heard, answer.typed) == (Heard.ANSWERED, True), answer.said
        assert (server.breaks, far_end.breaks, far_end.pressed) == (1, 1, ["w"])


@pytest.mark.parametrize("kind", WITH_PROMPT)
def test_the_console_is_given_back_every_time(kind: str, far_end: SerialPort) -> None:
    """A BMC with one console session keeps it for good when it is not left properly."""
    with SshConsoleServer(kind, far_end.port) as server:
        for times in (1, 2):
            console = console_of(kind, server.port)
            begin = monotonic()
            console.close()
            console.close()
            assert monotonic() - begin < 4
            await_left(server, times)


@pytest.mark.parametrize("kind", WITH_PROMPT)
def test_who_has_it_is_not_disturbed(kind: str, far_end: SerialPort) -> None:
    with SshConsoleServer(kind, far_end.port) as server:
        server.occupied = True
        with pytest.raises(ConsoleBusy) as raised:
            console_of(kind, server.port)
        assert "They were not disturbed" in raised.value.message
        assert " ".join(FAMILIES[kind].busy.split())[:20] in raised.value.message  # by whom, where it is told
        assert ("--steal" in raised.value.next_step) == (kind in STEALABLE)
        assert server.occupied
        assert FAMILIES[kind].steal not in server.lines
        assert far_end.got == ""


@pytest.mark.parametrize("kind", STEALABLE)
def test_steal_takes_it_and_gives_it_back(kind: str, far_end: SerialPort) -> None:
    with SshConsoleServer(kind, far_end.port) as server:
        server.occupied = True
        console = console_of(kind, server.port, steal=True)
        try:
            assert Line(console).press(Dialogue("h")).heard is Heard.HELP
        finally:
            console.close()
        await_left(server, 1)
        assert FAMILIES[kind].steal in server.lines


def test_steal_takes_nothing_that_is_free(far_end: SerialPort) -> None:
    with SshConsoleServer("ilo", far_end.port) as server:
        console_of("ilo", server.port, steal=True).close()
        assert FAMILIES["ilo"].steal not in server.lines


@pytest.mark.parametrize(
    ("words", "error"), [("Port 7 is in use by \x1b[31mbob\r\n", ConsoleBusy), ("bye\r\n", DriverError)]
)
def test_a_server_that_hangs_up(words: str, error: type[DriverError], far_end: SerialPort) -> None:
    with SshConsoleServer("plain", far_end.port, hangs_up_saying=words) as server, pytest.raises(error) as raised:
        console_of("plain", server.port)
    assert type(raised.value) is error
    assert "\x1b" not in raised.value.message
    assert words.split()[-1].replace("\x1b[31m", "") in raised.value.message


def test_another_families_prompt_is_an_error(far_end: SerialPort) -> None:
    with SshConsoleServer("lenovo", far_end.port) as server:
        made = driver("supermicro", server.port)
        assert isinstance(made, HasConsole)
        with pytest.raises(Unreachable, match=r"no prompt came.*system>"):
            made.open_console(Deadline(2))


def test_a_host_key_that_nobody_pinned(far_end: SerialPort) -> None:
    with SshConsoleServer("ilo", far_end.port) as server:
        with pytest.raises(Untrusted) as raised:
            console_of("ilo", server.port, host_key="")
        assert "host_key" in raised.value.next_step
        assert server.lines == []


def test_a_lost_console_says_so(far_end: SerialPort) -> None:
    with SshConsoleServer("plain", far_end.port) as server:
        console = console_of("plain", server.port)
        console._shell.close()
        with pytest.raises(EOFError):
            while True:
                console.read(Deadline(10))
        with pytest.raises(DriverError):
            console.write(b"x")
        with pytest.raises(DriverError, match="no BREAK was sent"):
            console.send_break()
        console.close()


def test_wrong_options_are_named() -> None:
    with pytest.raises(ConfigError, match=r"kind is 'ibm'; it can be plain, openbmc"):
        driver("openbmc", 2200, kind="ibm")
    with pytest.raises(ConfigError, match="ssh_port is not a number"):
        IloDriver(Controller("ilo", "ilo", "192.0.2.1", options={"ssh_port": "x"}), DriverOptions(Answers()))
