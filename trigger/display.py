"""What a person sees of a run: one sentence per event on standard error; on a terminal, a line that lives.

The sentences are the same everywhere, so that what scrolled past can be found again in `trigger history`.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, TextIO

from trigger.events import DumpFound, Event, Finished, Fired, Firing, Guarded, Observed, Planned, Probed
from trigger.journal import Line
from trigger.text import harmless

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trigger.live import LiveView
    from trigger.watch.status import Status

PLAIN_S = 60.0  # between two lines that say how things stand, where no view is drawn
STOPPED_S = 2.0  # how long a terminal that is stopped may delay the end of a run

_OUTCOMES = {
    "accepted": "the controller accepted it",
    "refused": "the controller refused it; nothing was delivered",
    "unknown": "the outcome is not known: it may have been delivered, and will not be repeated",
}


def sentence(event: Event) -> str:
    """Return `event` in words, harmless, without a newline."""
    match event:
        case Planned():
            by = "by" if event.action == "crash" else "through"
            routes = "; then ".join(_rung(event.action, route) for route in event.routes)
            return f"plan: {event.action} {by} {routes}; dump expected at {event.dump_target}"
        case Probed(error="") as probed:
            who = f", says it is {probed.uuid}" if probed.uuid else ""
            return f"{probed.controller}: logged in, power {probed.power}{who}"
        case Probed() as failed:
            return f"{failed.controller}: {failed.error}"
        case Guarded(go=True) as guarded:
            rules = f" (overridden: {', '.join(guarded.overridden)})" if guarded.overridden else ""
            notes = "".join(f"; note: {warning}" for warning in guarded.warnings[len(guarded.overridden) :])
            return f"guard: go{rules}{notes}"
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
            much = f" ({size(event.size)})" if event.size else ""
            return f"dump: {state}{where}{much}{': ' + event.text if event.text else ''}"
        case Finished():
            return event.text


def _rung(action: str, route: Mapping[str, str]) -> str:
    """Return one route; of a ladder two may go through one controller, so what each sends is said."""
    shot = f"{route.get('shot', 'a shot')} through " if action == "crash" else ""
    return f"{shot}{route['controller']} at {route['address']}"


def details(found: DumpFound) -> list[str]:
    """Return what is known of a dump, one fact a line, for the end of a run."""
    facts = {
        "path": found.path,
        "format": found.format,
        "complete": found.complete,
        "size": size(found.size) if found.size else "",
        "kernel release": found.release,
        "crash time": _moment(found.crash_time),
        "panic": found.panic,
    }
    return [f"{name + ':':<16}{harmless(value)}" for name, value in facts.items() if value]


def _moment(seconds: float | None) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds)) if seconds else ""


def size(count: float) -> str:
    """Return a number of bytes for people: 970.3 kB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


class People:
    """Writes sentences for people; on a terminal, above a view that shows how the watch stands (trigger/live.py).

    Call `close` at the end: a terminal that is stopped (Ctrl-S) then gets the last words when it goes on.
    """

    plain = False  # --plain, for screen readers, or JSON on the same terminal: no view, in the whole process

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        dumb = os.environ.get("TERM", "dumb") == "dumb"
        self._draws = self._stream.isatty() and not dumb
        self._view: LiveView | None = None
        self._started: float | None = None
        self._told_at = 0.0
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
        if isinstance(event, Finished):
            self._end(event, str(line.raw.get("head", "")))
        else:
            self._write(f"{elapsed}{sentence(event)}\n")

    def status(self, now: Status) -> None:
        """Show how things stand: in place on a terminal, else by a line a minute."""
        if self._draws and not self.plain:
            if self._view is None:
                from trigger.live import LiveView

                self._view = LiveView(self._stream)
            self._view.status(now)
        elif now.elapsed_s - self._told_at >= PLAIN_S:
            from trigger.live import in_one_line

            self._told_at = now.elapsed_s
            self._write(f"{now.elapsed_s:7.1f} s  {in_one_line(now)}\n")

    def end_view(self) -> None:
        """Erase the view: what follows, a question or the verdict, stands alone. The next `status` draws a new one."""
        if self._view is not None and self._view.close(STOPPED_S):
            self._view = None

    def close(self) -> None:
        """Wait until the terminal has taken everything; Ctrl-C ends that."""
        if self._view is not None:
            self._view.close()

    def _end(self, event: Finished, head: str) -> None:
        lines = [event.text]
        if self.dump is not None and event.dump:
            lines += details(self.dump)
        lines.append(f"{'sent:':<16}{event.sent}")
        safe = f"{event.safe_to_power_cycle} ({event.safe_reason})" if event.safe_reason else event.safe_to_power_cycle
        lines.append(f"{'power-cycle:':<16}safe: {safe}")
        if event.next:
            lines.append(f"{'next:':<16}{event.next}")
        if head:
            lines.append(f"{'journal head:':<16}{head}")
        self._write("\n".join(lines) + "\n")
        self.end_view()

    def _write(self, text: str) -> None:
        if self._view is not None:
            self._view.sentence(text)
            return
        self._stream.write(text)
        self._stream.flush()


def print_json(line: Line) -> None:
    """Write one event as a line of JSON on standard output. Raises BrokenPipeError once nobody reads it.

    On a terminal it ends the live view: what is written beside the view would be drawn over.
    """
    try:
        People.plain = People.plain or sys.stdout.isatty()
        sys.stdout.write(json.dumps(line.raw, separators=(",", ":")) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        silence_stdout()
        raise


def silence_stdout() -> None:
    """Keep the interpreter from failing over the broken pipe once more when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
