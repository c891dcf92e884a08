"""What is known of a dump, one fact a line, for `trigger inspect` and for the end of a run."""

from __future__ import annotations

from collections.abc import Iterable

from trigger.post.debugging import go_on
from trigger.post.inspection import Inspection
from trigger.text import harmless

# The first look without the proof and without the panic line, which the verdict has: where, and what was wrong before.
LOOK = ("set off by", "before", "on", "RIP", "taint", "hardware", "modules", "trace", "", "debuginfo", "crash")


def first_look(found: Inspection) -> Iterable[tuple[str, str]]:
    """Return the rows of the first look alone, "" for a row that goes on."""
    return [row for row in rows(found) if row[0] in LOOK]


def rows(found: Inspection) -> list[tuple[str, str]]:
    """Return the text form: (name, value) per line, all of it harmless to print."""
    facts, look = found.facts, found.look
    verdict = {"yes": "yes", "no": "NO", "unknown": "cannot tell"}[facts.complete.value]
    said = [
        ("dump", found.path),
        (
            "format",
            f"{facts.described()} (written by {facts.producer})" if facts.producer else facts.described(),
        ),
        ("complete", f"{verdict}: {facts.reason}"),
        ("host", facts.nodename),
        ("kernel", " ".join(filter(None, (facts.release, facts.machine, facts.version)))),
        ("crashed", _utc(facts.crash_time)),
        ("size", _size(found)),
        ("log", found.dmesg),
    ]
    lines = [(name, harmless(value)) for name, value in said if value]
    if look is not None:
        lines += [("panic", look.panic), *(("set off by", line) for line in look.trigger)]
        lines += [("before", line) for line in look.before]
        if look.crash is not None:
            crash = look.crash
            lines += [("on", f"CPU {crash.cpu}, PID {crash.pid}, {crash.command}")] if crash.command else []
            lines += [("RIP", crash.rip), ("taint", crash.taint), ("hardware", crash.hardware)]
            lines += [("modules", " ".join(crash.foreign_modules))]
            lines += [("trace" if number == 0 else "", line) for number, line in enumerate(crash.trace)]
    then = go_on(facts, found.path)
    lines += [("debuginfo", then.install), ("crash", then.crash), ("drgn", then.drgn)]
    return [(name, f"{'':<10} {value}" if not name else value) for name, value in lines if value]


def _utc(seconds: float | None) -> str:
    import datetime

    if seconds is None:
        return ""
    try:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.0f} s since the epoch"
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC, by its own clock")


def _size(found: Inspection) -> str:
    facts = found.facts
    parts = [f"{facts.size / 1e6:.1f} MB"]
    if facts.pages is not None and facts.page_size:
        parts.append(f"{facts.pages} pages of {facts.page_size} bytes")
    if facts.dump_level is not None:
        parts.append(f"dump level {facts.dump_level}")
    return ", ".join(parts)
