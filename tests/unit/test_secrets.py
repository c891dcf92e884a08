"""Passwords: where they come from, what each source refuses, and that no error or child shows one."""

from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import select
import stat
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from tests.unit.resolved import CONTROLLER, HOST, PASSWORD, WHERE, failure, get, kept_in, script_in
from trigger import secrets
from trigger.errors import ConfigError
from trigger.host import Controller, SecretReference
from trigger.redaction import LIVE
from trigger.secrets import ControllerSecrets, Secret


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    return script_in(tmp_path)


# --- the type -------------------------------------------------------------------------------------------------


@dataclass
class Holder:
    secret: Secret


def test_a_secret_never_prints_itself() -> None:
    secret = Secret(PASSWORD)
    shown = [str(secret), repr(secret), f"{secret}", f"{secret:>40}", f"{secret!r}", ", ".join(map(str, [secret]))]
    assert set(shown) == {"***"}
    assert repr([secret]) == "[***]"
    assert PASSWORD not in repr(asdict(Holder(secret)))
    assert copy.copy(secret) is secret
    assert copy.deepcopy(secret) is secret
    assert not hasattr(secret, "__dict__")
    assert secret.reveal() == PASSWORD


def test_a_secret_is_not_written() -> None:
    for write in (pickle.dumps, json.dumps, lambda secret: secret.__getstate__()):
        with pytest.raises(TypeError) as caught:
            write(Secret(PASSWORD))
        assert PASSWORD not in str(caught.value)


# --- env ------------------------------------------------------------------------------------------------------


def test_env(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BMC_PASSWORD", PASSWORD)
    assert get("env", "BMC_PASSWORD") == PASSWORD


def test_env_missing_or_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BMC_PASSWORD", raising=False)
    assert failure("env", "BMC_PASSWORD") == "the environment variable BMC_PASSWORD is not set"
    monkeypatch.setenv("BMC_PASSWORD", "")
    assert failure("env", "BMC_PASSWORD") == "the environment variable BMC_PASSWORD is empty"


# --- file -----------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "bmc-password"
    path.touch(mode=0o600)
    return path


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_file(file: Path, end: str) -> None:
    file.write_bytes((PASSWORD + end).encode())
    file.chmod(0o400)
    assert get("file", str(file)) == PASSWORD


def test_only_one_line_end_is_taken_off(file: Path) -> None:
    file.write_bytes(b" with spaces \n")
    assert get("file", str(file)) == " with spaces "


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o602, 0o666])
def test_a_file_that_others_can_read_or_change(file: Path, mode: int) -> None:
    file.write_text(PASSWORD)
    file.chmod(mode)
    assert failure("file", str(file)) == (
        f"{file} can be read or changed by other users (mode {mode:04o}); chmod 600 {file}"
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "{file} is empty"),
        (b"\n", "{file} is empty"),
        (PASSWORD.encode() + b"\nsecond\n", "{file} has more than one line"),
        (PASSWORD.encode() + b"\n\n", "{file} has more than one line"),
        (PASSWORD.encode() + b"\0", "{file} has more than one line"),
        (b"\xff\xfe", "{file} is not UTF-8 text"),
        (b"x" * 4097, "{file} is larger than 4096 bytes, which no password is"),
    ],
)
def test_a_file_that_holds_no_password(file: Path, content: bytes, reason: str) -> None:
    file.write_bytes(content)
    assert failure("file", str(file)) == reason.replace("{file}", str(file))


def test_a_file_that_is_none(tmp_path: Path, file: Path) -> None:
    file.write_text(PASSWORD)
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(file)
    os.mkfifo(pipe, 0o600)
    tmp_path.chmod(0o700)
    assert failure("file", str(link)) == f"{link} is a symbolic link; name the file itself"
    assert failure("file", str(pipe)) == f"{pipe} is not a regular file"
    assert failure("file", str(tmp_path)) == f"{tmp_path} is not a regular file"
    assert failure("file", "/nowhere/x") == "/nowhere/x cannot be opened: No such file or directory"
    assert failure("file", "/a\0b") == "the path has a NUL character in it"


def test_a_file_of_another_user(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(PASSWORD)
    monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid + 1)  # who we are; the file is real
    if file.stat().st_uid == 0:
        os.chown(file, 12345, -1)
        assert failure("file", str(file)) == f"{file} belongs to another user (uid 12345)"
        os.chown(file, 0, -1)
        assert get("file", str(file)) == PASSWORD, "a file of root's is good for everybody whom it lets read"
    else:
        assert failure("file", str(file)) == f"{file} belongs to another user (uid {os.getuid()})"


def test_the_descriptor_is_judged_and_not_the_name(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is swapped between opening and looking is not the one that is judged."""
    file.write_text(PASSWORD)
    file.chmod(0o644)
    really_open = os.open

    def swapping(path: str, flags: int) -> int:
        monkeypatch.undo()
        descriptor = really_open(path, flags)
        file.unlink()
        file.touch(mode=0o600)
        return descriptor

    monkeypatch.setattr(os, "open", swapping)
    assert "can be read or changed by other users (mode 0644)" in failure("file", str(file))


def test_no_descriptor_stays_open(file: Path) -> None:
    file.write_text(PASSWORD)
    before = set(Path("/proc/self/fd").iterdir())
    get("file", str(file))
    failure("command", ("sh", "-c", "exit 3"))
    get("command", ("cat", str(file)))
    assert set(Path("/proc/self/fd").iterdir()) == before


# --- keyring --------------------------------------------------------------------------------------------------


def test_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    import keyring
    from keyring.backend import KeyringBackend

    class Ours(KeyringBackend):
        priority = 1

        def get_password(self, service: str, username: str) -> str | None:
            if service == "broken":
                raise RuntimeError(PASSWORD)
            return PASSWORD if (service, username) == ("bmc", "crash") else None

        def set_password(self, service: str, username: str, password: str) -> None:
            raise NotImplementedError

        def delete_password(self, service: str, username: str) -> None:
            raise NotImplementedError

    before = keyring.get_keyring()
    keyring.set_keyring(Ours())  # type: ignore[no-untyped-call]
    try:
        assert get("keyring", "bmc") == PASSWORD
        assert failure("keyring", "other") == "the keyring has nothing for service 'other', user 'crash'"
        assert failure("keyring", "broken") == "the keyring failed (RuntimeError)"
    finally:
        keyring.set_keyring(before)


def test_without_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert failure("keyring", "bmc") == "the keyring needs an extra: pip install 'bmc-trigger[keyring]'"


# --- asking ---------------------------------------------------------------------------------------------------


def test_when_a_source_fails_a_person_is_asked_and_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BMC_PASSWORD", raising=False)
    asked = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return PASSWORD

    assert get("env", "BMC_PASSWORD", ask) == PASSWORD
    assert asked == [
        "config.yaml:12: the environment variable BMC_PASSWORD is not set.\n"
        "The password of crash at ipmi of server42 (10.1.0.7): "
    ]


def test_prompt() -> None:
    asked = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return PASSWORD

    assert get("prompt", "", ask) == PASSWORD
    assert asked == ["The password of crash at ipmi of server42 (10.1.0.7): "]
    assert failure("prompt", "") == "it is to be typed, and there is no terminal"


def test_nothing_typed() -> None:
    with pytest.raises(ConfigError, match=r"nothing was typed\. Nothing was sent\."):
        get("prompt", "", lambda prompt: "")


def test_no_reference_at_all() -> None:
    with pytest.raises(ConfigError) as caught:
        ControllerSecrets(HOST, CONTROLLER).password()
    assert str(caught.value) == (
        "the password of crash at ipmi of server42 cannot be had: the configuration does not say where it is. "
        "Nothing was sent."
    )
    assert caught.value.next_step == secrets.HOW_TO_WRITE
    assert ControllerSecrets(HOST, CONTROLLER, lambda prompt: PASSWORD).password() == PASSWORD


def test_the_terminal_is_asked_without_echo(tmp_path: Path) -> None:
    """A real pseudo-terminal: what is typed does not come back."""
    import pty

    code = "from trigger.secrets import ask_on_terminal; print('got', ask_on_terminal('Password: ') == 'typed-made-up')"
    child, terminal = pty.fork()
    if child == 0:  # pragma: no cover - another process
        os.execv(sys.executable, [sys.executable, "-c", code])
    seen = b""

    def read_until(words: bytes) -> None:
        nonlocal seen
        while words not in seen:
            assert select.select([terminal], [], [], 30)[0], seen
            seen += os.read(terminal, 1024)

    try:
        read_until(b"Password: ")
        os.write(terminal, b"typed-made-up\n")
        read_until(b"got True")
    finally:
        os.waitpid(child, 0)
        os.close(terminal)
    assert b"typed-made-up" not in seen


def test_without_a_terminal_nobody_is_asked() -> None:
    import subprocess

    code = (
        "from trigger.secrets import ask_on_terminal\n"
        "from trigger.errors import ConfigError\n"
        "try:\n    ask_on_terminal('Password: ')\nexcept ConfigError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input="x\n", capture_output=True, text=True, timeout=60, start_new_session=True
    )
    assert done.stdout == "No password was typed: there is no terminal to ask on. Nothing was sent.\n"
    assert done.stderr == ""


# --- for drivers ----------------------------------------------------------------------------------------------


def controller_with(reference: SecretReference) -> Controller:
    return Controller(name="ipmi", driver="ipmi", address="10.1.0.7", user="crash", password=reference)


def test_a_password_is_had_once_and_late(script: Callable[[str], str], tmp_path: Path) -> None:
    count = tmp_path / "count"
    command = script(f"echo x >>{count}; cat {kept_in(tmp_path)}")
    answers = ControllerSecrets(HOST, controller_with(SecretReference("command", (command,), WHERE)))
    assert not count.exists()
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(answers.password())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [PASSWORD] * 8
    assert count.read_text() == "x\n"
    assert PASSWORD not in repr(answers)
    assert PASSWORD not in repr(vars(answers))


def test_a_failure_is_not_repeated(script: Callable[[str], str], tmp_path: Path) -> None:
    count = tmp_path / "count"
    command = script(f"echo x >>{count}; exit 1")
    answers = ControllerSecrets(HOST, controller_with(SecretReference("command", (command,), WHERE)))
    messages = set()
    for _ in range(3):
        with pytest.raises(ConfigError) as caught:
            answers.password()
        messages.add(str(caught.value))
    assert len(messages) == 1
    assert count.read_text() == "x\n"


def test_a_resolved_password_is_known_to_the_filter_of_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BMC_PASSWORD", "made-up-once-4711")
    assert LIVE.redact("made-up-once-4711") == "made-up-once-4711"
    get("env", "BMC_PASSWORD")
    assert LIVE.redact("a made-up-once-4711 b") == "a *** b"
    record = logging.LogRecord("x", logging.DEBUG, "", 0, "sent %s", ("made-up-once-4711",), None)
    assert secrets.redacting_filter().filter(record)
    assert record.getMessage() == "sent ***"


def test_a_traceback_shows_no_password(file: Path) -> None:
    import traceback

    file.write_text(PASSWORD + "\nsecond\n")
    try:
        get("file", str(file))
    except ConfigError:
        assert PASSWORD not in traceback.format_exc()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
