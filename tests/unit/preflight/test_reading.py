"""Can the operator read the dump target? Root's login, another login over real SFTP, shared places, missing ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.preflight.cases import all_cases, printed
from tests.unit.preflight.host_server import HostServer, serve
from trigger.host import Host, Ssh
from trigger.preflight.facts import Facts
from trigger.preflight.reading import Reader
from trigger.preflight.readings import parse
from trigger.record import DumpTarget

LOCAL = (DumpTarget("local", "/var/crash", "/var/crash", read="host:/var/crash"),)


def facts(login: str = "0") -> Facts:
    name, case = next((name, case) for name, case in all_cases() if case["name"] == "prepared for good")
    return Facts(parse(printed(name, {**case, "frames": {**case.get("frames", {}), "login": login}})))


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostServer]:
    with serve(tmp_path_factory.mktemp("hosts"), {"ops": "menu"}, sftp=True) as server:
        yield server


def judge(reader: Reader, host: Host, login: str = "0", targets: tuple[DumpTarget, ...] = LOCAL) -> tuple[str, str]:
    found = reader.finding(host, targets, facts(login))
    assert found is not None
    if found.verdict.value != "pass":
        assert found.remedy
    return found.verdict.value, found.says


def test_root_reads_everything_and_is_not_asked_to_prove_it() -> None:
    nowhere = Host("server42", (), Ssh("192.0.2.1", port=1))
    assert judge(Reader({}), nowhere) == ("pass", "the login is root's, which reads every dump on the host")


def test_another_login_is_tried_over_sftp(hosts: HostServer, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("a dump")
    host = Host("server42", (), hosts.ssh("ops"))
    mine = (DumpTarget("local", str(tmp_path), str(tmp_path), read=f"host:{tmp_path}"),)
    verdict, says = judge(Reader({}), host, "1000", mine)
    assert (verdict, says.endswith("(1 entries)")) == ("pass", True)
    gone = (DumpTarget("local", "/nowhere", "/nowhere", read="host:/nowhere/at/all"),)
    verdict, says = judge(Reader({}), host, "1000", gone)
    assert verdict == "warn"
    assert "a dump that lands there cannot be proved from here" in says
    assert judge(Reader({}), Host("server42", (), hosts.ssh("ops", port=1)), "1000", mine)[0] == "warn"
    assert judge(Reader({}), Host("server42", ()), "1000", mine)[0] == "warn"


def test_a_shared_place_is_tried_once(tmp_path: Path) -> None:
    nfs = (DumpTarget("nfs", "nfs server:/export", "/", read="nfs://server/export"),)
    reader = Reader({"nfs://server/export": str(tmp_path)})
    first = judge(reader, Host("one", ()), targets=nfs)
    assert first[0] == "pass"
    os.rmdir(tmp_path)  # noqa: PTH106
    assert judge(reader, Host("two", ()), targets=nfs) == first
    assert judge(Reader({"nfs://server/export": str(tmp_path)}), Host("two", ()), targets=nfs)[0] == "warn"


def test_a_place_that_nobody_said_how_to_read() -> None:
    nfs = (DumpTarget("nfs", "nfs server:/export", "/", read="nfs://server/export"),)
    verdict, says = judge(Reader({}), Host("one", ()), targets=nfs)
    assert verdict == "warn"
    assert "cannot be read from here as it is" in says


def test_the_configured_target_counts(tmp_path: Path) -> None:
    assert judge(Reader({}), Host("one", (), dump_target=str(tmp_path)))[0] == "pass"
    gone = DumpTarget("nfs", "nfs server:/export", "/", read="nfs://server/export")
    assert judge(Reader({}), Host("one", ()), targets=(gone, *LOCAL))[0] == "pass", (
        "Debian writes to each, one is enough"
    )
    raw = (DumpTarget("raw", "raw /dev/sdb1"),)
    assert Reader({}).finding(Host("one", ()), raw, facts()) is None
    assert Reader({}).finding(Host("one", ()), (), facts()) is None
