"""What happened in one run: a pure fold over its journal, and what lies beside it in the incident folder.

    report = fold(read_journal(state, host), run_id, read_beside(files))

The forms for people are in trigger/report/plain.py and trigger/report/page.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from itertools import pairwise
from typing import Any

from trigger.events import DumpFound, Event, Finished, Fired, Firing, Guarded, Observed, Planned, Probed
from trigger.exit_codes import Meaning, meaning
from trigger.journal import Line
from trigger.report.console_excerpt import ExcerptLine, Mark, excerpts, masked
from trigger.run_files import FIRST_LOOK, LOG_AFTER, LOG_BEFORE, NOTES, PREFLIGHT, RunFiles
from trigger.text import harmless

PHASES = (
    "fired", "ignored", "denied", "panicked", "crash-kernel", "saving", "saved", "failed", "rebooting", "back",
)  # fmt: skip
# What a target says of its dump, as a phase, for a run whose console says nothing.
_DUMP_PHASES = {"writing": "saving", "landed": "saved", "verified": "saved", "incomplete": "failed", "failed": "failed"}
_PROGRESS = ("progress", "raw-progress", "preparing")  # said again and again: no marks of the excerpt
GAP_S = 20.0  # so long nothing was seen: worth a mark
_CAST_BYTES = 80 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that was learned, `at` seconds since the epoch. Texts are harmless already, as the journal has them."""

    at: float
    source: str
    text: str
    grade: str = ""
    phase: str = ""
    pattern: str = ""
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """One phase, or one gap in which nothing was seen; seconds since the beginning of the run."""

    name: str
    begin_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Shot:
    """One request, a rung of the ladder: `at` seconds since the epoch. Without an answer its outcome is unknown."""

    at: float
    controller: str
    driver: str
    address: str
    request: str
    outcome: str = "unknown"
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """The journal's hash chain: `head` is the SHA-256 of the run's last line, `broken_at` the first that does not fit.

    `lines` counts the run's own. `broken_at` is -1 when every line that was read names the one before it.
    """

    head: str = ""
    lines: int = 0
    broken_at: int = -1


@dataclass(frozen=True, slots=True)
class Beside:
    """What lies beside the journal; None and empty where it is not there."""

    casts: tuple[tuple[bytes, ...], ...] = ()
    log_before: Mapping[str, Any] | None = None
    log_after: Mapping[str, Any] | None = None
    record: Mapping[str, Any] | None = None
    first_look: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict)
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """One run, for any form. Times are seconds since the epoch, `_s` are durations; strings are harmless.

    `firing` and `fired` are of the last of the `shots`; `fired` is None where the program did not live to its answer.
    `new_log` are entries of the controller's event log that were not there before the fire, on its own clock.
    """

    run: str
    host: str
    began_at: float
    ended_at: float
    fired_at: float | None
    planned: Planned | None
    guarded: Guarded | None
    firing: Firing | None
    fired: Fired | None
    dump: DumpFound | None
    finished: Finished | None
    moments: tuple[Moment, ...]
    phases: tuple[Span, ...]
    gaps: tuple[Span, ...]
    chain: Chain
    shots: tuple[Shot, ...] = ()
    console: tuple[ExcerptLine, ...] = ()
    new_log: tuple[str, ...] = ()
    log_problem: str = ""
    beside: Beside = Beside()
    v: int = 1

    @property
    def exit_code(self) -> int | None:
        """The run's exit code, None while it is not finished."""
        return None if self.finished is None else self.finished.exit_code

    @property
    def sent(self) -> bool:
        """Whether any shot was, or may have been, delivered."""
        return any(shot.outcome != "refused" for shot in self.shots)

    @property
    def meaning(self) -> Meaning:
        """What the exit code means, and what to do on it."""
        safe = self.finished is not None and self.finished.safe_to_power_cycle == "yes"
        return meaning(self.exit_code, sent=self.sent, safe=safe)

    @property
    def title(self) -> str:
        """The verdict in a few words."""
        return self.meaning.title

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON."""
        events = ("planned", "guarded", "firing", "fired", "dump", "finished")
        kept = {name: getattr(self, name)._asdict() if getattr(self, name) is not None else None for name in events}
        whole = {name: _plain(getattr(self, name)) for name in self.__slots__ if name not in (*events, "beside")}
        beside = self.beside
        words = {"exit_code": self.exit_code, "title": self.title, "steps": list(self.meaning.steps)}
        files = {"notes": list(beside.notes), "files": dict(beside.sizes), "folder": beside.folder}
        return {**whole, **kept, **words, "preflight": beside.record, "first_look": beside.first_look, **files}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


def read_beside(files: RunFiles) -> Beside:
    """Return what lies in the incident folder. What cannot be read is left out."""
    notes = (files.read_json(NOTES) or {}).get("notes")
    return Beside(
        casts=tuple(tuple((files.read(name, _CAST_BYTES) or b"").splitlines()) for name in files.recordings()),
        log_before=files.read_json(LOG_BEFORE),
        log_after=files.read_json(LOG_AFTER),
        record=files.read_json(PREFLIGHT),
        first_look=files.read_json(FIRST_LOOK),
        notes=tuple(harmless(str(note)) for note in notes) if isinstance(notes, list) else (),
        sizes=files.sizes(),
        folder=str(files.path),
    )


def fold(journal: Sequence[Line], run: str, beside: Beside | None = None) -> Report | None:
    """Return what happened in `run`; None when the journal has no line of it."""
    lines = [line for line in journal if line.run == run]
    if not lines:
        return None
    beside = beside or Beside()
    events = [line.event for line in lines]
    fired_at = next((line.time for line in lines if isinstance(line.event, Firing)), None)
    moments = tuple(moment for line in lines if (moment := _moment(line)) is not None)
    end = max(line.time for line in lines)
    dumps = [event for event in events if isinstance(event, DumpFound)]
    marks = [
        (m.offset, Mark(m.pattern or m.phase, m.phase))
        for m in moments
        if m.source == "console" and m.offset is not None and m.pattern not in _PROGRESS
    ]
    new_log, problem = _new_log(beside)
    shots = _shots(lines)
    return Report(
        run=run,
        host=lines[0].host,
        began_at=lines[0].time,
        ended_at=end,
        fired_at=fired_at,
        planned=_last(events, Planned),
        guarded=_last(events, Guarded),
        firing=_last(events, Firing),
        fired=_last(events[_last_shot(events) :], Fired),
        dump=dumps[-1] if dumps else None,
        finished=_last(events, Finished),
        moments=moments,
        phases=_phases(moments, shots, lines[0].time, end),
        gaps=_gaps(moments, lines[0].time, fired_at, end),
        chain=_chain(journal, run),
        shots=shots,
        console=excerpts(beside.casts, marks),
        new_log=new_log,
        log_problem=problem,
        beside=beside,
    )


def _shots(lines: Sequence[Line]) -> tuple[Shot, ...]:
    shots: list[Shot] = []
    for line in lines:
        match line.event:
            case Firing() as event:
                shots.append(Shot(line.time, event.controller, event.driver, event.address, event.request))
            case Fired() as event if shots:
                shots[-1] = replace(shots[-1], outcome=event.outcome, answer=event.answer)
    return tuple(shots)


def _last_shot(events: Sequence[Event | None]) -> int:
    return max((number for number, event in enumerate(events) if isinstance(event, Firing)), default=0)


def _last(events: Sequence[Event | None], kind: type[Any]) -> Any:
    return next((event for event in reversed(events) if isinstance(event, kind)), None)


def _moment(line: Line) -> Moment | None:
    from trigger.display import sentence

    event = line.event
    if event is None:
        return None
    text = masked(sentence(event))
    match event:
        case Observed():
            said = masked(event.text)
            return Moment(line.time, event.source, said, event.grade, event.phase, event.pattern, event.offset)
        case DumpFound():
            grade = "proof" if event.state == "verified" else "strong" if event.path else "weak"
            return Moment(line.time, "target", text.removeprefix("dump: "), grade, _DUMP_PHASES.get(event.state, ""))
        case Probed() | Fired():
            phase = "fired" if isinstance(event, Fired) and event.outcome != "refused" else ""
            return Moment(line.time, "controller", text, phase=phase)
        case _:
            return Moment(line.time, "trigger", text)


def _phases(moments: Sequence[Moment], shots: Sequence[Shot], began: float, end: float) -> tuple[Span, ...]:
    """Return one span for each phase in the order of their beginning, each until the next begins.

    The fire begins with the request that left, not with its answer, which may take its time.
    """
    fired = next((shot.at for shot in shots if shot.outcome != "refused"), None)
    starts = [("before", began), *([("fired", fired)] if fired is not None else [])]
    for moment in moments:
        known = moment.phase in PHASES and fired is not None and moment.at >= fired
        if known and moment.phase not in {name for name, _ in starts}:
            starts.append((moment.phase, moment.at))
    ends = [*(at for _, at in starts[1:]), end]
    return tuple(
        Span(name, round(at - began, 3), round(until - began, 3))
        for (name, at), until in zip(starts, ends, strict=True)
    )


def _gaps(moments: Sequence[Moment], began: float, fired: float | None, end: float) -> tuple[Span, ...]:
    """Return where nothing was seen for long, after the fire."""
    if fired is None:
        return ()
    seen = [fired, *(moment.at for moment in moments if moment.at > fired and moment.source != "trigger"), end]
    least = max(GAP_S, 0.05 * (end - fired))
    return tuple(Span("gap", round(a - began, 3), round(b - began, 3)) for a, b in pairwise(seen) if b - a > least)


def _chain(journal: Sequence[Line], run: str) -> Chain:
    head, count, broken, before = "", 0, -1, ""
    for line in journal:
        if before and line.raw.get("prev") != before and broken < 0 and (count or line.run == run):
            broken = count
        before = sha256(json.dumps(line.raw, separators=(",", ":")).encode()).hexdigest()
        if line.run == run:
            head, count = before, count + 1
    return Chain(head, count, broken)


def _new_log(beside: Beside) -> tuple[tuple[str, ...], str]:
    """Return the entries that came since the fire, in words, and why that cannot be told."""
    after = beside.log_after
    if after is None:
        return (), "not read"
    if after.get("problem"):
        return (), harmless(str(after["problem"]))
    before = beside.log_before
    entries = _entries(after)
    old = {_key(entry) for entry in _entries(before)} if before else set()
    last = max((at for at, entry in enumerate(entries) if _key(entry) in old), default=-1)
    empty = before is not None and not before.get("problem") and not old
    problem = "" if last >= 0 or empty else "not compared with before the fire: some of these entries may be older"
    return tuple(_in_words(entry) for entry in entries[last + 1 :]), problem


def _entries(log: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    entries = (log or {}).get("entries")
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _key(entry: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(entry.get(name)) for name in ("time", "text", "key"))


def _in_words(entry: Mapping[str, Any]) -> str:
    import time

    moment = entry.get("time")
    usable = isinstance(moment, int | float) and 0 < moment < 4e9
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(moment)) if usable else "no time"
    return harmless(f"{when}  {entry.get('severity') or '-'}  {entry.get('text') or ''}".rstrip(), limit=400)
