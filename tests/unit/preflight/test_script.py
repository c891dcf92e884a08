"""The script itself: the same in every shell, read-only, and never asking for a password."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from trigger.host import Host
from trigger.preflight.audit import COMMAND, text_for
from trigger.preflight.controllers import Asking
from trigger.preflight.facts import Facts
from trigger.preflight.learn import build_id
from trigger.preflight.readings import parse, script

SHELLS = [["sh"], *([name] for name in ("dash", "bash", "ksh", "mksh") if shutil.which(name))]
SHELLS += [["busybox", "sh"]] if shutil.which("busybox") else []


def run(argv: list[str], text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, input=text, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_every_shell_reads_the_same(shell: list[str]) -> None:
    done = run([*shell, "-s"], script())
    assert (done.returncode, done.stderr) == (0, "")
    facts = Facts(parse(done.stdout))
    assert facts.complete
    assert facts.release == os.uname().release
    assert facts.arch == os.uname().machine
    assert facts.word("boot_id") == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert facts.number("sysctl.panic") == int(Path("/proc/sys/kernel/panic").read_text())
    assert " ".join(facts.words) == " ".join(Path("/proc/cmdline").read_text().split())
    notes = Path("/sys/kernel/notes")
    if notes.exists():
        assert build_id(facts.text("notes")) in notes.read_bytes().hex()
        assert len(build_id(facts.text("notes"))) == 40


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_targets_are_found_in_each_grammar(shell: list[str], tmp_path: Path) -> None:
    crash = tmp_path / "crash"
    crash.mkdir()
    (crash / "one").write_text("x" * 100)
    files = {
        "/etc/kdump.conf": f'# no\npath "{crash}"  # here\ncore_collector makedumpfile -l\n',
        "/etc/sysconfig/kdump": f'KDUMP_SAVEDIR="file://{crash}"\nKDUMP_SMTP_PASSWORD=hunter2\n',
        "/etc/default/kdump-tools": f"USE_KDUMP=1\nKDUMP_COREDIR='{crash}' # here\nFTP_PASSWORD=hunter2\n",
    }
    for name, content in files.items():
        own = tmp_path / Path(name).name
        own.write_text(content)
        done = run([*shell, "-s"], script().replace(name, str(own)))
        facts = Facts(parse(done.stdout))
        assert [folder.path for folder in facts.folders] == [str(crash)], done.stdout
        folder = facts.folders[0]
        assert (folder.error, folder.writable, folder.total > folder.free > 0) == ("", True, True)
        assert [(entry.name, entry.size) for entry in folder.entries] == [("one", 100)]
        assert "hunter2" not in done.stdout


def test_passwords_in_urls_are_crossed_out_on_the_host(tmp_path: Path) -> None:
    own = tmp_path / "kdump"
    own.write_text('KDUMP_SAVEDIR="sftp://kdump:hunt@er2@192.0.2.1/srv"\nKDUMP_SMTP_PASSWORD="hunter2"\n')
    done = run(["sh", "-s"], script().replace("/etc/sysconfig/kdump", str(own)).replace("limit 12", "echo"))
    assert "hunt" not in done.stdout
    assert "sftp://kdump:***@192.0.2.1/srv" in done.stdout


def test_a_file_is_written_only_when_asked_for(tmp_path: Path) -> None:
    crash, own = tmp_path / "crash", tmp_path / "kdump.conf"
    crash.mkdir()
    own.write_text(f"path {crash}\n")
    text = script().replace("/etc/kdump.conf", str(own))
    assert Facts(parse(run(["sh", "-s"], text).stdout)).folders[0].probed == ""
    assert Facts(parse(run(["sh", "-s"], "probe_target=yes\n" + text).stdout)).folders[0].probed == "ok"
    assert list(crash.iterdir()) == []


def test_nothing_in_the_script_can_change_the_host() -> None:
    code = "\n".join(line for line in script().splitlines() if not line.lstrip().startswith("#"))
    outside = code.replace(re.search(r"^probe='.*'$", code, re.MULTILINE)[0], "")  # type: ignore[index]
    outside = outside.replace(re.search(r'^ *tried="echo .*"$', outside, re.MULTILINE)[0], "")  # type: ignore[index]
    redirected = {target for target in re.findall(r"\d?>+\s*([^\s;)&]+)", outside) if not target.isdigit()}
    assert redirected == {"/dev/null"}
    for word in ("rm", "mv", "cp", "tee", "dd", "mount ", "kdumpctl estimate", "rebuild", "mkdir", "touch", "kill",
                 "eval", "modprobe", "sysctl -w", "reboot"):  # fmt: skip
        assert not re.search(rf"(^|[\s;|&(]){word}", outside), word


def fake(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


SUDO = 'shift; [ "$1" = true ] && {true}; echo "as root:"; exec "$@"'


@pytest.mark.parametrize(
    ("uid", "sudo", "says"),
    [
        ("0", "echo never; exit 9", "ran\n"),
        ("1000", SUDO.format(true="exit 0"), "as root:\nran\n"),
        ("1000", SUDO.format(true="{ cat; exit 1; }"), "ran\n"),
        ("1000", SUDO.format(true="{ echo 'sudo: a password is required' >&2; exit 1; }"), "ran\n"),
        ("1000", "exit 127", "ran\n"),
    ],
)
@pytest.mark.parametrize(
    "shell", [["sh", "-c"], *([[name, "-c"] for name in ("bash", "csh", "tcsh", "fish") if shutil.which(name)])]
)
def test_sudo_is_used_and_never_asks(tmp_path: Path, uid: str, sudo: str, says: str, shell: list[str]) -> None:
    fake(tmp_path, "id", f"echo {uid}")
    fake(tmp_path, "sudo", sudo)
    done = run([*shell, COMMAND], "echo ran\n", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.stdout == says


def test_a_configured_folder_is_quoted() -> None:
    asking = Asking(lambda controller: (_ for _ in ()).throw(AssertionError))
    text = text_for(Host("a", (), dump_target="host:/x'; touch /tmp/owned; '"), asking)
    assert text.startswith("wanted_folder='/x'\"'\"'; touch /tmp/owned; '\"'\"''\n")
    assert text_for(Host("a", (), dump_target="/operators/own"), asking) == script()
