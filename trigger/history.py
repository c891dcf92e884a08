"""Runs as their journal tells them: a run is a fold over its lines."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from trigger.display import sentence
from trigger.errors import ConfigError, TriggerError
from trigger.events import Finished, Fired, Firing, Planned
from trigger.fires import open_fires
from trigger.journal import Line, read_journal, read_journals
from trigger.state import StateFolder


@dataclass(frozen=True, slots=True)
class PastRun:
    """One run. `outcome` is "" when nothing was sent, "keys sent" for SysRq keys, which are no fire.

    `exit_code` is None while it is not finished.
    """

    run: str
    host: str
    started: float
    action: str = ""
    actor: str = ""
    outcome: str = ""
    exit_code: int | None = None
    dump: str = ""
    reason: str = ""
    open: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the run as plain JSON."""
        return asdict(self)

    def line(self) -> str:
        """Return the run in one line for people."""
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.started))
        end = "open" if self.open else "-" if self.exit_code is None else f"exit {self.exit_code}"
        sent = self.outcome or "nothing sent"
        return (
            f"{when}  {self.run}  {self.host}  {self.action or '?'}  {sent}  {end}  {self.actor}  {self.dump}".rstrip()
        )


def runs_of(state: StateFolder, host: str) -> list[PastRun]:
    """Return the runs of one host, oldest first."""
    return _runs(read_journal(state, host))


def _runs(lines: Sequence[Line]) -> list[PastRun]:
    still_open = {fire.run for fire in open_fires(lines, time.time())}
    runs: dict[str, PastRun] = {}
    shots: dict[str, list[str]] = {}  # the outcome of each shot of a run: a ladder has several
    for line in lines:
        if isinstance(line.event, Firing):
            shots.setdefault(line.run, []).append("unknown")
        elif isinstance(line.event, Fired) and line.run in shots:
            shots[line.run][-1] = line.event.outcome
        runs[line.run] = _fold(runs.get(line.run, PastRun(line.run, line.host, line.time)), line)
    return [
        replace(run, open=run.run in still_open, outcome=_outcome(shots[run.run]) if run.run in shots else run.outcome)
        for run in runs.values()
    ]


def _outcome(shots: Sequence[str]) -> str:
    """Return the outcome of a run with these shots: one that may have arrived counts more than one that was refused."""
    return next((outcome for outcome in ("accepted", "unknown", "refused") if outcome in shots), "")


def runs_of_all(state: StateFolder, hosts: Sequence[str]) -> tuple[tuple[PastRun, ...], tuple[TriggerError, ...]]:
    """Return the runs of several hosts, and what could not be read: one journal says nothing about the others."""
    unread: list[TriggerError] = []
    found = tuple(run for _, lines in read_journals(state, hosts, unread) for run in _runs(lines))
    return found, tuple(unread)


def events_of(state: StateFolder, hosts: Sequence[str], run_id: str) -> Iterator[tuple[Line, str]]:
    """Yield every event of one run with its sentence.

    Raises ConfigError when no journal has the run, GuardRefused when one that may have it cannot be read.
    """
    found = False
    unread: list[TriggerError] = []
    for _, lines in read_journals(state, hosts, unread):
        for line in lines:
            if line.run == run_id:
                found = True
                when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line.time))
                yield line, f"{when}  {sentence(line.event) if line.event else line.raw.get('event', '?')}"
    if unread and not found:
        raise unread[-1]
    if not found:
        raise ConfigError(f"no journal in {state.path} has a run {run_id}", next_step="trigger history lists the runs.")


def _fold(run: PastRun, line: Line) -> PastRun:
    match line.event:
        case Planned() as event:
            return replace(run, action=event.action, actor=event.actor, reason=event.reason)
        case Finished() as event:
            # SysRq keys other than c are no fire: only their end says that something was sent.
            keys = {"yes": "keys sent", "maybe": "keys perhaps sent"}.get(event.sent, "")
            outcome = run.outcome or (keys if run.action.startswith(("sysrq ", "console ")) else "")
            return replace(run, exit_code=event.exit_code, dump=event.dump, outcome=outcome)
        case _:
            return run
