"""The console as a witness, over a real telnet line: what is news, what is recorded, and that nothing is ever typed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivers.telnet import TelnetDriver
from tests.drivers.ipmi_bmcs import Secret, options
from tests.drivers.serial_port import SerialPort
from trigger.clock import Deadline, SystemClock
from trigger.console.opening import Opener
from trigger.console.recording import Recording
from trigger.console.sysrq_crash import CrashByConsole
from trigger.driver import Driver, Probe
from trigger.errors import GuardRefused
from trigger.host import Controller, Host
from trigger.known import Known
from trigger.plan import make_plan
from trigger.run import Run
from trigger.shot import Opened, Surroundings
from trigger.state import StateFolder
from trigger.watch.console import ConsoleNews, ConsoleWatch
from trigger.watch.listening import Ears

CRASH_KERNEL = b"[    0.0] Command line: elfcorehdr=0x3d000000 ro console=ttyS0 reset_devices\r\n"
PROGRESS = b"\rCopying data                         : [ 45.0 %] /   eta: 12s\r\n"
IGNORED = b"[  512.4] Dazed and confused, but trying to continue\r\n"
Make = Callable[[int], ConsoleWatch]


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return StateFolder.choose(str(folder))


@pytest.fixture
def make(state: StateFolder) -> Iterator[Make]:
    """Make console watches at a telnet port; they are closed at the end."""
    made: list[ConsoleWatch] = []
    clock = SystemClock()

    def watch_at(port: int) -> ConsoleWatch:
        host = Host("server42", (Controller("serial", "telnet", "127.0.0.1", port),))
        opener = Opener(make_plan(host, "sysrq"), Known(), lambda _: Secret(), clock)
        made.append(ConsoleWatch(lambda: opener, lambda: Recording(state, "server42", "run", clock), clock))
        return made[-1]

    yield watch_at
    for watch in made:
        watch.close()


def collected(
    watch: ConsoleWatch, enough: Callable[[list[ConsoleNews]], bool], seconds: float = 60
) -> list[ConsoleNews]:
    """Return the news until there is `enough` of it."""
    found: list[ConsoleNews] = []
    end = time.monotonic() + seconds
    while not enough(found):
        assert time.monotonic() < end, f"not within {seconds} s; there was {found}"
        found += watch.news()
        time.sleep(0.005)
    return found


def patterns(news: list[ConsoleNews]) -> list[str]:
    return [seen.pattern for item in news for seen in item.sightings]


def recorded(state: StateFolder, name: str = "console.txt") -> str:
    return (state.host_folder("server42") / "runs" / "run" / name).read_text()


def test_only_what_comes_after_the_fire_is_news_and_all_of_it_is_recorded(make: Make, state: StateFolder) -> None:
    with SerialPort(greeting=b"earlier: " + IGNORED) as port:
        watch = make(port.port)
        watch.start()
        assert watch.ready(60) == ""
        assert watch.dump_in_progress() == ""
        port.say(b"server42 login: \r\n")
        end = time.monotonic() + 60
        while "login:" not in recorded(state) and time.monotonic() < end:
            time.sleep(0.01)
        watch.fired()
        port.say(CRASH_KERNEL)
        news = collected(watch, lambda found: "crash-kernel" in patterns(found))
        watch.close()
        assert patterns(news) == ["crash-kernel"]
        assert news[0].state == "open"
        assert port.got == "", "nothing is typed"
    text = recorded(state)
    assert text.index("Dazed and confused") < text.index("login:") < text.index("elfcorehdr=")


def test_what_a_console_server_repeats_after_the_fire_is_no_news_either(make: Make) -> None:
    with SerialPort(greeting=CRASH_KERNEL * 3) as port:
        watch = make(port.port)
        watch.fired()
        watch.start()
        assert watch.ready(60) == ""
        port.say(IGNORED)
        news = collected(watch, lambda found: "nmi-ignored" in patterns(found))
        assert patterns(news) == ["nmi-ignored"]


def test_a_line_is_news_within_half_a_second_finished_or_not(make: Make) -> None:
    with SerialPort() as port:
        watch = make(port.port)
        watch.start()
        assert watch.ready(60) == ""
        watch.fired()
        took: dict[bytes, list[float]] = {b"": [], b"\r\n": []}
        for number in range(10):
            ending = (b"", b"\r\n")[number % 2]
            said_at = time.monotonic()
            port.say(b"\r\n[ 1.0] Rebooting in 10 seconds.." + ending)
            collected(watch, lambda found: patterns(found) == ["rebooting-in"])
            took[ending].append(time.monotonic() - said_at)
    assert max(min(times) for times in took.values()) < 0.5, "the best of five: the machine may be busy"


def test_a_crash_kernel_at_work_before_the_fire_is_told(make: Make) -> None:
    with SerialPort() as port:
        watch = make(port.port)
        watch.start()
        assert watch.ready(60) == ""
        port.say(PROGRESS)
        end = time.monotonic() + 60
        while not watch.dump_in_progress():
            assert time.monotonic() < end
            time.sleep(0.01)
        assert "Copying data" in watch.dump_in_progress()


def test_a_repeated_dump_that_goes_on_refuses_the_fire(make: Make, state: StateFolder) -> None:
    """What is repeated may be old; what goes on is not."""
    with SerialPort(greeting=PROGRESS) as port:
        watch = make(port.port)
        stop = threading.Event()

        def go_on() -> None:
            while not stop.wait(0.3):
                port.say(PROGRESS)

        going_on = threading.Thread(target=go_on)
        going_on.start()
        controller = Controller("bmc", "ipmi", "127.0.0.1")
        plan = make_plan(Host("server42", (controller,)), "nmi")
        around = Surroundings(state, SystemClock(), lambda _: Secret())
        run = Run(state, "server42", SystemClock(), [])
        ears = Ears(plan, Known(), around, run)
        ears.console = watch
        try:
            watch.start()
            assert watch.ready(60) == ""
            with pytest.raises(GuardRefused, match="seems to be being written") as refused:
                ears.before_firing(Opened(plan.routes[0], Driver(controller, options()), Probe()), run)
        finally:
            stop.set()
            going_on.join()
            ears.close()
            run.close()
        assert refused.value.rule == "dump-in-progress"
        assert "Nothing was sent" in refused.value.message


def test_a_repeated_dump_that_is_over_refuses_nothing(make: Make) -> None:
    with SerialPort(greeting=PROGRESS) as port:
        watch = make(port.port)
        watch.start()
        assert watch.ready(60) == ""
        assert watch.dump_in_progress() == ""


def test_a_lost_console_is_opened_again_and_nothing_is_sent(
    make: Make, state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trigger.watch.console.LATE_REPLAY_PAUSE_S", 2.0)  # the machine may be busy
    monkeypatch.setattr("trigger.watch.console.REPLAY_S", 60.0)
    with SerialPort() as port:
        watch = make(port.port)
        watch.start()
        assert watch.ready(60) == ""
        watch.fired()
        port.say(b"before\r\n")
        collected(watch, lambda found: any("before" in line for item in found for line in item.lines))
        port.hang_up()
        news = collected(watch, lambda found: [item.state for item in found if item.state][-1:] == ["open"])
        assert "nothing is sent" in next(item.text for item in news if item.state == "lost")
        time.sleep(0.3)
        port.say(IGNORED)  # what comes at once is taken for a repetition, which may have travelled for a while
        time.sleep(2.5)
        port.say(CRASH_KERNEL)
        collected(watch, lambda found: patterns(found) == ["crash-kernel"])
        assert port.got == ""
        watch.close()
    text = recorded(state)
    assert text.index("before") < text.index("the console was lost") < text.index("elfcorehdr=")


def test_a_busy_console_is_a_warning_and_never_a_stop(make: Make) -> None:
    with SerialPort(greeting=b"port is in use by alice\r\n", connected=False) as port:
        watch = make(port.port)
        watch.start()
        problem = watch.ready(60)
        assert "somebody else has the console" in problem
        assert "Nothing was sent" not in problem, "it would be read as said of the shot"


def test_a_dead_console_costs_the_fire_no_more_than_it_may_wait(make: Make) -> None:
    with SerialPort() as port:
        free = port.port
    watch = make(free)
    begun = time.monotonic()
    watch.start()
    assert "no console" in watch.ready(1.0)
    assert time.monotonic() - begun < 1.5


def test_the_console_that_crashed_the_host_is_handed_on(make: Make, state: StateFolder) -> None:
    with SerialPort() as port:
        watch = make(port.port)
        driver = TelnetDriver(Controller("serial", "telnet", "127.0.0.1", port.port), options())
        crash = CrashByConsole(driver, lambda: Recording(state, "server42", "run", SystemClock()))
        with crash:
            crash.hand_over(watch.adopt)
            crash.probe(Deadline(60))
            crash.send_sysrq_crash(Deadline(60))
        port.say(CRASH_KERNEL)
        news = collected(watch, lambda found: "crash-kernel" in patterns(found))
        assert patterns(news) == ["sysrq-crash", "panic", "crash-kernel"]
        watch.close()
        assert port.got == "\x15Bc"
    text = recorded(state)
    assert "elfcorehdr=" in text
    raw = port.answers["c"] + CRASH_KERNEL
    offsets = {seen.pattern: seen.offset for item in news for seen in item.sightings}
    assert offsets["crash-kernel"] == raw.index(b"[    0.0] Command line")


def test_a_crash_that_was_not_typed_keeps_its_console(make: Make, state: StateFolder) -> None:
    """Without a c there is nothing to watch: the console is closed as before."""
    taken: list[object] = []
    with SerialPort() as port:
        crash = CrashByConsole(TelnetDriver(Controller("serial", "telnet", "127.0.0.1", port.port), options()))
        with crash:
            crash.hand_over(lambda *handed: taken.append(handed))
            crash.probe(Deadline(60))
        assert taken == []
