"""What the watch knows at one moment, for those who look on: the live view draws it, nobody decides by it."""

from __future__ import annotations

from typing import NamedTuple


class Status(NamedTuple):
    """One moment of a watch. Times are seconds; texts are harmless already (trigger/text.py).

    `phase` is as in trigger/watch/phases.py and `phase_s` how long it has lasted; `elapsed_s` counts from the fire.
    `dump` is the state of the target (trigger/post/landing.py); `percent` and `eta_s` are None where nobody says.
    `console` holds the last lines of the console, oldest first; `evidence` one sentence for each source, the newest
    last; `safe` is yes, no or unknown: what Finished would say now.
    """

    host: str
    phase: str = "fired"
    phase_s: float = 0.0
    elapsed_s: float = 0.0
    dump: str = "waiting"
    bytes: int = 0
    bytes_per_s: float = 0.0
    percent: float | None = None
    eta_s: float | None = None
    console: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    safe: str = "unknown"
    safe_reason: str = ""
    warning: str = ""
