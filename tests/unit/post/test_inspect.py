"""`trigger inspect`: files, folders, split dumps, exit codes, JSON, and what is printed of hostile dumps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.unit.post import savers, vmcores
from tests.unit.post.sshd import serve
from trigger.commands.inspect import command
from trigger.errors import DriverError
from trigger.post.debugging import go_on
from trigger.post.facts import Complete, DumpFacts
from trigger.post.inspection import inspect_url

CORE = vmcores.plain(vmcores.kdump_writes(vmcores.memory(60)))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for _, step in savers.rhel("127.0.0.1", "vmcore")(tmp_path, [CORE]):
        step()
    return tmp_path / "127.0.0.1-2026-11-23-03:49:11"


def test_a_whole_dump_is_exit_0_with_its_panic_from_the_log_beside_it(folder: Path) -> None:
    for where in (folder, folder / "vmcore", f"file://{folder}"):
        done = run(str(where))
        assert done.exit_code == 0, done.output
        for words in (
            "complete   yes: all 60 pages have descriptors",
            "host       server42",
            f"kernel     {vmcores.RELEASE} x86_64",
            "crashed    2026-09-21 14:13:20 UTC",
            "panic      sysrq triggered crash",
            "format     kdump, zlib (written by makedumpfile)",
            f"debuginfo  apt-get install linux-image-{vmcores.RELEASE}-dbg",
        ):
            assert words in done.output


def test_json(folder: Path) -> None:
    done = run("--json", str(folder))
    said = json.loads(done.output)
    assert (said["complete"], said["format"], said["nodename"], said["pages"]) == (
        "yes",
        "kdump",
        "server42",
        60,
    )
    assert said["first_look"]["panic"] == "sysrq triggered crash"
    assert said["vmcoreinfo"]["OSRELEASE"] == vmcores.RELEASE
    assert said["dmesg"].endswith("vmcore-dmesg.txt")


def test_what_is_not_complete_is_exit_4(folder: Path, tmp_path: Path) -> None:
    (folder / "vmcore").write_bytes(CORE[:-1])
    done = run(str(folder))
    assert done.exit_code == 4
    assert "complete   NO: its last page ends at" in done.output
    other = tmp_path / "notes.txt"
    other.write_text("this is not a dump at all\n")
    assert run(str(other)).exit_code == 4


def test_what_cannot_be_read_is_an_error_that_says_so(tmp_path: Path) -> None:
    for where in (str(tmp_path / "nothing"), str(tmp_path), "nfs://nas/export/vmcore"):
        done = run(where)
        assert done.exit_code == 1  # click's runner: trigger.cli maps the error to 6 or 3
        assert done.exception is not None
        assert not isinstance(done.exception, OSError)
    with pytest.raises(DriverError, match="no dump in"):
        inspect_url(str(tmp_path))


def test_a_folder_of_folders_names_the_newest(folder: Path) -> None:
    with pytest.raises(DriverError, match=r"the newest below it: .*127\.0\.0\.1-2026"):
        inspect_url(str(folder.parent))


def test_a_relative_path_and_a_link_that_the_operator_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert inspect_url("vmcore").facts.complete is Complete.YES
    (folder.parent / "latest").symlink_to(folder)
    assert inspect_url(str(folder.parent / "latest" / "vmcore")).facts.complete is Complete.YES


def test_the_parts_of_a_split_dump_are_taken_together(tmp_path: Path) -> None:
    pages = vmcores.memory(60)
    for number, part in enumerate([(0, 90), (90, max(pages) + 1)], start=1):
        (tmp_path / f"vmcore{number}").write_bytes(vmcores.plain(vmcores.kdump_writes(pages, split=part)))
    found = inspect_url(str(tmp_path / "vmcore1"))
    assert (found.facts.complete, found.facts.pages) == (Complete.YES, 60)
    assert inspect_url(str(tmp_path)).facts.complete is Complete.YES
    (tmp_path / "vmcore2").unlink()
    assert inspect_url(str(tmp_path)).facts.complete is Complete.UNKNOWN


def test_debians_log_is_found_by_its_stamp(tmp_path: Path) -> None:
    for name in ("dump.202611230349.gz", "dmesg.202611230349", "dmesg.202611230300"):
        (tmp_path / name).write_bytes(savers.DMESG)
    assert inspect_url(str(tmp_path / "dump.202611230349.gz")).dmesg.endswith("dmesg.202611230349")


def test_over_sftp(tmp_path: Path, folder: Path) -> None:
    with serve(tmp_path, folder) as sshd:
        found = inspect_url(f"sftp://root@127.0.0.1:{sshd.port}/vmcore", ssh=sshd.ssh())
    assert found.facts.complete is Complete.YES
    assert found.look is not None


def test_hostile_strings_are_harmless(tmp_path: Path) -> None:
    evil = "server42\x1b]0;owned\x07\u202e"
    (tmp_path / "vmcore").write_bytes(vmcores.plain(vmcores.kdump_writes(vmcores.memory(9), nodename=evil)))
    (tmp_path / "vmcore-dmesg.txt").write_text("Kernel panic - not syncing: \x1b[2J\n")
    done = run(str(tmp_path))
    assert all(char.isprintable() or char == "\n" for char in done.output)
    assert "server42\\x1b]0;owned" in done.output


@pytest.mark.parametrize(
    ("release", "version", "install"),
    [
        (
            "5.14.0-503.el9.x86_64",
            "#1 SMP",
            "dnf --enablerepo='*debug*' install kernel-debuginfo-5.14.0-503.el9.x86_64",
        ),
        ("6.17.7-200.fc42.x86_64", "#1 SMP", "dnf debuginfo-install kernel-6.17.7-200.fc42.x86_64"),
        (
            "6.8.0-45-generic",
            "#45-Ubuntu SMP",
            "apt-get install linux-image-unsigned-6.8.0-45-generic-dbgsym",
        ),
        ("6.4.0-150600.23-default", "#1 SMP", "zypper install 'kernel-default-debuginfo=6.4.0-150600.23'"),
        ("6.12.0-custom", "#1 SMP", ""),
        ("6.1.0;reboot", "Debian", ""),
        ("", "Debian", ""),
    ],
)
def test_how_to_go_on(release: str, version: str, install: str) -> None:
    then = go_on(DumpFacts("vmcore", 1, format="kdump", release=release, version=version), "/var/my crash/vmcore")
    assert then.install == install
    assert ";" not in then.crash + then.drgn
    if then.crash:
        assert then.crash.endswith(" '/var/my crash/vmcore'")


def test_a_link_in_a_circle_and_a_name_that_is_empty(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    done = run(str(tmp_path / "circle"))
    assert isinstance(done.exception, DriverError)
    assert "circle cannot be read" in done.exception.message
    assert run("").exit_code == 2
