"""`trigger history --verify`: every change is found where it was made, and nothing is claimed beyond that."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from trigger.chain import Anchor, Verified, read_anchors, verify
from trigger.clock import FastClock
from trigger.commands.history import command
from trigger.errors import ConfigError
from trigger.events import Finished, Fired, Firing
from trigger.journal import Journal
from trigger.state import StateFolder

HOST = "server42"
FIRING = Firing("ipmi", "ipmi", "127.0.0.1", "chassis control 4", ("host server42",), 1e10)
EVENTS = (FIRING, Fired("ipmi", "accepted", "completion code 0x00"), Finished(0, "yes", "A complete dump has landed."))


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder.choose(str(tmp_path / "state"))


def written(state: StateFolder, runs: int = 3, host: str = HOST) -> list[dict[str, object]]:
    """Write a journal of some runs; return what was printed of it with `--json`."""
    printed = []
    for number in range(runs):
        journal = Journal(state, host, f"run-{number}", FastClock())
        printed += [journal.append(event).raw for event in EVENTS]
        journal.close()
    return printed


def file_of(state: StateFolder, host: str = HOST) -> Path:
    return state.host_folder(host) / "journal.jsonl"


def changed(state: StateFolder, lines: list[bytes]) -> Verified:
    file_of(state).write_bytes(b"".join(line + b"\n" for line in lines))
    return verify(state, HOST)


def chained(lines: list[bytes]) -> list[bytes]:
    """Return the lines with a chain of their own, as one who knows how would write them."""
    made: list[bytes] = []
    for line in lines:
        prev = sha256(made[-1]).hexdigest() if made else ""
        made.append(json.dumps({**json.loads(line), "prev": prev}, separators=(",", ":")).encode())
    return made


def test_what_was_written_is_whole(state: StateFolder) -> None:
    printed = written(state)
    found = verify(state, HOST)
    assert (found.lines, found.faults, found.notes) == (9, (), ())
    assert found.head == printed[-1]["head"] == sha256(file_of(state).read_bytes().splitlines()[-1]).hexdigest()
    assert "not excluded without --anchors" in found.not_excluded


@pytest.mark.parametrize("number", range(1, 9))
def test_a_changed_line_is_named(state: StateFolder, number: int) -> None:
    written(state)
    lines = file_of(state).read_bytes().splitlines()
    lines[number - 1] = lines[number - 1].replace(b'"v":1', b'"v":2')
    found = changed(state, lines)
    assert [fault.text for fault in found.faults if f"line {number} was changed" in fault.text], found.faults


@pytest.mark.parametrize("number", range(1, 9))
def test_a_removed_line_is_found_where_it_was(state: StateFolder, number: int) -> None:
    written(state)
    lines = file_of(state).read_bytes().splitlines()
    del lines[number - 1]
    (fault,) = changed(state, lines).faults
    assert fault.line == number
    assert "removed" in fault.text


@pytest.mark.parametrize("number", range(1, 10))
def test_an_inserted_line_is_named_even_when_it_was_chained(state: StateFolder, number: int) -> None:
    written(state)
    lines = file_of(state).read_bytes().splitlines()
    prev = sha256(lines[number - 2]).hexdigest() if number > 1 else ""
    forged = json.dumps({**json.loads(lines[0]), "run": "forged", "prev": prev}, separators=(",", ":")).encode()
    found = changed(state, [*lines[: number - 1], forged, *lines[number - 1 :]])
    assert [fault.text.split(":")[0] for fault in found.faults] == [f"line {number} was inserted"]


def test_an_empty_line_and_one_of_another_host_are_faults(state: StateFolder) -> None:
    written(state)
    written(state, host="server43")
    lines = file_of(state).read_bytes().splitlines()
    assert "line 3 is empty" in changed(state, [*lines[:2], b"", *lines[2:]]).faults[0].text
    assert "of another host" in changed(state, file_of(state, "server43").read_bytes().splitlines()).faults[0].text


def test_a_line_cut_by_a_crash_is_no_fault(state: StateFolder) -> None:
    written(state, 1)
    with file_of(state).open("ab") as file:
        file.write(b'{"v":1,"run":"run-9","ho')
    found = verify(state, HOST)
    assert found.faults == ()
    assert "line 4, the last, is cut" in found.notes[0]
    written(state, 1)
    found = verify(state, HOST)
    assert (found.lines, found.faults) == (7, ())
    assert "line 4 is cut" in found.notes[0]


def test_a_cut_end_a_removed_run_and_a_new_chain_need_anchors(state: StateFolder, tmp_path: Path) -> None:
    printed = written(state)
    anchors = tmp_path / "collected.jsonl"
    anchors.write_text("".join(json.dumps(raw) + "\n" for raw in printed))
    known = read_anchors(anchors)
    assert verify(state, HOST, known).faults == ()
    assert verify(state, HOST, known).vouched == 9
    lines = file_of(state).read_bytes().splitlines()
    for forged in (lines[:6], lines[:8], chained(lines[3:]), chained(lines[:3] + lines[6:]), []):
        assert changed(state, forged).faults == (), "the chain alone cannot see it, and says so"
        assert "end were cut off" in verify(state, HOST).not_excluded
        assert verify(state, HOST, known).faults
    changed(state, lines[:6])
    assert {fault.text.split(": ")[1] for fault in verify(state, HOST, known).faults} == {"run run-2 was removed"}


def test_anchors_are_read_from_what_is_collected(tmp_path: Path) -> None:
    head, other = "a" * 64, "b" * 64
    file = tmp_path / "mixed"
    file.write_text(
        "Nov 23 09:00:00 jump1 sshd[1]: nothing of ours\n"
        f'Nov 23 jump1 <85>1 2026-11-23T09:00:00.000Z jump1 trigger 7 Firing [trigger@32473 host="server42" run="r1"'
        f' seq="3" head="{head}"] server42: about to send\n'
        f'jump1 {{"host": "server43", "run": "r2", "head": "{other}"}}\n'
        f"server44 {head}\n"
        '{"host": "server45", "head": "too short"}\n'
    )
    assert read_anchors(file) == [
        Anchor("server42", head, "r1", f"{file}:2"),
        Anchor("server43", other, "r2", f"{file}:3"),
        Anchor("server44", head, "", f"{file}:4"),
    ]
    file.write_text("nothing\n")
    with pytest.raises(ConfigError, match="no hash"):
        read_anchors(file)


@settings(max_examples=200, deadline=None, database=None)
@given(st.lists(st.binary(max_size=40) | st.sampled_from([b"{}", b'{"prev":1}', b'{"prev":"","run":[]}', b"[]"])))
def test_any_bytes_as_a_journal(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    state = StateFolder.choose(str(tmp_path_factory.mktemp("any")))
    with state.host(HOST):
        pass
    file_of(state).write_bytes(b"\n".join(lines))
    found = verify(state, HOST, [Anchor(HOST, "a" * 64, "r", "x:1")])
    assert list(found.sentences())
    json.dumps(found.to_json())


def run_history(state: StateFolder, *words: str) -> tuple[int, str]:
    config = state.path.parent / "config.yaml"
    config.write_text(json.dumps({"hosts": {}, "state_dir": str(state.path)}))
    result = CliRunner().invoke(command, [*words, "--config", str(config)])
    return result.exit_code, result.output


def test_the_command_says_what_and_exits_5(state: StateFolder, tmp_path: Path) -> None:
    printed = written(state)
    written(state, host="server43")
    code, text = run_history(state, "--verify")
    assert code == 0
    assert "server42: 9 lines, the chain is whole" in text
    assert "server43: 9 lines, the chain is whole" in text
    lines = file_of(state).read_bytes().splitlines()
    changed(state, lines[:6])
    anchors = tmp_path / "anchors"
    anchors.write_text(json.dumps(printed[-1]) + f"\nserver44 {'c' * 64}\n")
    code, text = run_history(state, "--verify", "--anchors", str(anchors))
    assert code == 5
    assert "run run-2 was removed" in text
    assert "server44: 0 lines, NOT as it was written" in text
    code, text = run_history(state, "--verify", "server42", "--anchors", str(anchors), "--json")
    assert code == 5
    assert json.loads(text)["host"] == "server42"
    assert run_history(state, "--anchors", str(anchors))[0] == 2


def test_a_host_without_a_journal_has_none_that_is_whole(state: StateFolder) -> None:
    written(state)
    code, text = run_history(state, "--verify", "server99")
    assert code == 0
    assert "no journal of server99" in text
    assert "whole" not in text
