"""`trigger sysrq HOST c`: a driver's console as a button. One BREAK, one c, once.

It is a Driver around a Driver, so that the crash goes through the same probe, guard, journal and watch as an NMI.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trigger.clock import Deadline
from trigger.console.line import Line
from trigger.console.recording import Recording
from trigger.console.sysrq import CRASH, Dialogue, Do, Heard
from trigger.driver import Accepted, Console, Driver, HasConsole, Probe
from trigger.errors import DriverError, OutcomeUnknown, Refused

if TYPE_CHECKING:
    from trigger.known import Known

Take = Callable[[Console, Recording | None, bytes, Callable[[], None]], None]


class CrashByConsole(Driver):
    """The console of `driver` as a button. `record` makes the recording when the console is open; None: none."""

    def __init__(self, driver: Driver, record: Callable[[], Recording] | None = None) -> None:
        super().__init__(driver.controller, driver.options)
        self._driver, self._record = driver, record
        self._console: Console | None = None
        self._recording: Recording | None = None
        self._take: Take | None = None
        self._said = b""
        self._fired = self._typed = False

    def probe(self, deadline: Deadline) -> Probe:
        """Probe the controller and open its console; nothing is typed. Raises ConsoleBusy, DriverError."""
        probe = self._driver.probe(deadline)
        if not isinstance(self._driver, HasConsole):
            raise DriverError(f"{self.controller.name} has no console. Nothing was sent.")
        self._console = self._driver.open_console(deadline)
        self._recording = self._record() if self._record else None
        return Probe(probe.identity, probe.power, None, probe.not_ready, probe.learned, probe.warnings)

    def describe_nmi(self) -> str:
        """See Driver.describe_nmi."""
        name, address = self.controller.name, self.controller.address
        return f"SysRq: one BREAK and one {CRASH!r} on the serial console of {name} ({address})"

    def dump_in_progress(self) -> str:
        """Return what the console says that only a crash kernel says, "" for nothing; nothing is typed."""
        from trigger.watch.console import overheard

        return overheard(self._console, self._recording, self.options.clock) if self._console is not None else ""

    def gather(self, known: Known, deadline: Deadline) -> str:
        """Have the kernel say what it can on the console that will fire (see `gather_on`). Raises DriverError."""
        from trigger.console.gather import gather_on

        assert self._console is not None
        return gather_on(self._console, self._recording, known, self.options.clock, deadline)

    def send_sysrq_crash(self, deadline: Deadline) -> Accepted:
        """Send one BREAK and one c on the console that `probe` opened.

        Raises Refused only when the c was never typed: a BREAK alone crashes nothing. What the console says can be
        forged, so "disabled" is no proof: it raises OutcomeUnknown, and the host itself shows what happened.
        """
        if self._console is None or self._fired:
            raise RuntimeError("this console has sent its one crash, or was not opened; nothing was sent now")
        self._fired = self._typed = True
        line = Line(self._console, self._recording)
        dialogue = Dialogue(CRASH)
        try:
            answer = line.press(dialogue, deadline)
        except DriverError as error:
            if dialogue.next() in (Do.CLEAR, Do.BREAK):
                self._typed = False
                raise Refused(f"{error.message} {CRASH!r} was not typed.") from error
            raise
        self._said, self._typed = answer.said, answer.typed
        if not answer.typed:
            raise Refused(f"{self.controller.name}: {answer.broken}; {CRASH!r} was not typed")
        if answer.heard is Heard.DISABLED:
            raise OutcomeUnknown(
                f"{self.controller.name}: BREAK and {CRASH} were sent, and the console says that kernel.sysrq forbids"
                f" {CRASH}; what a console says is no proof, so the host itself is asked"
            )
        said = (
            "the kernel says that it crashes" if answer.heard is Heard.CRASHED else "no panic was seen on the console"
        )
        return Accepted(f"BREAK and {CRASH} were sent on the console; {said}")

    def hand_over(self, take: Take) -> None:
        """Once c has been typed, `close` closes nothing and gives the console to `take`: the watch goes on with it.

        `take` gets the console, its recording, what came of the c, and what closes them.
        """
        self._take = take

    def close(self) -> None:
        """See Driver.close."""
        if self._take is not None and self._typed and self._console is not None:
            take, console, self._take = self._take, self._console, None
            take(console, self._recording, self._said, self.close)
            return
        if self._console is not None:
            self._console.close()
            self._console = None
        if self._recording is not None:
            self._recording.close()
        self._driver.close()
