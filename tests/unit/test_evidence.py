"""What the witnesses say, folded: events, what the verdict judges, and the moment for the live view."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.drivers.ipmi_bmcs import options
from trigger.clock import Deadline, FastClock, SystemClock
from trigger.driver import Driver, EventLogEntry, Power, Probe
from trigger.errors import LoginFailed, Unreachable
from trigger.events import Event, Observed
from trigger.host import Controller, Host
from trigger.known import Known
from trigger.post.following import TargetState
from trigger.post.landing import State
from trigger.verdict import Seen, decide
from trigger.watch.console import ConsoleNews
from trigger.watch.console_text import sightings
from trigger.watch.controller import NEWEST, ControllerWatch
from trigger.watch.evidence import MOST_LINES, Evidence
from trigger.watch.follow import follow
from trigger.watch.host import HostState
from trigger.watch.report import Report
from trigger.watch.status import Status
from trigger.watch.watched import Watched


def evidence() -> Evidence:
    host = Host("server42", ())
    return Evidence(Watched(host, "/crash", Known(), "accepted", 1000.0, 2000.0), 0.0, lambda path: path)


def console(*lines: str) -> ConsoleNews:
    return ConsoleNews(sightings=tuple(seen for line in lines for seen in sightings(line)), lines=lines)


def seen(found: Evidence, now: float = 10.0, **more: bool) -> Seen:
    return found.seen(now=now, since_fire_s=now, **{"timed_out": False, "detached": False, **more})


def phases(events: Sequence[Event]) -> list[tuple[str, str, str]]:
    return [(event.phase, event.source, event.grade) for event in events if isinstance(event, Observed)]


def test_the_console_makes_phases_and_its_words_stay_out_of_the_journal() -> None:
    found = evidence()
    secret = "password=hunter2"
    events = found.take(console(f"Kernel panic - not syncing: {secret}", f"Command line: elfcorehdr=1 {secret}"), 1.0)
    assert phases(events) == [("panicked", "console", "strong"), ("crash-kernel", "console", "strong")]
    assert secret not in repr(events)
    assert secret in found.status(seen(found), 10.0).console[0], "the live view shows it"


def test_progress_is_told_now_and_then_and_always_in_the_status() -> None:
    found = evidence()
    told = []
    for second in range(60):
        line = f"Copying data                : [ {second}.0 %] /   eta: {60 - second}s"
        told += found.take(console(line), float(second))
    percents = [event.percent for event in told if isinstance(event, Observed)]
    assert 5 <= len(percents) <= 7
    status = found.status(seen(found, 61.0), 61.0)
    assert (status.phase, status.percent, status.eta_s) == ("saving", 59.0, 0.0)
    assert (status.safe, status.safe_reason.split(",")[0]) == ("no", "the dump is being saved: 59 %")


def test_a_console_that_is_written_on_cannot_fill_the_journal() -> None:
    found = evidence()
    count = 0
    for number in range(5000):
        lines = ("Kernel panic - not syncing: x", "elfcorehdr=1 Command line: elfcorehdr=1", "saving vmcore complete",
                 "kdump: saving vmcore failed")  # fmt: skip
        count += len(found.take(console(lines[number % 4]), float(number)))
    assert count <= MOST_LINES


def test_console_and_packets_alone_never_end_a_run() -> None:
    """Whatever is said there, only a boot, a dump, the deadline or the operator ends it."""
    for line in (
        "Dazed and confused, but trying to continue", "This sysrq operation is disabled", "Rebooting in 10 seconds..",
        "---[ end Kernel panic - not syncing: x ]---", "kdump: saving vmcore complete", "reboot: Restarting system",
    ):  # fmt: skip
        found = evidence()
        found.take(console(line), 1.0)
        found.take(Report("fence_kdump", "weak", "a packet", "crash-kernel"), 2.0)
        found.take(Report("controller", "strong", "bmc: log: OS Stop", "panicked"), 3.0)
        assert decide("server42", seen(found, 900.0)) is None


def test_the_same_boot_is_proof_sooner_when_the_console_says_why() -> None:
    found = evidence()
    found.take(HostState("banner", "same", at=1005.0), 5.0)
    assert decide("server42", seen(found)) is None
    found.take(console("Dazed and confused, but trying to continue"), 6.0)
    assert decide("server42", seen(found)) is None, "the look was before that, and the NMI may still be on its way"
    found.take(HostState("banner", "same", at=1009.5), 9.5)
    finished = decide("server42", seen(found))
    assert finished is not None
    assert finished.exit_code == 8
    assert "unknown_nmi_panic" in finished.text


def test_a_sign_of_a_crash_makes_an_older_look_at_the_host_worthless() -> None:
    found = evidence()
    found.take(console("Kernel panic - not syncing: x"), 19.0)
    found.take(HostState("banner", "same", at=1021.0), 21.0)
    assert decide("server42", seen(found, 21.0)) is None, "asked just before it crashed, perhaps"
    found.take(HostState("banner", "same", at=1040.0), 40.0)
    finished = decide("server42", seen(found, 40.0))
    assert finished is not None
    assert finished.exit_code == 8, "20 s after the sign it still runs: the console is another host's, or lies"
    assert finished.safe_to_power_cycle == "unknown"
    assert "of another machine" in finished.text


def test_a_new_boot_without_a_dump_is_nine_sooner_when_the_console_says_why() -> None:
    found = evidence()
    found.own_disk = True
    found.take(HostState("banner", "new", at=1030.0), 30.0)
    found.take(TargetState(State.WAITING), 31.0)
    assert decide("server42", seen(found, 35.0)) is None
    before = evidence()
    before.own_disk = True
    before.take(console("Kernel panic - not syncing: x", "Rebooting in 10 seconds.."), 1.0)
    before.take(HostState("banner", "new", at=1030.0), 30.0)
    before.take(TargetState(State.WAITING), 31.0)
    assert decide("server42", seen(before, 35.0)) is None, "that was listed before the host was back"
    before.take(TargetState(State.WAITING, searched=True), 35.0)
    finished = decide("server42", seen(before, 35.0))
    assert finished is not None
    assert finished.exit_code == 9
    assert "kdump did not start" in finished.text


def test_the_deadline_says_what_was_seen_last_and_does_not_call_it_safe() -> None:
    found = evidence()
    found.take(console("Command line: elfcorehdr=1", "Copying data     : [ 41.0 %] / eta: 9s"), 1.0)
    finished = decide("server42", seen(found, 900.0, timed_out=True))
    assert finished is not None
    assert (finished.exit_code, finished.safe_to_power_cycle) == (10, "no")
    assert "41 %" in finished.text
    assert "Do not power-cycle server42" in finished.text


def test_a_failure_that_only_the_console_tells_is_not_called_safe() -> None:
    found = evidence()
    found.take(console("---[ end Kernel panic - not syncing: x ]---"), 1.0)
    finished = decide("server42", seen(found, 900.0, timed_out=True))
    assert finished is not None
    assert (finished.exit_code, finished.safe_to_power_cycle) == (10, "unknown")
    assert "kdump did not start" in finished.text
    assert "nothing proves it" in finished.text


def test_packets_are_weak_and_never_go_back() -> None:
    found = evidence()
    assert phases(found.take(Report("fence_kdump", "weak", "a packet", "crash-kernel"), 1.0)) == [
        ("crash-kernel", "fence_kdump", "weak")
    ]
    found.take(console("kdump: saving vmcore"), 2.0)
    found.take(Report("fence_kdump", "weak", "a packet", "crash-kernel"), 3.0)
    assert found.story.phase == "saving"


@pytest.mark.parametrize(
    ("line", "phase"), [("reboot: Restarting system", "rebooting"), ("kdump: saving vmcore failed", "failed")]
)
def test_a_late_packet_takes_nothing_back(line: str, phase: str) -> None:
    """A crash kernel sends them until the last moment, and at the shell at which it has stopped."""
    found = evidence()
    found.take(console("Command line: elfcorehdr=1", "Copying data     : [ 41.0 %] / eta: 9s", line), 1.0)
    found.take(Report("fence_kdump", "weak", "a packet", "crash-kernel"), 2.0)
    found.take(Report("controller", "strong", "bmc: log: OS Stop", "panicked"), 3.0)
    assert found.story.phase == phase


def test_a_dump_that_grows_overrules_a_failure_and_its_cause() -> None:
    found = evidence()
    found.take(console("Command line: elfcorehdr=1", "kdump: saving vmcore failed"), 1.0)
    assert found.story.cause
    found.take(TargetState(State.WRITING, ours=True), 2.0)
    assert (found.story.phase, found.story.cause) == ("saving", "")


class Bmc(Driver):
    """A controller with a log, a power state and, sometimes, a clock."""

    entries: tuple[EventLogEntry, ...] = ()
    time_now: float | None = None
    state = Power.ON
    error: Exception | None = None
    logins = 0

    def __init__(self) -> None:
        super().__init__(Controller("bmc", "bmc", "127.0.0.1"), options())

    def probe(self, deadline: Deadline) -> Probe:
        Bmc.logins += 1
        if Bmc.error is not None:
            raise Bmc.error
        return Probe(power=Bmc.state)

    def event_log(self, deadline: Deadline, newest: int = 50) -> tuple[EventLogEntry, ...]:
        return Bmc.entries[-newest:]

    def controller_time(self, deadline: Deadline) -> float | None:
        return Bmc.time_now


@pytest.fixture
def bmc() -> type[Bmc]:
    Bmc.entries, Bmc.time_now, Bmc.state, Bmc.error, Bmc.logins = (), None, Power.ON, None, 0
    return Bmc


OLD = EventLogEntry(5000.0, "critical", "OS Stop: Run-time critical stop (panic)", "0x1")
NEW = EventLogEntry(9100.0, "critical", "Critical Interrupt: Front Panel NMI / Diagnostic Interrupt", "0x2")
STOP = EventLogEntry(9101.0, "critical", "OS Stop: Run-time critical stop (panic)", "0x3")


def looked(watch: ControllerWatch) -> list[Report]:
    found: list[Report] = []
    watch.look(found.append)
    return found


def test_the_log_is_news_by_the_controllers_own_clock(bmc: type[Bmc]) -> None:
    """Its clock is 7,000 s behind ours; the shot was 20 s ago."""
    clock = FastClock(start=16120.0)
    bmc.entries, bmc.time_now = (OLD, NEW), 9120.0
    watch = ControllerWatch(Bmc, "bmc", 16100.0, clock)
    assert [(report.grade, report.phase) for report in looked(watch)] == [("weak", "")]
    bmc.entries = (OLD, NEW, STOP)
    assert [(report.grade, report.phase) for report in looked(watch)] == [("strong", "panicked")]
    assert looked(watch) == []


def test_without_a_clock_only_what_was_not_there_before_is_news(bmc: type[Bmc]) -> None:
    bmc.entries = (OLD, NEW)
    watch = ControllerWatch(Bmc, "bmc", 16100.0, FastClock(start=16120.0))
    assert looked(watch) == []
    bmc.entries = (OLD, NEW, STOP)
    assert [report.phase for report in looked(watch)] == ["panicked"]


def test_the_power_is_told_when_it_goes_off(bmc: type[Bmc]) -> None:
    watch = ControllerWatch(Bmc, "bmc", 0.0, FastClock())
    assert looked(watch) == []
    bmc.state = Power.OFF
    assert [(report.grade, report.text) for report in looked(watch)] == [("strong", "bmc: the power is off")]
    bmc.state = Power.ON
    assert [report.text for report in looked(watch)] == ["bmc: the power was off, and is on again"]


def test_the_end_says_what_the_controllers_log_says_of_a_reset() -> None:
    found = evidence()
    found.take(console("Command line: elfcorehdr=1", "Copying data     : [ 41.0 %] / eta: 9s"), 1.0)
    found.take(Report("controller", "strong", "bmc: log: Watchdog 2: Hard reset"), 20.0)
    found.take(HostState("banner", "new", at=1100.0), 100.0)
    found.take(TargetState(State.WAITING, searched=True), 101.0)
    finished = decide("server42", seen(found, 170.0))
    assert finished is not None
    assert finished.exit_code == 9
    assert "By its controller: bmc: log: Watchdog 2: Hard reset." in finished.text


def test_hostile_log_text_is_harmless_and_bounded(bmc: type[Bmc]) -> None:
    watch = ControllerWatch(Bmc, "bmc", 0.0, FastClock())
    looked(watch)
    bmc.entries = tuple(EventLogEntry(None, "", f"\x1b[2J\u202e{'x' * 5000}", str(n)) for n in range(NEWEST))
    reports = looked(watch)
    assert len(reports) == NEWEST
    assert all(report.text.isprintable() and len(report.text) < 400 for report in reports)


def test_a_rejected_account_is_not_tried_again_and_trouble_is_told_once(
    bmc: type[Bmc], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trigger.watch.controller.FIRST_LOOK_S", 0.0)
    monkeypatch.setattr("trigger.watch.controller.POLL_S", 0.01)
    found: list[Report] = []
    stop = threading.Event()

    def tell(report: Report) -> None:
        found.append(report)
        bmc.error = LoginFailed("rejected. Nothing was sent.", rejected=True)

    bmc.error = Unreachable("no answer. Nothing was sent.")
    ControllerWatch(Bmc, "bmc", 0.0, FastClock()).run(tell, stop)
    assert [report.text for report in found] == ["bmc cannot be asked: no answer."]
    assert bmc.logins == 2


def test_a_wall_clock_that_is_set_during_the_watch_moves_nothing(tmp_path: Path) -> None:
    """Else an hour that NTP adds makes the same boot, seen a second after the shot, proof of no effect."""

    class Set(SystemClock):
        by = 0.0

        def time(self) -> float:
            return super().time() + self.by

    clock, detach, elapsed = Set(), threading.Event(), list[float]()

    def look_on(status: Status) -> None:
        elapsed.append(status.elapsed_s)
        clock.by = 3600.0
        if len(elapsed) > 3:
            detach.set()

    shot = clock.time()
    watched = Watched(Host("server42", ()), str(tmp_path), Known(), "accepted", shot, shot + 60.0)
    assert follow(watched, lambda event: None, clock, detach, look_on).exit_code == 10
    assert len(elapsed) > 3
    assert max(elapsed) < 60.0
