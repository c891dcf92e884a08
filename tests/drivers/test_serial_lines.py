"""RFC 2217 through pyserial's own server, and a serial device: a pseudo-terminal, whose BREAK is seen at its ioctl."""

from __future__ import annotations

import os
import pty
import select
import socket
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest

from drivers.rfc2217 import Rfc2217Driver
from drivers.serial_device import SerialDriver
from tests.drivers.ipmi_bmcs import free_port, options
from tests.drivers.rfc2217_bridge import Rfc2217Bridge
from tests.drivers.serial_port import SerialPort
from trigger.clock import Deadline
from trigger.console.line import Line
from trigger.console.sysrq import Dialogue, Heard
from trigger.errors import ConfigError, ConsoleBusy, DriverError, Unreachable
from trigger.host import Controller


def remote(port: int, **given: Any) -> Rfc2217Driver:
    return Rfc2217Driver(Controller("remote", "rfc2217", "127.0.0.1", port, options=given), options())


def device(path: str, **given: Any) -> SerialDriver:
    return SerialDriver(Controller("cable", "serial", path, options=given), options())


@pytest.fixture
def far_end() -> Iterator[SerialPort]:
    with SerialPort() as port:
        yield port


@pytest.fixture
def bridge(far_end: SerialPort) -> Iterator[Rfc2217Bridge]:
    with Rfc2217Bridge(far_end.port) as bridge:
        yield bridge


def test_a_key_is_one_break_and_one_character(bridge: Rfc2217Bridge, far_end: SerialPort) -> None:
    console = remote(bridge.port).open_console(Deadline(30))
    try:
        answer = Line(console).press(Dialogue("w"))
    finally:
        console.close()
    assert (answer.heard, far_end.got, bridge.breaks) == (Heard.ANSWERED, "\x15Bw", 1)
    assert not bridge.port_behind.break_condition  # it was let go


def test_the_speed_is_set(bridge: Rfc2217Bridge) -> None:
    remote(bridge.port, baud=19200).open_console(Deadline(30)).close()
    assert bridge.port_behind.baudrate == 19200
    remote(bridge.port).open_console(Deadline(30)).close()
    assert bridge.port_behind.baudrate == 115200


def test_every_byte_passes(bridge: Rfc2217Bridge, far_end: SerialPort) -> None:
    console = remote(bridge.port).open_console(Deadline(30))
    console.write(bytes(range(256)))
    far_end.await_got("".join(map(chr, range(256))), 20)
    far_end.say(bytes(range(256)) + b"end")
    said, deadline = b"", Deadline(30)
    while not said.endswith(b"end") and not deadline.passed():
        said += console.read(deadline)
    assert bytes(range(256)) + b"end" in said
    console.close()


def test_a_port_that_somebody_has(bridge: Rfc2217Bridge) -> None:
    first = remote(bridge.port).open_console(Deadline(30))
    with pytest.raises(ConsoleBusy, match=r"in use by 192\.0\.2\.7"):
        remote(bridge.port).open_console(Deadline(30))
    assert bridge.in_use
    first.close()


def test_a_telnet_port_that_is_no_rfc2217(far_end: SerialPort) -> None:
    with pytest.raises(DriverError, match=r"does not speak RFC 2217") as raised:
        remote(far_end.port).open_console(Deadline(10))
    assert "driver: telnet" in raised.value.next_step
    assert "B" not in far_end.got


def test_nobody_listens() -> None:
    with pytest.raises(Unreachable, match="cannot be reached"):
        remote(free_port()).open_console(Deadline(30))


def test_a_server_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        begin = monotonic()
        with pytest.raises((Unreachable, DriverError)):
            remote(deaf.getsockname()[1]).open_console(Deadline(1.5))
        assert monotonic() - begin < 10
        for thread in threading.enumerate():
            if thread.name == "rfc2217":
                thread.join(30)


def test_a_lost_port_says_so(bridge: Rfc2217Bridge) -> None:
    console = remote(bridge.port).open_console(Deadline(30))
    assert bridge._line is not None
    bridge._line.shutdown(socket.SHUT_RDWR)
    with pytest.raises(EOFError):
        while True:
            console.read(Deadline(30))
    with pytest.raises(DriverError, match="BREAK"):
        console.send_break()
    console.close()
    console.close()


# --- a device ----------------------------------------------------------------------------------------------


@pytest.fixture
def cable() -> Iterator[tuple[int, str]]:
    """A pseudo-terminal: its far end, and the path of the device. Nobody else has the device open."""
    far, near = pty.openpty()
    path = os.ttyname(near)
    os.close(near)
    yield far, path
    os.close(far)


def test_a_device_passes_bytes_and_holds_one_break(cable: tuple[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    from serial import serialposix

    far, path = cable
    seen: list[int] = []
    real = serialposix.fcntl.ioctl
    wanted = (0x5427, 0x5428)  # TIOCSBRK, TIOCCBRK (asm-generic/ioctls.h)

    def ioctl(fd: int, request: int, *rest: Any) -> Any:
        if request in wanted:
            seen.append(request)
            return 0
        return real(fd, request, *rest)

    monkeypatch.setattr(serialposix.fcntl, "ioctl", ioctl)
    console = device(path, baud=9600).open_console(Deadline(10))
    seen.clear()
    console.write(b"\x15")
    console.send_break()
    console.write(b"h")
    assert tuple(seen) == wanted
    got = b""
    while len(got) < 2 and select.select([far], [], [], 20)[0]:
        got += os.read(far, 10)
    assert got == b"\x15h"
    os.write(far, b"sysrq: HELP : \xff\r\n")
    said, deadline = b"", Deadline(20)
    while b"\n" not in said and not deadline.passed():
        said += console.read(deadline)
    assert said == b"sysrq: HELP : \xff\r\n"
    console.close()


def test_who_has_the_device_is_named(cable: tuple[int, str]) -> None:
    """Another program that has it open is found below /proc, and not disturbed."""
    import subprocess
    import sys

    _, path = cable
    code = "import sys,os; os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(ConsoleBusy, match=rf"process {other.pid}\) has the serial device open"):
            device(path).open_console(Deadline(10))
    device(path).open_console(Deadline(10)).close()


def test_a_second_console_of_ours_is_refused(cable: tuple[int, str]) -> None:
    first = device(cable[1]).open_console(Deadline(10))
    with pytest.raises(ConsoleBusy):
        device(cable[1]).open_console(Deadline(10))
    first.close()


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(Unreachable, match="No such file"):
        device("/dev/ttyUSB-none").open_console(Deadline(5))


@pytest.mark.parametrize("baud", ["fast", 0, True])
def test_wrong_settings_are_named(baud: object) -> None:
    with pytest.raises(ConfigError, match="baud is"):
        remote(7001, baud=baud)
    with pytest.raises(ConfigError, match="baud is"):
        device("/dev/ttyS0", baud=baud)
    with pytest.raises(ConfigError, match="is no device"):
        device("bmc.example.com")
    with pytest.raises(ConfigError, match="has no port of its own"):
        remote(0)
