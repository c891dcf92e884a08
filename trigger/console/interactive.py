"""`trigger console HOST`: a person at the host's serial console, or a recording of it without anybody.

The only command that passes what a host says through to the terminal as it is. What is typed goes to the host, but for
the escapes (trigger/console/escapes.py); a BREAK, and the character after it, are SysRq and are asked about first.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import termios
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from trigger.action import Choices, answers_of, find_host
from trigger.clock import Deadline, SystemClock
from trigger.console.escapes import Escapes, Meant, Typed
from trigger.console.interactive_keys import Keys, Place
from trigger.console.kept import KeptConsole
from trigger.console.opening import Opener
from trigger.console.recording import Recording
from trigger.console.sysrq import CRASH, KEYS
from trigger.console.sysrq_ask import check_mask, recorded_mask
from trigger.console.terminal import RawTerminal, Stops
from trigger.errors import ConfigError, DriverError, TriggerError
from trigger.known import known_of
from trigger.plan import Plan, make_plan
from trigger.resolve import resolve_all
from trigger.run import new_run_id
from trigger.state import StateFolder
from trigger.text import harmless

_BLOCK = 4096
_ANSWER_S = 60.0  # how long a question of ours waits


class ConsoleChoices(NamedTuple):
    """The options of `trigger console`, as parsed. `escape` is one byte, or empty for none."""

    config: Path | None = None
    via: str = ""
    steal: bool = False
    escape: bytes = b"~"
    log_only: bool = False
    as_json: bool = False
    verbose: int = 0


def console(host_name: str, choices: ConsoleChoices) -> int:
    """Open the console, stay until it is left, and return the exit code.

    Raises ConfigError, GuardRefused, ConsoleBusy or DriverError; the terminal is as it was before.
    """
    from trigger.config.loading import load
    from trigger.logs import set_up_logging

    set_up_logging(choices.verbose)
    clock = SystemClock()
    config = load(choices.config)
    host = find_host(config, host_name, Choices("console"))
    state = StateFolder.choose(config.state_dir)
    known = known_of(state, config, host)
    addresses = resolve_all(controller.address for controller in host.controllers)
    plan = _with_consoles(make_plan(host, "sysrq", via=choices.via, addresses=addresses))
    with ExitStack() as stack:
        stops = stack.enter_context(Stops())
        opener = Opener(plan, known, answers_of(host), clock)
        stack.callback(opener.close)
        opened = opener.open(steal=choices.steal)
        opener.keep_to_this()
        run = new_run_id(clock)
        recording = stack.enter_context(Recording(state, host.name, run, clock))
        place = Place(plan, known, state, clock, run)
        session = _Log(place, choices) if choices.log_only else _Person(place, choices, opener, stops)
        kept = KeptConsole(opener, opened, recording, clock, hear=session.hear, say=session.say, ended=stops.wake)
        stack.callback(kept.close)
        stops.hold()
        session.opened(opener.controller, str(recording.path))
        session.stay(kept, stops)
        return _end(session, kept, stops, recording)


def _with_consoles(plan: Plan) -> Plan:
    """Return `plan` without the host itself, whose kernel takes keys over SSH and says nothing of its own."""
    routes = tuple(route for route in plan.routes if route.controller.driver != "host")
    if routes:
        return plan._replace(routes=routes)
    name = plan.host.name
    raise ConfigError(
        f"{name}: no controller with a serial console; the host itself takes SysRq keys only. Nothing was sent.",
        next_step=f"Log in with ssh, or press keys: trigger sysrq {name} KEY --via host",
    )


def _end(session: _Log | _Person, kept: KeptConsole, stops: Stops, recording: Recording) -> int:
    """Close, say where the recording is, and return the exit code: 128 + n when a signal ended a person's session."""
    kept.close()
    session.closed(kept, recording)
    if kept.lost is not None:
        raise DriverError(
            f"{harmless(kept.lost.message)} The console was given up; nothing was sent by opening it again.",
            next_step=kept.lost.next_step,
        )
    return 128 + stops.number if stops.number and isinstance(session, _Person) else 0


class _Log:
    """A console that is only recorded, until Ctrl-C or `kill`."""

    def __init__(self, place: Place, choices: ConsoleChoices) -> None:
        self._host, self._clock, self._json = place.plan.host.name, place.clock, choices.as_json

    def opened(self, controller: str, path: str) -> None:
        """Say that it is recorded, and where."""
        self._row(
            "opened", f"recording the console of {self._host} ({controller}) in {path}; Ctrl-C ends it", path=path
        )

    def hear(self, said: bytes) -> None:
        """Nothing: the recording has it."""

    def say(self, state: str, text: str) -> None:
        """Say what became of the console."""
        self._row(state, text)

    def stay(self, kept: KeptConsole, stops: Stops) -> None:
        """Wait for a signal, or for the console to be lost for good."""
        kept.start()
        stops.wait_for(None)

    def closed(self, kept: KeptConsole, recording: Recording) -> None:
        """Say how much was recorded."""
        text = recording.problem or f"{kept.heard} bytes recorded in {recording.path}"
        self._row("closed", text, path=str(recording.path), bytes=kept.heard)

    def _row(self, state: str, text: str, **fields: str | int) -> None:
        if self._json:
            row = {"event": "Console", "host": self._host, "time": self._clock.time(), "state": state}
            with contextlib.suppress(BrokenPipeError):
                print(json.dumps({**row, "text": harmless(text), **fields}), flush=True)
        else:
            print(f"trigger: {harmless(text)}", file=sys.stderr, flush=True)


class _Person:
    """A person at the terminal."""

    def __init__(self, place: Place, choices: ConsoleChoices, opener: Opener, stops: Stops) -> None:
        self._place, self._opener, self._stops = place, opener, stops
        self._host = place.plan.host.name
        self._escapes = Escapes(choices.escape)
        self._name = choices.escape.decode("latin-1")
        self._keyboard, self._screen = sys.stdin.fileno(), sys.stdout.fileno()
        self._terminal = RawTerminal(self._keyboard, self._screen)
        self._asking = threading.RLock()  # what the host says waits while a person is asked
        self._kept: KeptConsole
        self._keys: Keys

    def opened(self, controller: str, path: str) -> None:
        """Say how to leave."""
        escape = self._name
        leave = f"{escape}. leaves, {escape}? helps" if escape else "no escape character; kill leaves"
        self.say("opened", f"console of {self._host} ({controller}), recorded in {path}; {leave}")

    def hear(self, said: bytes) -> None:
        """Pass through what the host says."""
        with self._asking:
            self._terminal.write(said)

    def say(self, state: str, text: str) -> None:
        """Write a sentence of ours on a line of its own; `text` may hold what others said."""
        with self._asking:
            self._terminal.write(f"\r\n[trigger: {harmless(text)}]\r\n".encode())

    def stay(self, kept: KeptConsole, stops: Stops) -> None:
        """Pass on what is typed until the person leaves, a signal comes or the console is lost for good."""
        self._kept, self._keys = kept, Keys(self._place, kept)
        with self._terminal, contextlib.suppress(OSError):  # OSError: the terminal has gone
            kept.start()
            while stops.wait_for(self._keyboard):
                typed = os.read(self._keyboard, _BLOCK)
                if not typed or not self._do_all(self._escapes.feed(typed)):
                    return

    def closed(self, kept: KeptConsole, recording: Recording) -> None:
        """Say that it is over; the terminal is the operator's again."""
        with contextlib.suppress(OSError):
            print(f"\ntrigger: left the console of {self._host}; it is recorded in {recording.path}", file=sys.stderr)
            if recording.problem:
                print(f"trigger: note: {recording.problem}", file=sys.stderr)

    def _do_all(self, pieces: list[Typed]) -> bool:
        """Do what was typed; return false to leave. What was typed behind a BREAK or key was typed too early."""
        for piece in pieces:
            if not self._do(piece.meant, piece.data):
                return False
            if piece.meant in (Meant.BREAK, Meant.SYSRQ):
                break
        return True

    def _do(self, meant: Meant, data: bytes) -> bool:
        """Do one thing; return false to leave. What could not be done is said and changes nothing else."""
        try:
            if meant is Meant.LEAVE:
                return False
            if meant is Meant.HELP:
                self._help()
            elif meant is Meant.BREAK:
                self._break()
            elif meant is Meant.SYSRQ:
                self._press(data.decode("latin-1"))
            else:
                self._type(data)
        except TriggerError as error:
            self.say("refused", f"{error.message} {error.next_step}".strip())
        return True

    def _type(self, data: bytes) -> None:
        """Send what was typed; after a BREAK the first character is a SysRq key, and is treated as one."""
        if not self._keys.armed or not data.strip(b"\0"):  # to the kernel a NUL is no character
            self._kept.write(data)
            return
        key = data.strip(b"\0")[:1].decode("latin-1")
        if self._may_press(key):
            self._keys.type_key(key, data)
        else:
            self._escapes.new_line()

    def _break(self) -> None:
        if self._keys.armed:
            self.say("refused", "a BREAK was sent and no character since: a second one would cancel it. Not sent.")
            return
        what = "The kernel takes the next character for a SysRq key; other systems may stop."
        if self._yes(f"Send a BREAK to {self._host}? {what} [y/N] "):
            self._keys.send_break()
            self.say("sent", "the BREAK was sent; the next character is a SysRq key (Enter: the line of help)")

    def _press(self, key: str) -> None:
        if key not in KEYS:
            self.say("refused", f"{key!r} is no SysRq key; not sent. `trigger sysrq --list` shows them")
            return
        check_mask(self._host, (key,), recorded_mask(self._place.known))
        question = f"Send a BREAK and {key} ({KEYS[key].meaning}) to {self._host}? [y/N] "
        if self._may_press(key) and (KEYS[key].danger != "harmless" or self._yes(question)):
            self._keys.press(key)

    def _may_press(self, key: str) -> bool:
        """Return whether `key` may go out after a BREAK: never c; others by what they do, as `trigger sysrq` asks."""
        if key == CRASH:
            instead = f"`trigger sysrq {self._host} {CRASH}` does it through the guard, and watches the dump"
            disarm = "; Enter disarms the BREAK that was sent" if self._keys.armed else ""
            self.say("refused", f"{CRASH} crashes the host and was not sent: {instead}{disarm}")
            return False
        row = KEYS.get(key)
        if row is None or row.danger == "harmless":
            return True
        self._opener.refuse_another_machine()
        if self._ask(f"{key}: {row.meaning} ({row.danger}). Type {self._host} to send it: ") == self._host:
            return True
        self.say("refused", f"{key} was not sent")
        return False

    def _yes(self, question: str) -> bool:
        return self._ask(question).lower() in ("y", "yes")

    def _ask(self, question: str) -> str:
        """Return what was typed, "" after Ctrl-C, Escape, a signal or a minute; the host's words wait meanwhile."""
        # What was typed before the question was seen is no answer to it.
        termios.tcflush(self._keyboard, termios.TCIFLUSH)
        with self._asking:
            self._terminal.write(f"\r\n[trigger: {harmless(question)}".encode())
            answer = self._read_line(Deadline(_ANSWER_S))
            self._terminal.write(b"]\r\n")
        return answer

    def _read_line(self, deadline: Deadline) -> str:
        line = ""
        while self._stops.wait_for(self._keyboard, deadline.left()):
            char = os.read(self._keyboard, 1).decode("latin-1")
            if char in ("\r", "\n"):
                return line.strip()
            if char in ("", "\x03", "\x04", "\x1b"):
                return ""
            if char in ("\x7f", "\b"):
                self._terminal.write(b"\b \b" * bool(line))
                line = line[:-1]
            elif char.isascii() and char.isprintable():
                self._terminal.write(char.encode())
                line += char
        return ""

    def _help(self) -> None:
        columns, rows = os.get_terminal_size(self._screen)
        escape = self._name
        lines = (
            f"{escape}.      leave; the host does not notice",
            f"{escape}B      send a BREAK (asks first)",
            f"{escape}s KEY  send a BREAK and a SysRq key (asks first); the keys: trigger sysrq --list",
            f"{escape}{escape}      send {escape} itself; through an ssh session, {escape} must be doubled",
            f"{escape}?      this help",
            "An escape counts at the beginning of a line.",
            f"A serial line does not know the size of this window: stty rows {rows} cols {columns}",
        )
        with self._asking:
            self._terminal.write(("\r\n" + "".join(f"  {line}\r\n" for line in lines)).encode())
