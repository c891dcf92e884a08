"""Signals, closed terminals and streams, jumping clocks, suspend: the state is recoverable and the message right.

SIGINT, and Ctrl-C before and after the shot, are in tests/e2e/test_nmi.py as well.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.e2e.program import Bench, Result, finish, until

Benches = Callable[..., Bench]
DAY = 86400.0


def fired(b: Bench) -> bool:
    return any(line["event"] == "Fired" for line in b.journal())


def nothing_left_behind(b: Bench, result: Result) -> None:
    """Nothing was sent, it is said, and the same command works."""
    assert result.code == 5, result.err
    assert "before anything was sent" in result.err
    assert result.event("Finished")["sent"] == "no"
    assert b.machine.delivered() == 0
    b.machine.switch(delay=0.0)
    assert b.nmi("--no-wait").code == 0


def detached(b: Bench, result: Result, sent: str) -> None:
    """Something was or may have been sent, it is said, and `wait` finishes the job."""
    assert result.code == 10, result.err
    end = result.event("Finished")
    assert (end["sent"], end["next"]) == (sent, f"trigger wait {b.host}")
    assert "Do not power-cycle" in result.err
    assert "othing was sent" not in result.err
    assert b.nmi().code == 5
    assert b.run("wait", b.host).code == 0
    assert b.machine.delivered() == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_before_the_shot_it_ends_the_run(bench: Benches, number: signal.Signals) -> None:
    b = bench(delay=4.0)
    process = b.start("nmi", b.host, "--json", *b.confirmed())
    until(lambda: any(line["event"] == "Planned" for line in b.journal()), "Planned is in the journal", 60)
    process.send_signal(number)
    nothing_left_behind(b, finish(process))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_the_answer_is_awaited_the_outcome_is_unknown(bench: Benches, number: signal.Signals) -> None:
    b = bench(nmi_answer_delay=30.0)
    process = b.start("nmi", b.host, "--json", *b.confirmed())
    until(lambda: b.machine.delivered() == 1, "the NMI arrives", 60)
    for _ in range(5):  # an impatient person: the second must not turn "unknown" into "nothing was sent"
        process.send_signal(number)
        time.sleep(0.005)
    result = finish(process)
    assert result.event("Fired")["outcome"] == "unknown"
    detached(b, result, "maybe")


def test_while_the_dump_is_written_it_detaches(bench: Benches) -> None:
    b = bench(dump_seconds=6.0)
    process = b.start("nmi", b.host, "--json", *b.confirmed())
    until(lambda: fired(b), "Fired is in the journal", 60)
    process.send_signal(signal.SIGTERM)
    detached(b, finish(process), "yes")


def test_nohup_stays_nohup(bench: Benches) -> None:
    b = bench(dump_seconds=1.0)
    command = ["nohup", sys.executable, "-m", "trigger", "nmi", b.host, *b.confirmed()]
    process = subprocess.Popen(
        command, env=b.environment(), cwd=b.folder, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until(lambda: fired(b), "Fired is in the journal", 60)
    process.send_signal(signal.SIGHUP)
    result = finish(process)
    assert result.code == 0, result.err


def test_a_terminal_that_is_closed_detaches_and_the_journal_has_the_end(bench: Benches) -> None:
    b = bench(dump_seconds=6.0)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(b.folder)
        os.execve(sys.executable, [sys.executable, "-m", "trigger", "nmi", b.host, *b.confirmed()], b.environment())
    until(lambda: fired(b), "Fired is in the journal", 60)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 10
    end = b.journal()[-1]
    assert (end["event"], end["exit_code"], end["sent"]) == ("Finished", 10, "yes")
    assert b.run("wait", b.host).code == 0
    assert b.machine.delivered() == 1


def test_head_ends_the_output_and_not_the_run(bench: Benches) -> None:
    b = bench()
    command = '"$@" --json | head -n 1; exit "${PIPESTATUS[0]}"'
    done = subprocess.run(
        ["bash", "-c", command, "bash", sys.executable, "-m", "trigger", "nmi", b.host, *b.confirmed()],
        env=b.environment(), cwd=b.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()] == ["Planned"]
    assert (b.journal()[-1]["exit_code"], b.machine.delivered()) == (0, 1)
    assert "Traceback" not in done.stderr


def test_streams_that_are_closed_are_no_place_for_the_journal(bench: Benches) -> None:
    b = bench()
    command = 'exec "$@" <&- >&- 2>&-'
    done = subprocess.run(
        ["sh", "-c", command, "sh", sys.executable, "-m", "trigger", "nmi", b.host, "--json", *b.confirmed()],
        env=b.environment(), cwd=b.folder, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = b.journal()
    assert [line["event"] for line in lines][:5] == ["Planned", "Probed", "Guarded", "Firing", "Fired"]
    assert (lines[-1]["exit_code"], b.machine.delivered()) == (0, 1)
    assert b.run("history", b.host, "--verify").code == 0


# The real program, whose clock jumps when the watch has seen something.
JUMPS = """
import sys, time
from trigger.clock import SystemClock
from trigger.events import DumpFound
from trigger.run import Run
jump, emit, real = float(sys.argv.pop(1)), Run.emit, time.time
def watched(self, event):
    emit(self, event)
    if isinstance(event, DumpFound):
        SystemClock.time = lambda clock: real() + jump
        time.time = lambda: real() + jump
Run.emit = watched
from trigger.entry import entry
entry()
"""


@pytest.mark.parametrize("jump", [DAY, -DAY], ids=["forward", "back"])
def test_a_clock_that_jumps_after_the_shot_neither_ends_nor_prolongs_the_watch(bench: Benches, jump: float) -> None:
    b = bench(dump_seconds=1.0)
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", JUMPS, str(jump), "nmi", b.host, *b.confirmed()],
        env=b.environment(), cwd=b.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begun < 60
    assert b.machine.delivered() == 1


@pytest.mark.parametrize("moment", ["answer", "dump"])
def test_a_machine_that_is_suspended_goes_on_where_it_was(bench: Benches, moment: str) -> None:
    b = bench(nmi_answer_delay=1.0, dump_seconds=1.0)
    process = b.start("nmi", b.host, "--json", *b.confirmed())
    until(lambda: b.machine.delivered() == 1 if moment == "answer" else fired(b), moment, 60)
    process.send_signal(signal.SIGSTOP)
    b.machine.wait_for("healthy", seconds=60)
    process.send_signal(signal.SIGCONT)
    result = finish(process)
    assert result.code == 0, result.err
    assert b.machine.requests()["nmi"] == b.machine.delivered() == 1
