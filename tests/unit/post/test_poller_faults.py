"""Watching a target that goes away, hangs, cannot be read or is full of traps: no wrong word, no endless wait."""

from __future__ import annotations

import gzip
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.post import savers, vmcores
from tests.unit.post.savers import Step
from tests.unit.post.watching import FIRE, OURS, core_of, pieces, watch
from trigger.clock import Deadline, FastClock, SystemClock
from trigger.post.following import TargetState
from trigger.post.landing import Baseline, Entry, State
from trigger.post.poller import watch_target
from trigger.post.target import LocalStore
from trigger.verdict import Seen, decide


class Flaky(LocalStore):
    """A store that fails as a target does that goes away."""

    opened = 0

    def __init__(self, down: Callable[[], bool]) -> None:
        type(self).opened += 1
        self.down = down

    def list(self, path: str) -> dict[str, Entry]:
        if self.down():
            raise OSError(5, "Input/output error")
        return super().list(path)


def test_a_target_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    gone: list[bool] = []
    steps = [step for _, step in savers.debian("10.0.0.7-")(tmp_path, pieces(core_of(True)))]
    away: list[Step] = [lambda: gone.append(True), *[lambda: None] * 5]
    last, seen = watch(tmp_path, [*steps[:5], *away, gone.clear, *steps[5:]], factory=lambda: Flaky(lambda: bool(gone)))
    assert last.state is State.VERIFIED
    assert [state.reason for state in seen if state.state is State.UNREADABLE] == ["Input/output error"]
    assert Flaky.opened > 1


def test_an_unreadable_target_is_never_taken_for_no_dump(tmp_path: Path) -> None:
    last, _ = watch(tmp_path, factory=lambda: Flaky(lambda: True))
    assert last.state is State.TIMED_OUT
    assert last.reason == "Input/output error"
    missing, _ = watch(tmp_path / "missing")
    assert missing.state is State.TIMED_OUT
    assert "does not exist" in missing.reason


def test_symbolic_links_and_fifos_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere"
    secret.write_bytes(core_of(False))
    target = tmp_path / "crash"
    folder = target / "127.0.0.1-2026-11-23-03:49:11"
    folder.mkdir(parents=True)
    (folder / "vmcore").symlink_to(secret)
    assert watch(target)[0].state is State.TIMED_OUT
    (target / "127.0.0.1-2026-11-23-03:50:11").symlink_to(folder)
    (folder / "vmcore").unlink()
    os.mkfifo(folder / "vmcore")
    assert watch(target)[0].state is State.TIMED_OUT
    with pytest.raises(OSError, match="not a regular file"):
        LocalStore().open(str(folder / "vmcore"))
    (folder / "link").symlink_to(secret)
    with pytest.raises(OSError, match="symbolic links"):
        LocalStore().open(str(folder / "link"))


def test_a_display_that_fails_does_not_end_the_watch(tmp_path: Path) -> None:
    for _, step in savers.rhel("127.0.0.1", "vmcore")(tmp_path, [core_of(False)]):
        step()

    def broken(state: TargetState) -> None:
        raise BrokenPipeError

    clock = FastClock()
    last = watch_target(
        LocalStore,
        Baseline(str(tmp_path), {}),
        FIRE,
        OURS,
        Deadline(60, clock),
        clock,
        broken,
        threading.Event(),
    )
    assert last.state is State.VERIFIED


class Stuck(LocalStore):
    """A store whose listing hangs, as a dead NFS server's does, until it is let go."""

    calls = 0
    closed = 0
    release = threading.Event()

    def list(self, path: str) -> dict[str, Entry]:
        type(self).calls += 1
        if self.calls > 1:
            self.release.wait(30)
        return super().list(path)

    def close(self) -> None:
        type(self).closed += 1


def test_a_call_that_hangs_is_given_up_and_never_doubled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trigger.post.poller.LOOK_SECONDS", 0.1)
    last, seen = watch(tmp_path, factory=Stuck, seconds=20.0)
    assert last.state is State.TIMED_OUT
    assert (Stuck.calls, Stuck.closed) == (2, 0)
    assert any("did not answer" in state.reason for state in seen)
    assert any("has not come back" in state.reason for state in seen)
    Stuck.release.set()
    end = time.monotonic() + 5
    while not Stuck.closed and time.monotonic() < end:
        time.sleep(0.01)
    assert (Stuck.calls, Stuck.closed) == (2, 1)


def test_stop_ends_the_watch_at_once(tmp_path: Path) -> None:
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    begun = time.monotonic()
    clock = SystemClock()
    watch_target(LocalStore, Baseline(str(tmp_path), {}), FIRE, OURS, Deadline(60), clock, lambda state: None, stop)
    assert time.monotonic() - begun < 1.5


def test_from_rename_to_landed_on_a_live_target_takes_at_most_three_seconds(tmp_path: Path) -> None:
    folder = tmp_path / "10.0.0.7-2026-11-23-03:49:11"
    folder.mkdir()
    (folder / "vmcore-incomplete").write_bytes(core_of(False))
    renamed: list[float] = []
    landed: list[float] = []

    def rename() -> None:
        (folder / "vmcore-incomplete").rename(folder / "vmcore")
        renamed.append(time.monotonic())

    def told(state: TargetState) -> None:
        if state.state is State.LANDED:
            landed.append(time.monotonic())

    threading.Timer(2.3, rename).start()
    last = watch_target(
        LocalStore,
        Baseline(str(tmp_path), {}),
        FIRE,
        OURS,
        Deadline(30),
        SystemClock(),
        told,
        threading.Event(),
    )
    assert last.state is State.VERIFIED
    assert landed[0] - renamed[0] < 3.0
    shutil.rmtree(folder)


def test_a_gzip_too_long_to_read_is_pending_and_never_no_dump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can say whether it is whole: exit code 10, with the command that can, whether the host is back or not."""
    core = vmcores.flattened(vmcores.kdump_writes(vmcores.memory(900)))
    whole = gzip.compress(core, compresslevel=0)
    monkeypatch.setattr("trigger.post.looks._LOCAL_LIMIT", len(whole) - 1)
    for _, step in savers.debian("server42-", ".gz")(tmp_path, [whole]):
        step()
    answers: list[Callable[[], bool]] = [lambda: False, lambda: True]
    for back, is_back in enumerate(answers):
        last, _ = watch(tmp_path, seconds=300.0, back=is_back)
        assert (last.state, last.ours) == (State.LANDED, True)
        assert "trigger inspect --deep" in last.reason
        seen = Seen("accepted", "landed", last.path, last.reason, last.ours, last.final, timed_out=True)
        end = decide("server42", seen._replace(boot="new" if back else "", since_back_s=900.0))
        assert end is not None
        assert (end.exit_code, end.ends_fire) == (10, False)
