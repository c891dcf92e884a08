"""A report as sections for people, and those as text and Markdown. The page (trigger/report/page.py) shows the same."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trigger.exit_codes import NOTHING_SENT
from trigger.record import age_text
from trigger.report.fold import Report
from trigger.text import harmless

_MAX_TRACE = 12


@dataclass(frozen=True, slots=True)
class Section:
    """One part of a report: rows of a name and a value, then lines as they were said. All harmless."""

    key: str
    title: str
    rows: tuple[tuple[str, str], ...] = ()
    lines: tuple[str, ...] = ()


def sections(report: Report) -> tuple[Section, ...]:
    """Return the report's sections in their order; those with nothing to say are left out."""
    made = (
        _verdict(report),
        Section("steps", "Next steps", lines=next_steps(report)),
        _done(report),
        _timeline(report),
        _console(report),
        _dump(report),
        _before(report),
        Section("log", "The controller's event log, on its own clock", _log_rows(report), report.new_log),
        _preflight(report),
        _kept(report),
    )
    return tuple(section for section in made if section.rows or section.lines)


def as_text(report: Report) -> str:
    """Return the report as plain text."""
    out = [f"{report.host}: {report.title}", f"run {report.run}, {utc(report.began_at)}", ""]
    for section in sections(report):
        out.append(section.title)
        width = max((len(name) for name, _ in section.rows), default=0) + 2
        out += [f"  {name + ':':<{width}}{value}" for name, value in section.rows]
        out += [f"  {line}" for line in section.lines]
        out.append("")
    return "\n".join(out)


def as_markdown(report: Report) -> str:
    """Return the report as Markdown; what hosts say is escaped or stands in fences that it cannot end."""
    out = [f"# {_escaped(report.host)}: {_escaped(report.title)}", ""]
    out += [f"Run {_escaped(report.run)}, {utc(report.began_at)}.", ""]
    for section in sections(report):
        out += [f"## {_escaped(section.title)}", ""]
        if section.rows:
            out += ["| | |", "|---|---|", *(f"| {_escaped(n)} | {_escaped(v)} |" for n, v in section.rows), ""]
        if section.key == "steps":
            out += [*(f"1. {_with_code(line)}" for line in section.lines), ""]
        elif section.lines:
            longest = max(map(len, re.findall("`+", "\n".join(section.lines))), default=0)
            fence = "`" * max(3, longest + 1)
            out += [f"{fence}text", *section.lines, fence, ""]
    return "\n".join(out)


def next_steps(report: Report) -> tuple[str, ...]:
    """Return what to do now: what the run itself said first, unless a step says it as well."""
    otherwise = f"trigger wait {report.host}" if report.sent else ""
    said = report.finished.next if report.finished else otherwise
    keys = not report.shots and report.finished is not None and report.finished.sent != "no"  # SysRq keys, no shot
    steps = [step.replace("HOST", report.host) for step in report.meaning.steps if not (keys and step == NOTHING_SENT)]
    first = [f"`{said}`"] if said and not any(f"`{said}`" in step for step in steps) else []
    return tuple(harmless(step) for step in (*first, *steps))


def utc(seconds: float | None) -> str:
    """Return a time as 2026-11-23 08:00:00 UTC; "" for None."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds)) if seconds else ""


def since(report: Report, at: float) -> str:
    """Return a moment relative to the fire, or to the begin of a run that did not fire: `+12.3 s`."""
    return f"{round(at - (report.fired_at or report.began_at), 1) + 0.0:+.1f} s"  # no -0.0


def _rows(*pairs: tuple[str, object]) -> tuple[tuple[str, str], ...]:
    return tuple((name, harmless(str(value))) for name, value in pairs if value not in ("", None, ()))


def _verdict(report: Report) -> Section:
    end = report.finished
    if end is None and not report.sent:
        why = report.guarded.message if report.guarded else ""
        return Section("verdict", "Verdict", _rows(("says", why or "Nothing was sent."), ("sent", "no")))
    if end is None:
        text = "This run has no end in the journal: it goes on, or its program was killed."
        return Section("verdict", "Verdict", _rows(("says", text), ("safe to power-cycle", "unknown")))
    reason = f" ({end.safe_reason})" if end.safe_reason else ""
    rows = _rows(
        ("says", end.text),
        ("exit code", f"{end.exit_code}, {report.title}"),
        ("sent", end.sent),
        ("safe to power-cycle", f"{end.safe_to_power_cycle}{reason}"),
    )
    return Section("verdict", "Verdict", rows)


def _done(report: Report) -> Section:
    plan, guarded = report.planned, report.guarded
    rows = _rows(
        ("action", plan.action if plan else ""),
        ("by", plan.actor if plan else ""),
        ("reason", (plan.reason if plan else "") or (guarded.reason if guarded else "")),
        ("rules overridden", ", ".join(guarded.overridden) if guarded else ""),
        ("rule that refused", guarded.rule if guarded else ""),
        *_shot_rows(report),
        ("dump expected at", plan.dump_target if plan else ""),
        ("ended", f"{utc(report.ended_at)}, after {report.ended_at - report.began_at:.0f} s"),
    )
    return Section("done", "What was done", rows)


def _shot_rows(report: Report) -> Iterator[tuple[str, str]]:
    """Yield what was fired; of a ladder every rung."""
    if not report.shots:
        sent = report.finished.sent if report.finished else "no"
        yield "outcome", {"no": "nothing was sent", "yes": "keys sent, no shot"}.get(sent, "keys perhaps sent, no shot")
    for number, shot in enumerate(report.shots, 1):
        rung = f" {number}" if len(report.shots) > 1 else ""
        yield f"fired{rung}", utc(shot.at)
        yield "request", shot.request
        yield "controller", f"{shot.controller} ({shot.driver}) at {shot.address}"
        yield "outcome", f"{shot.outcome}: {shot.answer}" if shot.answer else shot.outcome


def _timeline(report: Report) -> Section:
    lines = []
    for moment in report.moments:
        grade = f" [{moment.grade}]" if moment.grade else ""
        phase = f" {moment.phase}:" if moment.phase else ""
        lines.append(
            harmless(f"{since(report, moment.at):>10}  {moment.source}{grade}{phase} {moment.text}", limit=600)
        )
    gaps = tuple(
        (since(report, report.began_at + gap.begin_s), f"nothing was seen for {span_text(gap.end_s - gap.begin_s)}")
        for gap in report.gaps
    )
    return Section("timeline", "Timeline", gaps, tuple(lines))


def span_text(seconds: float) -> str:
    """Return a duration in words."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _console(report: Report) -> Section:
    return Section("console", "Console", lines=tuple(console_lines(report)))


def console_lines(report: Report) -> Iterator[str]:
    """Yield the excerpt; what was recognised stands in front of its line."""
    for line in report.console:
        if line.gap:
            yield "          ..."
        yield f"{line.after_s:9.1f}  {f'>> {line.mark}: ' if line.mark else ''}{line.text}"


def _dump(report: Report) -> Section:
    dump, chain = report.dump, report.chain
    rows: tuple[tuple[str, str], ...] = ()
    if dump is not None:
        rows = _rows(
            ("path", dump.path),
            ("state", f"{dump.state}{': ' + dump.text if dump.text else ''}"),
            ("size", f"{dump.size:,} bytes" if dump.size else ""),
            ("format", dump.format),
            ("complete", dump.complete),
            ("kernel release", dump.release),
            ("crash time", utc(dump.crash_time)),
            ("panic", dump.panic),
        )
    intact = "intact" if chain.broken_at < 0 else f"BROKEN at line {chain.broken_at} of this run"
    journal = _rows(("journal", f"{chain.lines} lines, hash chain {intact}"), ("chain head (SHA-256)", chain.head))
    return Section("dump", "The dump, and the journal's integrity", rows + journal)


def look_of(report: Report) -> Mapping[str, Any]:
    """Return the first look of first-look.json: `panic`, `trigger`, `before`, `crash`."""
    whole = report.beside.first_look or {}
    inner = whole.get("look") or whole.get("first_look")
    return inner if isinstance(inner, dict) else whole


def _before(report: Report) -> Section:
    look = look_of(report)
    crash = look.get("crash")
    crash = crash if isinstance(crash, dict) else {}
    task = f"CPU {crash.get('cpu')}, PID {crash.get('pid')}, {crash.get('command')}" if crash.get("command") else ""
    modules = " ".join(_texts(crash.get("foreign_modules")))
    rows = _rows(
        ("panic", look.get("panic") or ""),
        ("running", task),
        ("at", crash.get("rip") or ""),
        ("taint", crash.get("taint") or ""),
        ("foreign modules", modules),
        ("hardware", crash.get("hardware") or ""),
    )
    lines = [*_texts(look.get("before")), *_texts(look.get("trigger")), *_texts(crash.get("trace"))[:_MAX_TRACE]]
    return Section("before", "What was wrong before, as the kernel's log says", rows, tuple(lines))


def _texts(value: object) -> list[str]:
    return [harmless(str(item), limit=400) for item in value] if isinstance(value, list) else []


def _log_rows(report: Report) -> tuple[tuple[str, str], ...]:
    if report.log_problem:
        return _rows(("note", report.log_problem))
    return () if report.new_log else _rows(("new entries", "none since the fire"))


def _preflight(report: Report) -> Section:
    record = report.beside.record
    if record is None:
        return Section("preflight", "Preflight", _rows(("record", "there was none at the fire")))
    written, verdicts = record.get("written_at"), record.get("verdicts")
    age = age_text(report.began_at - written) if isinstance(written, int | float) else "of unknown age"
    bad = {k: v for k, v in verdicts.items() if v != "pass"} if isinstance(verdicts, dict) else {}
    rows = _rows(
        ("record", age),
        ("verdict", "ready" if record.get("ready") else "not ready"),
        *(("reason", reason) for reason in _texts(record.get("not_ready_reasons"))),
        *((check, verdict) for check, verdict in sorted(bad.items())),
        ("kernel then", record.get("kernel_release") or ""),
    )
    return Section("preflight", "Preflight, as it was at the fire", rows)


def _kept(report: Report) -> Section:
    beside = report.beside
    files = tuple(f"{size:>12,}  {name}" for name, size in beside.sizes.items())
    return Section("kept", "Kept in the incident folder", _rows(("folder", beside.folder)), (*files, *beside.notes))


def _escaped(text: str) -> str:
    """Return text that Markdown shows as it is, in a table as well."""
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", text).replace("&", "&amp;").replace("<", "&lt;")


def _with_code(step: str) -> str:
    """Return one of our own steps with the commands in it kept as code."""
    parts = step.split("`")
    if len(parts) % 2 == 0:
        return _escaped(step)
    return "".join(f"`{part}`" if number % 2 else _escaped(part) for number, part in enumerate(parts))
