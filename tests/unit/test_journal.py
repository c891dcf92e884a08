"""The journal: on disk before the button, chained, and readable after every kind of accident."""

import json
import os
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest

from trigger.clock import FastClock
from trigger.errors import GuardRefused
from trigger.events import Fired, Firing, Observed
from trigger.journal import Journal, read_journal
from trigger.state import StateFolder

FIRING = Firing("ipmi", "ipmi", "127.0.0.1", "chassis control 4", ("host server42",), 1e10)


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder.choose(str(tmp_path / "state"))


def opened(state: StateFolder, run: str = "r1") -> Journal:
    return Journal(state, "server42", run, FastClock())


def test_what_is_written_is_read_back(state: StateFolder) -> None:
    journal = opened(state)
    journal.append(FIRING, durable=True)
    journal.append(Fired("ipmi", "accepted", "completion code 0x00"))
    journal.close()
    first, second = read_journal(state, "server42")
    assert first.event == FIRING
    assert (second.run, second.host, second.seq) == ("r1", "server42", 1)
    assert second.event == Fired("ipmi", "accepted", "completion code 0x00")


def test_every_line_carries_the_hash_of_the_line_before(state: StateFolder) -> None:
    for run in ("r1", "r2"):
        journal = opened(state, run)
        journal.append(FIRING)
        journal.append(Fired("ipmi", "unknown", "x"))
        journal.close()
    lines = (state.host_folder("server42") / "journal.jsonl").read_bytes().splitlines()
    assert json.loads(lines[0])["prev"] == ""
    for before, line in pairwise(lines):
        assert json.loads(line)["prev"] == sha256(before).hexdigest()
    assert journal.head == sha256(lines[-1]).hexdigest()


def test_files_are_for_their_owner_alone(state: StateFolder) -> None:
    journal = opened(state)
    journal.append(FIRING, durable=True)
    folder = state.host_folder("server42")
    assert oct(folder.stat().st_mode & 0o777) == "0o700"
    assert oct((folder / "journal.jsonl").stat().st_mode & 0o777) == "0o600"
    journal.close()


def test_a_durable_line_is_synced_and_a_new_file_with_its_folder(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def spy(file: int) -> None:
        synced.append(Path(f"/proc/self/fd/{file}").readlink().name)
        real(file)

    journal = opened(state)
    monkeypatch.setattr(os, "fsync", spy)
    journal.append(Fired("ipmi", "unknown", "not durable"))
    assert synced == []
    journal.append(FIRING, durable=True)
    assert synced == ["journal.jsonl", "server42"]
    journal.close()


def test_a_line_cut_by_a_crash_neither_hides_nor_harms_the_others(state: StateFolder) -> None:
    journal = opened(state)
    journal.append(FIRING)
    journal.close()
    path = state.host_folder("server42") / "journal.jsonl"
    with path.open("ab") as file:
        file.write(b'{"v":1,"run":"r1","ho')
    journal = opened(state, "r2")
    journal.append(Observed("back", "ssh", "proof", "x"))
    journal.close()
    assert [line.run for line in read_journal(state, "server42")] == ["r1", "r2"]


@pytest.mark.parametrize(
    "garbage",
    [b"\x00\xff\n", b"[1]\n", b"null\n", b'{"event":"Firing"}\n', b"[" * 5000 + b"\n", b'{"run":1}\n'],
)
def test_garbage_lines_are_passed_over(state: StateFolder, garbage: bytes) -> None:
    journal = opened(state)
    journal.append(FIRING)
    journal.close()
    with (state.host_folder("server42") / "journal.jsonl").open("ab") as file:
        file.write(garbage)
    assert [line.event for line in read_journal(state, "server42")] == [FIRING]


def test_a_journal_that_is_a_symbolic_link_is_refused(state: StateFolder, tmp_path: Path) -> None:
    with state.host("server42"):
        pass
    (state.host_folder("server42") / "journal.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(GuardRefused) as refused:
        opened(state)
    assert refused.value.rule == "journal"
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(GuardRefused):
        read_journal(state, "server42")


def test_a_full_disk_refuses_and_says_that_nothing_was_sent(state: StateFolder) -> None:
    journal = opened(state)
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, journal._file)
    os.close(full)
    with pytest.raises(GuardRefused, match="No space left"):
        journal.append(FIRING, durable=True)
    journal.close()


def test_a_state_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(GuardRefused, match="written by everybody"):
        StateFolder.choose(str(folder))


def test_a_planted_symbolic_link_is_not_followed(state: StateFolder, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (state.path / "hosts").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(GuardRefused):
        opened(state)
    assert list((tmp_path / "elsewhere").iterdir()) == []
