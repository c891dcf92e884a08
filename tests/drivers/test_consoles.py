"""Consoles against a port that counts: by telnet, and by serial-over-LAN through ipmi_sim."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest

from drivers.ipmi_sol import open_sol
from drivers.telnet import TelnetDriver, TelnetParser
from tests.drivers.ipmi_bmcs import RealBmc, Secret, controller, options
from tests.drivers.serial_port import SerialPort, sol_bmc
from tests.drivers.udp_proxy import UdpProxy
from trigger.clock import Deadline
from trigger.console.line import Line
from trigger.console.sysrq import Dialogue, Heard
from trigger.driver import Console, HasConsole
from trigger.errors import ConsoleBusy, DriverError, LoginFailed, Unreachable
from trigger.host import Controller


def telnet(port: int) -> TelnetDriver:
    return TelnetDriver(Controller("telnet", "telnet", "127.0.0.1", port), options())


def read_until(console: Console, wanted: bytes, seconds: float = 5.0) -> bytes:
    said, deadline = b"", Deadline(seconds)
    while wanted not in said and not deadline.passed():
        said += console.read(deadline)
    assert wanted in said
    return said


@pytest.fixture
def far_end() -> Iterator[SerialPort]:
    with SerialPort() as port:
        yield port


@pytest.fixture(params=["telnet", "sol"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Console, SerialPort]]:
    """An opened console of each kind, and its far end."""
    with SerialPort() as port:
        if request.param == "telnet":
            console = telnet(port.port).open_console(Deadline(5))
            yield console, port
            console.close()
        else:
            with sol_bmc(tmp_path, port) as bmc:
                console = open_sol(controller(bmc.port), Secret(), Deadline(10))
                yield console, port
                console.close()


def test_a_key_is_one_break_and_one_character(opened: tuple[Console, SerialPort]) -> None:
    console, port = opened
    answer = Line(console).press(Dialogue("w"))
    assert (answer.heard, answer.typed) == (Heard.ANSWERED, True)
    assert b"Show Blocked State" in answer.said
    assert port.got == "\x15Bw"
    assert port.pressed == ["w"]


def test_a_stale_break_does_no_harm(opened: tuple[Console, SerialPort]) -> None:
    """The clearing character disarms the port; without it the BREAK would have cancelled the stale one."""
    console, port = opened
    port.armed = True
    assert Line(console).press(Dialogue("h", tries=2)).heard is Heard.HELP
    assert port.breaks == 1


def test_a_mask_that_forbids(opened: tuple[Console, SerialPort]) -> None:
    console, port = opened
    port.mask = 176
    line = Line(console)
    assert line.press(Dialogue("h", tries=2)).heard is Heard.HELP
    assert line.press(Dialogue("w")).heard is Heard.DISABLED
    assert port.pressed == []


def test_no_sysrq_at_all(opened: tuple[Console, SerialPort]) -> None:
    console, port = opened
    port.mask = 0
    answer = Line(console).press(Dialogue("h", tries=2))
    assert (answer.heard, port.breaks) == (Heard.ECHOED, 2)
    assert "BB" not in port.got


def test_garbage_after_a_break_ends_the_breaks() -> None:
    with SerialPort(hears_break=False, garbage=b"\xf8\x80\xfe\x81\xe0\xf0\x80\x99") as port:
        console = telnet(port.port).open_console(Deadline(5))
        answer = Line(console).press(Dialogue("h", tries=2))
        console.close()
    assert (answer.heard, answer.trusted, port.breaks) == (Heard.GARBAGE, False, 1)


def test_every_byte_passes(far_end: SerialPort) -> None:
    console = telnet(far_end.port).open_console(Deadline(5))
    console.write(bytes(range(256)))
    far_end.await_got("".join(map(chr, range(256))))
    far_end.say(bytes(range(256)) + b"end")
    assert bytes(range(256)) in read_until(console, b"end")
    console.close()


def test_telnet_however_the_stream_is_cut() -> None:
    """Seeded: 500 streams of data, doubled IACs, commands and subnegotiations, cut at random."""
    chooser = random.Random(7)
    parts = [(b"abc", b"abc"), (b"\xff\xff", b"\xff"), (b"\xff\xfb\x01", b""), (b"\xff\xf1", b"")]
    parts.append((b"\xff\xfa\x18\x01\xff\xf0", b""))
    for _ in range(500):
        chosen = chooser.choices(parts, k=12)
        raw, data = b"".join(p[0] for p in chosen), b"".join(p[1] for p in chosen)
        parser, said, at = TelnetParser(), b"", 0
        while at < len(raw):
            step = chooser.randint(1, 5)
            said += parser.feed(raw[at : at + step])[0]
            at += step
        assert said == data


def test_a_subnegotiation_without_end_does_not_grow() -> None:
    parser = TelnetParser()
    parser.feed(b"\xff\xfa" + b"x" * 100_000)
    assert parser.feed(b"data")[0] == b"data"


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unreachable, match="cannot be reached"):
        telnet(port).open_console(Deadline(2))


@pytest.mark.parametrize(("greeting", "error"), [(b"Port in use by \x1b[31mbob\r\n", ConsoleBusy), (b"", DriverError)])
def test_a_server_that_hangs_up(greeting: bytes, error: type[DriverError]) -> None:
    with SerialPort(greeting=greeting, connected=False) as port, pytest.raises(error) as raised:
        telnet(port.port).open_console(Deadline(2))
    assert type(raised.value) is error
    assert "\x1b" not in raised.value.message


def test_a_lost_console_says_how_far_it_came(far_end: SerialPort) -> None:
    console = telnet(far_end.port).open_console(Deadline(5))
    far_end.hang_up()
    with pytest.raises(EOFError):
        read_until(console, b"never")
    line = Line(console)
    line.listen(0.1, 0.1)
    with pytest.raises(DriverError, match=r"Nothing was sent\."):
        line.press(Dialogue("w"))
    console.close()
    console.close()


# --- serial-over-LAN ---------------------------------------------------------------------------------


@pytest.fixture
def sol(tmp_path: Path, far_end: SerialPort) -> Iterator[RealBmc]:
    with sol_bmc(tmp_path, far_end) as bmc:
        yield bmc


def test_sol_busy_is_not_disturbed_and_can_be_stolen(sol: RealBmc, far_end: SerialPort) -> None:
    """The first user's console goes on; with `steal` it is taken, and given back at the end."""
    from pyghmi.ipmi.console import Console as PyghmiConsole  # another client in a session of its own

    heard: list[object] = []
    other = PyghmiConsole("127.0.0.1", "crash", "made-up-Secret", heard.append, port=sol.port)
    _pump(other, lambda: other.connected)
    # pyghmi shares a session between users of one name, so the second comes by another name of the address.
    with pytest.raises(ConsoleBusy, match="somebody else has the serial console"):
        open_sol(controller(sol.port, "localhost"), Secret(), Deadline(10))
    far_end.say(b"still here")
    _pump(other, lambda: b"still here" in b"".join(part for part in heard if isinstance(part, bytes)))
    console = open_sol(controller(sol.port, "localhost"), Secret(), Deadline(10), steal=True)
    assert Line(console).press(Dialogue("h")).heard is Heard.HELP
    console.close()
    again = open_sol(controller(sol.port, "localhost"), Secret(), Deadline(10))
    again.close()
    other.ipmi_session.logout()


def _pump(console: object, happened: Callable[[], bool]) -> None:
    end = monotonic() + 10
    while not happened() and monotonic() < end:
        console.wait_for_rsp(0.05)  # type: ignore[attr-defined]
    assert happened()


def test_sol_is_given_back_every_time(sol: RealBmc) -> None:
    for _ in range(10):
        console = open_sol(controller(sol.port), Secret(), Deadline(10))
        begin = monotonic()
        console.close()
        assert monotonic() - begin < 2


def test_sol_wrong_password(sol: RealBmc) -> None:
    with pytest.raises(LoginFailed) as raised:
        open_sol(controller(sol.port), Secret("wrong-made-up"), Deadline(10))
    assert raised.value.rejected
    assert "wrong-made-up" not in raised.value.message


def test_sol_without_a_bmc() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        begin = monotonic()
        with pytest.raises(Unreachable, match="not opened in time"):
            open_sol(controller(deaf.getsockname()[1]), Secret(), Deadline(1.5))
    assert monotonic() - begin < 2


def test_sol_through_a_port_forward(sol: RealBmc, far_end: SerialPort) -> None:
    """The BMC names its own port, and means the one that was dialled."""
    with UdpProxy(("127.0.0.1", sol.port)) as proxy:
        console = open_sol(controller(proxy.port), Secret(), Deadline(10))
        answer = Line(console).press(Dialogue("w"))
        console.close()
        assert (answer.heard, far_end.got) == (Heard.ANSWERED, "\x15Bw")
        # and the payload was given back
        open_sol(controller(sol.port), Secret(), Deadline(10)).close()


def test_the_driver_has_a_console(sol: RealBmc) -> None:
    from drivers.ipmi import IpmiDriver

    with IpmiDriver(controller(sol.port), options()) as driver:
        assert isinstance(driver, HasConsole)
        driver.probe(Deadline(10))
        console = driver.open_console(Deadline(10))
        assert Line(console).press(Dialogue("h")).heard is Heard.HELP
        console.close()
