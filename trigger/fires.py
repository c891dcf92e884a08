"""Open fires: what the journal says was sent and has not come to an end.

A fire is open from `Firing` until a dump is verified, a new boot id is seen, "no crash" is proved, every route
refused, or its deadline has passed. While one is open every other is refused: a second shot can destroy the dump
that the first one started.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from trigger.events import Finished, Fired, Firing, Observed
from trigger.journal import Line, read_journal
from trigger.state import JOURNAL, StateFolder

# A journal untouched for longer than the longest deadline anybody sets holds no open fire.
LONGEST_FIRE_S = 7 * 86400.0


class OpenFire(NamedTuple):
    """One shot whose end is not known. `outcome` is "" when the program died before it could say."""

    host: str
    run: str
    controller: str
    driver: str
    address: str
    keys: tuple[str, ...]
    fired_at: float
    deadline_at: float
    outcome: str
    boot_id: str
    request: str = ""  # what was sent, in words


def fires(lines: Iterable[Line]) -> list[OpenFire]:
    """Return the last shot of every run of a journal that was not refused, ended or not, oldest first."""
    found, _ = _fold(lines)
    return [shots[-1] for shots in found.values() if shots]


def open_fires(lines: Iterable[Line], now: float) -> list[OpenFire]:
    """Return the shots of a journal that are still open at `now` (seconds since the epoch), oldest first."""
    found, ended = _fold(lines)
    last = [shots[-1] for run, shots in found.items() if shots and run not in ended]
    return [fire for fire in last if now < fire.deadline_at]


def open_fires_everywhere(state: StateFolder, host: str, keys: Iterable[str], now: float) -> list[OpenFire]:
    """Return the open fires that forbid a shot at `host`: its own, and those of any host that shares a key.

    Another name for the same controller is the same machine. Raises GuardRefused (rule `journal`) when a journal
    that may hold one cannot be read.
    """
    wanted = set(keys)
    found = open_fires(read_journal(state, host), now)
    for other in _recently_written(state, now):
        if other != host:
            found += [f for f in open_fires(read_journal(state, other), now) if wanted & set(f.keys)]
    return found


def _fold(lines: Iterable[Line]) -> tuple[dict[str, list[OpenFire]], set[str]]:
    """Return the shots by run (`trigger crash` may fire more than one), and the runs that have come to an end.

    What ends a fire ends those before it as well: a dump, a new boot and "no crash" are facts of the host.
    """
    found: dict[str, list[OpenFire]] = {}
    ended: set[str] = set()
    for line in lines:
        event = line.event
        shots = found.get(line.run, [])
        if isinstance(event, Firing):
            found.setdefault(line.run, []).append(_opened(line, event))
            ended.discard(line.run)
        elif isinstance(event, Fired) and shots:
            shots[-1] = shots[-1]._replace(outcome=event.outcome)
            if event.outcome == "refused":
                shots.pop()
        elif (isinstance(event, Finished) and event.ends_fire) or (
            isinstance(event, Observed) and event.phase in ("back", "no-crash") and event.grade == "proof"
        ):
            ended.update(found)
    return found, ended


def _opened(line: Line, event: Firing) -> OpenFire:
    return OpenFire(
        line.host,
        line.run,
        event.controller,
        event.driver,
        event.address,
        event.keys,
        line.time,
        event.deadline_at,
        "",
        event.boot_id,
        event.request,
    )


def _recently_written(state: StateFolder, now: float) -> list[str]:
    names = []
    try:
        entries = os.scandir(state.path / "hosts")
    except OSError:
        return []
    with entries:
        for entry in entries:
            try:
                written = Path(entry.path, JOURNAL).lstat().st_mtime
            except OSError:
                continue
            if now - written < LONGEST_FIRE_S:
                names.append(entry.name)
    return names
