"""The whole chain, with no mock on it: ipmi_sim -> QEMU -> NMI -> Linux -> kdump -> makedumpfile -> vmcore.

with Lab.start(tmp_path / "lab") as lab:
    lab.hang()
    ...                       # fire at 127.0.0.1:lab.bmc.lan_port
    lab.wait_for_reboot()
    assert lab.nmi_count() == 1
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab import guest, packages, processes, ssh
from tests.lab.bmc import USER, Bmc
from tests.lab.errors import LabError
from tests.lab.processes import Process
from tests.lab.vm import Machine

Report = Callable[[str], None]
# How a guest is made ready in the lab's folder: (machine, keys, host name, kernel words, report) -> QEMU's command.
Boots = Callable[[Machine, ssh.GuestKeys, str, str, Report], list[str]]

DUMP_TARGET = "/var/crash"

_STATE_FILE = "lab.json"
_PASSWORD_FILE = "bmc.password"  # the name of a file, not a password
_BOOT_SECONDS = 180.0  # some 7 s on an idle machine; CI machines are not idle
_HANG_SECONDS = 60.0
_DEAD_KERNEL = "---[ end Kernel panic"  # neither kdump nor a reboot follows these words
_READ_BOOT_ID = "cat /proc/sys/kernel/random/boot_id"

# A SCHED_FIFO 99 loop on the only CPU, without the 5 % that the kernel keeps for others. It starts when sshd
# ($PPID of the shell) has ended this very session.
_HANG = """
echo -1 > /proc/sys/kernel/sched_rt_runtime_us || exit
setsid sh -c "while kill -0 $PPID; do sleep 0.2; done; sleep 0.5; exec chrt -f 99 sh -c 'while :; do :; done'" \\
    </dev/null >/dev/null 2>&1 &
"""


def _say_nothing(_line: str) -> None:
    pass


def small_guest(machine: Machine, keys: ssh.GuestKeys, name: str, kernel_words: str, report: Report) -> list[str]:
    """Make the small guest ready: an initramfs that boots in seconds (guest.py)."""
    return machine.prepare(guest.build(report), keys, f"lab.hostname={name} {kernel_words}".strip())


@dataclass
class Lab:
    """One running guest with its BMC. Files, logs and keys are in `workdir`."""

    workdir: Path
    name: str
    machine: Machine
    bmc: Bmc
    access: ssh.Access
    running: list[Process] = field(default_factory=list)
    report: Report = _say_nothing

    # --- starting and ending -------------------------------------------------------------------------

    @classmethod
    def start(
        cls,
        workdir: Path,
        *,
        name: str = "server42",
        kernel_words: str = "",
        sol: bool = True,
        detached: bool = False,
        report: Report = _say_nothing,
        boots: Boots = small_guest,
        patience: float = _BOOT_SECONDS,
    ) -> Self:
        """Start a guest and its BMC and wait until kdump is loaded and sshd answers, `patience` seconds at most.

        `kernel_words` go to the kernel command line (guest/rcS lists the lab's own). With `sol=False` the BMC
        leaves the serial console alone, so that a test can open it by telnet. Unless `detached`, everything
        ends with the thread that called this.
        """
        if lacking := packages.missing():
            raise LabError(f"not installed: {' '.join(lacking)}; 'lab.py install' installs them")
        workdir = workdir.resolve()
        _clear(workdir)
        lab, keys = cls._planned(workdir, name, sol)
        lab.report = report
        # QEMU first, until it listens: an ipmi_sim that finds nobody at the serial port tries again only 10 s later,
        # and until then it acknowledges every key and BREAK of a SOL client and drops them (lanserv/sol.c).
        commands = {"qemu": boots(lab.machine, keys, name, kernel_words, report), "ipmi_sim": lab.bmc.prepare()}
        report(f"starting {name}: QEMU and ipmi_sim")
        try:
            for program, command in commands.items():
                log = workdir / f"{program}.log"
                lab.running.append(processes.start(program, command, log, detached=detached))
                lab._remember()
                lab._wait("the serial port", lambda: processes.listens(lab.machine.console_port), _BOOT_SECONDS)
            lab.wait_until_ready(kdump="lab.kdump=no" not in kernel_words, timeout=patience)
        except BaseException:
            lab.stop()
            raise
        return lab

    @classmethod
    def _planned(cls, workdir: Path, name: str, sol: bool) -> tuple[Self, ssh.GuestKeys]:
        lan, system, console, sshd = processes.free_ports(4)
        guid = uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.lab.invalid")
        access, keys = ssh.make_keys(workdir, sshd)
        password = secrets.token_hex(8)
        (workdir / _PASSWORD_FILE).touch(0o600)
        (workdir / _PASSWORD_FILE).write_text(f"{password}\n")
        machine = Machine(workdir, sshd, system, console, guid)
        bmc = Bmc(workdir, lan, system, console if sol else None, guid, password)
        lab = cls(workdir, name, machine, bmc, access)
        lab.config_file.write_text(lab.config())
        return lab, keys

    @classmethod
    def attach(cls, workdir: Path) -> Self:
        """Return the lab that was started in this folder, running or not."""
        workdir = workdir.resolve()
        try:
            state = json.loads((workdir / _STATE_FILE).read_text())
        except FileNotFoundError:
            raise LabError(f"no lab in {workdir}: start one with 'lab.py up --dir {workdir}'") from None
        guid = uuid.UUID(state["guid"])
        password = (workdir / _PASSWORD_FILE).read_text().strip()
        machine = Machine(workdir, state["ssh_port"], state["system_port"], state["console_port"], guid)
        sol_port = machine.console_port if state["sol"] else None
        bmc = Bmc(workdir, state["lan_port"], machine.system_port, sol_port, guid, password)
        access = ssh.Access(machine.ssh_port, workdir / "id_ed25519", workdir / "known_hosts")
        running = [Process(**process) for process in state["processes"]]
        return cls(workdir, state["name"], machine, bmc, access, running)

    def _remember(self) -> None:
        state = {
            "name": self.name,
            "guid": str(self.machine.guid),
            "ssh_port": self.machine.ssh_port,
            "system_port": self.machine.system_port,
            "console_port": self.machine.console_port,
            "lan_port": self.bmc.lan_port,
            "sol": self.bmc.console_port is not None,
            "processes": [asdict(process) for process in self.running],
        }
        unfinished = self.workdir / f"{_STATE_FILE}.unfinished"
        unfinished.write_text(json.dumps(state, indent=2))
        unfinished.rename(self.workdir / _STATE_FILE)

    def stop(self) -> None:
        """End the lab's processes, each by its own pid; logs and dumps' traces stay, the disk goes."""
        for process in reversed(self.running):
            process.end()
        for big in ("disk.img", "initrd"):
            (self.workdir / big).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        """Return the lab."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the lab."""
        self.stop()

    # --- the guest -----------------------------------------------------------------------------------

    def ssh(self, command: str, *, timeout: float = 30.0) -> str:
        """Run a shell command as root in the guest and return its output; it must succeed."""
        try:
            done = self.access.run(command, timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name}: {command!r} did not end within {timeout:.0f} s") from None
        if done.returncode:
            raise LabError(f"{self.name}: {command!r} exited {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def boot_id(self) -> str:
        """Return the id of the guest's running boot."""
        return self.ssh(_READ_BOOT_ID).strip()

    def is_hung(self) -> bool:
        """Say whether the guest takes TCP connections and sends no SSH banner for 2 seconds."""
        return self.access.is_silent(2.0)

    def hang(self) -> None:
        """Hang the guest and wait until it is really hung."""
        self.report(f"hanging {self.name}: a SCHED_FIFO 99 loop on its only CPU")
        self.ssh(_HANG)
        time.sleep(1.5)
        self._wait("the guest to hang", self.is_hung, _HANG_SECONDS)

    def wait_until_ready(self, *, kdump: bool = True, timeout: float = _BOOT_SECONDS) -> None:
        """Wait until sshd answers, kdump is loaded, and the BMC sees the machine and holds its serial port."""
        self._wait("the guest to boot", lambda: self.access.banner(2.0) is not None, timeout)
        if kdump and self.ssh("cat /sys/kernel/kexec_crash_loaded").strip() != "1":
            raise LabError(f"the guest has not loaded its crash kernel\n{self._last_console_lines()}")
        self._wait("the BMC to see the machine", self.bmc.sees_the_machine, 60.0)
        if self.bmc.console_port is not None:
            self._wait("the BMC to reach the serial port", self.bmc.holds_the_console, 60.0)

    def wait_for_reboot(self, since: str, *, timeout: float = _BOOT_SECONDS) -> None:
        """Wait until the guest runs another boot than `since` (a boot id) and is ready again."""
        self._wait("the guest to come back", lambda: self._runs_another_boot_than(since), timeout)
        self.wait_until_ready(timeout=timeout)

    def _runs_another_boot_than(self, boot_id: str) -> bool:
        if self.access.banner(2.0) is None:
            return False
        try:
            return self.ssh(_READ_BOOT_ID, timeout=10.0).strip() != boot_id
        except LabError:  # it crashed under our hands
            return False

    def dumps(self) -> list[str]:
        """Return the paths of the finished dumps in the guest, oldest first."""
        return self.ssh(f"ls -d {DUMP_TARGET}/*/vmcore 2>/dev/null || true").split()

    def console_text(self) -> str:
        """Return everything that the guest has written to its serial console."""
        try:
            return self.machine.console_log.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    # --- the BMC -------------------------------------------------------------------------------------

    def nmi_count(self) -> int:
        """Return how many NMIs the BMC has handed to the machine."""
        try:
            return len(self.bmc.count_file.read_text().splitlines())
        except FileNotFoundError:
            return 0

    def config(self) -> str:
        """Return a configuration for trigger that reaches this lab."""
        access = {"host": self.access.host, "port": self.access.port, "user": self.access.user}
        files = {"key": str(self.access.key), "known_hosts": str(self.access.known_hosts)}
        password = {"file": str(self.workdir / _PASSWORD_FILE)}
        controller = {"driver": "ipmi", "address": "127.0.0.1", "port": self.bmc.lan_port, "user": USER}
        # A JSON object is a YAML flow mapping, quoting included.
        return (
            "hosts:\n"
            f"  {self.name}:\n"
            f"    ssh: {json.dumps(access | files)}\n"
            "    controllers:\n"
            f"      - {json.dumps(controller | {'password': password})}\n"
            # The dump is on the guest's own disk: trigger reads it over SFTP when the guest is back.
            "    dump: {target: auto}\n"
        )

    @property
    def config_file(self) -> Path:
        """Return the file that holds this configuration."""
        return self.workdir / "config.yaml"

    # --- waiting -------------------------------------------------------------------------------------

    def _wait(self, what: str, happened: Callable[[], bool], timeout: float) -> None:
        begin = told = time.monotonic()
        already_said = len(self.console_text())
        while not happened():
            now = time.monotonic()
            if _DEAD_KERNEL in self.console_text()[already_said:]:
                raise LabError(f"waiting for {what}: the kernel panicked\n{self._last_console_lines()}")
            if ended := [process for process in self.running if not process.is_running()]:
                raise LabError(f"waiting for {what}: {self._obituary(ended[0])}")
            if now - begin > timeout:
                raise LabError(f"waited {timeout:.0f} s for {what}\n{self._last_console_lines()}")
            if now - told > 4:
                told = now
                self.report(f"waiting for {what} ({now - begin:.0f} s)")
            time.sleep(0.2)

    def _obituary(self, process: Process) -> str:
        log = self.workdir / f"{process.name}.log"
        text = log.read_text(errors="replace").strip() if log.exists() else ""
        return f"{process.name} ended: {text or 'it said nothing'}\n{self._last_console_lines()}"

    def _last_console_lines(self) -> str:
        lines = self.console_text().splitlines()[-25:]
        return "\n".join(["the last lines on the console:", *(f"    {line}" for line in lines)])


def _clear(workdir: Path) -> None:
    """Make an empty folder of our own; refuse one in which a lab runs or in which strangers' files are."""
    if (workdir / _STATE_FILE).exists():
        if any(process.is_running() for process in Lab.attach(workdir).running):
            raise LabError(f"a lab is running in {workdir}: end it with 'lab.py down --dir {workdir}'")
        shutil.rmtree(workdir)
    workdir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(workdir.iterdir()):
        raise LabError(f"{workdir} has files that are not a lab's")
