"""The host's serial console as a witness: opened before the fire, recorded until the host is back, never typed on.

It has a thread of its own and at most a second of the fire's time. A console that is busy, broken or slow costs a
warning; one that is lost is opened again without sending anything. What was said before the fire, and what a console
server repeats to whoever attaches, is recorded but is no news.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from trigger.clock import Clock, Deadline
from trigger.errors import ConfigError, ConsoleBusy, GuardRefused, LoginFailed, TriggerError
from trigger.text import harmless, without_secrets

if TYPE_CHECKING:
    from trigger.console.opening import Opener
    from trigger.console.recording import Recording
    from trigger.driver import Console
    from trigger.watch.console_text import Reader, Sighting

WAIT_S = 1.0  # the longest that a fire waits for its console
# A console server repeats its last lines in one go; a pause ends them. Without a pause (a kernel that is talking) they
# are taken to have ended after so long.
REPLAY_PAUSE_S = 0.15
REPLAY_S = 2.0
# The same where no fire waits: the lines may come over half the world.
LATE_REPLAY_PAUSE_S = 0.5
# When what is repeated looks like a crash kernel at work, the fire waits for it to go on: progress comes once a second.
SUSPICION_S = 2.5
# Before a key is typed on a console it is listened to for so long, for the same reason.
OVERHEAR_S = 1.2
# After the fire what comes within so long is read in one go: a kernel that boots says thousands of small pieces, and
# looking at each costs a multiple. Between a phase and the screen 0.5 s are allowed.
_GATHER_S = 0.1
_READ_S = 0.1  # an unfinished line that nothing was added to for so long is looked at as it is
_PAUSES_S = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0)  # between tries to open it; the last one is repeated
_BUSY_PAUSE_S = 30.0
_END_S = 3.0
# What only a crash kernel says, so that a fire at this moment would destroy its dump.
_DUMPING = frozenset({"crash-kernel", "saver", "network-wait", "saving-to", "saving", "dmesg", "preparing", "progress"})


class ConsoleNews(NamedTuple):
    """What the console brought. `state` is "" (it said something), open, lost or unavailable, with a `text`.

    `lines` are the last lines, harmless, for the live view.
    """

    state: str = ""
    text: str = ""
    sightings: tuple[Sighting, ...] = ()
    lines: tuple[str, ...] = ()


class ConsoleWatch:
    """One console of one run. `start`, `ready`, `fired`, `adopt` and `close` are for the main thread."""

    def __init__(self, make_opener: Callable[[], Opener], record: Callable[[], Recording], clock: Clock) -> None:
        """`make_opener` loads drivers, in the console's own thread; `record` makes the recording once it is open."""
        self._make_opener, self._record, self._clock = make_opener, record, clock
        self._opener: Opener | None = None
        self._recording: Recording | None = None
        self._news: queue.SimpleQueue[ConsoleNews] = queue.SimpleQueue()
        self._console: Console | None = None
        self._give_back: Callable[[], None] = lambda: None
        self._settled, self._fired, self._stop = threading.Event(), threading.Event(), threading.Event()
        self._suspicious, self._goes_on = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._problem = ""
        self._dumping = ""
        self._attached_at = 0.0
        self.state = "unavailable"  # or open, or lost

    # --- for the main thread -------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to open the console; returns at once. A second start does nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="console", daemon=True)
            self._thread.start()

    def ready(self, seconds: float = WAIT_S) -> str:
        """Wait until the console is open and quiet, `seconds` at most; return a warning, "" when it is open.

        It waits for longer, SUSPICION_S, when a dump seems to be being written.
        """
        settled = self._settled.wait(seconds)
        if self._suspicious.is_set():
            self._goes_on.wait(SUSPICION_S)
        if settled:
            return self._problem
        return "the console is not open yet; it is opened while the shot goes on"

    def fired(self) -> None:
        """From here on what the console says is news."""
        self._fired.set()

    def dump_in_progress(self) -> str:
        """Return what the console said, after it was opened and before the fire, that only a crash kernel says."""
        return self._dumping

    def adopt(self, console: Console, recording: Recording | None, said: bytes, close: Callable[[], None]) -> None:
        """Go on with a console that somebody else opened and fired by; `said` is what came of that."""
        self._console, self._recording, self._give_back = console, recording, close
        self.state = "open"
        self._fired.set()
        self._settled.set()
        self._thread = threading.Thread(target=self._run, args=(said,), name="console", daemon=True)
        self._thread.start()

    def recording(self) -> Recording:
        """Return the recording of the run, made on the first call. Raises GuardRefused, OSError."""
        if self._recording is None:
            self._recording = self._record()
        return self._recording

    def news(self) -> list[ConsoleNews]:
        """Return what came since the last call; of consecutive lines only the last state of `lines` counts."""
        found = []
        while not self._news.empty():
            found.append(self._news.get())
        return found

    def close(self) -> None:
        """Stop, give the console back and finish the recording; bounded, raises nothing."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_END_S)
        if self._recording is not None:
            self._recording.close()

    # --- its own thread ------------------------------------------------------------------------------

    def _run(self, said: bytes = b"") -> None:
        from trigger.watch.console_text import Reader  # 3 ms of patterns, which no fire waits for

        tries = 0
        try:
            while not self._stop.is_set():
                if self._console is None:
                    pause = self._open(tries)
                    tries += 1
                    if pause is not None:
                        self._stop.wait(pause)
                        continue
                    said, tries = b"", 0
                recording = self._recording
                reader = Reader((recording.heard if recording is not None else 0) - len(said))
                self._listen(reader, said)
        except Exception as error:  # a defect of ours, or of a third party's console, must not end the watch
            text = harmless(without_secrets(f"{type(error).__name__}: {error}"))
            self._tell("unavailable", f"watching the console failed: {text}")
        finally:
            self._settled.set()
            self._give_up()

    def _open(self, tries: int) -> float | None:
        """Open the console; return how long to wait before the next try, None when it is open."""
        try:
            opener = self._opener = self._opener or self._make_opener()
            self._console = opener.open()
        except TriggerError as error:
            said = error.message.split(" Nothing was sent")[0]  # true of the console, misleading after a shot
            self._problem = f"no console: {harmless(without_secrets(said))}"
            if tries == 0:
                self._tell("unavailable", self._problem)
            self._settled.set()
            return _pause(error, tries)
        self._give_back, self._problem = opener.close, ""
        try:
            self.recording()
        except (GuardRefused, OSError) as error:
            self._problem = f"the console cannot be recorded: {harmless(str(error))}"
        self._attached_at = self._clock.monotonic()
        self._tell("open", f"the console is open ({harmless(opener.controller)})")
        return None

    def _listen(self, reader: Reader, said: bytes) -> None:
        """Read until the console is lost or we are to stop."""
        console = self._console
        assert console is not None
        replayed = self._attached_at > 0.0
        pause_s = LATE_REPLAY_PAUSE_S if self._fired.is_set() else REPLAY_PAUSE_S
        if said:
            self._take(reader.feed(said), reader, replayed=False)
        while not self._stop.is_set():
            try:
                heard = console.read(Deadline(pause_s if replayed else _READ_S))
            except (EOFError, TriggerError) as error:
                self._lost(str(error))
                return
            if heard and self._recording is not None:
                self._recording.output(heard)
            self._take(reader.feed(heard) if heard else reader.idle(), reader, replayed=replayed)
            if replayed and (not heard or self._clock.monotonic() - self._attached_at > REPLAY_S):
                replayed = False
                self._settled.set()
            if heard and self._fired.is_set():
                self._stop.wait(_GATHER_S)

    def _take(self, found: list[Sighting], reader: Reader, *, replayed: bool) -> None:
        """Tell what was seen, unless it is old."""
        if replayed or not self._fired.is_set():
            dumping = _of_a_dump(found)
            if dumping and replayed:
                self._suspicious.set()
            elif dumping:
                self._dumping = dumping
                self._goes_on.set()
            return
        lines = reader.last_lines()
        if found or lines is not None:
            self._news.put(ConsoleNews(sightings=tuple(found), lines=lines or ()))

    def _lost(self, why: str) -> None:
        text = f"the console was lost ({harmless(without_secrets(why)) or 'no reason given'})"
        if self._recording is not None:
            self._recording.note(text)
        self._tell("lost", f"{text}; it is opened again, nothing is sent")
        self._give_up()

    def _give_up(self) -> None:
        """Give the console back; raises nothing."""
        give_back, self._give_back = self._give_back, lambda: None
        self._console = None
        give_back()

    def _tell(self, state: str, text: str) -> None:
        self.state = state
        self._news.put(ConsoleNews(state, text))


def overheard(console: Console, recording: Recording | None, clock: Clock) -> str:
    """Return what a console says, before anything is typed on it, that only a crash kernel says; "" for nothing.

    Listens for OVERHEAR_S, and for SUSPICION_S when what is repeated on attaching looks like a dump. Raises nothing: a
    console that is lost says nothing.
    """
    from trigger.watch.console_text import Reader

    reader, replayed, begun, end = Reader(), True, clock.monotonic(), Deadline(OVERHEAR_S, clock)
    while not end.passed():
        try:
            heard = console.read(end.at_most(REPLAY_PAUSE_S if replayed else _READ_S))
        except (EOFError, TriggerError):
            return ""
        if heard and recording is not None:
            recording.output(heard)
        found = reader.feed(heard) if heard else reader.idle()
        dumping = _of_a_dump(found)
        if dumping and not replayed:
            return dumping
        if dumping:
            end = Deadline(SUSPICION_S, clock)
        if not heard or clock.monotonic() - begun > REPLAY_S:
            replayed = False
    return ""


def _of_a_dump(found: Sequence[Sighting]) -> str:
    """Return what only a crash kernel says, of what was seen, in words; "" for nothing."""
    return next((f"its console says {seen.line!r}" for seen in found if seen.pattern in _DUMPING), "")


def _pause(error: TriggerError, tries: int) -> float:
    """Return how long to wait before the console is tried again; a rejected account is not tried again at all."""
    if isinstance(error, ConfigError) or (isinstance(error, LoginFailed) and error.rejected):
        return 86400.0
    if isinstance(error, ConsoleBusy):
        return _BUSY_PAUSE_S
    return _PAUSES_S[min(tries, len(_PAUSES_S) - 1)]
