"""A Ctrl-C before the shot counts, even where Python drops the exception that its handler raises."""

from __future__ import annotations

import signal
import weakref
from pathlib import Path

import pytest

from trigger.clock import SystemClock
from trigger.interrupts import Interrupts
from trigger.run import Run
from trigger.state import StateFolder


class Thing:
    pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_an_import_swallowed_still_stops_the_shot(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    run = Run(StateFolder.choose(str(folder)), "server42", SystemClock(), [])
    try:
        with Interrupts(run) as interrupts:
            interrupts.check()
            thing = Thing()
            watched = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
            del thing  # the callback runs, the handler raises, and Python drops it
            assert watched() is None
            with pytest.raises(KeyboardInterrupt):
                interrupts.check()
    finally:
        run.close()
