"""The state folder under a full disk, a quota, a read-only mount, an fsync that fails or hangs, and planted links.

Before Firing the run ends with 5 and nothing is sent; after it the watch goes on and says so. Mounts are real ones,
made and undone here, which needs root; strace makes the system calls fail (scripts/packages installs it).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.program import Bench, Result, finish, until

Benches = Callable[..., Bench]
BLOCK = 4096
FSYNC_FAULTS = [("error=EIO", "Input/output error")]
if os.environ.get("TRIGGER_SOAK") == "1":  # a quarter of a minute: tests/unit/test_journal_faults.py has it quickly
    FSYNC_FAULTS.append(("delay_enter=15s", "did not confirm the line within 10 s"))


def mounted(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True, timeout=20)


@pytest.fixture
def small(bench: Benches) -> Iterator[Bench]:
    """A bench whose state folder is a file system of 16 blocks."""
    b = bench(nmi_answer_delay=0.3)
    b.state.mkdir(parents=True, mode=0o700)
    mounted("-t", "tmpfs", "-o", f"size={16 * BLOCK},mode=0700", "tmpfs", str(b.state))
    yield b
    subprocess.run(["umount", "--lazy", b.state], check=True, timeout=20)


def fill(folder: Path) -> None:
    """Take every block that is left."""
    with (folder / "ballast").open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(BLOCK))
        except OSError:
            return


def refused(b: Bench, result: Result, words: str, *, rule: str = "") -> None:
    assert result.code == 5, result.err
    assert words in result.err
    assert "othing was sent" in result.err
    assert result.event("Finished")["sent"] == "no"
    assert b.machine.delivered() == 0
    assert rule in result.err


def test_a_full_disk_sends_nothing(small: Bench) -> None:
    fill(small.state)
    refused(small, small.nmi(), "No space left on device")
    (small.state / "ballast").unlink()
    assert small.nmi().code == 0, "no open fire is left behind"
    assert small.machine.delivered() == 1


@pytest.mark.parametrize("left", [300, 900, 1500, 2100])
def test_a_disk_that_fills_up_at_any_line_is_before_or_after(small: Bench, left: int) -> None:
    """`left` bytes fit: the run ends at a line before the shot with nothing sent, or goes on to the dump."""
    folder = small.state / "hosts" / small.host
    folder.mkdir(parents=True, mode=0o700)
    small.state.joinpath("hosts").chmod(0o700)
    journal = folder / "journal.jsonl"
    journal.write_bytes(b'{"v":1,"prev":"","host":"%s"}\n' % small.host.encode() + b"x" * 50 + b"\n")
    journal.write_bytes(journal.read_bytes().ljust(BLOCK - left - 1, b"x") + b"\n")
    journal.chmod(0o600)
    fill(small.state)
    result = small.nmi()
    assert (result.code, small.machine.delivered()) in {(5, 0), (0, 1)}, result.err
    if result.code == 5:
        assert "No space left on device" in result.err
        assert "othing was sent" in result.err
        (small.state / "ballast").unlink()
        assert small.nmi("--no-wait").code == 0, "no open fire is left behind"
    else:
        assert "The run goes on" in result.err
        assert result.event("Finished")["exit_code"] == 0


def test_a_disk_that_is_full_after_the_shot_never_ends_the_watch(small: Bench) -> None:
    small.machine.switch(nmi_answer_delay=1.0)
    process = small.start("nmi", small.host, "--json", *small.confirmed())
    until(lambda: small.machine.delivered() == 1, "the NMI arrives", 60)
    fill(small.state)
    journal = small.state / "hosts" / small.host / "journal.jsonl"
    with journal.open("ab") as file:  # and what is left of its last block
        file.write(b"\n" * (-journal.stat().st_size % BLOCK))
    result = finish(process)
    assert result.code == 0, result.err
    assert "No space left on device" in result.err
    assert "The run goes on" in result.err
    assert result.event("DumpFound")["state"] == "verified"


def test_a_quota_sends_nothing(bench: Benches) -> None:
    """RLIMIT_FSIZE, the one quota that binds root as well: no file grows beyond 512 bytes."""
    b = bench()
    command = ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh", sys.executable, "-m", "trigger", "nmi", b.host, "--json"]
    process = subprocess.Popen(
        [*command, *b.confirmed()], env=b.environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    refused(b, finish(process), "File too large")
    assert b.run("nmi", b.host, "--no-wait", *b.confirmed()).code == 0, "no open fire is left behind"


def test_a_read_only_state_folder_sends_nothing(bench: Benches) -> None:
    b = bench()
    b.state.mkdir(parents=True, mode=0o700)
    mounted("--bind", str(b.state), str(b.state))
    try:
        mounted("-o", "remount,ro,bind", str(b.state))
        refused(b, b.nmi(), "Read-only file system")
    finally:
        subprocess.run(["umount", "--lazy", b.state], check=True, timeout=20)


@pytest.mark.parametrize(("fault", "words"), FSYNC_FAULTS)
def test_an_fsync_that_fails_or_hangs_sends_nothing(bench: Benches, fault: str, words: str) -> None:
    b = bench()
    b.state.mkdir(parents=True, mode=0o700)
    (b.state / "hosts" / b.host).mkdir(parents=True, mode=0o700)
    (b.state / "hosts").chmod(0o700)
    command = ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=fsync", "-e", f"inject=fsync:{fault}"]
    process = subprocess.Popen(
        [*command, sys.executable, "-m", "trigger", "nmi", b.host, "--json", *b.confirmed()],
        env=b.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    refused(b, finish(process), words)
    second = b.nmi("--no-wait")
    if "error" in fault:
        assert second.code == 0, "no open fire is left behind"
    else:
        assert second.code == 5, "a line that may yet come to disk refuses: the safe side"
        assert b.machine.delivered() == 0


@pytest.mark.parametrize("where", ["hosts", "hosts/{host}", "hosts/{host}/journal.jsonl"])
def test_a_link_planted_in_a_shared_state_folder_is_not_followed(bench: Benches, where: str) -> None:
    b = bench()
    b.state.parent.mkdir(mode=0o700)
    b.state.mkdir()
    b.state.chmod(0o1777)
    link = b.state / where.format(host=b.host)
    link.parent.mkdir(parents=True, exist_ok=True)
    elsewhere = b.folder / "elsewhere"
    if link.suffix:
        elsewhere.write_text("")
    else:
        elsewhere.mkdir()
    link.symlink_to(elsewhere)
    refused(b, b.nmi(), "symbolic link" if not link.suffix else "symbolic links")
    assert elsewhere.read_text() == "" if link.suffix else list(elsewhere.iterdir()) == []
