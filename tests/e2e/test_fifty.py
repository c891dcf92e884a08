"""Many processes fire at one host at once, by two users and through two names: one delivery, and everybody knows whose.

The state folder is the default one: of each user alone, so that only the kernel's lock keeps them apart. Needs root,
as `make test` has: the other user's processes give up their rights.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.program import LIMIT_S, until
from trigger.simulated.machine import SimulatedMachine
from trigger.simulated.switches import Switches

PROCESSES = 50
ROOT = Path(__file__).resolve().parents[2]
# Loads everything, forks a process for each line of its input, opens the gate for all at once, and tells who ended how.
# A user who gives up root's rights may not be able to read this tree any more, hence load first.
LAUNCHER = """
import json, os, pkgutil, sys
from importlib import import_module
import trigger, drivers
for package in (trigger, drivers):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if "conformance" not in module.name and "__main__" not in module.name:
            import_module(module.name)
for name in ("utf-8-sig", "idna", "ascii", "latin-1", "utf-16", "hex"):
    __import__("codecs").lookup(name)
import pwd, signal, difflib
from trigger.cli import main
signal.alarm(120)  # of this process alone: whoever waits for what it says is not kept waiting
gate, opened = os.pipe()

def child(uid, home, words):
    os.close(opened)
    out = os.open(f"{home}/said-{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0), os.dup2(out, 1), os.dup2(out, 2)
    os.setgroups([]), os.setgid(uid), os.setuid(uid)
    os.environ.update(HOME=home, TRIGGER_CONFIG=f"{home}/config.yaml")
    os.chdir("/")
    os.read(gate, 1)  # returns when the gate is opened, which is when its other end is closed
    return main(words)

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = child(*json.loads(line))
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
    print(pid, flush=True)
os.close(opened)
while True:
    try:
        pid, status = os.wait()
    except ChildProcessError:
        break
    print(pid, os.waitstatus_to_exitcode(status), flush=True)
"""


class User(NamedTuple):
    """One operator: the user id, a home of their own and a configuration that calls the host by `host`."""

    uid: int
    home: Path
    host: str


@pytest.fixture
def machine() -> Iterator[SimulatedMachine]:
    # Not tmp_path: another user may not enter it.
    with tempfile.TemporaryDirectory(prefix="fifty-") as name:
        Path(name).chmod(0o755)
        # It dumps for longer than the slowest of the others needs to be refused.
        switches = Switches(hostname=f"fifty-{secrets.token_hex(4)}", dump_seconds=600.0)
        with SimulatedMachine(switches, Path(name) / "machine") as machine:
            yield machine


def user(machine: SimulatedMachine, uid: int, host: str) -> User:
    """Make a home for `uid`, with the configuration and the password that they need."""
    home = machine.directory.parent / f"home-{uid}"
    home.mkdir(mode=0o700)
    password = home / "bmc-password"
    password.write_text(machine.password + "\n")
    password.chmod(0o600)
    controller = {"password": {"file": str(password)}}
    machine.write_config(home / "config.yaml", name=host, controller=controller, ssh=None)
    for path in (password, home / "config.yaml", home):
        os.chown(path, uid, uid)
    return User(uid, home, host)


def words(who: User) -> str:
    """Return a line for the launcher."""
    words = ("nmi", who.host, "--confirm", who.host, "--override", "no-record", "--reason", "test", "--json")
    return json.dumps([who.uid, str(who.home), words]) + "\n"


def test_one_delivery_and_the_others_name_the_winner(machine: SimulatedMachine) -> None:
    assert os.getuid() == 0, "this test needs root, to be two users"
    assert not Path("/var/lib/trigger").exists(), "the default state folder is to be each user's own"
    nobody = pwd.getpwnam("nobody").pw_uid
    users = (user(machine, 0, machine.switches.hostname), user(machine, nobody, f"alias-{secrets.token_hex(4)}"))
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    running: dict[int, User] = {}
    try:
        assert launcher.stdin is not None and launcher.stdout is not None
        for number in range(PROCESSES):
            launcher.stdin.write(words(users[number % 2]))
            launcher.stdin.flush()
            running[int(launcher.stdout.readline())] = users[number % 2]
        launcher.stdin.close()
        refused: dict[int, tuple[int, str]] = {}
        while len(running) > 1:
            pid, code = map(int, launcher.stdout.readline().split())
            refused[pid] = code, (running.pop(pid).home / f"said-{pid}").read_text()
        until(lambda: machine.delivered() == 1, "the winner's NMI arrives", LIMIT_S)
    finally:
        for pid in running:
            os.kill(pid, signal.SIGKILL)
        launcher.wait(LIMIT_S)
        assert launcher.stdout is not None
        launcher.stdout.close()
    [winner] = running
    assert machine.delivered() == 1
    assert {code for code, _ in refused.values()} == {5}, refused
    for _, said in refused.values():
        holder = r"Another fire holds the lock on controller [^:]+: user (root|nobody), process (\d+), since \d"
        found = re.search(holder, said)
        assert found is not None and int(found[2]) == winner, said
