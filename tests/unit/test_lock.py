"""Locks are the kernel's: all or none, named, and gone with their holder; on Linux, and by files elsewhere."""

from __future__ import annotations

import os
import secrets
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from trigger.errors import GuardRefused
from trigger.lock import Held, Locks, bind
from trigger.lock_file import flock_file

HOLD = """
import sys, time
from functools import partial
from pathlib import Path
from trigger.lock import Locks, bind
from trigger.lock_file import flock_file
take = partial(flock_file, folder=Path(sys.argv[1])) if sys.argv[1] else bind
locks = Locks(sys.argv[2:], "server42", take)
print("held", flush=True)
time.sleep(60)
"""
Take = Callable[[str], Held]


@pytest.fixture(params=["socket", "flock"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the folder of lock files, "" for abstract sockets."""
    return str(tmp_path / "locks") if request.param == "flock" else ""


@pytest.fixture
def take(folder: str) -> Take:
    return partial(flock_file, folder=Path(folder)) if folder else bind


def key() -> str:
    return f"controller test-{secrets.token_hex(8)}"


def test_a_second_holder_is_refused_and_the_first_is_named(take: Take) -> None:
    name = key()
    with Locks([name], "server42", take):
        with pytest.raises(GuardRefused) as refused:
            Locks([name], "server42", take)
        assert refused.value.rule == "locked"
        assert f"process {os.getpid()}" in refused.value.message
        assert ", since " in refused.value.message
        assert "Nothing was sent" in refused.value.message
        assert "trigger wait server42" in refused.value.next_step
    with Locks([name], "server42", take):
        pass


def test_all_or_none(take: Take) -> None:
    first, second = key(), key()
    with Locks([second], "a", take), pytest.raises(GuardRefused):
        Locks([first, second], "b", take)
    with Locks([first], "c", take):
        pass


def test_one_shared_controller_is_enough_to_refuse(take: Take) -> None:
    shared = key()
    with Locks([key(), shared], "a", take), pytest.raises(GuardRefused, match="lock on controller"):
        Locks([key(), shared], "b", take)


def test_a_lock_is_gone_with_its_holder_even_when_killed(take: Take, folder: str) -> None:
    name = key()
    holder = subprocess.Popen([sys.executable, "-c", HOLD, folder, name], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(GuardRefused, match=f"process {holder.pid}"):
            Locks([name], "server42", take)
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
        with Locks([name], "server42", take):
            pass
    finally:
        holder.kill()
        holder.communicate()


def test_lock_files_are_for_every_user_and_cannot_be_swapped(tmp_path: Path) -> None:
    folder, name = tmp_path / "locks", key()
    with Locks([name], "server42", partial(flock_file, folder=folder)):
        [file] = folder.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o1777
        assert stat.S_IMODE(file.stat().st_mode) == 0o666
        assert name.split()[-1] not in file.name
    folder.chmod(0o777)
    with pytest.raises(GuardRefused, match="not sticky"):
        flock_file(name, folder)
    folder.chmod(0o1777)
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(GuardRefused, match="could not be kept out"):
        flock_file(name, folder)
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_that_is_removed_meanwhile_locks_nobody_out_of_the_new_one(tmp_path: Path) -> None:
    """The old file's lock means nothing once another stands under its name: whoever comes locks that one."""
    folder, name = tmp_path / "locks", key()
    held = flock_file(name, folder)
    [file] = folder.iterdir()
    file.unlink()
    second = flock_file(name, folder)
    with pytest.raises(BlockingIOError, match=f"process {os.getpid()}"):
        flock_file(name, folder)
    held.close()
    second.close()
