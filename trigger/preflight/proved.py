"""What a fire has proved before: the newest dump of this host that was verified, and through which controller."""

from __future__ import annotations

import time
from typing import NamedTuple

from trigger.errors import TriggerError
from trigger.events import DumpFound, Firing, Planned
from trigger.journal import read_journal
from trigger.state import JOURNAL, StateFolder


class ProvedDump(NamedTuple):
    """A dump that `trigger` proved complete; `nmi_through` names the controller whose NMI it was, "" for SysRq."""

    path: str
    time: float
    nmi_through: str = ""

    @property
    def day(self) -> str:
        """When it was proved, as a date."""
        return time.strftime("%Y-%m-%d", time.gmtime(self.time))


def last_proved(state: StateFolder, host: str) -> ProvedDump | None:
    """Return the newest verified dump in the host's journal, None where there is none."""
    if not state.has(host, JOURNAL):
        return None
    actions: dict[str, str] = {}
    fired: dict[str, str] = {}
    found = None
    try:
        for line in read_journal(state, host):
            match line.event:
                case Planned() as event:
                    actions[line.run] = event.action
                case Firing() as event:
                    fired[line.run] = event.controller
                case DumpFound() as event if event.state == "verified":
                    through = fired.get(line.run, "") if actions.get(line.run) == "nmi" else ""
                    found = ProvedDump(event.path, line.time, through)
                case _:
                    pass
    except TriggerError:
        return None  # a damaged journal is the guard's to refuse
    return found
