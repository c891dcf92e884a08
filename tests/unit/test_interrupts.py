"""A Ctrl-C before the shot counts, even where Python drops the exception that its handler raises."""

from __future__ import annotations

import signal
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from trigger.clock import SystemClock
from trigger.interrupts import _AGAIN_S, Interrupts
from trigger.run import Run
from trigger.state import StateFolder


class Thing:
    pass


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    run = Run(StateFolder.choose(str(folder)), "server42", SystemClock(), [])
    yield run
    run.close()


def drop_a_signal() -> None:
    """Have a signal come while a callback runs: the handler raises, and Python drops it."""
    thing = Thing()
    watched = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
    del thing
    assert watched() is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_an_import_swallowed_still_stops_the_shot(run: Run) -> None:
    with Interrupts(run) as interrupts:
        interrupts.check()
        drop_a_signal()
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_and_it_need_not_wait_for_the_shot(run: Run) -> None:
    """A login that takes ten seconds is stopped in between, and nothing goes off when all is over."""
    with Interrupts(run):
        drop_a_signal()
        with pytest.raises(KeyboardInterrupt):
            time.sleep(60)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_never_once_something_may_have_been_sent(run: Run) -> None:
    with Interrupts(run):
        drop_a_signal()
        run.stage = "sending"
        signal.raise_signal(signal.SIGALRM)


def test_one_that_arrived_does_not_cut_short_what_is_released(run: Run) -> None:
    """A policy's command that resumes auto-repair may take its time, and has errors of its own."""
    released = False
    with pytest.raises(KeyboardInterrupt), Interrupts(run):
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            try:
                raise OSError
            except OSError:
                time.sleep(_AGAIN_S + 0.3)
            time.sleep(_AGAIN_S + 0.3)
            released = True
    assert released
