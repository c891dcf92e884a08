"""A console that says everything it should not: nothing of it acts on the terminal, the JSON or the recording's text.

Escape sequences (title, clipboard, answerback, clearing), C1 controls, bidirectional text, markup of rich, HTML and
JSON, line separators, broken UTF-8. The page is tested with its maker (tests/unit/test_report*.py).
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drivers.serial_port import SerialPort
from tests.drivers.terminal_session import LIMIT_S
from tests.drivers.test_consoles_interactive import Program
from trigger.console.sysrq import shown
from trigger.display import People, sentence
from trigger.events import Event, Finished, Observed
from trigger.journal import Line
from trigger.live import LiveView
from trigger.text import harmless
from trigger.watch.status import Status

EVIL = (
    b'\x1b]0;title\x07\x1b]52;c;cm0gLXJmIH4K\x07\x1b[2J\x1b[H\x1b[6n\x1b[21t\x1bP$q"p\x1b\\\x1bc\x9b31m\x05\x0e\x08\x7f'
    b"\xe2\x80\xae\xe2\x81\xa6gpj.exe\xe2\x80\xac \xe2\x80\x8b\xe2\x80\xa8\xc2\x85\xc2\x9b2J"
    b'[red]x[/red] </script><script>alert(1)</script><img src=x onerror=alert(1)> {{7*7}} ","exit_code":0}'
    b"\xff\xfe\xc3\x28\xf0\x9f\x98\x80\xed\xa0\x80 end"
)
TEXT = EVIL.decode("utf-8", "replace")


def acts(text: str) -> list[str]:
    """Return the characters of `text` that could act on a terminal or reorder what is read."""
    return [char for char in text if not (char.isprintable() or char == "\n")]


@pytest.fixture
def port() -> Iterator[SerialPort]:
    with SerialPort(greeting=EVIL) as port:
        for key in "wm":
            port.answers[key] = b"\r\nsysrq: Show Blocked State\r\n" + EVIL + b"\r\n"
        yield port


@pytest.fixture
def program(tmp_path: Path, port: SerialPort) -> Program:
    return Program(tmp_path, port)


def run(program: Program, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "trigger", *arguments], stdin=subprocess.DEVNULL, capture_output=True,
        timeout=LIMIT_S, env=program.environment,
    )  # fmt: skip


def test_what_sysrq_prints(program: Program) -> None:
    done = run(program, "sysrq", program.host, "w", "m")
    assert done.returncode == 0, done.stderr
    out = done.stdout.decode("utf-8")  # strictly
    assert out.count("[red]x[/red] </script><script>") == 2  # as text, unchanged
    assert acts(out) == acts(done.stderr.decode("utf-8")) == []


def test_what_is_in_the_json_and_in_the_recording(program: Program) -> None:
    done = run(program, "sysrq", program.host, "w", "--json")
    assert done.returncode == 0, done.stderr
    [row] = map(json.loads, done.stdout.splitlines())
    assert (row["heard"], b"alert" in done.stdout, b"alert" in done.stderr) == ("answered", False, False)
    # The recording's text is harmless to `cat`; the cast holds the bytes, as JSON with nothing but ASCII in it.
    assert acts(program.recording("console.txt").read_text("utf-8")) == []
    cast = program.recording().read_bytes()
    assert acts(cast.decode("ascii")) == []
    events = [json.loads(line) for line in cast.splitlines()][1:]
    assert "\x1b]52;c;" in "".join(text for _, kind, text in events if kind == "o")


def test_a_controller_that_is_hostile_too(tmp_path: Path) -> None:
    """What a console server says when it hangs up goes into an error message."""
    with SerialPort(greeting=EVIL + b" busy", connected=False) as port:
        program = Program(tmp_path, port)
        for arguments in (("sysrq", "HOST", "w"), ("console", "HOST", "--log"), ("console", "HOST", "--log", "--json")):
            done = run(program, *(word.replace("HOST", program.host) for word in arguments))
            assert done.returncode == 6
            said = (done.stdout + done.stderr).decode("utf-8")
            assert "somebody else has the console" in said
            assert acts(said) == []


def test_the_functions_between_a_console_and_a_screen() -> None:
    """Each of the ways from what a console says to a terminal, and the live view with its own few sequences."""
    assert acts(shown(EVIL)) == acts(harmless(TEXT)) == []
    stream = io.StringIO()
    view = LiveView(stream, {"TERM": "xterm", "NO_COLOR": "1"})
    view.status(Status(TEXT, TEXT, 1.0, 2.0, TEXT, 3, 4.0, 5.0, 6.0, (TEXT,) * 9, (TEXT,) * 9, TEXT, TEXT, TEXT))
    assert view.close(LIMIT_S)
    # What remains are the sequences of trigger/live.py: up, carriage return, erase.
    own = stream.getvalue().replace("\r\x1b[J", "").replace("\x1b[K", "").replace("\r\n", "\n")
    assert [char for char in acts(own) if char != "\x1b"] == []
    assert own.count("\x1b") == own.count("\x1b[22A") + own.count("\x1b[21A") <= 1


@pytest.mark.parametrize("event", [
    Observed("panicked", "console", "weak", harmless(TEXT), harmless(TEXT), 7), Finished(10, "yes", harmless(TEXT)),
])  # fmt: skip
def test_sentences(event: Event) -> None:
    assert acts(sentence(event)) == []
    stream = io.StringIO()
    People(stream)(Line("run", "server42", 0, 0.0, event, {}))
    assert acts(stream.getvalue()) == []
