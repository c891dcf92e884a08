"""SSH to a host, against a real server on loopback."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.post.sshd import Sshd, serve
from trigger.clock import Deadline, FastClock
from trigger.errors import ConfigError, DriverError, LoginFailed, Unreachable
from trigger.host import Ssh
from trigger.ssh.connection import CommandFailed, HostKeyNotTrusted, close_sftp, connect_options, open_sftp, run


@pytest.fixture
def sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / "root").mkdir()
    with serve(tmp_path, tmp_path / "root") as server:
        yield server


def test_a_command_and_what_is_typed_into_it(sshd: Sshd) -> None:
    assert run(sshd.ssh(), "uname -r", Deadline(10)) == "ran: uname -r\n"
    assert run(sshd.ssh(), "cat", Deadline(10), stdin="echo hallo\n") == "echo hallo\n"


def test_a_command_that_fails_says_so_harmlessly(sshd: Sshd) -> None:
    with pytest.raises(CommandFailed) as failed:
        run(sshd.ssh(), "fail", Deadline(10))
    assert failed.value.status == 3
    assert "no such \\x1b[2Jthing" in failed.value.message


def test_a_flood_is_cut_off(sshd: Sshd) -> None:
    with pytest.raises(DriverError, match="more than 1000 bytes"):
        run(sshd.ssh(), "flood", Deadline(10), limit=1000)


def test_a_command_that_hangs_ends_with_the_deadline(sshd: Sshd) -> None:
    begun = time.monotonic()
    with pytest.raises(Unreachable, match="in time"):
        run(sshd.ssh(), "hang", Deadline(0.7))
    assert time.monotonic() - begun < 3


def test_an_unknown_or_changed_host_key_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(HostKeyNotTrusted, match="not trusted"):
        run(sshd.ssh(known_hosts=str(tmp_path / "empty")), "true", Deadline(10))
    with pytest.raises(HostKeyNotTrusted):
        run(sshd.ssh(known_hosts=""), "true", Deadline(10))
    other = sshd.known_hosts.read_text().split()[0] + " " + "ssh-ed25519 " + "AAAAC3NzaC1lZDI1NTE5AAAAI" + "B" * 43
    (tmp_path / "changed").write_text(other + "\n")
    with pytest.raises(HostKeyNotTrusted):
        run(sshd.ssh(known_hosts=str(tmp_path / "changed")), "true", Deadline(10))
    assert sshd.logins == 0


def test_the_config_file_cannot_switch_verification_off(sshd: Sshd) -> None:
    config = Path.home() / ".ssh" / "config"
    config.write_text("Host *\n  UserKnownHostsFile none\n  StrictHostKeyChecking no\n")
    with pytest.raises(HostKeyNotTrusted):
        run(sshd.ssh(known_hosts=""), "true", Deadline(10))


def test_the_config_file_gives_addresses_keys_and_known_hosts(sshd: Sshd) -> None:
    config = Path.home() / ".ssh" / "config"
    config.write_text(
        f"Host server42\n  HostName 127.0.0.1\n  Port {sshd.port}\n  User root\n"
        f"  IdentityFile {sshd.key}\n  UserKnownHostsFile {sshd.known_hosts}\n"
    )
    assert run(Ssh("server42"), "uptime", Deadline(10)) == "ran: uptime\n"


def test_nothing_of_the_config_file_acts_for_the_other_side(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "made up")
    config = Path.home() / ".ssh" / "config"
    config.write_text(
        "Host *\n  ForwardAgent yes\n  ForwardX11Trusted yes\n  SendEnv SECRET\n  SetEnv MORE=secret\n"
        "  RemoteCommand rm -rf /\n  RequestTTY force\n  GSSAPIDelegateCredentials yes\n"
    )
    run(sshd.ssh(), "uptime", Deadline(10))
    assert sshd.commands == ["uptime"]
    assert sshd.environments == [{}]
    options = connect_options(sshd.ssh())
    assert not any(options[name] for name in ("agent_forwarding", "x11_forwarding", "gss_delegate_creds"))


def test_a_key_that_the_host_does_not_know(sshd: Sshd, tmp_path: Path) -> None:
    import asyncssh

    asyncssh.generate_private_key("ssh-ed25519").write_private_key(tmp_path / "other")
    with pytest.raises(LoginFailed) as failed:
        run(sshd.ssh(key=str(tmp_path / "other")), "true", Deadline(10))
    assert failed.value.rejected
    with pytest.raises(LoginFailed):
        open_sftp(sshd.ssh(key=str(tmp_path / "other")), Deadline(10))


def test_files_that_are_missing_are_named(sshd: Sshd) -> None:
    with pytest.raises(ConfigError, match="key file"):
        run(sshd.ssh(key="/nowhere/id"), "true", Deadline(10))
    with pytest.raises(ConfigError, match="known_hosts"):
        run(sshd.ssh(known_hosts="/nowhere/hosts"), "true", Deadline(10))


def test_nobody_there(sshd: Sshd) -> None:
    with pytest.raises(Unreachable, match=r"cannot be reached over SSH: Connection refused\.$"):
        run(sshd.ssh(port=1), "true", Deadline(10))
    with pytest.raises(Unreachable):
        run(sshd.ssh(host="nowhere.invalid"), "true", Deadline(10))
    with pytest.raises(Unreachable):
        open_sftp(sshd.ssh(port=1), Deadline(10))


def test_each_filesystem_has_a_connection_of_its_own(sshd: Sshd, tmp_path: Path) -> None:
    """fsspec would hand out the dead one again."""
    (tmp_path / "root" / "hello").write_text("hello")
    for _ in range(2):
        filesystem = open_sftp(sshd.ssh(), Deadline(10, FastClock()))  # the same arguments to the second
        assert [info["name"] for info in filesystem.ls("/", detail=True)] == ["/hello"]
        sshd.drop()
        close_sftp(filesystem)
    assert sshd.logins == 2


def test_asyncssh_is_imported_only_when_a_connection_is_made() -> None:
    code = (
        "import sys, trigger.ssh.connection, trigger.post.poller, trigger.post.target; print('asyncssh' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "False\n"
