"""What is being watched after a shot: everything that `wait` needs to go on where `nmi` stopped."""

from __future__ import annotations

from dataclasses import dataclass

from trigger.host import Host
from trigger.known import Known


@dataclass(frozen=True, slots=True)
class Watched:
    """One shot. `outcome` is accepted or unknown; times are seconds since the epoch; `until` as in the options."""

    host: Host
    dump_target: str
    known: Known
    outcome: str
    fired_at: float
    deadline_at: float
    until: str = "verified"
