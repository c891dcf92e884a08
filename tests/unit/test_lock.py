"""Locks are the kernel's: all or none, named, and gone with their holder."""

import os
import secrets
import signal
import subprocess
import sys

import pytest

from trigger.errors import GuardRefused
from trigger.lock import Locks

HOLD = """
import sys, time
from trigger.lock import Locks
locks = Locks(sys.argv[1:], "server42")
print("held", flush=True)
time.sleep(60)
"""


def key() -> str:
    return f"controller test-{secrets.token_hex(8)}"


def test_a_second_holder_is_refused_and_the_first_is_named() -> None:
    name = key()
    with Locks([name], "server42"):
        with pytest.raises(GuardRefused) as refused:
            Locks([name], "server42")
        assert refused.value.rule == "locked"
        assert f"process {os.getpid()}" in refused.value.message
        assert ", since " in refused.value.message
        assert "trigger wait server42" in refused.value.next_step
    with Locks([name], "server42"):
        pass


def test_all_or_none() -> None:
    first, second = key(), key()
    with Locks([second], "a"), pytest.raises(GuardRefused):
        Locks([first, second], "b")
    with Locks([first], "c"):
        pass


def test_one_shared_controller_is_enough_to_refuse() -> None:
    shared = key()
    with Locks([key(), shared], "a"), pytest.raises(GuardRefused, match="lock on controller"):
        Locks([key(), shared], "b")


def test_a_lock_is_gone_with_its_holder_even_when_killed() -> None:
    name = key()
    holder = subprocess.Popen([sys.executable, "-c", HOLD, name], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(GuardRefused, match=f"process {holder.pid}"):
            Locks([name], "server42")
        holder.send_signal(signal.SIGKILL)
        holder.wait(10)
        with Locks([name], "server42"):
            pass
    finally:
        holder.kill()
        holder.communicate()
