"""What is done on an opened console: press a SysRq key, and listen until the console is quiet.

The order of BREAKs and characters is decided in trigger/console/sysrq.py; here it is carried out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trigger.clock import Clock, Deadline, SystemClock
from trigger.console.recording import Recording
from trigger.console.sysrq import CLEARING, CRASH, HELP_S, Dialogue, Do, Heard, judge
from trigger.driver import Console
from trigger.errors import DriverError, Refused

QUIET_S = 1.0  # a console that said nothing for so long has said what it had to say
DRAIN_S = 0.2  # for the echo of the clearing character
LONGEST_S = 120.0  # of one key's output
MOST_BYTES = 8 * 1024 * 1024  # of one key's output that is kept in memory; the recording holds more


def _never(said: bytes) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one key. `said` is hostile; `broken` is why its BREAK did not go out, "" when it did.

    `typed` is false when the key itself was never sent; `trusted` is false when no more BREAKs may be sent.
    """

    key: str
    heard: Heard
    said: bytes
    broken: str = ""
    typed: bool = True
    trusted: bool = True


class Line:
    """An opened console, recorded. One thread at a time."""

    def __init__(self, console: Console, recording: Recording | None = None, clock: Clock | None = None) -> None:
        self._console, self._recording = console, recording
        self._clock = clock or SystemClock()
        self._lost: EOFError | None = None

    def press(self, dialogue: Dialogue, deadline: Deadline | None = None) -> Answer:
        """Carry out `dialogue` and return what came of it; listen until `deadline` at most.

        Raises DriverError when the console is lost; its message says whether the key may have been sent.
        """
        said, typed = b"", ""  # typed: every character but the clearing one
        while (step := dialogue.next()) is not Do.STOP:
            if step is Do.CLEAR:
                self._type(CLEARING, dialogue, typed)
                self.listen(DRAIN_S, DRAIN_S)
                dialogue.done()
            elif step is Do.BREAK:
                self._break(dialogue)
            elif step is Do.TYPE:
                self._type(dialogue.character.encode(), dialogue, typed)
                typed += dialogue.character
                dialogue.done()
            else:
                said = self._hear(dialogue, deadline)
                dialogue.said(said)
        sent = dialogue.key in typed and not dialogue.broken
        return Answer(dialogue.key, dialogue.heard, said, dialogue.broken, sent, dialogue.trusted)

    def _hear(self, dialogue: Dialogue, deadline: Deadline | None) -> bytes:
        """Return what the console says after a key: all of it, but of a crash only so much as says that it is one."""
        longest_s = deadline.left() if deadline else LONGEST_S
        if dialogue.character != CRASH:
            return self.listen(HELP_S, QUIET_S, longest_s)
        # A crashing kernel goes on talking for a minute, and the watch does not start before.
        decisive = (Heard.CRASHED, Heard.DISABLED)
        return self.listen(HELP_S, QUIET_S, min(HELP_S, longest_s), lambda said: judge(CRASH, said) in decisive)

    def listen(
        self, first_s: float, quiet_s: float, longest_s: float = LONGEST_S, enough: Callable[[bytes], bool] = _never
    ) -> bytes:
        """Return what the console says until it was quiet for `quiet_s`, or until it is `enough`.

        The first byte may take `first_s`.
        A console that is lost meanwhile ends it; the next key then raises. All of it goes into the recording.
        """
        said = bytearray()
        whole = Deadline(longest_s, self._clock)
        wait = first_s
        while not whole.passed() and self._lost is None:
            try:
                more = self._console.read(whole.at_most(wait))
            except EOFError as error:
                self._lost = error
                break
            if not more:
                break
            wait = quiet_s
            if self._recording is not None:
                self._recording.output(more)
            said += more[: MOST_BYTES - len(said)]
            if enough(bytes(said)):
                break
        return bytes(said)

    def _break(self, dialogue: Dialogue) -> None:
        self._note("BREAK")
        try:
            self._console.send_break()
        except DriverError as error:
            self._note("the BREAK was not acknowledged")
            dialogue.failed(error.message, refused=isinstance(error, Refused))
        else:
            dialogue.done()

    def _type(self, data: bytes, dialogue: Dialogue, typed: str) -> None:
        """Type; only the lost console itself can stop it."""
        if self._lost is not None:
            raise DriverError(f"{self._lost or 'The console was lost'}. {_how_far(dialogue, typed)}")
        try:
            self._console.write(data)
        except DriverError as error:
            raise DriverError(f"{error.message}. {_how_far(dialogue, typed)}", next_step=error.next_step) from None

    def _note(self, text: str) -> None:
        if self._recording is not None:
            self._recording.note(text)


def _how_far(dialogue: Dialogue, typed: str) -> str:
    if dialogue.next() is Do.CLEAR:
        return "Nothing was sent."
    if dialogue.key in typed:
        return f"BREAK and {dialogue.key} were sent."
    return f"A BREAK may have been sent, and {dialogue.key} after it: the next character may be taken for a SysRq key."
