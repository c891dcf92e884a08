"""One run: its id, its journal, and those who listen to its events.

Before the button a journal that cannot be written stops the run. After it nothing may disturb the watch: a full
disk, a closed pipe or a broken display costs a line of output, never the run.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from trigger.clock import Clock
from trigger.errors import GuardRefused
from trigger.events import Event, Fired, Firing, Observed, to_json
from trigger.journal import Journal, Line
from trigger.state import StateFolder
from trigger.text import harmless

if TYPE_CHECKING:
    from trigger.syslog import Syslog

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
        syslog: str = "",
    ) -> None:
        self.id = run_id or new_run_id(clock)
        self.clock = clock
        self.journal = Journal(state, host, self.id, clock, seq)
        # before: nothing left; sending: Firing is durable, the answer is awaited; after: accepted or unknown;
        # between: a shot of this run is over and another may follow (trigger/ladder.py).
        self.stage = self._idle = "before"
        self.journal_broken = ""
        self._listeners = list(listeners)
        self._syslog: Syslog | None = None
        if syslog:
            from trigger.syslog import Syslog

            self._syslog = Syslog(syslog)
            self.journal.when_durable = self._syslog.tell

    def emit(self, event: Event) -> None:
        """Journal `event` and tell the listeners.

        Before `Firing` a failing journal raises GuardRefused; after it the run goes on, and says so once.
        """
        try:
            line = self.journal.append(event, durable=self.stage != "before" or isinstance(event, Fired))
        except GuardRefused as error:
            if self.stage == self._idle:
                raise
            line = self._line(event)
            self._say_broken(error)
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

        Raises GuardRefused when `firing` could not be written, and KeyboardInterrupt when a signal came before it
        was: then nothing was sent.
        """
        self.tell(self._line(firing))
        before, Run.something_sent = Run.something_sent, True  # until it is known better
        self.stage = "sending"
        try:
            fired = button(self.journal)
            self.stage = self._idle if fired.outcome == "refused" else "after"
            Run.something_sent = before or self.stage == "after"
        except BaseException as error:
            if isinstance(error, GuardRefused) or self.journal.durable is not firing:
                self._not_sent(firing)
                Run.something_sent = before
                raise
            # Only a signal in the gap between two statements comes here: take it as sent.
            fired = Fired(firing.controller, "unknown", f"interrupted: {type(error).__name__}")
            self.stage = "after"
        self._emit_fired(fired)
        return fired

    def next_rung(self) -> None:
        """Say that another shot may follow: Ctrl-C ends the wait for it, and a failing journal forbids it."""
        self.stage = self._idle = "between"

    def close(self) -> None:
        """Close the journal, and let syslog have what it has not got."""
        self.journal.close()
        if self._syslog is not None and (failure := self._syslog.close()):
            with suppress(OSError, ValueError):
                print(f"trigger: note: syslog: {harmless(failure)}", file=sys.stderr)

    def _emit_fired(self, fired: Fired) -> None:
        """Journal and tell what became of the request; a journal that fails now must not hide a refusal."""
        try:
            self.emit(fired)
        except GuardRefused as error:
            self.tell(self._line(fired))
            self._say_broken(error)

    def _not_sent(self, firing: Firing) -> None:
        """Leave no open fire behind a shot that never left; `firing` has been shown already."""
        self.stage = self._idle
        gone = self.journal.withdraw(firing)
        why = "nothing was sent: this shot could not be journalled"
        self.tell(self._line(Fired(firing.controller, "refused", why)))
        if not gone:
            text = f"An open fire may be shown until its deadline although {why}."
            self.tell(self._line(Observed("journal", "journal", "weak", text)))

    def _say_broken(self, error: GuardRefused) -> None:
        """Say once that the journal can no longer be written; the run goes on without it."""
        first, self.journal_broken = not self.journal_broken, error.message
        if first:
            why = error.message.split(" Nothing was sent", 1)[0]
            text = f"{why} The run goes on; what is seen from here on may be missing in its history."
            self.tell(self._line(Observed("journal", "journal", "weak", text)))

    def _line(self, event: Event) -> Line:
        """Return a line for the listeners that the journal does not hold in this form."""
        moment = self.clock.time()
        raw = {"run": self.id, "host": self.journal.host, "seq": -1, "time": moment, **to_json(event)}
        return Line(self.id, self.journal.host, -1, moment, event, raw)
