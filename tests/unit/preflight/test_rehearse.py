"""A CR, then BREAK and h, against a model of the kernel's serial port (uart_handle_break, uart_handle_sysrq_char)."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.unit.preflight.cases import all_cases, printed
from trigger.clock import Deadline, FastClock
from trigger.driver import Console
from trigger.errors import DriverError, Refused
from trigger.preflight.check import Verdict, fail, good
from trigger.preflight.facts import Facts
from trigger.preflight.readings import parse
from trigger.preflight.rehearse import Rehearsal, judge_rehearsal, of_this_boot, rehearse, rehearsed, why_not
from trigger.record import Record

HELP = b"\r\n[  12.3] sysrq: HELP : loglevel(0-9) reboot(b) crash(c)\r\n"


@dataclass
class Port:
    """A serial console as the kernel drives it. A BREAK arms, a second one disarms, a character is taken when armed."""

    clock: FastClock
    armed: bool = False
    drops_break: bool = False
    mask: int = 1
    lost: bool = False
    getty: bool = False
    nacks: bool = False
    steps_baud: bool = False
    wrong_baud: bool = False
    acts: list[str] = field(default_factory=list)
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
        self.acts += ["CR" if data.endswith(b"\r") else data.decode()]
        self.out += b"\xfe\xf8\x80\xff" * 3 if self.wrong_baud else b"" if not self.getty else data
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
        self.acts.append("BREAK")
        if self.nacks:
            raise Refused("the BREAK was refused")
        if self.steps_baud:
            self.wrong_baud = True
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
    assert (found.result, found.proved, found.sent) == ("proved", True, True)
    assert port.acts == ["CR", "BREAK", "h"]
    assert (port.breaks, port.keys, port.typed, port.closed) == (1, [b"h"], b"\x15\r", True)


def test_a_stale_break_is_cleared_by_the_cr(clock: FastClock) -> None:
    port = Port(clock, armed=True)
    assert rehearse(Controller(port), clock).proved
    assert (port.breaks, port.keys) == (1, [b"\x15", b"h"])


@pytest.mark.parametrize(
    ("faults", "mask", "result", "words"),
    [
        ({"drops_break": True}, 184, "lost", "did not answer"),
        ({"drops_break": True, "getty": True}, 184, "prompt", "Something else than SysRq got the 'h'"),
        ({"mask": 0}, 0, "mask-0", "kernel.sysrq is 0"),
        ({"nacks": True}, 184, "lost", "the BREAK was refused"),
        ({"lost": True}, 184, "lost", "the console was lost"),
    ],
)
def test_a_break_that_does_not_arrive(
    clock: FastClock, faults: dict[str, bool], mask: int, result: str, words: str
) -> None:
    port = Port(clock, **faults)  # type: ignore[arg-type]
    found = rehearse(Controller(port), clock, mask)
    assert (found.result, found.sent) == (result, True)
    assert words in found.says
    assert port.breaks <= 2
    assert not any(one == other == "BREAK" for one, other in zip(port.acts, port.acts[1:], strict=False))
    assert port.closed
    assert clock.monotonic() < 20
    assert b"c" not in port.typed
    judged = judge_rehearsal(found)
    assert judged.verdict is Verdict.FAIL
    assert judged.remedy


def test_no_h_is_left_at_a_login_prompt(clock: FastClock) -> None:
    port = Port(clock, drops_break=True, getty=True)
    rehearse(Controller(port), clock)
    assert port.typed.endswith(b"h\x15")


def test_garbage_after_the_break_is_reported_and_no_more_breaks_are_sent(clock: FastClock) -> None:
    port = Port(clock, drops_break=True, steps_baud=True)
    found = rehearse(Controller(port), clock)
    assert (found.result, port.breaks) == ("garbage", 1)
    assert "No more BREAKs were sent" in found.says


def test_garbage_before_the_break_sends_none(clock: FastClock) -> None:
    port = Port(clock, wrong_baud=True)
    found = rehearse(Controller(port), clock)
    assert (found.result, found.sent, port.breaks) == ("garbage", False, 0)


def test_old_text_is_no_answer(clock: FastClock) -> None:
    assert not rehearse(Controller(Port(clock, drops_break=True)), clock).proved


def test_a_console_in_use_is_left_alone(clock: FastClock) -> None:
    port = Port(clock)
    found = rehearse(Controller(port, busy=True), clock)
    assert (found.result, found.sent, port.acts) == ("not-sent", False, [])
    assert "in use" in found.says
    assert judge_rehearsal(found).verdict is Verdict.UNKNOWN


def facts_of(**files: str | None) -> Facts:
    name, case = next((name, case) for name, case in all_cases() if case["name"] == "prepared for good")
    return Facts(parse(printed(name, {**case, "files": {**case.get("files", {}), **files}})))


def test_only_where_ssh_has_just_shown_a_running_linux_with_this_boot_id() -> None:
    boot = "/proc/sys/kernel/random/boot_id"
    here, mine = facts_of(), good("its UUID is the host's")
    assert why_not(here, facts_of(), mine) == ""
    assert "did not show a running Linux" in why_not(None, None, mine)
    assert "did not show a running Linux" in why_not(here, None, mine)
    assert "did not show a running Linux" in why_not(facts_of(**{boot: None}), facts_of(**{boot: None}), mine)
    assert "booted anew" in why_not(here, facts_of(**{boot: "11111111-0ad6-40c8-8476-6967d1e2bc2f"}), mine)
    crashed = facts_of(**{"/proc/cmdline": "root=/dev/sda3 irqpoll elfcorehdr=0x2b000000"})
    assert "crash kernel" in why_not(here, crashed, mine)
    assert "not the host's" in why_not(here, here, fail("WRONG MACHINE: ..."))


def test_once_per_boot() -> None:
    here = facts_of()
    old = Record("server42", 1.0, rehearsals={"ipmi": rehearsed(Rehearsal("prompt", "a login got it"), here, 1.0)})
    again = of_this_boot(here, old, "ipmi")
    assert again is not None
    assert (again.result, again.sent) == ("prompt", False)
    assert "not again" in again.says
    assert of_this_boot(here, old, "telnet") is None
    later = facts_of(**{"/proc/sys/kernel/random/boot_id": "11111111-0ad6-40c8-8476-6967d1e2bc2f"})
    assert of_this_boot(later, old, "ipmi") is None
