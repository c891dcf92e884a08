"""A console that is lost is opened again a bounded number of times, and nothing is ever sent by that."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.drivers.serial_port import SerialPort
from trigger.clock import Deadline, SystemClock
from trigger.console.kept import KeptConsole
from trigger.console.opening import Opener
from trigger.console.recording import Recording
from trigger.errors import ConsoleBusy, DriverError
from trigger.host import Controller, Host
from trigger.known import Known
from trigger.plan import make_plan
from trigger.state import StateFolder


class Scripted:
    """A console that says one thing and is lost; it must never be written to."""

    def __init__(self, said: bytes) -> None:
        self._said = [said]

    def read(self, deadline: Deadline) -> bytes:
        if self._said:
            return self._said.pop()
        raise EOFError("hung up")

    def write(self, data: bytes) -> None:
        raise AssertionError("something was sent")

    def send_break(self) -> None:
        raise AssertionError("a BREAK was sent")

    def close(self) -> None:
        return


class ScriptedOpener:
    """What opening again gives, one after the other; then the console is busy for good."""

    def __init__(self, *consoles: Scripted) -> None:
        self._consoles = list(consoles)
        self.asked = self.closed = 0

    def open(self) -> Scripted:
        self.asked += 1
        if not self._consoles:
            raise ConsoleBusy("somebody else has it")
        return self._consoles.pop(0)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    state = StateFolder(tmp_path, private=True)
    with Recording(state, "server42", "run", SystemClock()) as recording:
        yield recording


def kept(opener: Any, recording: Recording, *pauses: float) -> tuple[KeptConsole, bytearray, list[str]]:
    heard, said, ended = bytearray(), [], threading.Event()
    console = KeptConsole(
        opener, Scripted(b"one "), recording, SystemClock(), hear=heard.extend,
        say=lambda state, text: said.append(state), ended=ended.set, pauses=pauses,
    )  # fmt: skip
    console.start()
    assert ended.wait(60)
    return console, heard, said


def test_it_is_given_up_after_the_last_pause(recording: Recording) -> None:
    opener = ScriptedOpener(Scripted(b"two "))
    console, heard, said = kept(opener, recording, 0.0, 0.0, 0.0)
    console.close()
    assert bytes(heard) == b"one two "
    assert said == ["lost", "reopened", "lost", "trying", "trying"]
    assert opener.asked == 3
    assert isinstance(console.lost, ConsoleBusy)
    assert opener.closed >= 2  # each lost console was given back before the next was asked for
    text = (recording.path).read_text()
    assert "the console was lost: hung up" in text
    assert "the console is open again" in text


def test_what_is_typed_meanwhile_is_refused(recording: Recording) -> None:
    console, _, _ = kept(ScriptedOpener(), recording, 0.0)
    with pytest.raises(DriverError, match="was not sent"):
        console.write(b"x")
    with pytest.raises(DriverError, match="was not sent"):
        console.send_break()
    console.close()


class NoPassword:
    """A telnet port asks for none."""

    def password(self) -> str:
        return ""


def test_only_the_controller_that_was_opened_is_opened_again() -> None:
    """The password of another one would be asked for while the terminal is raw."""
    with SerialPort() as first, SerialPort() as second:
        controllers = tuple(
            Controller(name, "telnet", "127.0.0.1", port.port) for name, port in (("one", first), ("two", second))
        )
        plan = make_plan(Host("server42", controllers=controllers), "sysrq")
        opener = Opener(plan, Known(), lambda controller: NoPassword(), SystemClock())
        opener.open()
        assert opener.controller == "one"
        opener.keep_to_this()
        opener.close()
        first.refuse()
        with pytest.raises(DriverError):
            opener.open()
        assert second.connections == 0
