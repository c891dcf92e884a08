"""What a person types on a console, and what of it is meant for `trigger`: the escape character, as in ssh. Pure.

The escape character counts only as the first of a line: after Enter, or before anything was typed. So a text that is
pasted, or a path that begins at home (`cd ~/x`), goes through as it is. A terminal answers questions of the host on
the same way as a person types (busybox's shell asks for the cursor's position at every prompt); such an answer does not
begin a line. Source: ECMA-48 and xterm's control sequences (CPR, DA, DSR, OSC and DCS reports).
"""

from __future__ import annotations

import enum
import re
from typing import NamedTuple

_NEW_LINE = b"\r\n"
_ANSWER = re.compile(rb"\x1b(?:\[[0-9;?>]*[Rcn]|[]P][^\x07\x1b]*(?:\x07|\x1b\\))")
_ANSWER_BEGUN = re.compile(rb"\x1b(?:\[[0-9;?>]*|[]P][^\x07\x1b]*\x1b?)?")
_LONGEST_ANSWER = 256


class Meant(enum.Enum):
    """What typed bytes are for."""

    SEND = "send"  # to the host
    LEAVE = "leave"
    BREAK = "break"
    SYSRQ = "sysrq"  # `data` is the key
    HELP = "help"


class Typed(NamedTuple):
    """One piece of what was typed."""

    meant: Meant
    data: bytes = b""


class Escapes:
    """The escape character in what is typed; `escape` is one byte, or empty for none."""

    def __init__(self, escape: bytes = b"~") -> None:
        if len(escape) > 1 or escape in (b"\r", b"\n", b"."):
            raise ValueError(f"{escape!r} cannot be an escape character")
        self._escape = escape
        # line: at its beginning; text: within it; escape: after ~; key: after ~s; answer: within a terminal's answer
        self._state = "line"
        self._answer = b""

    def feed(self, typed: bytes) -> list[Typed]:
        """Return what `typed` means, in order; an unfinished escape waits for the next call."""
        found: list[Typed] = []
        for at in range(len(typed)):
            piece = self._one(typed[at : at + 1])
            if piece is None:
                continue
            if piece.meant is Meant.SEND and found and found[-1].meant is Meant.SEND:
                found[-1] = Typed(Meant.SEND, found[-1].data + piece.data)
            else:
                found.append(piece)
        return found

    def new_line(self) -> None:
        """Take what comes next for the beginning of a line: after a question of ours, or a console that is new."""
        self._state = "line"

    def _one(self, char: bytes) -> Typed | None:
        if self._state == "escape":
            return self._command(char)
        if self._state == "key":
            self._state = "line"
            # A space between s and the key is how the help writes it; Enter instead of a key is a change of mind.
            if char == b" ":
                self._state = "key"
                return None
            return None if char in (b"\r", b"\n", b"\x03", b"\x1b") else Typed(Meant.SYSRQ, char)
        if self._state == "line" and self._escape and char == self._escape:
            self._state = "escape"
            return None
        self._state = self._after(char)
        return Typed(Meant.SEND, char)

    def _after(self, char: bytes) -> str:
        """Return the state after a character that goes to the host."""
        if self._state == "answer" or (self._state == "line" and char == b"\x1b"):
            self._answer += char
            if _ANSWER_BEGUN.fullmatch(self._answer) and len(self._answer) < _LONGEST_ANSWER:
                return "answer"
            answer, self._answer = self._answer, b""
            if _ANSWER.fullmatch(answer):
                return "line"
        return "line" if char in _NEW_LINE else "text"

    def _command(self, char: bytes) -> Typed | None:
        self._state = "line"
        if char == b".":
            return Typed(Meant.LEAVE)
        if char == b"B":
            return Typed(Meant.BREAK)
        if char == b"?":
            return Typed(Meant.HELP)
        if char == b"s":
            self._state = "key"
            return None
        self._state = "line" if char in _NEW_LINE else "text"
        return Typed(Meant.SEND, self._escape if char == self._escape else self._escape + char)
