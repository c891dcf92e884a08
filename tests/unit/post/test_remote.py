"""FTP targets through fsspec, against a server on loopback; SMB as far as it can be told without a package."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.unit.post import ftpd, savers, vmcores
from trigger.clock import Deadline, FastClock
from trigger.errors import ConfigError, LoginFailed, Unreachable
from trigger.post.facts import Complete
from trigger.post.inspection import inspect_url
from trigger.post.landing import Baseline, State
from trigger.post.poller import watch_target
from trigger.post.target import resolve
from trigger.post.verify import Expectation

CORE = vmcores.flattened(vmcores.kdump_writes(vmcores.memory(900)))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def crash(tmp_path: Path) -> Path:
    folder = tmp_path / "ftp" / "crash"
    folder.mkdir(parents=True)
    for _, step in savers.debian_ftp(folder, [CORE]):
        step()
    return folder


@pytest.mark.parametrize("mlsd", [True, False], ids=["MLSD", "LIST only, as vsftpd"])
def test_a_dump_on_an_ftp_server(crash: Path, mlsd: bool) -> None:
    with ftpd.serve(crash.parent, mlsd=mlsd) as server:
        found = inspect_url(f"ftp://127.0.0.1:{server.port}/crash/10.0.0.7-dump.{savers.STAMP}")
        assert (found.facts.complete, found.facts.nodename) == (Complete.YES, "server42")
        assert found.look is not None
        assert found.look.panic == "sysrq triggered crash"
        assert server.logins == ["anonymous"]


@pytest.mark.parametrize("mlsd", [True, False])
def test_the_watch_over_ftp_believes_a_size_that_stands_still_and_a_marker(crash: Path, mlsd: bool) -> None:
    with ftpd.serve(crash.parent, mlsd=mlsd) as server:
        target = resolve("ftp://nas/crash", dump_stores={"ftp://nas": f"ftp://127.0.0.1:{server.port}"})
        clock = FastClock(vmcores.CRASH_TIME - 5.0)
        last = watch_target(
            target.open,
            Baseline(target.path, {}),
            vmcores.CRASH_TIME - 5.0,
            Expectation("server42", "server42", 0.0),
            Deadline(200, clock),
            clock,
            lambda state: None,
            threading.Event(),
        )
        assert last.state is State.VERIFIED, last
        assert clock.monotonic() >= 60


def test_a_password_comes_from_netrc_and_is_never_said(crash: Path, home: Path) -> None:
    netrc = home / ".netrc"
    with ftpd.serve(crash.parent, user="kdump", password="made-up-3141") as server:
        where = f"ftp://kdump@127.0.0.1:{server.port}/crash/10.0.0.7-dump.{savers.STAMP}"
        with pytest.raises(LoginFailed, match="Login incorrect"):
            inspect_url(where)
        netrc.write_text("machine 127.0.0.1 login kdump password made-up-3141\n")
        netrc.chmod(0o644)
        with pytest.raises(ConfigError, match="can be read by others"):
            inspect_url(where)
        netrc.chmod(0o600)
        assert inspect_url(where).facts.complete is Complete.YES
        netrc.write_text("machine 127.0.0.1 login kdump passwort made-up-3141\n")
        with pytest.raises(ConfigError) as failed:
            inspect_url(where)
        assert "made-up" not in str(failed.value)


def test_nobody_there() -> None:
    with pytest.raises(Unreachable, match="cannot be reached"):
        inspect_url("ftp://127.0.0.1:1/crash/dump")


def test_what_the_hosts_own_files_name_is_opened_only_where_it_is_mapped() -> None:
    for url in ("sftp://evil/crash", "ftp://evil/crash", "/srv/crash", "file:///srv/crash"):
        with pytest.raises(ConfigError) as failed:
            resolve(url, host_says=True, dump_stores={"sftp://evil2": "sftp://nas"})
        assert f'dump_stores: {{"{url}"' in failed.value.next_step
    assert resolve("sftp://nas/crash", host_says=True, dump_stores={"sftp://nas/": "sftp://nas/"}).path == "/crash"


def test_smb_without_its_package_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match="smbprotocol") as failed:
        resolve("smb://nas/share/crash").open()
    assert "bmc-trigger[smb]" in failed.value.next_step
