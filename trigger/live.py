"""The live view: a few lines at the bottom of the terminal that show how a watch stands; sentences scroll above them.

Drawn by hand with six control sequences, not by rich (docs/decisions/0011): only what changed is written, and nothing
while nothing changes. A thread of its own writes, so that a terminal that is stopped (Ctrl-S, a dead link) never stops
the watch. Sources: ECMA-48 (CUU, CUD, EL, ED, SGR); no-color.org.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import unicodedata
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TextIO

from trigger.display import PLAIN_S, size
from trigger.text import harmless

if TYPE_CHECKING:
    from types import FrameType

    from trigger.watch.status import Status

PAUSE_S = 0.1  # ten updates a second at most
_CONSOLE_LINES = 6
_SIZE = (80, 24)  # columns and rows of a terminal that does not say
_LEAST_COLUMNS = 20
_ROWS_TO_WRAP = 12  # below that the safety has one line
_BAR, _LEAST_BAR = 28, 6

_PHASES = {
    "fired": "sent; no crash seen yet",
    "ignored": "the kernel ignored it",
    "denied": "the kernel's mask forbids it",
    "panicked": "the kernel panicked",
    "crash-kernel": "the crash kernel is up",
    "saving": "the dump is being written",
    "saved": "the dump is written",
    "failed": "the dump failed",
    "rebooting": "rebooting",
    "back": "the host is back",
    "same-boot": "the host still runs the same kernel",
}
_DUMPS = {"unreadable": "not readable yet", "waiting": "nothing at its target yet"}
_SAFE = {"yes": "yes", "no": "NO", "unknown": "not known, so do not"}
_SHORT_SAFE = {
    "yes": "yes",
    "no": "NO",
    "unknown": "DON'T",
}  # The answer must be whole in 18 columns, for one more marks a cut
_COLOURS = {"head": "1", "yes": "32", "no": "1;31", "unknown": "33", "warning": "33", "console": "2"}


def wants_colour(environment: Mapping[str, str]) -> bool:
    """Return whether colours are wanted: not where NO_COLOR is set or the terminal is dumb."""
    return not environment.get("NO_COLOR") and environment.get("TERM", "") not in ("", "dumb")


def rewraps(environment: Mapping[str, str]) -> bool:
    """Return whether the terminal wraps lines anew when it gets narrower, as most do: tmux, VTE, kitty, iTerm2.

    xterm, GNU screen and the Linux console cut them.
    """
    if "TMUX" in environment:
        return True
    return "XTERM_VERSION" not in environment and not environment.get("TERM", "").startswith(("linux", "screen"))


def duration(seconds: float) -> str:
    """Return `seconds` for people: 45 s, 3:05, 1:02:03."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def block(now: Status, columns: int, rows: int, colour: bool) -> list[str]:
    """Return the lines of the view, none wider than `columns` - 1, and fewer than `rows`.

    Where there is little room the console's lines go first, then the evidence; phase, dump and safety stay.
    """
    width = max(_LEAST_COLUMNS, columns) - 1
    head = [("head", _rule(f"-- {now.host}: {_phase(now)} ", width)), ("", _dump(now, width))]
    end = [("warning", text) for text in _wrapped(f"! {now.warning}", width, 2) if now.warning]
    end += [(now.safe, text) for text in _wrapped(_safety(now, width), width, 3 if rows >= _ROWS_TO_WRAP else 1)]
    room = max(0, rows - 2 - len(head) - len(end))
    told = [text for text in now.evidence if text != f"dump: {now.dump}"]  # the line above says that
    # The newest, each source in a place of its own: rows that change places cannot be read.
    evidence = [("", f"  {text}") for text in sorted(told[-room:]) if room]
    room -= len(evidence)
    console = [("console", f"  | {text}") for text in now.console[-min(_CONSOLE_LINES, room) :] if room > 0]
    lines = [*head, *evidence, *console, *end][-max(1, rows - 1) :]
    return [_styled(cut(harmless(text), width), style, colour) for style, text in lines]


def in_one_line(now: Status) -> str:
    """Return how things stand in one line, for logs and screen readers."""
    parts = [_phase(now), _dump(now, 0), f"safe to power-cycle: {_SAFE.get(now.safe, now.safe)}"]
    return harmless("; ".join([*parts, now.warning] if now.warning else parts))


def cut(text: str, width: int) -> str:
    """Return the beginning of `text` that fits `width` columns of a terminal; what is missing is marked by >."""
    if text.isascii():
        return text if len(text) <= width else text[: width - 1] + ">"
    used, kept = 0, []
    for char in text:
        used += _columns(char)
        kept.append(char)
        if used > width:
            while kept and used > width - 1:
                used -= _columns(kept.pop())
            return "".join(kept) + ">"
    return text


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _rule(text: str, width: int) -> str:
    """Return `text` in a rule as wide as the terminal, so that the view is told from the sentences above it."""
    hint = " Ctrl-C stops the watching only --"
    return text.ljust(width - len(hint), "-") + hint if len(text) + len(hint) < width else text.ljust(width, "-")


def _wrapped(text: str, width: int, most: int) -> list[str]:
    """Return `text` in `most` lines at most; what does not fit is left on the last one, to be cut."""
    lines: list[str] = []
    while len(lines) < most - 1 and len(text) > width:
        at = text.rfind(" ", 0, width + 1)
        if at <= 2:
            break
        lines.append(text[:at])
        text = f"  {text[at + 1 :]}"
    return [*lines, text]


def _phase(now: Status) -> str:
    words = _PHASES.get(now.phase, now.phase)
    since = f" for {duration(now.phase_s)}" if now.phase != "fired" and now.phase_s < now.elapsed_s else ""
    return f"{words}{since}; {duration(now.elapsed_s)} since the shot"


def _dump(now: Status, width: int) -> str:
    """Return the state of the dump, with a bar where `width` columns leave room for one."""
    rate = f" at {size(now.bytes_per_s)}/s" if now.bytes_per_s >= 1000 else ""
    facts = [f"{size(now.bytes)}{rate}"] if now.bytes else []
    dump = f"dump: {_DUMPS.get(now.dump, now.dump)}"
    if now.percent is None:
        return "; ".join([dump, *facts])
    if now.eta_s is not None and now.percent < 100:
        facts.append(f"{duration(now.eta_s)} left")
    after = "; ".join([f"{now.percent:.0f} %", *facts])
    cells = min(_BAR, width - len(f"{dump} [] {after}"))
    if cells < _LEAST_BAR:
        return f"{dump} {after}"
    done = int(cells * min(100.0, max(0.0, now.percent)) / 100)
    return f"{dump} [{'#' * done}{'-' * (cells - done)}] {after}"


def _safety(now: Status, width: int) -> str:
    because = f", {now.safe_reason}" if now.safe_reason else ""
    answer = f"safe to power-cycle: {_SAFE.get(now.safe, now.safe)}"
    if len(answer) >= width:
        answer = f"power-cycle: {_SHORT_SAFE.get(now.safe, now.safe)}"
    return answer + because


def _styled(text: str, style: str, colour: bool) -> str:
    return f"\x1b[{_COLOURS[style]}m{text}\x1b[0m" if colour and style in _COLOURS else text


class Painter:
    """What is on the terminal, and what must be written to change it. Pure.

    The cursor rests at the end of the view's last line; above the view the terminal is left alone.
    """

    def __init__(self, *, rewraps: bool = True) -> None:
        self._rewraps = rewraps
        self._drawn: list[str] = []
        self._columns = 0
        self._elsewhere = False

    def forget(self) -> None:
        """Leave what is drawn where it is: others have written since, and nobody knows where the cursor is."""
        self._elsewhere |= bool(self._drawn)
        self._drawn = []

    def paint(self, lines: list[str], columns: int, above: str = "") -> str:
        """Return what to write so that `lines` are the view; `above` are whole lines that scroll over it."""
        if not above and not lines and not self._drawn:
            return ""
        changed_size = columns != self._columns
        if not above and not changed_size and len(lines) == len(self._drawn):
            written = self._differences(lines)
        else:
            fresh = "\r\n" if self._elsewhere else ""
            written = fresh + self._erased(columns) + above.replace("\n", "\r\n") + "\r\n".join(lines)
            self._elsewhere = False
        self._drawn, self._columns = lines, columns
        return written

    def _differences(self, lines: list[str]) -> str:
        """Return the sequences that rewrite the lines that have changed, and go back to the end of the last one."""
        found = [n for n, (old, new) in enumerate(zip(self._drawn, lines, strict=True)) if old != new]
        if not found:
            return ""
        written, at = "", len(lines) - 1
        for number in found:
            written += _vertically(number - at) + "\r" + lines[number] + "\x1b[K"
            at = number
        if at != len(lines) - 1:
            written += _vertically(len(lines) - 1 - at) + "\r" + lines[-1]
        return written

    def _erased(self, columns: int) -> str:
        """Return what erases the view, with the rows that its lines take at the terminal's present width."""
        if not self._drawn:
            return ""
        rows = len(self._drawn)
        if self._rewraps and columns < self._columns:
            rows = sum(max(1, -(-_width(line) // max(1, columns))) for line in self._drawn)
        return _vertically(1 - rows) + "\r\x1b[J"


def _width(line: str) -> int:
    plain = line.split("m", 1)[1].removesuffix("\x1b[0m") if line.startswith("\x1b[") else line
    return sum(map(_columns, plain))


def _vertically(rows: int) -> str:
    if rows == 0:
        return ""
    return f"\x1b[{-rows}A" if rows < 0 else f"\x1b[{rows}B"


class LiveView:
    """The thread that draws. `status` and `sentence` return at once; `close` waits until all is written.

    A program that was stopped (Ctrl-Z) draws anew below what the shell wrote since. In the background of a shell it
    writes lines only, for the cursor is where a person types.
    """

    def __init__(
        self, stream: TextIO, environment: Mapping[str, str] = os.environ, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream, self._clock = stream, clock
        self._colour = wants_colour(environment)
        self._painter = Painter(rewraps=rewraps(environment))
        self._news = threading.Condition()
        self._now: Status | None = None
        self._sentences: deque[str] = deque()
        self._fresh = self._ending = self._continued = False
        self._told_at = 0.0
        self._main = threading.current_thread() is threading.main_thread()  # only there may signals be handled
        self._before = signal.signal(signal.SIGCONT, self._go_on) if self._main else None
        self._thread = threading.Thread(target=self._run, name="live view", daemon=True)
        self._thread.start()

    def status(self, now: Status) -> None:
        """Show how things stand."""
        with self._news:
            self._now, self._fresh = now, True
            self._news.notify()

    def sentence(self, text: str) -> None:
        """Let `text` (whole lines, harmless) scroll above the view."""
        with self._news:
            self._sentences.append(text)
            self._news.notify()

    def close(self, wait_s: float | None = None) -> bool:
        """Erase the view and end; the sentences stay. Return whether all was written within `wait_s` (None: ever)."""
        with self._news:
            self._ending = True
            self._news.notify()
        self._thread.join(wait_s)
        if self._main and signal.getsignal(signal.SIGCONT) == self._go_on:
            signal.signal(signal.SIGCONT, self._before)
        return not self._thread.is_alive()

    def _go_on(self, number: int, frame: FrameType | None) -> None:
        self._continued = True  # no more: the thread that was interrupted may hold the lock

    def _run(self) -> None:
        drawn_at = -PAUSE_S
        try:
            while True:
                with self._news:
                    self._news.wait_for(lambda: self._fresh or self._sentences or self._ending)
                    early = drawn_at + PAUSE_S - self._clock()
                    if early > 0:
                        self._news.wait_for(lambda: self._ending, early)
                    now, above, ending = self._now, "".join(self._sentences), self._ending
                    self._sentences.clear()
                    self._fresh = False
                drawn_at = self._clock()
                self._draw(None if ending else now, above)
                if ending:
                    return
        except (OSError, ValueError):
            return  # the terminal has gone: nothing of it may disturb the run

    def _draw(self, now: Status | None, above: str) -> None:
        columns, rows = self._size()
        front = self._in_front()
        if self._continued or not front:
            self._continued = False
            self._painter.forget()
        if now is not None and not front and now.elapsed_s - self._told_at >= PLAIN_S:
            self._told_at = now.elapsed_s
            above += f"{now.elapsed_s:7.1f} s  {in_one_line(now)}\n"
        lines = block(now, columns, rows, self._colour) if now is not None and front else []
        written = self._painter.paint(lines, columns, above)
        if written:
            self._stream.write(written)
            self._stream.flush()

    def _in_front(self) -> bool:
        """Return whether the terminal is given to this program (tcgetpgrp(3)), as far as can be told."""
        try:
            return os.tcgetpgrp(self._stream.fileno()) in (0, os.getpgrp())
        except (OSError, ValueError):
            return True  # not the terminal that this program was started from

    def _size(self) -> tuple[int, int]:
        try:
            columns, rows = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return _SIZE
        return columns or _SIZE[0], rows or _SIZE[1]
