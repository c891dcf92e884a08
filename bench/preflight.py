"""Preflight of a fleet beside xargs running ipmitool and ssh for the same facts: CPU seconds, wall time, memory.

    python bench/preflight.py

200 ipmi_sim BMCs and 200 SSH logins on loopback; then 1,000 logins; then 1,000 and 10,000 hosts with simulated
answers and no sockets. CPU seconds are the client's alone (RUSAGE_CHILDREN), so that servers on the same machine
do not count. It prints, and never fails for being slow.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.unit.preflight.cases import all_cases, printed, simulated_fleet  # noqa: E402
from trigger.preflight.audit import COMMAND  # noqa: E402
from trigger.preflight.readings import script  # noqa: E402

BMCS = int(os.environ.get("BENCH_BMCS", "200"))
TRIGGER = str(Path(sys.executable).with_name("trigger"))
_UUID = b"4c4c4544-0042-3510-8053-b4c04f4d3432"  # in what the login prints (tests/checks/x86-server.yaml)
USER, PASSWORD = "crash", "made-up-Secret"
_LAN = """name "bmc"
set_working_mc 0x20
  startlan 1
    addr {address} {port}
    priv_limit admin
    allowed_auths_admin none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    guid {guid}
  endlan
  startnow false
  user 2 true "{user}" "{password}" admin 10 none md2 md5 straight
"""
_EMULATION = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nmc_enable 0x20\n"


@dataclass(frozen=True)
class Cost:
    """What a command cost: seconds of wall time, seconds of CPU, and its largest process in MB."""

    wall: float
    cpu: float
    megabytes: float


def cost(command: Sequence[str], environment: dict[str, str], codes: tuple[int, ...] = (0,)) -> Cost:
    """Run a command to its end in a child of its own and return what it cost with all its children."""
    meter = (
        "import json,resource,subprocess,sys,time; t=time.monotonic();"
        "c=subprocess.run(sys.argv[1:],stdout=subprocess.DEVNULL).returncode;"
        "u=resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(json.dumps([c,time.monotonic()-t,u.ru_utime+u.ru_stime,u.ru_maxrss/1024]))"
    )
    meter_command = [sys.executable, "-c", meter, *command]
    done = subprocess.run(meter_command, env=environment, capture_output=True, text=True, check=True)
    code, wall, cpu, megabytes = json.loads(done.stdout)
    if code not in codes:
        raise SystemExit(f"{command[0]} ended with {code}:\n{done.stderr[-2000:]}")
    return Cost(wall, cpu, megabytes)


def free_port(kind: socket.SocketKind) -> int:
    """Return a port that is free now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def address_of(number: int) -> str:
    """Return the loopback address of a BMC: each has its own, as in a fleet."""
    return f"127.1.{number // 200}.{number % 200 + 1}"


def guid_of(number: int) -> str:
    """Return the UUID of a server and its BMC: each has its own, so that every comparison is made."""
    return f"4c4c4544004235108053b4c04f{number:06x}"


@contextmanager
def bmc(folder: Path, number: int) -> Iterator[int]:
    """Run one ipmi_sim and yield its port."""
    folder.mkdir()
    port = free_port(socket.SOCK_DGRAM)
    guid = guid_of(number)
    (folder / "lan.conf").write_text(
        _LAN.format(address=address_of(number), port=port, guid=guid, user=USER, password=PASSWORD)
    )
    (folder / "emu").write_text(_EMULATION)
    command = ["ipmi_sim", "-c", "lan.conf", "-f", "emu", "-s", str(folder), "-n"]
    process = subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield port
    finally:
        process.kill()
        process.wait()


@contextmanager
def logins(folder: Path) -> Iterator[int]:
    """Run an SSH server whose only login prints what the script prints on a real host; yield its port."""
    name, case = next((name, case) for name, case in all_cases() if case["name"] == "prepared for good")
    (folder / "printed").write_text(printed(name, case))
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve", str(folder)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def serve(folder: Path) -> None:
    """Be that SSH server, until killed."""
    import asyncio

    import asyncssh

    host, user = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    user.write_private_key(folder / "id")
    (folder / "id").chmod(0o600)
    user.write_public_key(folder / "authorized")
    text = (folder / "printed").read_bytes()

    async def answer(process: asyncssh.SSHServerProcess[bytes]) -> None:
        await process.stdin.read()
        number = int(process.get_extra_info("username").removeprefix("n"))
        process.stdout.write(text.replace(_UUID, str(uuid.UUID(guid_of(number))).encode()))
        process.exit(0)

    async def run() -> None:
        listener = await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[host], authorized_client_keys=str(folder / "authorized"),
            process_factory=answer, encoding=None, backlog=1000,
        )  # fmt: skip
        public = host.export_public_key("openssh").decode()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{listener.get_port()} {public}")
        print(listener.get_port(), flush=True)
        await asyncio.Event().wait()

    asyncio.run(run())


def beside_a_loop(folder: Path) -> None:
    """Compare with `xargs -P 64` over one `ipmitool exec` and one `ssh` for each host."""
    with ExitStack() as stack:
        ports = [stack.enter_context(bmc(folder / f"bmc{n}", n)) for n in range(BMCS)]
        ssh_port = stack.enter_context(logins(folder))
        config, environment = configuration(folder, ssh_port, ports)
        ours = cost([TRIGGER, "preflight", "--all", "--config", str(config), "--json"], environment, (0, 4))
        one = cost([TRIGGER, "preflight", "server0001", "--config", str(config)], environment, (0, 4))
        show("1 BMC and 1 login, trigger preflight", one)
        theirs = cost(["sh", "-c", _peer(folder, ssh_port, ports)], {**environment, "IPMITOOL_PASSWORD": PASSWORD})
        show(f"{BMCS} BMCs and {BMCS} logins, trigger preflight", ours)
        show(f"{BMCS} BMCs and {BMCS} logins, xargs -P 64", theirs)
        print(f"  ratio of CPU seconds {ours.cpu / theirs.cpu:.2f} (at most 0.5), wall {ours.wall / theirs.wall:.2f}")
        config, environment = configuration(folder, ssh_port, [0] * 1000)
        page = ["--format", "html", "--output", str(folder / "page.html")]
        show(
            "1,000 logins, trigger preflight --format html",
            cost([TRIGGER, "preflight", "--all", "--config", str(config), *page], environment, (4,)),
        )
        print(f"  the page has {(folder / 'page.html').stat().st_size / 1e6:.1f} MB")


def configuration(folder: Path, ssh_port: int, ports: Sequence[int]) -> tuple[Path, dict[str, str]]:
    """Write a configuration of one host for each BMC port (0: without a BMC) and a clean environment."""
    ssh: dict[str, object] = {"host": "127.0.0.1", "port": ssh_port, "key": str(folder / "id")}
    ssh["known_hosts"] = str(folder / "known_hosts")
    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o600)
    ipmi = {"driver": "ipmi", "user": USER, "password": {"file": str(folder / "password")}}
    hosts: dict[str, dict[str, object]] = {}
    for number, port in enumerate(ports):
        host: dict[str, object] = {"ssh": {**ssh, "user": f"n{number:04d}"}}
        if port:
            host["controllers"] = [{**ipmi, "address": address_of(number), "port": port}]
        hosts[f"server{number:04d}"] = host
    path = Path(tempfile.mkdtemp(dir=folder)) / "config.yaml"
    path.write_text(json.dumps({"hosts": hosts, "state_dir": str(path.parent / "state")}))
    return path, {"PATH": os.environ["PATH"], "HOME": str(folder)}


def _peer(folder: Path, ssh_port: int, ports: Sequence[int]) -> str:
    (folder / "script").write_text(script())
    # What preflight reads of a BMC; not the accounts, for which ipmitool asks 126 times and preflight stops early.
    facts = ("chassis status", "mc guid", "mc info", "sel time get", "sol info 14", "channel getciphers ipmi")
    (folder / "facts").write_text("\n".join(facts) + "\n")
    (folder / "ports").write_text("".join(f"{address_of(n)} {port} n{n:04d}\n" for n, port in enumerate(ports)))
    (folder / "command").write_text(COMMAND)
    one = (
        f"ipmitool -I lanplus -C 3 -H $1 -p $2 -U {USER} -E exec {folder}/facts >{folder}/out.$1 2>&1;"
        f" ssh -F none -p {ssh_port} -i {folder}/id -o UserKnownHostsFile={folder}/known_hosts -o BatchMode=yes"
        f' $3@127.0.0.1 "$(cat {folder}/command)" <{folder}/script >>{folder}/out.$1'
    )
    (folder / "one").write_text(one)
    return f"xargs -P 64 -n 3 sh {folder}/one <{folder}/ports"


def simulated(count: int) -> None:
    """Be a preflight of `count` hosts whose answers are simulated; for `--simulated`."""
    from trigger.preflight.formats import json_lines
    from trigger.preflight.rows import row_of

    with open(os.devnull, "w", encoding="utf-8") as out:  # noqa: PTH123
        for line in json_lines(row_of(result) for result in simulated_fleet(count)):
            out.write(line)


def show(name: str, spent: Cost) -> None:
    """Print one row."""
    print(f"{name:<52}{spent.wall:8.1f} s wall{spent.cpu:8.1f} s CPU{spent.megabytes:8.0f} MB", flush=True)


def main() -> None:
    """Run every comparison."""
    missing = [name for name in ("ipmi_sim", "ipmitool", "ssh", "xargs") if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"not installed: {' '.join(missing)}")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    with tempfile.TemporaryDirectory(prefix="trigger-bench-") as name:
        beside_a_loop(Path(name))
    for count in (1000, 10_000):
        here = [sys.executable, __file__, "--simulated", str(count)]
        show(f"{count:,} hosts, answers simulated, no sockets", cost(here, dict(os.environ)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["--simulated"]:
        simulated(int(sys.argv[2]))
    else:
        main()
