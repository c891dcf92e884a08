"""A disk that refuses, lies or hangs, and files that somebody planted: nothing is sent, and no open fire is left."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from trigger import journal as journal_module
from trigger import mounts
from trigger.chain import verify
from trigger.clock import FastClock
from trigger.driver import Accepted
from trigger.errors import GuardRefused
from trigger.events import Event, Fired, Firing, Observed
from trigger.fire import fire
from trigger.fires import open_fires
from trigger.journal import Journal, Line, read_journal
from trigger.run import Run
from trigger.state import StateFolder

HOST = "server42"
FIRING = Firing("ipmi", "ipmi", "127.0.0.1", "chassis control 4", ("host server42",), 1e11)
SEEN = Observed("back", "host", "proof", "it runs again")


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder.choose(str(tmp_path / "state"))


class Pressed:
    """A run that fires once, and what it told and sent."""

    def __init__(self, state: StateFolder, send: Callable[[], Accepted] | None = None) -> None:
        self.told: list[Event | None] = []
        self.sent = 0
        self.run = Run(state, HOST, FastClock(), [self._listen])
        self._send = send

    def _listen(self, line: Line) -> None:
        self.told.append(line.event)

    def send(self) -> Accepted:
        self.sent += 1
        return Accepted("yes")

    def fire(self) -> Fired:
        return self.run.fire(lambda journal: fire(journal, FIRING, self.send), FIRING)


def still_open(state: StateFolder) -> list[str]:
    return [found.run for found in open_fires(read_journal(state, HOST), 1e9)]


@pytest.fixture
def pressed(state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> Pressed:
    monkeypatch.setattr(Run, "something_sent", False)
    return Pressed(state)


def failing(code: int) -> Callable[..., None]:
    def refuses(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return refuses


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_an_fsync_that_fails_sends_nothing_and_leaves_no_open_fire(
    state: StateFolder, pressed: Pressed, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "fsync", failing(code))
    with pytest.raises(GuardRefused, match="Nothing was sent") as refused:
        pressed.fire()
    assert refused.value.rule == "journal"
    assert (pressed.sent, pressed.run.stage, Run.something_sent) == (0, "before", False)
    assert still_open(state) == []
    assert [type(event).__name__ for event in pressed.told] == ["Firing", "Fired"]
    assert [line.event for line in read_journal(state, HOST)] == [FIRING, pressed.told[1]]
    assert verify(state, HOST).faults == ()
    pressed.run.close()


def test_when_the_refusal_cannot_be_written_the_line_is_cut_off(
    state: StateFolder, pressed: Pressed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    real, writes = os.write, [0]

    def write(file: int, data: bytes) -> int:
        writes[0] += 1
        if writes[0] > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data)

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(GuardRefused):
        pressed.fire()
    assert (pressed.sent, still_open(state)) == (0, [])
    assert read_journal(state, HOST) == ()
    pressed.run.close()


def test_half_a_line_written_before_the_disk_was_full_is_taken_back(
    state: StateFolder, pressed: Pressed, monkeypatch: pytest.MonkeyPatch
) -> None:
    pressed.run.emit(SEEN)
    real, writes = os.write, [0]

    def write(file: int, data: bytes) -> int:
        writes[0] += 1
        if writes[0] == 1:
            return real(file, data[:-1])  # all but the newline: it would be read as a whole line
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(GuardRefused):
        pressed.fire()
    assert (pressed.sent, still_open(state)) == (0, [])
    assert [line.event for line in read_journal(state, HOST)] == [SEEN]
    monkeypatch.undo()
    assert pressed.fire().outcome == "accepted"
    assert verify(state, HOST).faults == ()
    pressed.run.close()


def test_an_open_fire_that_cannot_be_taken_back_is_said(
    state: StateFolder, pressed: Pressed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    monkeypatch.setattr(Journal, "withdraw", lambda *_: False)
    with pytest.raises(GuardRefused):
        pressed.fire()
    assert isinstance(pressed.told[-1], Observed)
    assert "An open fire may be shown" in pressed.told[-1].text
    assert still_open(state), "it refuses the next shot: the safe side"
    pressed.run.close()


def test_a_disk_that_hangs_stops_the_run_and_takes_the_line_back_later(
    state: StateFolder, pressed: Pressed, monkeypatch: pytest.MonkeyPatch
) -> None:
    hang = threading.Event()
    real = os.fsync

    def fsync(file: int) -> None:
        hang.wait(60)
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(journal_module, "SYNC_SECONDS", 0.2)
    with pytest.raises(GuardRefused, match="did not confirm"):
        pressed.fire()
    assert pressed.sent == 0
    assert still_open(state), "as long as it hangs the line may or may not be on disk"
    work = pressed.run.journal._work
    assert work is not None
    hang.set()
    work.join(60)
    assert still_open(state) == []
    assert verify(state, HOST).faults == ()
    pressed.run.close()


def test_after_the_fire_a_broken_journal_is_said_once_and_the_run_goes_on(
    state: StateFolder, pressed: Pressed, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pressed.fire().outcome == "accepted"
    monkeypatch.setattr(os, "write", failing(errno.ENOSPC))
    for _ in range(3):
        pressed.run.emit(SEEN)
    said = [event.text for event in pressed.told if isinstance(event, Observed) and event.source == "journal"]
    assert len(said) == 1
    assert "No space left" in said[0]
    assert "sent" not in said[0], "an NMI was sent"
    assert pressed.told.count(SEEN) == 3
    monkeypatch.undo()
    pressed.run.emit(SEEN)
    assert [line.event for line in read_journal(state, HOST)][-1] == SEEN
    assert still_open(state) == []
    pressed.run.close()


def test_a_disk_that_hangs_after_the_fire_costs_one_wait(
    state: StateFolder, pressed: Pressed, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pressed.fire().outcome == "accepted"
    hang = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda file: hang.wait(60))
    monkeypatch.setattr(journal_module, "SYNC_SECONDS", 0.2)
    for _ in range(5):
        pressed.run.emit(SEEN)
    assert pressed.told.count(SEEN) == 5
    work = pressed.run.journal._work
    hang.set()
    assert work is not None
    work.join(60)
    pressed.run.close()


def test_ctrl_c_while_the_intent_is_written_sends_nothing(
    state: StateFolder, pressed: Pressed, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = threading.Thread.join

    def join(self: threading.Thread, timeout: float | None = None) -> None:
        real(self, timeout)
        if self.name == "journal":
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "join", join)
    with pytest.raises(KeyboardInterrupt):
        pressed.fire()
    assert (pressed.sent, pressed.run.stage, Run.something_sent) == (0, "before", False)
    assert still_open(state) == []
    pressed.run.close()


def test_a_line_longer_than_a_page_is_chained_like_any_other(state: StateFolder, pressed: Pressed) -> None:
    for size in (10, 70_000, 700_000, 10):
        pressed.run.emit(SEEN._replace(text="x" * size))
    assert verify(state, HOST).faults == ()
    pressed.run.close()


# --- what somebody planted; giving files away needs root ------------------------------------------------------------


def planted(state: StateFolder) -> Path:
    with state.host(HOST):
        pass
    return state.host_folder(HOST) / "journal.jsonl"


def test_a_pipe_a_hard_link_and_a_world_writable_journal_are_refused(state: StateFolder, tmp_path: Path) -> None:
    path = planted(state)
    os.mkfifo(path)
    for words in ("not a regular file", "second name", "written by everybody"):
        with pytest.raises(GuardRefused, match=words) as refused:
            Journal(state, HOST, "r1", FastClock())
        assert refused.value.rule == "journal"
        with pytest.raises(GuardRefused, match=words):
            read_journal(state, HOST)
        path.unlink()
        path.touch(mode=0o600)
        if words == "not a regular file":
            os.link(path, tmp_path / "elsewhere")
        else:
            path.chmod(0o666)
    assert not (tmp_path / "elsewhere").read_bytes()


def test_folders_and_files_of_others_are_refused(state: StateFolder) -> None:
    path = planted(state)
    path.touch(mode=0o600)
    for what, back in ((path, 0), (path.parent, 0), (path.parent.parent, 0), (state.path.parent, 0)):
        os.chown(what, 12345, -1)
        with pytest.raises(GuardRefused, match="12345"):
            Journal(StateFolder.choose(str(state.path)), HOST, "r1", FastClock())
        os.chown(what, back, -1)
    Journal(state, HOST, "r1", FastClock()).close()


def test_a_folder_that_is_open_to_a_group_shares_with_its_members(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    os.chown(folder, 0, 12345)
    folder.chmod(0o2770)
    state = StateFolder.choose(str(folder))
    journal = Journal(state, HOST, "r1", FastClock())
    journal.append(FIRING, durable=True)
    journal.close()
    path = state.host_folder(HOST) / "journal.jsonl"
    assert [oct(found.stat().st_mode & 0o777) for found in (path, path.parent)] == ["0o660", "0o770"]
    assert {found.stat().st_gid for found in (path, path.parent, path.parent.parent)} == {12345}
    os.chown(path, 23456, 12345)  # another member made it
    assert [line.event for line in read_journal(state, HOST)] == [FIRING]
    os.chown(path, 23456, 23456)
    with pytest.raises(GuardRefused, match="23456"):
        read_journal(state, HOST)


# --- network file systems ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "refused"), [("nfs4", True), ("nfs", True), ("fuse.sshfs", True), ("ext4", False)])
def test_a_journal_on_a_network_is_refused(
    state: StateFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, refused: bool
) -> None:
    """An NFS server needs a kernel module that CI has not; the kernel's word for the mount is what is made up."""
    with state.host(HOST) as folder:
        facts = Path(f"/proc/self/fdinfo/{folder}").read_text()
    mount = next(line.split()[1] for line in facts.splitlines() if line.startswith("mnt_id:"))
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 0 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
        f"{mount} 1 0:99 / /var/lib/trigger rw,relatime shared:7 - {kind} filer:/export/trigger rw,vers=4.2\n"
    )
    monkeypatch.setattr(mounts, "_MOUNTS", str(table))
    if refused:
        with pytest.raises(GuardRefused, match=f"network file system .{kind}.* Nothing was sent") as error:
            Journal(state, HOST, "r1", FastClock())
        assert error.value.rule == "journal"
    else:
        Journal(state, HOST, "r1", FastClock()).close()


def test_what_the_kernel_says_of_this_very_folder(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        assert mounts._file_system(folder), "mountinfo and fdinfo are read as they are here"
        assert mounts.network_file_system(folder) == ""
    finally:
        os.close(folder)


def test_two_writers_at_once_keep_one_chain(state: StateFolder) -> None:
    def work(number: int) -> None:
        journal = Journal(state, HOST, f"r{number}", FastClock())
        for _ in range(50):
            journal.append(SEEN, durable=True)
        journal.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = verify(state, HOST)
    assert (found.lines, found.faults) == (200, ())
