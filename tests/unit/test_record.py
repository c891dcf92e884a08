"""The record: written whole or not at all, read or refused by name, and without secrets."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from trigger.driver import Identity
from trigger.errors import ConfigError, GuardRefused
from trigger.host import Controller, Host, SecretReference
from trigger.record import (
    ConsoleProof,
    DumpTarget,
    Listed,
    Record,
    age_text,
    config_hash,
    export_record,
    find_record,
    read_record,
    write_record,
)
from trigger.state import StateFolder

FULL = Record(
    host="server42",
    written_at=1_700_000_000.5,
    written_by="alice on jump1",
    config_hash="ab" * 32,
    ready=True,
    not_ready_reasons=("kdump is not loaded",),
    route_verdicts={"nmi": "pass"},
    verdicts={"kdump-loaded": "pass"},
    routes={"ipmi": {"cipher_suite": 17, "reset": ["a", {"b": None}]}},
    controllers={"ipmi": Identity(uuid="u", serial="s", fingerprint="f")},
    identity=Identity(uuid="4c4c4544-0042", hostname="server42"),
    host_seen_at=1_700_000_000.0,
    boot_id="6f5d",
    kernel_release="6.1.0-49-amd64",
    build_id="deadbeef",
    stext=0xFFFFFFFF81000000,
    kerneloffset=0x1A000000,
    mem_bytes=768 << 20,
    timezone="CET +0100",
    clock_offset_s=-0.25,
    distribution="debian",
    os_name="Debian GNU/Linux 12 (bookworm)",
    dump_targets=(
        DumpTarget(
            "local", "/var/crash", "/var/crash", "/var/crash", "host:/var/crash", 5 << 30,
            (Listed("202611230349", 4096, 1_699_999_999.0),),
        ),
    ),
    sysrq_mask=438,
    console=ConsoleProof("ttyS1", 115200, "ipmi", 1_699_999_000.0),
    rejected_logins={"ilo": "cd" * 32},
)  # fmt: skip


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder.choose(str(tmp_path / "state"))


def place(state: StateFolder, text: str) -> Path:
    folder = state.host_folder("server42")
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(text)
    return folder / "record.json"


def plain(**changes: object) -> str:
    return json.dumps({"v": 1, "host": "server42", "written_at": 1.0, **changes})


def test_what_is_written_is_read_back(state: StateFolder) -> None:
    write_record(state, FULL)
    assert find_record(state, "server42") == FULL
    path = state.host_folder("server42") / "record.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["record.json"]


def test_a_smallest_record_is_read_back(state: StateFolder) -> None:
    write_record(state, Record("server42", 5.0))
    assert find_record(state, "server42") == Record("server42", 5.0)


def test_no_record_is_no_error(state: StateFolder) -> None:
    assert find_record(state, "server42") is None


def test_the_newest_of_several_places_counts(state: StateFolder, tmp_path: Path) -> None:
    write_record(state, Record("server42", 100.0))
    export_record(tmp_path / "elsewhere", Record("server42", 200.0))
    found = find_record(state, "server42", [str(tmp_path / "absent"), str(tmp_path / "elsewhere")])
    assert found is not None
    assert found.written_at == 200.0


def test_unknown_keys_are_ignored(state: StateFolder) -> None:
    place(state, plain(colour="blue", console={"device": "ttyS0", "shape": "round"}))
    found = find_record(state, "server42")
    assert found is not None
    assert found.console.device == "ttyS0"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('{"v": 1, "host": "serv', "is not JSON"),
        ("[]", "no mapping in the file"),
        (plain(v=2), "written by a newer one"),
        (plain(v="1"), "no number in v"),
        (plain(host="server43"), "is the record of 'server43'"),
        (plain(written_at=None), "does not say when"),
        (plain(written_at=float("nan")), "no number in written_at"),
        (plain(ready="yes"), "no yes or no in `ready`"),
        (plain(routes=["ipmi"]), "no mapping in routes"),
        (plain(boot_id=7), "no text in boot_id"),
        (plain(not_ready_reasons=[7]), "no text in"),
        (plain(stext="kernel"), "no hexadecimal number in stext"),
        (plain(mem_bytes=1e300), "no number in mem_bytes"),
        (plain(dump_targets=[{"baseline": 7}]), "no list in baseline"),
    ],
)
def test_a_record_that_cannot_be_understood_is_refused_by_name(state: StateFolder, text: str, says: str) -> None:
    path = place(state, text)
    with pytest.raises(ConfigError, match=says) as caught:
        find_record(state, "server42")
    assert str(path) in caught.value.message
    assert "trigger preflight server42" in caught.value.next_step


def test_a_symbolic_link_is_not_followed(state: StateFolder, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(plain())
    path = place(state, "")
    path.unlink()
    path.symlink_to(tmp_path / "other.json")
    with pytest.raises(ConfigError, match="cannot be opened"):
        find_record(state, "server42")


def test_a_pipe_in_its_place_does_not_block(state: StateFolder) -> None:
    path = place(state, "")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="is not JSON"):
        find_record(state, "server42")


def test_a_flood_is_refused(state: StateFolder) -> None:
    place(state, "x" * (4 * 1024 * 1024 + 1))
    with pytest.raises(ConfigError, match="larger than any record"):
        find_record(state, "server42")


def test_a_record_that_cannot_be_written_leaves_the_old_one(state: StateFolder) -> None:
    write_record(state, FULL)
    with pytest.raises(TypeError):
        write_record(state, Record("server42", 5.0, routes={"ipmi": {"secret": object()}}))
    assert find_record(state, "server42") == FULL


def test_a_folder_in_its_place_is_an_error_that_says_so(state: StateFolder) -> None:
    (state.host_folder("server42") / "record.json").mkdir(parents=True)
    with pytest.raises(GuardRefused, match="cannot be written"):
        write_record(state, FULL)
    assert len(list(state.host_folder("server42").iterdir())) == 1, "the temporary file stayed behind"
    with pytest.raises(ConfigError, match="cannot be read"):
        read_record(state.host_folder("server42"), "server42")


def test_the_hash_sees_what_counts_and_not_where_it_stands() -> None:
    def host(line: int, address: str) -> Host:
        password = SecretReference("env", "BMC_PASSWORD", f"trigger.yaml:{line}")
        return Host("server42", (Controller("ipmi", "ipmi", address, password=password, where=f"x:{line}"),))

    assert config_hash(host(1, "192.0.2.1")) == config_hash(host(2, "192.0.2.1"))
    assert config_hash(host(1, "192.0.2.1")) != config_hash(host(1, "192.0.2.2"))


def test_ages_are_words() -> None:
    assert age_text(30) == "less than a minute old"
    assert age_text(3 * 86400 + 5) == "3 days old"
    assert age_text(3700) == "1 hour old"
    assert "future" in age_text(-600)
    assert FULL.is_stale(FULL.written_at + 8 * 86400)
    assert not FULL.is_stale(FULL.written_at + 6 * 86400)
