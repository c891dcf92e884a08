"""What watching one host costs, beside watching it by hand: a lab guest hangs, is shot, and dumps for a minute.

    python bench/watching.py

By hand is what people do today: `ipmitool sol activate` on one screen, ssh in a loop on another, until the dump is
listed. CPU seconds are the client's alone, of everything between the accepted NMI and the end; the guest's crash
kernel pauses for a minute before it saves, as that of a real server is busy for one. It prints, and never fails for
being slow.
"""

from __future__ import annotations

import json
import os
import pty
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.ipmi import TRIGGER, timed  # noqa: E402
from bench.preflight import Cost  # noqa: E402
from tests.lab import packages  # noqa: E402
from tests.lab.bmc import USER  # noqa: E402
from tests.lab.chain import Lab  # noqa: E402

PAUSE_S = int(os.environ.get("BENCH_PAUSE", "60"))
HOST = "watched42"
_SSH_EVERY_S = 2.0
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def prepare(lab: Lab) -> None:
    """Load a crash kernel that pauses, and hang the guest."""
    lab.ssh(f"kexec -p -u && /sbin/kdump-load lab.pause={PAUSE_S}")
    lab.hang()


def by_trigger(lab: Lab, home: Path) -> Cost:
    """Fire and watch with trigger; the cost from its event Fired on."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TRIGGER_CONFIG": str(lab.config_file)}
    environment["XDG_STATE_HOME"] = str(home / "state")
    timed([TRIGGER, "preflight", HOST], environment)
    prepare(lab)
    command = [TRIGGER, "nmi", HOST, "--confirm", HOST, "--reason", "bench", "--json"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    ) as process:
        assert process.stdout is not None
        fired_at, fired_cpu, megabytes, said = 0.0, 0.0, 0.0, ""
        for line in process.stdout:
            said += line
            megabytes = memory(process.pid) or megabytes
            if json.loads(line)["event"] == "Fired":
                fired_at, fired_cpu = time.monotonic(), cpu_so_far(process.pid)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{said}")
    return Cost(time.monotonic() - fired_at, used.ru_utime + used.ru_stime - fired_cpu, megabytes)


def cpu_so_far(pid: int) -> float:
    """Return the CPU seconds of a process and its ended children (proc(5), fields 14 to 17 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(field) for field in fields[11:15]) / _CLOCK_TICKS


def memory(pid: int) -> float:
    """Return the most memory that a process has had so far, in MB (proc(5), VmHWM), 0 when it has ended.

    Not ru_maxrss: that begins with the size of whoever forked it.
    """
    status = Path(f"/proc/{pid}/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) / 1024 if "VmHWM:" in status else 0.0


def by_hand(lab: Lab) -> Cost:
    """Fire with ipmitool, then `ipmitool sol activate` and an ssh loop until the new dump is listed."""
    old = lab.dumps()
    prepare(lab)
    secret = {**os.environ, "IPMITOOL_PASSWORD": lab.bmc.password}
    ipmitool = ["ipmitool", "-I", "lanplus", "-C", "3", "-H", "127.0.0.1", "-p", str(lab.bmc.lan_port)]
    ipmitool += ["-U", USER, "-E"]
    timed([*ipmitool, "chassis", "power", "diag"], secret)
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    master, slave = pty.openpty()  # sol activate wants a terminal
    with subprocess.Popen([*ipmitool, "sol", "activate"], stdin=slave, stdout=slave, stderr=slave, env=secret) as sol:
        os.close(slave)
        os.set_blocking(master, False)
        while not landed(lab, old):
            drain(master)
            time.sleep(_SSH_EVERY_S)
        wall = time.monotonic() - begun
        drain(master)
        megabytes = memory(sol.pid)
        sol.terminate()
    os.close(master)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)  # the logins; ended processes that were waited for
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, megabytes)


def landed(lab: Lab, old: Sequence[str]) -> bool:
    """Ask over ssh whether a dump is there that was not before."""
    try:
        listed = lab.access.run("ls -d /var/crash/*/vmcore", 3.0).stdout
    except subprocess.TimeoutExpired:
        return False
    return bool(set(listed.split()) - set(old))


def drain(master: int) -> None:
    """Read what the console said, which nobody looks at."""
    try:
        while os.read(master, 65536):
            pass
    except (BlockingIOError, OSError):
        return


def figures(cost: Cost) -> str:
    """Return what a watch cost, with the share of one core."""
    share = 100 * cost.cpu / cost.wall
    return f"{cost.wall:6.1f} s   CPU {cost.cpu:5.2f} s = {share:4.2f} % of a core   {cost.megabytes:4.0f} MB"


def main() -> None:
    """Watch one guest by trigger and another by hand."""
    if shutil.which("ipmitool") is None:
        raise SystemExit("make bench needs ipmitool: apt-get install ipmitool")
    packages.install(print)
    with tempfile.TemporaryDirectory(prefix="trigger-bench-") as name:
        folder = Path(name)
        with Lab.start(folder / HOST, name=HOST) as lab:
            ours = by_trigger(lab, folder)
        with Lab.start(folder / "by-hand", name=HOST) as lab:
            theirs = by_hand(lab)
    print(f"trigger, NMI to verified dump           {figures(ours)}   (at most 2 %, 100 MB)")
    print(f"by hand, NMI to a file of unknown worth {figures(theirs)}   ratio of CPU {ours.cpu / theirs.cpu:.2f}")


if __name__ == "__main__":
    main()
