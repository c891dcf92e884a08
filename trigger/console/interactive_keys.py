"""BREAKs and SysRq keys from an interactive console: under the host's locks, never during an open fire, journalled.

The locks are held while something is sent, not for the whole session: an open console keeps nobody from firing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from trigger.clock import Clock
from trigger.console.kept import KeptConsole
from trigger.console.sysrq import CLEARING, KEYS, Dialogue, Do
from trigger.errors import DriverError, TriggerError
from trigger.events import Finished, Planned
from trigger.fires import open_fires_everywhere
from trigger.guard import judge_open_fires, refusal
from trigger.known import Known
from trigger.lock import Locks
from trigger.plan import Plan
from trigger.run import Run, actor
from trigger.state import StateFolder
from trigger.text import harmless

_CLEARED_S = 0.2  # between the clearing character and the BREAK


class Place(NamedTuple):
    """Which console it is, and where what happens on it is kept."""

    plan: Plan
    known: Known
    state: StateFolder
    clock: Clock
    run: str


class Keys:
    """What may be sent besides text. `armed`: a BREAK went out and no character since, so the next one is a key."""

    def __init__(self, place: Place, kept: KeptConsole) -> None:
        self._place, self._kept = place, kept
        self._seq = 0  # of this run's next line in the journal
        self.armed = False

    def send_break(self) -> None:
        """Send one BREAK. Raises GuardRefused, or DriverError when it was not acknowledged."""
        with self._alone("BREAK", journal=True):
            self.armed = True
            self._kept.note("BREAK")
            self._kept.send_break()

    def type_key(self, key: str, data: bytes) -> None:
        """Send `data`, whose first character is `key` and comes after a BREAK. Raises as `send_break` does."""
        with self._alone(key, journal=key in KEYS and KEYS[key].danger != "harmless"):
            self._kept.write(data)
            self.armed = False

    def press(self, key: str) -> None:
        """Send one BREAK and one key as trigger/console/sysrq.py orders them; a person looks on: nobody listens here.

        Raises GuardRefused, or DriverError when the console is lost or the BREAK was not acknowledged.
        """
        with self._alone(key, journal=KEYS[key].danger != "harmless"):
            dialogue = Dialogue(key)
            while (step := dialogue.next()) not in (Do.LISTEN, Do.STOP):
                if step is Do.CLEAR:
                    self._type(CLEARING, dialogue)
                    self._place.clock.sleep(_CLEARED_S)
                elif step is Do.BREAK:
                    self._break(dialogue)
                else:
                    self._type(dialogue.character.encode(), dialogue)
            if dialogue.broken:
                raise DriverError(f"{dialogue.broken}; {key} was not sent, but h, which disarms the port.")

    def _type(self, data: bytes, dialogue: Dialogue) -> None:
        self._kept.write(data)
        self.armed = False
        dialogue.done()

    def _break(self, dialogue: Dialogue) -> None:
        self.armed = True
        self._kept.note(f"BREAK, then {dialogue.key}")
        try:
            self._kept.send_break()
        except DriverError as error:
            dialogue.failed(error.message, refused=True)
        else:
            dialogue.done()

    @contextlib.contextmanager
    def _alone(self, what: str, *, journal: bool) -> Iterator[None]:
        """Hold the host's locks; refuse during an open fire; with `journal`, it is on disk before it is sent."""
        place, host = self._place, self._place.plan.host.name
        with Locks(place.plan.keys, host):
            fires = open_fires_everywhere(place.state, host, place.plan.keys, place.clock.time())
            error = refusal(judge_open_fires(fires), (), "", "")
            if error is not None:
                raise error
            if not journal:
                yield
                return
            run = Run(place.state, host, place.clock, [], run_id=place.run, seq=self._seq)
            with contextlib.closing(run):
                yield from self._journalled(run, what)

    def _journalled(self, run: Run, what: str) -> Iterator[None]:
        self._seq += 2
        run.emit(Planned(f"console {what}", (), 0.0, "", actor()))
        try:
            yield
        except BaseException as error:
            text = error.message if isinstance(error, TriggerError) else type(error).__name__
            run.emit(Finished(DriverError.exit_code, "maybe", f"console {what}: perhaps sent: {harmless(text)}"))
            raise
        run.emit(Finished(0, "yes", f"console {what}: sent by hand; what came of it is in the recording"))
