"""BREAK and h, against a model of the kernel's serial port (uart_handle_break, uart_handle_sysrq_char)."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from trigger.clock import Deadline, FastClock
from trigger.driver import Console
from trigger.errors import DriverError
from trigger.preflight.rehearse import rehearse

HELP = b"\r\n[  12.3] sysrq: HELP : loglevel(0-9) reboot(b) crash(c)\r\n"


@dataclass
class Port:
    """A serial console as the kernel drives it. A BREAK arms, a second one disarms, a character is taken when armed."""

    clock: FastClock
    armed: bool = False
    drops_break: bool = False
    mask: int = 1
    lost: bool = False
    out: bytes = b"old text, sysrq: HELP : of an hour ago\r\nserver42 login: "
    typed: bytes = b""
    breaks: int = 0
    closed: bool = False
    keys: list[bytes] = field(default_factory=list)

    def read(self, deadline: Deadline) -> bytes:
        if self.lost:
            raise EOFError("deactivated")
        data, self.out = self.out, b""
        if not data:
            self.clock.sleep(deadline.left())
        return data

    def write(self, data: bytes) -> None:
        for byte in data:
            if self.armed and self.mask:
                self.armed = False
                self.keys.append(bytes([byte]))
                self.out += HELP if byte == ord("h") else b""
            else:
                self.typed += bytes([byte])
                self.armed = False

    def send_break(self) -> None:
        self.breaks += 1
        if not self.drops_break:
            self.armed = not self.armed

    def close(self) -> None:
        self.closed = True


class Controller:
    """A driver with that console."""

    def __init__(self, port: Port, busy: bool = False) -> None:
        self.port = port
        self.busy = busy

    def open_console(self, deadline: Deadline, *, steal: bool = False) -> Console:
        assert steal is False, "a rehearsal takes no console from anybody"
        if self.busy:
            raise DriverError("the console is in use by another session")
        return self.port


@pytest.fixture
def clock() -> FastClock:
    return FastClock()


def test_a_break_that_arrives(clock: FastClock) -> None:
    port = Port(clock)
    found = rehearse(Controller(port), clock)
    assert found.proved
    assert (port.breaks, port.keys, port.typed, port.closed) == (1, [b"h"], b"", True)


def test_a_stale_break_is_cleared(clock: FastClock) -> None:
    port = Port(clock, armed=True)
    found = rehearse(Controller(port), clock)
    assert found.proved
    assert "second attempt" in found.says
    assert (port.breaks, port.keys) == (2, [b"h"])


@pytest.mark.parametrize("faults", [{"drops_break": True}, {"mask": 0}])
def test_a_break_that_does_not_arrive(clock: FastClock, faults: dict[str, int]) -> None:
    port = Port(clock, **faults)  # type: ignore[arg-type]
    found = rehearse(Controller(port), clock)
    assert not found.proved
    assert "does not arrive" in found.says
    assert (port.breaks, port.closed) == (2, True)
    assert clock.monotonic() < 10
    assert b"c" not in port.typed


def test_old_text_is_no_answer(clock: FastClock) -> None:
    assert not rehearse(Controller(Port(clock, drops_break=True)), clock).proved


def test_a_console_in_use_is_left_alone(clock: FastClock) -> None:
    port = Port(clock)
    found = rehearse(Controller(port, busy=True), clock)
    assert not found.proved
    assert "in use" in found.says
    assert port.breaks == 0


def test_a_console_that_is_lost(clock: FastClock) -> None:
    port = Port(clock, lost=True)
    assert not rehearse(Controller(port), clock).proved
    assert port.closed
