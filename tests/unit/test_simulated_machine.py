"""The simulated machine as a whole: it hangs, crashes, dumps as each distribution does, and comes back."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import os
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncssh
import pytest
import yaml

import trigger
from trigger.simulated import SimulatedMachine, SimulatedMachineError, Switches
from trigger.simulated.host_shell import run
from trigger.simulated.switches import changed

QUICK = {"crash_seconds": 0.02, "dump_seconds": 0.05, "reboot_seconds": 0.02, "dump_pages": 64}


def until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.005)


def files(directory: Path | None) -> set[str]:
    assert directory
    return {path.name for path in directory.iterdir()}


def is_flattened_and_complete(path: Path) -> bool:
    data = path.read_bytes()
    return data.startswith(b"makedumpfile\0") and data.endswith(b"\xff" * 16)


def run_to_the_end(tmp_path: Path, **switches: object) -> Path:
    """Crash a machine that banners only; return its dump's directory when the host is back."""
    quick = changed(Switches(ssh="banner"), {**QUICK, **switches})
    with SimulatedMachine(quick, tmp_path / "machine") as machine:
        machine.crash()
        machine.wait_for("healthy", "stuck")
        dump = machine.dump()
    assert dump
    return dump


def test_it_grows_its_dump_before_our_eyes_and_comes_back_in_a_new_boot(tmp_path: Path) -> None:
    switches = changed(Switches(ssh="banner", dump_seconds=1.0), {"crash_seconds": 0.02, "reboot_seconds": 0.02})
    with SimulatedMachine(switches, tmp_path / "machine") as machine:
        before = machine.boot_id()
        assert machine.state() == "hung" and machine.dump() is None
        machine.crash()
        until(lambda: bool(list(machine.dump_dir.glob("127.0.0.1-*/vmcore-incomplete"))), "a vmcore-incomplete")
        growing = next(machine.dump_dir.glob("127.0.0.1-*/vmcore-incomplete"))
        assert "Kernel panic - not syncing: NMI: Not continuing" in (growing.parent / "vmcore-dmesg.txt").read_text()
        assert "kexec-dmesg.log" not in files(growing.parent)
        sizes: set[int] = set()
        with contextlib.suppress(FileNotFoundError):  # it has been renamed
            while len(sizes) < 5:
                sizes.add(growing.stat().st_size)
        assert len(sizes) == 5
        assert machine.wait_for("healthy") == "healthy"
        assert machine.boot_id() != before
        assert files(machine.dump()) == {"vmcore", "vmcore-dmesg.txt", "kexec-dmesg.log"}
        assert machine.delivered() == 0  # nobody sent it


def test_suse_writes_in_place_and_its_readme_tells(tmp_path: Path) -> None:
    dump = run_to_the_end(tmp_path, style="suse")
    assert time.strptime(dump.name, "%Y-%m-%d-%H-%M")
    assert files(dump) == {"README.txt", "dmesg", "vmcore"}
    readme = (dump / "README.txt").read_text()
    assert readme.startswith("Kernel crashdump") and "vmcore status: saved successfully" in readme
    assert is_flattened_and_complete(dump / "vmcore")


def test_suse_that_fails_keeps_the_temporary_readme(tmp_path: Path) -> None:
    dump = run_to_the_end(tmp_path, style="suse", crash="incomplete")
    assert (dump / "README.txt").read_text().startswith("This file will be overwritten")
    assert not is_flattened_and_complete(dump / "vmcore")


def test_old_suse_writes_its_readme_at_the_end(tmp_path: Path) -> None:
    dump = run_to_the_end(tmp_path, style="suse-old")
    assert time.strptime(dump.name, "%Y-%m-%d-%H:%M")
    assert files(dump) == {"README.txt", "dmesg.txt", "vmcore"}
    assert (dump / "vmcore").read_bytes().startswith(b"KDUMP   ")
    assert files(run_to_the_end(tmp_path / "2", style="suse-old", crash="incomplete")) == {
        "dmesg.txt",
        "vmcore",
    }


def test_debian_names_its_files_by_the_stamp(tmp_path: Path) -> None:
    dump = run_to_the_end(tmp_path, style="debian")
    assert files(dump) == {f"dmesg.{dump.name}", f"dump.{dump.name}"}
    assert files(dump.parent) == {dump.name, "kexec_cmd", "kdump_lock"}
    assert is_flattened_and_complete(dump / f"dump.{dump.name}")


def test_rhel_over_ssh_is_flattened(tmp_path: Path) -> None:
    dump = run_to_the_end(tmp_path, style="rhel-flat")
    assert files(dump) == {"vmcore.flat", "vmcore-dmesg.txt", "kexec-dmesg.log"}
    assert is_flattened_and_complete(dump / "vmcore.flat")


def test_incomplete_leaves_its_name_and_the_host_comes_back(tmp_path: Path) -> None:
    dump = run_to_the_end(tmp_path, crash="incomplete")
    assert files(dump) == {"vmcore-incomplete", "vmcore-dmesg.txt", "kexec-dmesg.log"}
    whole = run_to_the_end(tmp_path / "2") / "vmcore"
    assert (dump / "vmcore-incomplete").stat().st_size < 0.8 * whole.stat().st_size


def test_truncated_has_the_final_name_and_no_end(tmp_path: Path) -> None:
    dump = run_to_the_end(tmp_path, style="debian", crash="truncated")
    assert files(dump) == {f"dmesg.{dump.name}", f"dump.{dump.name}"}
    assert not is_flattened_and_complete(dump / f"dump.{dump.name}")


def test_enospc_sets_the_flag(tmp_path: Path) -> None:
    dump = run_to_the_end(tmp_path, crash="enospc")
    assert struct.unpack_from("<I", (dump / "vmcore").read_bytes(), 424)[0] & 8


def test_a_dump_of_another_host_with_another_panic_and_a_wrong_clock(tmp_path: Path) -> None:
    dump = run_to_the_end(tmp_path, dump_hostname="server99", panic="Fatal\x1b[31m", clock_skew=-86400.0)
    data = (dump / "vmcore").read_bytes()
    assert data[77:85] == b"server99"
    assert abs(struct.unpack_from("<q", data, 408)[0] - (time.time() - 86400)) < 60
    assert "not syncing: Fatal\x1b[31m\n" in (dump / "vmcore-dmesg.txt").read_text()


def test_a_stopped_dump_leaves_the_host_stuck(tmp_path: Path) -> None:
    switches = changed(Switches(crash="stop"), QUICK)
    with SimulatedMachine(switches, tmp_path / "machine") as machine:
        machine.crash()
        assert machine.wait_for("stuck", "healthy") == "stuck"
        assert files(machine.dump()) == {"vmcore-incomplete", "vmcore-dmesg.txt"}


def test_a_panic_without_a_crash_kernel(tmp_path: Path) -> None:
    switches = changed(Switches(crash="no-dump", ssh="banner"), QUICK)
    with SimulatedMachine(switches, tmp_path / "machine") as machine:
        before = machine.boot_id()
        machine.crash()
        machine.wait_for("healthy")
        assert machine.boot_id() != before and not files(machine.dump_dir)
        machine.switch(crash="no-return")
        machine.crash()
        machine.wait_for("stuck")
        assert not files(machine.dump_dir)


def test_a_host_that_ignores_nmis_goes_on(tmp_path: Path) -> None:
    with SimulatedMachine(Switches(crash="never", ssh="banner", host="healthy"), tmp_path / "machine") as machine:
        before = machine.boot_id()
        machine.crash()
        assert (machine.state(), machine.boot_id()) == ("healthy", before)


def test_a_second_nmi_ruins_the_dump(tmp_path: Path) -> None:
    switches = changed(Switches(), {**QUICK, "dump_seconds": 30.0})
    with SimulatedMachine(switches, tmp_path / "machine") as machine:
        machine.crash()
        until(lambda: bool(list(machine.dump_dir.glob("*/vmcore-incomplete"))), "the dump's first bytes")
        machine.crash()
        assert machine.state() == "stuck"
        assert not list(machine.dump_dir.glob("*/vmcore"))


# SSH


def banner(machine: SimulatedMachine, seconds: float) -> bytes:
    """Return what the SSH port says within `seconds`, b"" for nothing. Raises ConnectionRefusedError."""
    with socket.create_connection((machine.bmc_address, machine.ssh_port), 2.0) as tcp:
        tcp.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            return tcp.recv(8)
    return b""


@pytest.mark.parametrize("ssh", ["banner", "server"])
def test_the_ssh_port_is_silent_closed_or_answers(tmp_path: Path, ssh: str) -> None:
    with SimulatedMachine(Switches(ssh=ssh), tmp_path / "machine") as machine:
        assert banner(machine, 0.2) == b""
        machine.set_host("dead")
        with pytest.raises(ConnectionRefusedError):
            banner(machine, 0.2)
        machine.set_host("healthy")
        assert banner(machine, 10.0) == b"SSH-2.0-"
        machine.set_host("hung")
        assert banner(machine, 0.2) == b""


async def over_ssh(machine: SimulatedMachine) -> tuple[str, str, bytes]:
    async with asyncssh.connect(
        machine.bmc_address,
        machine.ssh_port,
        username="root",
        client_keys=[str(machine.ssh_key)],
        known_hosts=str(machine.known_hosts),
        config=None,
    ) as connection:
        boot = await connection.run("cat /proc/sys/kernel/random/boot_id", check=True)
        names = await connection.run("hostname; uname -r", check=True)
        async with connection.start_sftp_client() as sftp:
            core = (await sftp.glob("/var/crash/*/vmcore"))[0]
            async with sftp.open(core, "rb") as file:
                header = await file.read(8, 0)
    assert isinstance(header, bytes)
    return str(boot.stdout).strip(), str(names.stdout), header


def test_a_healthy_host_tells_its_boot_and_serves_its_dumps(tmp_path: Path) -> None:
    with SimulatedMachine(changed(Switches(), QUICK), tmp_path / "machine") as machine:
        machine.crash()
        machine.wait_for("healthy")
        boot, names, header = asyncio.run(over_ssh(machine))
        assert boot == machine.boot_id()
        assert names == "server42\n5.14.0-503.11.1.el9_5.x86_64\n"
        assert header == b"KDUMP   "


def test_nobody_else_logs_in(tmp_path: Path) -> None:
    async def log_in(machine: SimulatedMachine) -> None:
        key = asyncssh.generate_private_key("ssh-ed25519")
        known = str(machine.known_hosts)
        await asyncssh.connect(
            machine.bmc_address,
            machine.ssh_port,
            username="root",
            client_keys=[key],
            known_hosts=known,
            config=None,
        )

    machine = SimulatedMachine(Switches(host="healthy"), tmp_path / "machine")
    with machine, pytest.raises(asyncssh.PermissionDenied):
        asyncio.run(log_in(machine))


def test_the_commands_of_the_host(tmp_path: Path) -> None:
    for name in ("proc/sys/kernel/hostname", "proc/uptime", "etc/a"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("server42\n")

    def said(command: str, uptime: float = 1.0) -> tuple[int, str, str]:
        done = run(command, tmp_path, uptime)
        return done.status, done.output, done.errors

    assert said("cat /etc/a") == (0, "server42\n", "")
    assert said("cat /etc/b /etc/a; hostname") == (
        0,
        "server42\nserver42\n",
        "/etc/b: No such file or directory\n",
    )
    assert said("cat /etc/b && hostname")[:2] == (1, "")
    assert said("test -e /etc/b || echo none") == (0, "none\n", "")
    assert said("test -e /etc/a && echo there") == (0, "there\n", "")
    assert said("ls /proc/vmcore 2>/dev/null; true") == (0, "", "")
    assert said("ls /proc/vmcore")[0] == 2 and said("ls /etc") == (0, "a\n", "")
    assert said("head -v -c 100 /etc/a /etc/a")[1].startswith("==> /etc/a <==\nserver42")
    assert said("cat /proc/uptime", 90.5) == (0, "90.50 90.50\n", "")
    assert said("uptime", 2 * 86400.0)[1].startswith(" 12:00:00 up 2 days,  0:00")
    assert said("cat /../../../../etc/passwd")[0] == 1
    assert said("reboot") == (127, "", "sh: reboot: command not found\n")


# The process


def test_the_configuration_is_ready_and_its_password_private(tmp_path: Path) -> None:
    with SimulatedMachine(Switches(ssh="banner"), tmp_path / "machine") as machine:
        path = machine.write_config(tmp_path / "c.yaml", controller={"cipher_suite": 3}, ssh=None)
        host = yaml.safe_load(path.read_text())["hosts"]["server42"]
        controller = host["controllers"][0]
        assert host["identity"] == {"uuid": machine.guid}
        assert host["dump"] == {"target": str(machine.dump_dir)}
        assert (controller["port"], controller["cipher_suite"], controller["user"]) == (
            machine.bmc_port,
            3,
            "crash",
        )
        assert "ssh" not in host
        secret = Path(controller["password"]["file"])
        assert stat.S_IMODE(secret.stat().st_mode) == stat.S_IMODE(machine.ssh_key.stat().st_mode) == 0o600
        assert secret.read_text() == machine.password + "\n"
        listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        assert "trigger.simulated" in listing and machine.password not in listing


def test_nonsense_is_refused_and_the_machine_goes_on(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="style"):
        Switches(style="plan9")
    with SimulatedMachine(Switches(ssh="banner"), tmp_path / "machine") as machine:
        with pytest.raises(SimulatedMachineError, match="no such switch: losss"):
            machine.switch(losss=1)
        with pytest.raises(SimulatedMachineError, match="crash"):
            machine.switch(crash="gently")
        with pytest.raises(SimulatedMachineError, match="the host is still hung"):
            machine.wait_for("dead", seconds=0.1)
        assert machine.state() == "hung"


def test_a_machine_that_complains_is_noticed(tmp_path: Path) -> None:
    machine = SimulatedMachine(Switches(ssh="banner"), tmp_path / "machine")
    with pytest.raises(SimulatedMachineError, match="complained"), machine:
        (machine.directory / "machine.log").write_text("Traceback: something broke")
    with pytest.raises(SimulatedMachineError, match="does not run"):
        machine.delivered()


def test_a_machine_that_dies_is_noticed(tmp_path: Path) -> None:
    machine = SimulatedMachine(Switches(ssh="banner"), tmp_path / "machine")
    with pytest.raises(SimulatedMachineError, match="has ended"), machine:
        assert machine.process_id
        os.kill(machine.process_id, 9)
        machine.delivered()


def test_it_does_not_outlive_whoever_started_it(tmp_path: Path) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom trigger.simulated import SimulatedMachine, Switches\n"
        "machine = SimulatedMachine(Switches(ssh='banner'), Path(sys.argv[1]))\nmachine.start()\n"
        "print(machine.process_id, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "m"], capture_output=True, text=True, timeout=60)
    child = Path(f"/proc/{int(done.stdout)}/cmdline")
    until(lambda: not child.exists() or b"trigger.simulated" not in child.read_bytes(), "the machine's end")


def test_many_at_a_time(tmp_path: Path) -> None:
    machines = [SimulatedMachine(Switches(ssh="banner"), tmp_path / str(number)) for number in range(8)]
    with contextlib.ExitStack() as all_of_them, ThreadPoolExecutor(8) as threads:
        list(threads.map(all_of_them.enter_context, machines))
        assert len({machine.bmc_port for machine in machines} | {machine.ssh_port for machine in machines}) >= 8
        assert len({machine.guid for machine in machines}) == 8


def test_it_runs_from_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trigger.simulated", "--directory", str(tmp_path), "--refuse", "0xd5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        said = yaml.safe_load(process.stdout.readline())
        hosts = yaml.safe_load(Path(said["config"]).read_text())["hosts"]
        assert hosts["server42"]["controllers"][0]["port"] == said["bmc_port"]
        process.terminate()
        assert process.wait(20) == 0
        assert process.stderr.read() == b""
    refused = subprocess.run([*command, "--guid", "x"], capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2 and "guid" in refused.stderr and "Traceback" not in refused.stderr


def test_nothing_of_the_program_imports_it_but_the_demo() -> None:
    root = Path(trigger.__file__).parent
    allowed = {root / "demo.py", root / "commands" / "demo.py"}
    for path in {*root.rglob("*.py"), *(root.parent / "drivers").rglob("*.py")} - allowed:
        if path.is_relative_to(root / "simulated"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.startswith("trigger.simulated") for name in names), path
