"""What all witnesses have said so far, folded: events for the journal, what the verdict judges, and the view.

One thread takes everything in the order in which it was learned. Grades: `proof` is the host's own boot over
authenticated SSH (and a dump that was read, which is an event of its own); `strong` is what somebody would have to
forge on purpose; `weak` is the rest.
"""

from __future__ import annotations

from collections.abc import Callable

from trigger.events import DumpFound, Event, Observed
from trigger.post.following import TargetState
from trigger.post.landing import State
from trigger.text import harmless
from trigger.verdict import NO_EFFECT, Seen, safety
from trigger.watch import phases
from trigger.watch.console import ConsoleNews
from trigger.watch.console_text import Sighting
from trigger.watch.host import HostState
from trigger.watch.phases import Story
from trigger.watch.report import Report
from trigger.watch.status import Status
from trigger.watch.watched import Watched
from trigger.watch.words import sentence

# A dump that grows is a line of the journal this often; makedumpfile's percents as well.
PROGRESS_S = 30.0
SAID_PROGRESS_S = 10.0
MOST_LINES = 400  # of the journal about one console: whoever writes on it cannot fill the disk
MOST_OF_CONTROLLER = 3  # of what its log says, in the last paragraph
_WEAK = frozenset({"login", "boot", "restart", "old-crash", "copied", "preparing"})
_GRADES = {"new": "proof", "same": "strong", "crash-kernel": "strong"}
_PHASES = {"new": "back", "same": "same-boot", "crash-kernel": "crash-kernel"}


News = TargetState | HostState | ConsoleNews | Report


class Evidence:
    """The fold. Times given to it are monotonic seconds, of one clock."""

    def __init__(self, watched: Watched, now: float, shown: Callable[[str], str], *, own_disk: bool = False) -> None:
        """`shown` writes a path at the target as `trigger inspect` takes it."""
        self._watched, self._shown, self.own_disk = watched, shown, own_disk
        self.story = Story(since=now, moved=now)
        self.target = TargetState(State.WAITING)
        self.host = HostState()
        self.back_at: float | None = None
        self._told: tuple[State, str, bool] | None = None
        self._told_at = 0.0
        self._console = "none" if watched.console is None else watched.console.state
        self._lines: tuple[str, ...] = ()
        self._patterns: set[tuple[str, str]] = set()  # (phase, pattern) in the journal already
        self._percent_at, self._count = 0.0, 0
        self._last = ""
        self._controller: tuple[str, ...] = ()  # the last that it said that nobody says by accident
        self._sentences: dict[str, str] = {}  # by source, the newest last

    def take(self, news: News, now: float) -> list[Event]:
        """Return the events that something new makes, in order."""
        if isinstance(news, TargetState):
            return self._take_target(news, now)
        if isinstance(news, HostState):
            return self._take_host(news, now)
        if isinstance(news, ConsoleNews):
            return self._take_console(news, now)
        if news.phase:
            self.story = phases.witnessed(self.story, news.phase, now, lesser=True)
            self._last = news.text
        if news.source == "controller" and news.grade == "strong":
            self._controller = (*self._controller, news.text)[-MOST_OF_CONTROLLER:]
        self._say(news.source, news.text)
        return [Observed(news.phase or self.story.phase, news.source, news.grade, news.text)]

    def seen(self, *, now: float, since_fire_s: float, timed_out: bool, detached: bool) -> Seen:
        """Return what the verdict judges."""
        target, host, story, watched = self.target, self.host, self.story, self._watched
        return Seen(
            outcome=watched.outcome,
            dump=target.state.value,
            dump_path=self._shown(target.path),
            dump_text=harmless(target.reason),
            dump_ours=target.ours,
            dump_final=target.final,
            searched=target.searched,
            boot=host.boot,
            since_fire_s=since_fire_s,
            same_boot_s=self._same_boot_s(now - since_fire_s),
            told_s=self._told_s(now - since_fire_s),
            since_back_s=now - self.back_at if self.back_at is not None else 0.0,
            timed_out=timed_out,
            detached=detached,
            until=watched.until,
            shot=watched.shot,
            phase=story.phase,
            cause=story.cause,
            percent=story.percent,
            console=self._console,
            last=self._last,
            own_disk=self.own_disk,
            record=watched.known.not_ready,
            controller="; ".join(self._controller),
        )

    def _same_boot_s(self, fired: float) -> float:
        """Return how long after the shot, and after any sign of a crash, the host was seen in the boot of before.

        `fired` is when the shot was, in monotonic seconds.
        """
        if self.host.boot != "same":
            return 0.0
        after_the_shot = self.host.at - self._watched.fired_at
        crashed = self.story.phase not in ("fired", *NO_EFFECT)
        return min(after_the_shot, fired + after_the_shot - self.story.moved) if crashed else after_the_shot

    def _told_s(self, fired: float) -> float:
        """Return how long after the console told of no effect the host was seen in the boot of before."""
        if self.host.boot != "same" or self.story.phase not in NO_EFFECT:
            return 0.0
        return fired + self.host.at - self._watched.fired_at - self.story.since

    def status(self, seen: Seen, now: float) -> Status:
        """Return the moment for those who look on."""
        target, story = self.target, self.story
        safe, reason = safety(seen)
        return Status(
            self._watched.host.name,
            phase=story.phase,
            phase_s=now - story.since,
            elapsed_s=seen.since_fire_s,
            dump=seen.dump,
            bytes=target.bytes,
            bytes_per_s=target.rate,
            percent=story.percent,
            eta_s=self._eta(now),
            console=self._lines,
            evidence=tuple(f"{source}: {text}" for source, text in self._sentences.items()),
            safe=safe,
            safe_reason=reason,
            warning=phases.warning(story, now, console=self._console == "open"),
        )

    def _eta(self, now: float) -> float | None:
        story = self.story
        return None if story.eta_s is None else max(0.0, story.eta_s - (now - story.progress_at))

    # --- by witness ----------------------------------------------------------------------------------

    def _take_host(self, news: HostState, now: float) -> list[Event]:
        before, self.host = self.host, news
        if news.boot == "new" and self.back_at is None:
            self.back_at = now
        if news.boot == "crash-kernel":
            self.story = phases.witnessed(self.story, "crash-kernel", now)
        self._say("host", news.text or news.port)
        if not news.differs(before):
            return []
        if news.boot == "new":
            self._last = "the host is back, in a new boot"
            if self.story.phase != "failed":  # why there was no dump stays to be said
                self.story = phases.witnessed(self.story, "back", now)
        phase, grade = _PHASES.get(news.boot, news.port), _GRADES.get(news.boot, "weak")
        return [Observed(phase, "host", grade, news.text)]

    def _take_target(self, news: TargetState, now: float) -> list[Event]:
        self.target = news
        if news.state is State.WRITING and news.ours:
            self.story = phases.witnessed(self.story, "saving", now)
        self._say("dump", news.state.value)
        change = (news.state, news.path, news.facts is not None)
        if change == self._told and now - self._told_at < PROGRESS_S:
            return []
        self._told, self._told_at = change, now
        return [self._dump_found(news)]

    def _take_console(self, news: ConsoleNews, now: float) -> list[Event]:
        self._lines = news.lines or self._lines
        if news.state:
            self._console = news.state
            self._say("console", news.text)
            return [Observed(self.story.phase, "console", "weak", news.text)]
        events: list[Event] = []
        for sighting in news.sightings:
            events += self._take_sighting(sighting, now)
        return events

    def _take_sighting(self, sighting: Sighting, now: float) -> list[Event]:
        before, self.story = self.story, phases.after(self.story, sighting, now)
        story = self.story
        text = sentence(sighting.pattern, story)
        self._last = text
        self._say("console", text)
        if sighting.pattern in ("progress", "raw-progress") and story.phase == before.phase:
            if now - self._percent_at < SAID_PROGRESS_S:
                return []
            self._percent_at = now
        elif (story.phase, sighting.pattern) in self._patterns and story.phase == before.phase:
            return []
        self._patterns.add((story.phase, sighting.pattern))
        self._count += 1
        if self._count > MOST_LINES:
            return []
        grade = "weak" if sighting.pattern in _WEAK else "strong"
        percent = story.percent if sighting.pattern in ("progress", "raw-progress") else None
        return [Observed(story.phase, "console", grade, text, sighting.pattern, sighting.offset, percent)]

    def _say(self, source: str, text: str) -> None:
        self._sentences.pop(source, None)
        self._sentences[source] = harmless(text)

    def _dump_found(self, state: TargetState) -> DumpFound:
        facts, look = state.facts, state.look
        reason = state.reason if state.state is not State.VERIFIED else ""
        found = DumpFound(state.state.value, self._shown(state.path), state.bytes, text=harmless(reason))
        if look is not None:
            found = found._replace(panic=look.panic)
        if facts is None:
            return found
        return found._replace(
            format=facts.described(),
            complete=facts.complete.value,
            release=harmless(facts.release),
            crash_time=facts.crash_time,
        )
