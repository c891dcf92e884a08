"""A console that is kept open: everything it says is recorded, and when it is lost it is opened again.

Nothing is sent by reopening: no Enter, no escape, no BREAK. What was typed while it was lost is not sent later either.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from trigger.clock import Clock, Deadline
from trigger.console.opening import Opener
from trigger.console.recording import Recording
from trigger.driver import Console
from trigger.errors import DriverError, TriggerError

# Two minutes in all: a BMC that was restarted is back, and one that lost us has ended our old session (IPMI: 60 s).
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 30.0, 30.0)
GOOD_S = 60.0  # a console that lasted so long has earned all the tries again
_READ_S = 0.5
_END_S = 12.0  # an attempt to open that is under way


class KeptConsole:
    """The thread that reads a console, and the way to write to it.

    `hear` is called with what the host said, `say` with sentences for people, both in the thread that reads;
    `ended` once when the console is lost for good (`lost` says why) or `hear` failed.
    """

    def __init__(
        self,
        opener: Opener,
        console: Console,
        recording: Recording,
        clock: Clock,
        *,
        hear: Callable[[bytes], None],
        say: Callable[[str, str], None],
        ended: Callable[[], None],
        pauses: tuple[float, ...] = PAUSES_S,
    ) -> None:
        self._opener, self._recording, self._clock = opener, recording, clock
        self._console: Console | None = console
        self._hear, self._say, self._ended, self._pauses = hear, say, ended, pauses
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)
        self._tries = 0  # to open it again
        self.lost: TriggerError | None = None
        self.heard = 0  # bytes

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def close(self) -> None:
        """Stop reading and give the console back; bounded, raises nothing."""
        self._stop.set()
        self._thread.join(_END_S)
        if not self._thread.is_alive():
            self._opener.close()

    def write(self, data: bytes) -> None:
        """Send `data` as typed; raises DriverError when the console is lost or loses it."""
        self._now().write(data)

    def send_break(self) -> None:
        """Send exactly one BREAK; see Console.send_break."""
        self._now().send_break()

    def note(self, text: str) -> None:
        """Keep a remark of ours in the recording."""
        self._recording.note(text)

    def _now(self) -> Console:
        if self._console is None:
            raise DriverError("The console is lost at the moment; this was not sent.")
        return self._console

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                opened_at = self._clock.monotonic()
                why = self._read()
                if self._stop.is_set():
                    return
                if self._clock.monotonic() - opened_at > GOOD_S:
                    self._tries = 0
                self._reopen(why)
                if self.lost is not None:
                    return
        except OSError:
            return  # the operator's terminal has gone
        finally:
            self._ended()

    def _read(self) -> str:
        """Read until the console is lost, and return why; "" when we are to stop."""
        console = self._now()
        while not self._stop.is_set():
            try:
                said = console.read(Deadline(_READ_S))
            except (EOFError, TriggerError) as error:
                return str(error) or "the console is closed"
            if said:
                self.heard += len(said)
                self._recording.output(said)
                self._hear(said)
        return ""

    def _reopen(self, why: str) -> None:
        """Open the console again, or say in `lost` why it could not be."""
        self._console = None
        self._opener.close()
        self._recording.note(f"the console was lost: {why}")
        self._say("lost", f"the console was lost ({why}); opening it again, nothing is sent")
        last: TriggerError = DriverError(f"the console was lost too often ({why})")
        while self._tries < len(self._pauses):
            if self._stop.wait(self._pauses[self._tries]):
                return
            self._tries += 1
            try:
                console = self._opener.open()
            except TriggerError as error:
                last = error
                self._say("trying", f"{error.message} Try {self._tries} of {len(self._pauses)}")
                continue
            self._recording.note("the console is open again")
            self._say("reopened", "the console is open again; what the host said meanwhile is missing")
            self._console = console
            return
        self.lost = last
