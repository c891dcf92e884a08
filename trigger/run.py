"""One run: its id, its journal, and those who listen to its events.

Before the button a journal that cannot be written stops the run. After it nothing may disturb the watch: a full
disk, a closed pipe or a broken display costs a line of output, never the run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from trigger.clock import Clock
from trigger.errors import GuardRefused
from trigger.events import Event, Fired, Firing, to_json
from trigger.journal import Journal, Line
from trigger.state import StateFolder

Listener = Callable[[Line], None]


def new_run_id(clock: Clock) -> str:
    """Return an id that sorts by time and is unique: 20261123T034501-1f2e3d."""
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime(clock.time())) + "-" + os.urandom(3).hex()


def actor() -> str:
    """Return who runs this: the user, and the login user behind sudo where the kernel knows (audit loginuid)."""
    import pwd

    def name(uid: int) -> str:
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return str(uid)

    me, login = name(os.getuid()), login_uid()
    return me if login in (os.getuid(), None) else f"{me} (login {name(login)})"


def login_uid() -> int | None:
    """Return the user id that logged in, which no sudo changes (proc(5): loginuid); None where the kernel has none."""
    try:
        login = int(Path("/proc/self/loginuid").read_text())
    except (OSError, ValueError):
        return None
    return None if login == 0xFFFFFFFF else login


class Run:
    """The event sink of one run. `something_sent` is true once any run of this process may have sent its shot."""

    something_sent = False

    def __init__(
        self,
        state: StateFolder,
        host: str,
        clock: Clock,
        listeners: list[Listener],
        *,
        run_id: str = "",
        seq: int = 0,
    ) -> None:
        self.id = run_id or new_run_id(clock)
        self.clock = clock
        self.journal = Journal(state, host, self.id, clock, seq)
        # before: nothing left; sending: Firing is durable, the answer is awaited; after: accepted or unknown.
        self.stage = "before"
        self.journal_broken = ""
        self._listeners = list(listeners)

    def emit(self, event: Event) -> None:
        """Journal `event` and tell the listeners.

        Before `Firing` a failing journal raises GuardRefused; after it the failure is kept in `journal_broken`.
        """
        try:
            line = self.journal.append(event, durable=self.stage != "before")
        except GuardRefused as error:
            if self.stage == "before":
                raise
            self.journal_broken = error.message
            line = self._line(event)
        self.tell(line)

    def tell(self, line: Line) -> None:
        """Pass a line to every listener; one that fails is not asked again."""
        for listener in list(self._listeners):
            try:
                listener(line)
            except Exception:
                self._listeners.remove(listener)

    def fire(self, button: Callable[[Journal], Fired], firing: Firing) -> Fired:
        """Press `button` and report what became of it; from here on nothing may disturb the watch.

        Raises GuardRefused when `firing` could not be written: then nothing was sent.
        """
        self.tell(self._line(firing))
        self.stage = "sending"
        try:
            fired = button(self.journal)
            self.stage = "before" if fired.outcome == "refused" else "after"
            Run.something_sent |= self.stage == "after"
        except GuardRefused:
            self.stage = "before"
            raise
        except BaseException as error:
            # Only a signal in the gap between two statements comes here: take it as sent.
            fired = Fired(firing.controller, "unknown", f"interrupted: {type(error).__name__}")
            self.stage = "after"
            Run.something_sent = True
        self.emit(fired)
        return fired

    def close(self) -> None:
        """Close the journal."""
        self.journal.close()

    def _line(self, event: Event) -> Line:
        """Return a line for the listeners that the journal does not hold in this form."""
        moment = self.clock.time()
        raw = {"run": self.id, "host": self.journal.host, "seq": -1, "time": moment, **to_json(event)}
        return Line(self.id, self.journal.host, -1, moment, event, raw)
