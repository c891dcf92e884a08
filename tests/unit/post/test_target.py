"""Opening targets: what a URL means, reading over SFTP from a real server, and how much is read of a huge dump."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.post import savers, vmcores
from tests.unit.post.sshd import Sshd, serve
from trigger.clock import Deadline, SystemClock
from trigger.errors import ConfigError, Unreachable
from trigger.host import Ssh
from trigger.post.following import TargetState
from trigger.post.landing import Baseline, State
from trigger.post.poller import watch_target
from trigger.post.target import LocalStore, SftpStore, baseline, own_directory, resolve
from trigger.post.verify import Expectation

FIRE = vmcores.CRASH_TIME - 5.0
OURS = Expectation("server42", nodename="server42", clock_offset=0.0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "var" / "crash").mkdir(parents=True)
    return tmp_path / "root"


@pytest.fixture
def sshd(tmp_path: Path, root: Path) -> Iterator[Sshd]:
    with serve(tmp_path, root) as server:
        yield server


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/srv/crash/", "/srv/crash"),
        ("/srv//crash/./x", "/srv/crash/x"),
        ("file:///srv/my%20crash", "/srv/my crash"),
        ("file://localhost/srv", "/srv"),
        ("sftp://root@nas:2222/export/crash", "/export/crash"),
        ("nfs://nas/export/crash/sub", "/mnt/nas/crash/sub"),
        ("nfs://nas/export", "/mnt/nas"),
        ("ssh://kdump@collector/var/crash", "/var/crash"),
    ],
)
def test_what_a_target_means(url: str, path: str) -> None:
    stores = {"nfs://nas/export": "/mnt/nas/", "ssh://kdump@collector": "sftp://collector"}
    target = resolve(url, dump_stores=stores)
    assert (target.path, target.url, target.own_disk) == (path, url, False)


@pytest.mark.parametrize(
    "url",
    [
        "nfs://nas/export2",
        "cifs://nas/crash",
        "//",
        "sftp:///x",
        "/srv/../etc",
        "sftp://h:port/x",
        "nas:/elsewhere",
        "",
    ],
)
def test_a_target_that_cannot_be_read_says_what_to_add(url: str) -> None:
    if url == "//":
        assert resolve(url).path == "/"
        return
    with pytest.raises(ConfigError) as failed:
        resolve(url, dump_stores={"nfs://nas/export": "/mnt/nas"})
    if url.startswith(("nfs", "cifs")):
        assert f'dump_stores: {{"{url}"' in failed.value.next_step


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as failed:
        resolve("sftp://root:secret@nas/x")
    assert "secret" not in str(failed.value) + failed.value.next_step


def test_the_hosts_own_settings_are_used_for_the_host_itself() -> None:
    ssh = Ssh("server42.example.com", 2222, "crash", "/key", "/hosts")
    target = own_directory(ssh, "/var/crash")
    assert (target.own_disk, target.path) == (True, "/var/crash")


def test_listing_and_reading_over_sftp(sshd: Sshd, root: Path) -> None:
    crash = root / "var" / "crash"
    (crash / "a").write_bytes(bytes(range(256)) * 1000)
    (crash / "folder").mkdir()
    (crash / "link").symlink_to("a")
    store = SftpStore(sshd.ssh())
    entries = store.list("/var/crash")
    assert sorted(entries) == ["a", "folder"]
    assert (entries["a"].size, entries["a"].is_dir, entries["folder"].is_dir) == (256_000, False, True)
    assert abs(entries["a"].mtime - (crash / "a").stat().st_mtime) < 2
    reader = store.open("/var/crash/a")
    assert reader.size() == 256_000
    assert reader.read_at(255, 3) == b"\xff\x00\x01"
    assert reader.read_at(255_999, 10) == b"\xff"
    reader.close()
    with pytest.raises(FileNotFoundError):
        store.list("/nowhere")
    with pytest.raises(FileNotFoundError):
        store.open("/var/crash/b")
    with pytest.raises(OSError, match="not a regular file"):
        store.open("/var/crash/folder")
    sshd.drop()
    with pytest.raises(Unreachable):
        store.list("/var/crash")
    store.close()


def test_the_baseline_of_a_target_that_is_not_there_yet_is_empty(sshd: Sshd, tmp_path: Path) -> None:
    store = SftpStore(sshd.ssh())
    assert baseline(store, "/nowhere") == Baseline("/nowhere", {})
    assert baseline(LocalStore(), str(tmp_path / "x")).entries == {}
    store.close()


def test_a_dump_lands_over_sftp_while_connections_are_lost(sshd: Sshd, root: Path) -> None:
    """The whole watch against a live target, its connection aborted between steps."""
    crash = root / "var" / "crash"
    core = vmcores.flattened(vmcores.kdump_writes(vmcores.memory(60)))
    steps = [step for _, step in savers.rhel("10.0.0.7", "vmcore.flat")(crash, [core[:40_000], core[40_000:]])]
    seen: list[TargetState] = []
    result: list[TargetState] = []
    clock = SystemClock()

    def watch() -> None:
        result.append(
            watch_target(
                lambda: SftpStore(sshd.ssh()), Baseline("/var/crash", {}), FIRE, OURS, Deadline(60), clock,
                seen.append, threading.Event(),
            )
        )  # fmt: skip

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number, step in enumerate(steps):
        step()
        if number in (2, 6):
            sshd.drop()
        watcher.join(0.5)
    watcher.join(40)
    assert result
    assert result[0].state is State.VERIFIED, result[0]
    assert sshd.logins >= 2
    assert {state.state for state in seen} >= {State.WRITING, State.LANDED, State.VERIFIED}


def huge_kdump(path: Path, size: int = 1 << 40) -> int:
    """Write a sparse kdump of 1 TB of memory: a bitmap of 32 MB, all bits set, and return its number of pages."""
    pages = size // 4096
    half = pages // 8
    table = 2 * 4096 + 2 * half
    data = table + 24 * pages
    info = vmcores.vmcoreinfo()
    with path.open("wb") as file:
        file.write(vmcores.main_header(bitmap_blocks=2 * half // 4096, max_mapnr=pages))
        file.seek(4096)
        file.write(vmcores.sub_header(len(info), pages) + info)
        file.seek(2 * 4096 + half)
        for _ in range(half >> 20):
            file.write(b"\xff" * (1 << 20))
        file.write(struct.pack("<qIIQ", data + 4096, 4096, 0, 0))
        end = size
        file.seek(data - 24 * 3000)
        for number in range(3000):
            file.write(struct.pack("<qIIQ", end - 4096 * (3000 - number), 4096, 0, 0))
        file.truncate(end)
    return pages


CLIENT = """
import json, sys, time
from pathlib import Path
from trigger.host import Ssh
from trigger.post.formats import inspect
from trigger.post.target import SftpStore
store = SftpStore(Ssh("127.0.0.1", int(sys.argv[1]), "root", sys.argv[2], sys.argv[3]))
begun = time.monotonic()
reader = store.open("/var/crash/vmcore")
facts = inspect(reader, "vmcore")
reader.close()
store.close()
# VmHWM, not ru_maxrss: that one still counts the process that this one was forked from (getrusage(2), fork(2))
status = Path("/proc/self/status").read_text()
peak = int(status.split("VmHWM:")[1].split()[0]) // 1024
print(json.dumps([facts.complete.value, facts.pages, facts.read, time.monotonic() - begun, peak, facts.reason]))
"""


def test_a_terabyte_over_sftp(sshd: Sshd, root: Path) -> None:
    """Linear in the bitmap, not in the file: under 80 MB read and 150 MB of memory; its time is for `make bench`."""
    pages = huge_kdump(root / "var" / "crash" / "vmcore")
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, str(sshd.port), str(sshd.key), str(sshd.known_hosts)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    complete, counted, read, seconds, peak, reason = json.loads(done.stdout)
    print(f"1 TB over SFTP: {seconds:.2f} s, {read / 1e6:.1f} MB read, {peak} MB of memory at most")
    assert (complete, counted) == ("yes", pages), reason
    assert read < 80_000_000
    assert sshd.bytes_read < 80_000_000
    assert peak < 150
