"""BREAK and c as a button: at most once, and "refused" only where the c was never typed."""

from __future__ import annotations

import threading

import pytest

from drivers.telnet import TelnetDriver
from tests.drivers.ipmi_bmcs import options
from tests.drivers.serial_port import SerialPort
from trigger.clock import Deadline
from trigger.console.sysrq_crash import CrashByConsole
from trigger.driver import Console, Driver, Probe
from trigger.errors import DriverError, OutcomeUnknown, Refused
from trigger.host import Controller


class FailingConsole:
    """A console at which one step fails: `step` is the number of the write or BREAK, `error` what it raises."""

    def __init__(self, step: int, error: Exception) -> None:
        self.sent: list[bytes] = []
        self.closed = False
        self._step, self._error = step, error

    def read(self, deadline: Deadline) -> bytes:
        return b""

    def write(self, data: bytes) -> None:
        if len(self.sent) == self._step:
            self._step = -1
            raise self._error
        self.sent.append(data)

    def send_break(self) -> None:
        self.write(b"BREAK")

    def close(self) -> None:
        self.closed = True


class FailingDriver(Driver):
    def __init__(self, console: FailingConsole) -> None:
        super().__init__(Controller("made-up", "made-up", "127.0.0.1"), options())
        self.console = console

    def probe(self, deadline: Deadline) -> Probe:
        return Probe()

    def open_console(self, deadline: Deadline, *, steal: bool = False) -> Console:
        assert not steal
        return self.console


@pytest.mark.parametrize(
    ("step", "error", "expected", "sent"),
    [
        (0, DriverError("lost"), Refused, []),
        (1, Refused("NACK"), Refused, [b"\x15", b"h"]),
        (1, DriverError("no acknowledgement"), Refused, [b"\x15", b"h"]),
        (2, DriverError("lost"), DriverError, [b"\x15", b"BREAK"]),
    ],
)
def test_refused_only_where_no_c_was_typed(
    step: int, error: Exception, expected: type[Exception], sent: list[bytes]
) -> None:
    """After a BREAK that went wrong h is typed, which disarms the port; after a lost c nobody knows."""
    console = FailingConsole(step, error)
    with CrashByConsole(FailingDriver(console)) as crash:
        crash.probe(Deadline(5))
        with pytest.raises(DriverError) as raised:
            crash.send_sysrq_crash(Deadline(5))
    assert type(raised.value) is expected
    assert console.sent == sent
    assert console.closed


def crash_at(port: SerialPort) -> CrashByConsole:
    return CrashByConsole(TelnetDriver(Controller("telnet", "telnet", "127.0.0.1", port.port), options()))


def test_the_crash_is_one_break_and_one_c() -> None:
    with SerialPort() as port:
        with crash_at(port) as crash:
            crash.probe(Deadline(5))
            assert port.got == ""
            assert "the kernel says that it crashes" in crash.send_sysrq_crash(Deadline(10)).answer
            with pytest.raises(RuntimeError, match="nothing was sent now"):
                crash.send_sysrq_crash(Deadline(10))
        assert port.got == "\x15Bc"
        assert port.pressed == ["c"]


def test_a_mask_that_forbids_is_no_proof() -> None:
    """Anybody on the host can write these words to the console: the watch has to find out."""
    with SerialPort(mask=176) as port:
        with crash_at(port) as crash:
            crash.probe(Deadline(5))
            with pytest.raises(OutcomeUnknown, match=r"kernel\.sysrq forbids c; what a console says is no proof"):
                crash.send_sysrq_crash(Deadline(10))
        assert port.pressed == []


def test_a_silent_console_is_accepted_and_says_so() -> None:
    """Some kernels crash without a word; that both were sent is all that is known."""
    with SerialPort(hears_break=False) as port:
        with crash_at(port) as crash:
            crash.probe(Deadline(5))
            assert "no panic was seen" in crash.send_sysrq_crash(Deadline(10)).answer
        assert port.got == "\x15Bc"


def test_nothing_is_typed_without_a_probe() -> None:
    with SerialPort() as port:
        with crash_at(port) as crash, pytest.raises(RuntimeError):
            crash.send_sysrq_crash(Deadline(5))
        assert port.got == ""


def test_nothing_is_typed_on_a_console_on_which_a_dump_is_being_written() -> None:
    """A c that the crash kernel takes for its own destroys the dump."""
    with SerialPort() as port, crash_at(port) as crash:
        crash.probe(Deadline(5))
        over = threading.Event()

        def dumps() -> None:
            percent = 0
            while not over.wait(0.3):
                percent += 1
                port.say(f"\rCopying data                      : [ {percent}.0 %] /   eta: 30s".encode())

        saver = threading.Thread(target=dumps)
        saver.start()
        try:
            assert "Copying data" in crash.dump_in_progress()
        finally:
            over.set()
            saver.join()
        assert port.got == ""


def test_an_older_dump_that_a_console_server_repeats_stops_nothing() -> None:
    old = b"Copying data                      : [100.0 %] /   eta: 0s\r\nkdump: saving vmcore complete\r\n"
    with SerialPort(greeting=old) as port, crash_at(port) as crash:
        crash.probe(Deadline(5))
        assert crash.dump_in_progress() == ""
