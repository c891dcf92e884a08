"""The live view on an emulated terminal: what stands there, what is written for it, and what is not."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections.abc import Callable

import pyte
import pytest

from trigger.live import LiveView, Painter, block, cut, duration, in_one_line, rewraps, wants_colour
from trigger.watch.status import Status

NOW = Status(
    "server42", "saving", 12.0, 45.0, "writing", 12_300_000, 5_600_000.0, 36.0, 12.0,
    ("running makedumpfile -F -c -d 31 /proc/vmcore", "Copying data : [ 36.0 %] /"),
    ("host: TCP connects, SSH says nothing", "console: the crash kernel is up"),
    "no", "a dump is being written",
)  # fmt: skip


def screen_of(columns: int, rows: int) -> tuple[pyte.Screen, pyte.Stream]:
    screen = pyte.Screen(columns, rows)
    return screen, pyte.Stream(screen)


def shown(screen: pyte.Screen) -> list[str]:
    return [line.rstrip() for line in screen.display if line.strip()]


def test_what_a_person_needs_is_there() -> None:
    screen, stream = screen_of(80, 24)
    stream.feed(Painter().paint(block(NOW, 80, 24, True), 80, "    0.0 s  the controller accepted it\n"))
    lines = shown(screen)
    assert lines[0] == "    0.0 s  the controller accepted it"
    assert lines[1].startswith("-- server42: the dump is being written for 12 s; 45 s since the shot ")
    assert lines[2] == "dump: writing [#########-----------------] 36 %; 12.3 MB at 5.6 MB/s; 12 s left"
    assert lines[3:5] == [f"  {text}" for text in sorted(NOW.evidence)]
    assert lines[5:7] == [f"  | {text}" for text in NOW.console]
    assert lines[7] == "safe to power-cycle: NO, a dump is being written"


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (40, 24), (40, 10), (20, 5), (200, 60), (10, 2), (1, 1)])
def test_it_fits(columns: int, rows: int) -> None:
    """No line wraps, the whole fits, and the safety is always in view."""
    now = NOW._replace(evidence=("e" * 300,) * 30, console=("c" * 300,) * 30, warning="w" * 300)
    lines = block(now, columns, rows, False)
    assert len(lines) <= max(1, rows - 1)
    assert all(len(line) < max(20, columns) for line in lines)
    assert any(line.startswith(("safe to power-cycle: NO", "power-cycle: NO")) for line in lines)


@pytest.mark.parametrize("columns", [20, 22, 30, 40, 41, 42, 80])
@pytest.mark.parametrize(
    ("safe", "answers"),
    [
        ("yes", ("safe to power-cycle: yes", "power-cycle: yes")),
        ("no", ("safe to power-cycle: NO", "power-cycle: NO")),
        ("unknown", ("safe to power-cycle: not known, so do not", "power-cycle: DON'T")),
    ],
)
def test_the_answer_is_never_cut(columns: int, safe: str, answers: tuple[str, ...]) -> None:
    """A line that ends after "safe to power-cycle" is worse than none."""
    lines = block(NOW._replace(safe=safe, safe_reason="r" * 300), columns, 5, False)
    assert lines[-1].startswith(answers)


def test_a_host_that_is_seen_to_run_on_is_not_called_unseen() -> None:
    now = NOW._replace(phase="fired", evidence=("host: it still runs the boot of 950405 s before the shot",))
    assert block(now, 80, 24, False)[0].startswith("-- server42: sent; no crash seen yet; 45 s since the shot")


def test_sources_keep_their_places() -> None:
    turned = NOW._replace(evidence=NOW.evidence[::-1])
    assert block(turned, 80, 24, False) == block(NOW, 80, 24, False)


def test_the_reason_is_not_cut_where_there_is_room() -> None:
    now = NOW._replace(safe_reason="the dump is being saved: 35 %, and nothing proves that it has stopped")
    assert block(now, 80, 24, False)[-2:] == [
        "safe to power-cycle: NO, the dump is being saved: 35 %, and nothing proves that",
        "  it has stopped",
    ]


def test_the_dump_is_told_once() -> None:
    now = NOW._replace(dump="unreadable", evidence=("dump: unreadable", "host: silent"), percent=100.0, eta_s=0.0)
    lines = block(now, 80, 24, False)
    assert lines[1] == "dump: not readable yet [###########################] 100 %; 12.3 MB at 5.6 MB/s"
    assert lines[2] == "  host: silent"


def test_only_what_changed_is_written() -> None:
    screen, stream = screen_of(80, 24)
    painter = Painter()
    stream.feed(painter.paint(block(NOW, 80, 24, False), 80))
    assert painter.paint(block(NOW, 80, 24, False), 80) == ""
    later = NOW._replace(elapsed_s=46.0, phase_s=13.0)
    written = painter.paint(block(later, 80, 24, False), 80)
    stream.feed(written)
    assert shown(screen) == block(later, 80, 24, False)
    assert len(written) < 200  # the rule and a way there and back; nothing else
    assert "makedumpfile" not in written


def test_sentences_scroll_above_it_and_stay() -> None:
    screen, stream = screen_of(80, 12)
    painter = Painter()
    for number in range(30):
        now = NOW._replace(elapsed_s=45.0 + number, console=NOW.console[: number % 3])
        stream.feed(painter.paint(block(now, 80, 12, True), 80, f"sentence {number}\n"))
    stream.feed(painter.paint([], 80, "The verdict.\n"))
    lines = shown(screen)
    assert lines == [*(f"sentence {n}" for n in range(30 - len(lines) + 1, 30)), "The verdict."]
    assert screen.cursor.x == 0


@pytest.mark.parametrize("columns", [40, 120])
def test_a_resize_leaves_no_rubbish(columns: int) -> None:
    """The emulator cuts lines where it gets narrower, as xterm does; see tests/e2e/test_live.py for tmux."""
    screen, stream = screen_of(80, 24)
    painter = Painter(rewraps=False)
    stream.feed(painter.paint(block(NOW, 80, 24, False), 80, "before\n"))
    screen.resize(24, columns)
    stream.feed(painter.paint(block(NOW, columns, 24, False), columns))
    stream.feed(painter.paint(block(NOW._replace(percent=50.0), columns, 24, False), columns, "after\n"))
    assert shown(screen) == ["before", "after", *block(NOW._replace(percent=50.0), columns, 24, False)]


def test_a_terminal_that_rewraps_is_erased_with_the_rows_that_it_made() -> None:
    painter = Painter(rewraps=True)
    painter.paint(["x" * 79, "y" * 30], 80)
    assert painter.paint(["x"], 40).startswith("\x1b[2A\r\x1b[J")  # 2 + 1 rows at 40 columns
    assert rewraps({"TERM": "tmux-256color", "TMUX": "/tmp/x"})
    assert rewraps({"TERM": "xterm-256color"})
    assert not rewraps({"TERM": "xterm", "XTERM_VERSION": "XTerm(379)"})
    assert not rewraps({"TERM": "linux"})


def test_nothing_acts_on_the_terminal() -> None:
    """What hosts say is made harmless once more, whoever filled the status."""
    evil = "\x1b]0;title\x07\x1b[2J\u202eevil\r\n</script>"
    now = NOW._replace(
        console=(evil,), evidence=(evil,), safe_reason=evil, warning=evil, phase=evil, dump=evil, host=evil
    )
    for line in [*block(now, 80, 24, False), in_one_line(now)]:
        assert line.isprintable(), line


def test_colours_are_not_for_everybody() -> None:
    assert "\x1b" not in "".join(block(NOW, 80, 24, False))
    assert "\x1b[1;31msafe to power-cycle: NO" in block(NOW, 80, 24, True)[-1]
    assert wants_colour({"TERM": "xterm", "NO_COLOR": ""})
    assert not wants_colour({"TERM": "xterm", "NO_COLOR": "1"})
    assert not wants_colour({"TERM": "dumb"})


def test_wide_characters_are_cut_by_columns() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("abcd", 3) == "ab>"
    assert cut("日本語", 6) == "日本語"
    assert cut("日本語", 5) == "日本>"
    assert cut("日本語", 4) == "日>"
    assert cut("e\u0301" * 4, 4) == "e\u0301" * 4


def test_durations() -> None:
    assert [duration(s) for s in (-1, 0, 59.9, 60, 3599, 3723)] == ["0 s", "0 s", "59 s", "1:00", "59:59", "1:02:03"]


SHELL = ("^Z", "[1]+  Stopped                 trigger nmi server42", "$ fg", "trigger nmi server42")


def test_after_ctrl_z_it_is_drawn_below_what_the_shell_wrote() -> None:
    screen, feed = screen_of(80, 40)
    stream = Slow()
    view = LiveView(stream, {"TERM": "xterm"})
    view.status(NOW)
    until(lambda: "safe to power-cycle" in stream.text)
    seen = stream.text
    feed.feed(seen + "\r\n" + "\r\n".join(SHELL) + "\r\n")
    before = shown(screen)
    os.kill(os.getpid(), signal.SIGCONT)
    later = NOW._replace(elapsed_s=95.0, percent=80.0)
    view.status(later)
    until(lambda: stream.text.count("safe to power-cycle") == 2)
    again = stream.text
    feed.feed(again[len(seen) :])
    assert shown(screen) == [*before, *block(later, 80, 24, False)], "nothing of the shell's is overwritten"
    view.sentence("The verdict.\n")
    assert view.close(60)
    feed.feed(stream.text[len(again) :])
    assert shown(screen) == [*before, "The verdict."]
    assert signal.getsignal(signal.SIGCONT) is signal.SIG_DFL


class Slow(io.StringIO):
    """A terminal that can be stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.goes = threading.Event()
        self.goes.set()
        self.writes: list[tuple[float, str]] = []

    def fileno(self) -> int:
        raise OSError("no terminal: 80 columns and 24 rows")

    def write(self, text: str) -> int:
        assert self.goes.wait(60)
        self.writes.append((time.monotonic(), text))
        return len(text)

    @property
    def text(self) -> str:
        return "".join(text for _, text in list(self.writes))


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_ten_updates_a_second_at_most() -> None:
    stream = Slow()
    view = LiveView(stream, {"TERM": "xterm"})
    begin = time.monotonic()
    while time.monotonic() - begin < 1.0:
        view.status(NOW._replace(elapsed_s=(time.monotonic() - begin) * 1000))
        time.sleep(0.002)
    assert view.close(60)
    assert 2 <= len(stream.writes) <= 12


def test_nothing_is_written_while_nothing_changes() -> None:
    stream = Slow()
    view = LiveView(stream, {"TERM": "xterm"})
    view.status(NOW)
    until(lambda: len(stream.writes) == 1)
    for _ in range(20):
        view.status(NOW._replace(elapsed_s=45.4))
        time.sleep(0.02)
    assert len(stream.writes) == 1
    assert view.close(60)


def test_a_change_is_shown_soon() -> None:
    stream = Slow()
    view = LiveView(stream, {"TERM": "xterm"})
    view.status(NOW._replace(phase="crash-kernel"))
    until(lambda: "crash kernel is up for" in stream.text)
    changed = time.monotonic()
    view.status(NOW)
    until(lambda: "the dump is being written for" in stream.text)
    assert stream.writes[-1][0] - changed < 2.0  # 0.1 s on a quiet machine
    assert view.close(60)


def test_a_stopped_terminal_stops_nobody() -> None:
    stream = Slow()
    view = LiveView(stream, {"TERM": "xterm"})
    stream.goes.clear()
    begin = time.monotonic()
    for number in range(100):
        view.status(NOW._replace(percent=float(number)))
        view.sentence(f"sentence {number}\n")
    assert not view.close(0.1)
    assert time.monotonic() - begin < 5
    stream.goes.set()
    assert view.close(60)
    screen, feed = screen_of(80, 200)
    feed.feed(stream.text)
    assert shown(screen) == [f"sentence {number}" for number in range(100)]


def test_a_terminal_that_has_gone_disturbs_nobody() -> None:
    stream = Slow()
    stream.close()
    view = LiveView(stream, {"TERM": "xterm"})
    view.status(NOW)
    view.sentence("x\n")
    assert view.close(60)


def test_one_line_for_logs_and_screen_readers() -> None:
    assert in_one_line(NOW) == (
        "the dump is being written for 12 s; 45 s since the shot; dump: writing 36 %; 12.3 MB at 5.6 MB/s;"
        " 12 s left; safe to power-cycle: NO"
    )
