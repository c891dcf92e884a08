"""Recordings of consoles: complete, playable, private, bounded, and never in the way."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from trigger.clock import FastClock
from trigger.console.recording import BoundedFile, Recording
from trigger.state import StateFolder


def recorded(tmp_path: Path, limit: int = 1 << 20) -> tuple[Recording, FastClock, Path]:
    clock = FastClock()
    state = StateFolder(tmp_path, private=True)
    return Recording(state, "server42", "run1", clock, limit), clock, tmp_path / "hosts/server42/runs/run1"


def cast(folder: Path) -> list[list[object]]:
    header, *events = [json.loads(line) for line in (folder / "console.cast").read_text().splitlines()]
    assert header == {"version": 2, "width": 80, "height": 24, "timestamp": 1700000000, "title": "server42"}
    return events


def test_what_was_said_and_when(tmp_path: Path) -> None:
    recording, clock, folder = recorded(tmp_path)
    recording.output(b"login: ")
    clock.sleep(1.5)
    recording.note("BREAK")
    recording.output(b"\x1b[31mHELP\r\n\xe2\x82")
    recording.output(b"\xac\n")
    recording.close()
    assert cast(folder) == [
        [0.0, "o", "login: "], [1.5, "m", "BREAK"], [1.5, "o", "\x1b[31mHELP\r\n"], [1.5, "o", "\u20ac\n"],
    ]  # fmt: skip
    text = (folder / "console.txt").read_text()
    assert "[0.000] login: \n[1.500] -- BREAK --\n[1.500] \\x1b[31mHELP\n[1.500] \u20ac\n" in text
    assert "[1.500] -- BREAK --" in text
    assert "\x1b" not in text


def test_lines_that_come_in_pieces(tmp_path: Path) -> None:
    recording, clock, folder = recorded(tmp_path)
    for piece in (b"[  1.0] sys", b"rq: Tri", b"gger a crash\r", b"\nlogin: ", b"x" * 5000, b"\n", b"last"):
        recording.output(piece)
        clock.sleep(1)
    recording.close()
    text = (folder / "console.txt").read_text()
    assert "[0.000] [  1.0] sysrq: Trigger a crash\n[3.000] login: xxx" in text
    assert text.endswith("[6.000] last\n")


def test_files_are_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        recording, _, folder = recorded(tmp_path)
        recording.close()
    finally:
        os.umask(before)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    assert modes == {"console.cast": 0o600, "console.txt": 0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_the_middle_is_dropped_and_said(tmp_path: Path) -> None:
    recording, clock, folder = recorded(tmp_path, limit=8000)
    for n in range(1000):
        clock.sleep(0.5)
        recording.output(f"line {n:04}\r\n".encode())
    recording.close()
    events = cast(folder)
    lines = [str(event[2]) for event in events]
    at = next(n for n, event in enumerate(events) if event[1] == "m")
    assert lines[0] == "line 0000\r\n"
    assert lines[-1] == "line 0999\r\n"
    assert "bytes of this recording were dropped here" in lines[at]
    # Nothing else is missing: before and after the marker the numbers are without a gap.
    numbers = [int(line.split()[1]) for line in lines if line.startswith("line")]
    assert numbers == [*range(at), *range(numbers[at], 1000)]
    text = (folder / "console.txt").read_text()
    assert "line 0000" in text
    assert "line 0999" in text
    assert "was dropped --" in text
    assert [event[0] for event in events] == sorted(float(str(event[0])) for event in events)
    assert all(file.stat().st_size <= 8200 for file in folder.iterdir())
    assert sorted(file.name for file in folder.iterdir()) == ["console.cast", "console.txt"]


def test_a_killed_program_leaves_the_pieces(tmp_path: Path) -> None:
    recording, _, folder = recorded(tmp_path, limit=8000)
    for n in range(1000):
        recording.output(f"line {n:04}\r\n".encode())
    kept = b"".join(file.read_bytes() for file in folder.glob("console.cast*"))
    assert b"line 0000" in kept
    assert b"line 0999" in kept
    recording.close()


def test_a_full_disk_ends_the_recording_and_nothing_else(tmp_path: Path) -> None:
    recording, _, _ = recorded(tmp_path)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, recording._cast._file)
    os.close(full)
    recording.output(b"more\n")
    recording.output(b"and more\n")
    recording.close()
    assert "No space left" in recording.problem


def test_a_line_longer_than_a_piece_is_dropped_whole(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        file = BoundedFile(folder, "x", 100, 0o600)
        file.write(b"a" * 26)
        file.write(b"short\n")
        file.close(b"!")
    finally:
        os.close(folder)
    assert (tmp_path / "x").read_bytes() == b"short\n!"
    assert file.dropped == 26


def test_output_after_the_end_is_ignored(tmp_path: Path) -> None:
    recording, _, folder = recorded(tmp_path)
    recording.close()
    recording.output(b"late")
    recording.close()
    assert cast(folder) == []
    assert recording.problem == ""
