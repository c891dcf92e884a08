"""Passwords that a command prints: no shell, a clean environment, and an end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.resolved import PASSWORD, failure, get, kept_in, script_in
from trigger import secrets
from trigger.secrets import clean_environment


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    return script_in(tmp_path)


def test_command(script: Callable[[str], str], tmp_path: Path) -> None:
    command = script('cat "$1"; printf "\\nuser: crash\\n"')
    assert get("command", (command, str(kept_in(tmp_path)))) == PASSWORD
    assert get("command", ("echo", "$HOME `id` ; x")) == "$HOME `id` ; x", "no shell is involved"


def test_a_command_gets_a_clean_environment(script: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BMC_PASSWORD", PASSWORD)
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("GNUPGHOME", "/home/ada/.gnupg")
    monkeypatch.setenv("PATH", "/tmp/evil")
    environment = get("command", (script("env | sort | tr '\\n' ' '"),)).split()
    assert not [variable for variable in environment if PASSWORD in variable]
    names = {variable.partition("=")[0] for variable in environment}
    assert names <= {*secrets._KEPT_VARIABLES, "PATH", "PWD", "SHLVL", "_", "OLDPWD"}
    assert "GNUPGHOME=/home/ada/.gnupg" in environment
    assert f"PATH={secrets.CLEAN_PATH}" in environment


def test_a_command_has_no_input_and_no_other_descriptors(script: Callable[[str], str]) -> None:
    mine, end = os.pipe()
    os.write(end, b"typed ahead\n")
    os.close(end)
    standard_input = os.dup(0)
    os.dup2(mine, 0)
    try:
        assert get("command", (script('read line; echo "[$line]$(ls /proc/$$/fd | tr "\\n" " ")"'),)).startswith("[]")
        found = get("command", (script("ls /proc/self/fd | tr '\\n' ' '"),)).split()
    finally:
        os.dup2(standard_input, 0)
        os.close(standard_input)
        os.close(mine)
    assert str(mine) not in found


def test_a_relative_name_is_looked_up_in_the_clean_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "echo").write_text("#!/bin/sh\necho stolen\n")
    (tmp_path / "echo").chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert get("command", ("echo", "right")) == "right"
    assert failure("command", ("no-such-command",)) == (
        f"no-such-command is not in {secrets.CLEAN_PATH}; name it by its absolute path"
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("exit 3", "{command} ended with status 3"),
        ("echo 'no such entry' >&2; echo more >&2; exit 1", "{command} ended with status 1: no such entry"),
        ("printf '\\033[31mred\\n' >&2; exit 1", "{command} ended with status 1: \\x1b[31mred"),
        ("kill -9 $$", "{command} ended with status -9"),
        ("true", "the output of {command} is empty"),
        ("echo", "the output of {command} is empty"),
        ("printf '\\377\\n'", "the output of {command} is not UTF-8 text"),
        ("yes", "the command printed more than 4096 bytes, which no password is"),
    ],
)
def test_a_command_that_fails(script: Callable[[str], str], body: str, reason: str) -> None:
    command = script(body)
    assert failure("command", (command,)) == reason.replace("{command}", command)


def test_a_command_that_cannot_be_run(tmp_path: Path, script: Callable[[str], str]) -> None:
    assert failure("command", ("/nowhere/pass",)) == "/nowhere/pass cannot be run: No such file or directory"
    Path(script("true")).chmod(0o600)
    assert failure("command", (f"{tmp_path}/command",)) == f"{tmp_path}/command cannot be run: Permission denied"
    assert failure("command", ("echo", "a\0b")) == "echo cannot be run: an argument cannot be passed on"


def gone(pid: int) -> bool:
    """Return whether a process has ended (a zombie has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "waited 10 s"
        time.sleep(0.01)


def test_a_command_that_hangs_is_ended_with_its_children(
    script: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trigger import secret_command

    monkeypatch.setattr(secret_command, "COMMAND_SECONDS", 0.5)
    pids = tmp_path / "pids"
    command = script(f"sleep 1000 & echo $! >{pids}; echo $$ >>{pids}; trap '' TERM; wait")
    begin = time.monotonic()
    assert failure("command", (command,)) == "the command did not end within 0 s and was ended"
    assert time.monotonic() - begin < 5
    child, shell = (int(pid) for pid in pids.read_text().split())
    wait_for(lambda: gone(child) and gone(shell))


def test_a_command_that_leaves_an_agent_behind_is_not_waited_for(script: Callable[[str], str], tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    command = script(f"sleep 1000 & echo $! >{pids}; cat {kept_in(tmp_path)}")
    begin = time.monotonic()
    try:
        assert get("command", (command,)) == PASSWORD
        assert time.monotonic() - begin < 5
    finally:
        agent = int(pids.read_text())
        os.kill(agent, 9)
    wait_for(lambda: gone(agent))


def test_the_environment_of_children_is_made_of_what_is_known() -> None:
    environment = {"HOME": "/home/ada", "BMC_PASSWORD": PASSWORD, "PATH": "/tmp/evil", "AWS_SECRET_ACCESS_KEY": "x"}
    assert clean_environment(environment) == {"HOME": "/home/ada", "PATH": secrets.CLEAN_PATH}
