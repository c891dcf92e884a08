"""SIGKILL at every event boundary and at random moments: never a second NMI, a whole journal, and `wait` ends the job.

200 random moments and every boundary with TRIGGER_SOAK=1, ten and the boundaries of the shot itself otherwise.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.program import Bench, Result, finish
from trigger.simulated.machine import SimulatedMachine
from trigger.simulated.switches import Switches

SOAK = os.environ.get("TRIGGER_SOAK") == "1"
MOMENTS = 200 if SOAK else 10
SEED = int(os.environ.get("TRIGGER_SEED", "42"))
# A journal line of a run that goes well, by number: Planned, Probed, Guarded, Firing, Fired, then what is seen.
STEPS = ("before", "written", "synced")
OF_THE_SHOT = [*((3, step) for step in STEPS), (4, "written")]
BOUNDARIES = [(line, step) for line in range(12) for step in STEPS] if SOAK else OF_THE_SHOT
# The real program, which ends itself at one line of its journal, or on one side of the call that sends.
KILLER = """
import os, signal, sys
from trigger.journal import Journal
from drivers.ipmi import IpmiDriver
where, step = sys.argv.pop(1), sys.argv.pop(1)
def end(): os.kill(os.getpid(), signal.SIGKILL)
append, write, send = Journal.append, Journal._write, IpmiDriver.send_nmi
def _write(self, event):
    if where == str(self._seq) and step == "before": end()
    line = write(self, event)
    if where == str(line.seq) and step == "written": end()
    return line
def _append(self, event, **options):
    line = append(self, event, **options)
    if where == str(line.seq) and step == "synced": end()
    return line
def _send(self, deadline):
    if (where, step) == ("send", "before"): end()
    answer = send(self, deadline)
    if (where, step) == ("send", "after"): end()
    return answer
Journal.append, Journal._write, IpmiDriver.send_nmi = _append, _write, _send
from trigger.entry import entry
entry()
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedMachine]:
    host = f"server42-{os.urandom(4).hex()}"
    switches = Switches(hostname=host, crash_seconds=0.1, dump_seconds=0.2, reboot_seconds=0.1)
    with SimulatedMachine(switches, tmp_path_factory.mktemp("machine")) as found:
        yield found


@pytest.fixture
def b(machine: SimulatedMachine, tmp_path: Path) -> Bench:
    """A bench of its own at the one machine, hung again and counted from zero."""
    machine.set_host("hung")
    for dump in machine.dump_dir.iterdir():
        shutil.rmtree(dump)
    machine.reset_counts()
    host = machine.switches.hostname
    return Bench(machine, tmp_path, machine.write_config(tmp_path / "config.yaml", name=host), host)


@pytest.mark.parametrize(("line", "step"), BOUNDARIES)
def test_at_every_event_boundary(b: Bench, line: int, step: str) -> None:
    killed(b, str(line), step)
    recovers(b)


@pytest.mark.parametrize("step", ["before", "after"])
def test_on_both_sides_of_the_call_that_sends(b: Bench, step: str) -> None:
    assert killed(b, "send", step) == -signal.SIGKILL
    assert b.machine.delivered() == (step == "after")
    assert b.journal()[-1]["event"] == "Firing"
    recovers(b)


@pytest.mark.parametrize("number", range(MOMENTS))
def test_at_a_random_moment(b: Bench, number: int) -> None:
    moment = random.Random(SEED * 1000 + number).uniform(0.05, 2.0)
    process = b.start("nmi", b.host, "--json", *b.confirmed())
    time.sleep(moment)
    process.kill()
    finish(process)
    recovers(b)


def killed(b: Bench, where: str, step: str) -> int:
    """Run `trigger nmi` until it ends itself there, or to its end when it never comes there; return its exit code."""
    words = (where, step, "nmi", b.host, "--json", *b.confirmed())
    done = subprocess.run(
        [sys.executable, "-c", KILLER, *words],
        env=b.environment(), cwd=b.folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode in (-signal.SIGKILL, 0), done.stderr
    return done.returncode


def recovers(b: Bench) -> None:
    """A second run, the verification and `wait`: what everybody must be able to rely on."""
    before, delivered = b.journal(), b.machine.delivered()
    fired = any(line["event"] == "Firing" for line in before)
    assert delivered <= fired, "an NMI arrived that the journal knows nothing of"
    if any(line["event"] == "Finished" for line in before):
        b.machine.wait_for("healthy", seconds=60)
    second = b.nmi()
    assert b.machine.delivered() <= 1, "a second NMI"
    assert second.code == (5 if fired else 0), second.err
    assert not fired or "open fire" in second.err or "is alive" in second.err
    if b.machine.delivered():
        waited = b.run("wait", b.host, "--json")
        assert waited.code == 0, waited.err
        assert waited.event("DumpFound")["state"] == "verified"
    else:
        waited = b.run("wait", b.host, "--json", "--deadline", "1s")
        assert waited.code == 7, waited.err
        assert waited.event("Finished")["sent"] == "maybe"
    verified(b)
    assert b.machine.delivered() <= 1, "a second NMI"


def verified(b: Bench) -> Result:
    """`trigger history --verify` finds nothing but, at most, the line that the kill cut."""
    process = b.start("history", b.host, "--verify", "--json")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert json.loads(out)["faults"] == []
    return Result(process.returncode, [], err)
