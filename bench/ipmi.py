"""`make bench`: whole-process times beside a peer, in one run, as ratios of medians.

Absolute times depend on the machine and its load; the ratio of two programs run in turn much less. Nothing here
is a test: it prints, and never fails for being slow.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from trigger.simulated.machine import SimulatedMachine
from trigger.simulated.switches import Switches

ROUND_TRIP_S = 0.020
PAIRS = int(os.environ.get("BENCH_PAIRS", "15"))
TRIGGER = str(Path(sys.executable).with_name("trigger"))
CONFIRMED = ("--confirm", "server42", "--override", "no-record", "--reason", "bench", "--no-wait")


def timed(command: list[str], environment: dict[str, str]) -> float:
    """Run a command to its end and return its wall time in seconds; it must succeed."""
    begun = time.perf_counter()
    done = subprocess.run(
        command, check=False, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return seconds


def side_by_side(name: str, ours: Callable[[], float], theirs: Callable[[], float], goal: str) -> None:
    """Run both in turn, PAIRS times after one warm-up, and print medians and their ratio."""
    ours(), theirs()
    pairs = [(ours(), theirs()) for _ in range(PAIRS)]
    mine, peer = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"{name:<46}{mine * 1000:8.0f} ms{peer * 1000:8.0f} ms   ratio {mine / peer:5.2f}   ({goal})", flush=True)


def environment(folder: Path, config: Path) -> dict[str, str]:
    """Return a clean environment with a new state folder: an open fire would refuse the next shot."""
    state = Path(tempfile.mkdtemp(dir=folder))
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "XDG_STATE_HOME": str(state),
        "TRIGGER_CONFIG": str(config),
    }


def bench_ipmi(folder: Path) -> None:
    """Compare a fire over IPMI with ipmitool, through a proxy that adds a round trip of 20 ms."""
    with SimulatedMachine(Switches(delay=ROUND_TRIP_S, crash="never", host="dead"), folder / "machine") as machine:
        cold, known = folder / "cold.yaml", folder / "known.yaml"
        machine.write_config(cold)
        machine.write_config(known, controller={"cipher_suite": 3})
        secret = {**os.environ, "IPMITOOL_PASSWORD": machine.password}
        port = str(machine.bmc_port)
        ipmitool = ["ipmitool", "-I", "lanplus", "-C", "3", "-H", machine.bmc_address, "-p", port]
        ipmitool += ["-U", machine.user, "-E", "-L", "OPERATOR", "chassis", "power", "diag"]

        def fire(config: Path) -> float:
            return timed([TRIGGER, "nmi", "server42", *CONFIRMED], environment(folder, config))

        def peer() -> float:
            return timed(ipmitool, secret)

        side_by_side("nmi, suite known, beside ipmitool", lambda: fire(known), peer, "at most 1.0, aim at 0.85")
        side_by_side("nmi, cold, beside ipmitool", lambda: fire(cold), peer, "at most 1.3")
        for name, config in (("known", known), ("cold", cold)):
            print(f"  datagrams to the BMC before the NMI, {name}: {packets(machine, lambda c=config: fire(c))}")
        machine.set_host("hung")
        side_by_side("nmi, suite known, host's SSH hangs", lambda: fire(known), peer, "waits 0.5 s for a banner")


def packets(machine: SimulatedMachine, fire: Callable[[], float]) -> int:
    """Return how many datagrams one fire sends before the NMI."""
    machine.reset_counts()
    fire()
    return machine.requests()["datagrams_before_nmi"]


def bench_help(folder: Path) -> None:
    """Compare `trigger --help` with an interpreter that does nothing."""
    config = folder / "none.yaml"
    side_by_side(
        "trigger --help, beside python -c pass",
        lambda: timed([TRIGGER, "--help"], environment(folder, config)),
        lambda: timed([sys.executable, "-c", "pass"], environment(folder, config)),
        "at most 6",
    )


def main() -> None:
    """Run every comparison."""
    if shutil.which("ipmitool") is None:
        raise SystemExit("make bench needs ipmitool: apt-get install ipmitool")
    print(f"{'whole process, medians of ' + str(PAIRS) + ' pairs':<46}{'trigger':>11}{'peer':>11}")
    with tempfile.TemporaryDirectory(prefix="trigger-bench-") as name:
        folder = Path(name)
        bench_help(folder)
        bench_ipmi(folder)


if __name__ == "__main__":
    main()
