"""What a person sees of a run: one sentence per event on standard error; on a terminal, a line that lives.

The sentences are the same everywhere, so that what scrolled past can be found again in `trigger history`.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, TextIO

from trigger.events import DumpFound, Event, Finished, Fired, Firing, Guarded, Observed, Planned, Probed
from trigger.journal import Line
from trigger.text import harmless

if TYPE_CHECKING:
    from trigger.watch.status import Status

_OUTCOMES = {
    "accepted": "the controller accepted it",
    "refused": "the controller refused it; nothing was delivered",
    "unknown": "no answer: it may have been delivered, and will not be repeated",
}


def sentence(event: Event) -> str:
    """Return `event` in words, harmless, without a newline."""
    match event:
        case Planned():
            routes = "; then ".join(f"{r['controller']} at {r['address']}" for r in event.routes)
            return f"plan: {event.action} through {routes}; dump expected at {event.dump_target}"
        case Probed(error="") as probed:
            who = f", says it is {probed.uuid}" if probed.uuid else ""
            return f"{probed.controller}: logged in, power {probed.power}{who}"
        case Probed() as failed:
            return f"{failed.controller}: {failed.error}"
        case Guarded(go=True) as guarded:
            rules = f" (overridden: {', '.join(guarded.overridden)})" if guarded.overridden else ""
            return f"guard: go{rules}"
        case Guarded() as guarded:
            return f"guard: refused by rule {guarded.rule}"
        case Firing():
            return f"firing: {event.request} through {event.controller} at {event.address}"
        case Fired():
            return f"{_OUTCOMES.get(event.outcome, event.outcome)} ({event.answer})"
        case Observed():
            return f"{event.source}: {event.text}"
        case DumpFound():
            state = "not readable yet" if event.state == "unreadable" else event.state
            where = f" {event.path}" if event.path else ""
            size = f" ({_bytes(event.size)})" if event.size else ""
            return f"dump: {state}{where}{size}{': ' + event.text if event.text else ''}"
        case Finished():
            return event.text


def details(found: DumpFound) -> list[str]:
    """Return what is known of a dump, one fact a line, for the end of a run."""
    facts = {
        "path": found.path,
        "format": found.format,
        "complete": found.complete,
        "size": _bytes(found.size) if found.size else "",
        "kernel release": found.release,
        "crash time": _moment(found.crash_time),
        "panic": found.panic,
    }
    return [f"{name + ':':<16}{harmless(value)}" for name, value in facts.items() if value]


def _moment(seconds: float | None) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds)) if seconds else ""


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def status_line(now: Status) -> str:
    """Return how things stand in one line."""
    size = f" {now.bytes / 1e6:.1f} MB at {now.bytes_per_s / 1e6:.1f} MB/s" if now.bytes else ""
    return f"{now.elapsed_s:5.0f} s  dump: {now.dump}{size}; {'; '.join(now.evidence)}; Ctrl-C detaches"


class People:
    """Writes sentences for people; on a terminal, also a status line of what is waited for."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._started: float | None = None
        self._status = ""
        self.dump: DumpFound | None = None

    def __call__(self, line: Line) -> None:
        """Show one event."""
        event = line.event
        if event is None:
            return
        if isinstance(event, Firing):
            self._started = line.time
        if isinstance(event, DumpFound):
            self.dump = event
        elapsed = f"{line.time - self._started:7.1f} s  " if self._started is not None else ""
        self._clear()
        if isinstance(event, Finished):
            self._end(event)
        else:
            self._write(f"{elapsed}{sentence(event)}\n")
        self._draw()

    def status(self, now: Status) -> None:
        """Show how things stand, on a terminal only, in place."""
        text = status_line(now)
        if self._live and text != self._status:
            self._clear()
            self._status = harmless(text)
            self._draw()

    def _end(self, event: Finished) -> None:
        self._status = ""
        lines = [event.text]
        if self.dump is not None and event.dump:
            lines += details(self.dump)
        lines.append(f"{'sent:':<16}{event.sent}")
        safe = f"{event.safe_to_power_cycle} ({event.safe_reason})" if event.safe_reason else event.safe_to_power_cycle
        lines.append(f"{'power-cycle:':<16}safe: {safe}")
        if event.next:
            lines.append(f"{'next:':<16}{event.next}")
        self._write("\n".join(lines) + "\n")

    def _clear(self) -> None:
        if self._live and self._status:
            self._stream.write("\r\x1b[K")

    def _draw(self) -> None:
        if self._live and self._status:
            import shutil

            width = shutil.get_terminal_size().columns
            self._stream.write(self._status[: width - 1])
            self._stream.flush()

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def print_json(line: Line) -> None:
    """Write one event as a line of JSON on standard output. Raises BrokenPipeError once nobody reads it."""
    try:
        sys.stdout.write(json.dumps(line.raw, separators=(",", ":")) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        silence_stdout()
        raise


def silence_stdout() -> None:
    """Keep the interpreter from failing over the broken pipe once more when it flushes at exit."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
