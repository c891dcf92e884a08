"""Dumps by the real makedumpfile, out of a real crashed kernel's memory: every format, killed at any moment."""

from __future__ import annotations

import base64
import contextlib
import random
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import cpio, packages
from tests.lab.chain import DUMP_TARGET, Lab
from trigger.clock import Deadline
from trigger.host import Ssh
from trigger.post.facts import Complete, DumpFacts
from trigger.post.formats import inspect
from trigger.post.inspection import inspect_url
from trigger.post.kernel_log import of_dump
from trigger.post.looks import facts as facts_over
from trigger.post.target import LocalFile, SftpStore
from trigger.post.verify import Expectation, Identity, verify
from trigger.ssh.connection import run

pytestmark = pytest.mark.lab

FORMATS = {
    "kdump, zlib": "-c -d 31",
    "kdump, lzo": "-l -d 31",
    "kdump": "-d 31",
    "kdump, zlib in many cycles": "-c -d 31 --cyclic-buffer 4",
    "kdump, zlib by two threads": "-c -d 31 --num-threads 2",
    "elf": "-E -d 31",
    "kdump, flattened, zlib": "-F -c -d 31",
    "kdump, flattened, lzo": "-F -l -d 31",
    "elf, flattened": "-F -E -d 31",
}


@dataclass(frozen=True)
class Crashed:
    """A crash that really happened: its memory as an ELF core, and what was known of it without the dump."""

    core: Path
    dmesg: str
    over_sftp: DumpFacts
    fired: float
    release: str
    stext: int


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crashed]:
    """Crash the lab's guest, which saves an ELF core of its memory, and fetch that over SFTP."""
    packages.install(print)
    folder = tmp_path_factory.mktemp("real")
    with Lab.start(folder / "server42", report=print) as lab:
        ssh = Ssh("127.0.0.1", lab.access.port, "root", str(lab.access.key), str(lab.access.known_hosts))
        collector = b"path /var/crash\ncore_collector makedumpfile -E -d 31\n"
        more = base64.b64encode(cpio.archive({"etc/kdump.conf": cpio.file(collector)})).decode()
        reload = "base64 -d >> /boot/initrd-kdump && kexec -p -u && kdump-load"
        reload += " && uname -r && grep ' _stext$' /proc/kallsyms"
        release, symbol = run(ssh, reload, Deadline(60), stdin=more).strip().splitlines()
        boot, fired = lab.boot_id(), time.time()
        run(
            ssh,
            "echo lab marker > /dev/kmsg; (sleep 1; echo c > /proc/sysrq-trigger) >/dev/null 2>&1 &",
            Deadline(20),
        )
        lab.wait_for_reboot(boot)
        [path] = lab.dumps()
        store = SftpStore(ssh)
        with contextlib.closing(store), contextlib.closing(store.open(path)) as reader:
            over_sftp = facts_over(store, [path], prove=True)
            with (folder / "core").open("wb") as core:
                for offset in range(0, reader.size(), 4 << 20):
                    core.write(reader.read_at(offset, 4 << 20))
        dmesg = lab.ssh(f"cat {DUMP_TARGET}/*/vmcore-dmesg.txt")
        yield Crashed(folder / "core", dmesg, over_sftp, fired, release, int(symbol.split()[0], 16))


def make(crashed: Crashed, options: str, out: Path) -> subprocess.Popen[bytes]:
    """Start makedumpfile on the crashed memory; flattened output comes through a pipe, as it does for real."""
    out.unlink(missing_ok=True)
    command = ["makedumpfile", *options.split(), str(crashed.core)]
    if "-F" in options:
        with out.open("wb") as file:
            return subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)
    return subprocess.Popen([*command, str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_the_dump_at_its_target_is_proved_over_sftp(crashed: Crashed) -> None:
    facts = crashed.over_sftp
    assert (facts.complete, facts.format, facts.nodename) == (Complete.YES, "elf", "server42")
    assert (facts.release, facts.machine) == (crashed.release, "x86_64")
    assert facts.read < 2_000_000
    same_boot = Expectation("server42", "server42", 0.0, same_boot=True, stext=crashed.stext)
    assert verify(facts, same_boot, crashed.fired, new=True).identity is Identity.OURS
    another_boot = Expectation("server42", "server42", 0.0, same_boot=True, stext=crashed.stext + 0x200000)
    assert verify(facts, another_boot, crashed.fired, new=True).identity is Identity.ANOTHER_HOST
    assert verify(facts, same_boot, crashed.fired + 60, new=True).identity is Identity.OLDER_CRASH


@pytest.mark.parametrize("described", FORMATS)
def test_every_format(crashed: Crashed, described: str, tmp_path: Path) -> None:
    out = tmp_path / "vmcore"
    assert make(crashed, FORMATS[described], out).wait(60) == 0
    found = inspect_url(str(out))
    assert found.facts.complete is Complete.YES, found.facts.reason
    assert described.startswith(found.facts.described())
    assert (found.facts.nodename, found.facts.release) == ("server42", crashed.release)
    # CRASHTIME is cut to whole seconds, and the guest took its clock from one that counts whole seconds
    assert -3 <= (found.facts.crash_time or 0) - crashed.fired < 60
    assert found.look is not None
    assert found.look.panic == "sysrq triggered crash"
    with contextlib.closing(LocalFile(str(out))) as reader:
        assert of_dump(reader, found.facts, local=True) == crashed.dmesg
    with out.open("r+b") as file:
        file.truncate(out.stat().st_size - 1)
    assert inspect_url(str(out)).facts.complete is Complete.NO


@pytest.mark.parametrize("described", [name for name in FORMATS if "threads" not in name])
def test_a_makedumpfile_that_is_killed(crashed: Crashed, described: str, tmp_path: Path) -> None:
    """SIGKILL at random moments; the verdict is yes exactly when the file is the finished one."""
    whole, out = tmp_path / "whole", tmp_path / "vmcore"
    begun = time.monotonic()
    assert make(crashed, FORMATS[described], whole).wait(60) == 0
    took, finished = time.monotonic() - begun, whole.read_bytes()
    chosen = random.Random(described)
    verdicts = []
    for attempt in range(40):  # more than six only where the machine was slower while the whole was timed
        if attempt >= 6 and Complete.NO in verdicts:
            break
        writer = make(crashed, FORMATS[described], out)
        with contextlib.suppress(subprocess.TimeoutExpired):
            writer.wait(took * (chosen.uniform(0.3, 1.05) if attempt < 6 else chosen.uniform(0.0, 0.5)))
        writer.kill()
        writer.wait()
        if not out.exists():
            continue
        with contextlib.closing(LocalFile(str(out))) as reader:
            verdict = inspect(reader, "vmcore", local=True).complete
        assert (verdict is Complete.YES) == (out.read_bytes() == finished)
        verdicts.append(verdict)
    assert Complete.NO in verdicts


def test_a_split_dump(crashed: Crashed, tmp_path: Path) -> None:
    parts = [tmp_path / f"vmcore{number}" for number in (1, 2, 3)]
    for block in ("--splitblock-size 1024", ""):  # without it, this small memory all goes into the first part
        command = f"makedumpfile -c -d 31 {block} --split {crashed.core}".split()
        subprocess.run([*command, *map(str, parts)], check=True, capture_output=True, timeout=60)
        assert inspect_url(str(parts[0])).facts.complete is Complete.YES
        for part in parts:
            kept = part.read_bytes()
            part.write_bytes(kept[:-1])
            assert inspect_url(str(parts[0])).facts.complete is Complete.NO
            part.write_bytes(kept)
        for part in parts:
            part.unlink()
