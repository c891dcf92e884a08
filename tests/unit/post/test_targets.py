"""Several targets at once: landed at any is landed, and each tells; what only the host names needs dump_stores."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.post import savers, vmcores
from tests.unit.post.watching import watch
from trigger.clock import Deadline, SystemClock
from trigger.driver import Identity
from trigger.host import Host, Ssh
from trigger.known import Known
from trigger.post.following import TargetState
from trigger.post.landing import Entry, State
from trigger.post.target import LocalStore
from trigger.record import DumpTarget, Record
from trigger.watch.baseline import BaselineProbe
from trigger.watch.evidence import News
from trigger.watch.host import HostState
from trigger.watch.report import Report
from trigger.watch.target import places_of
from trigger.watch.targets import Targets, expectation, together
from trigger.watch.watched import Watched

SSH_TARGET = "sftp://root@nas/var/crash"
NFS_TARGET = "nfs://nas/export/crash"


def watched(*reads: str, stores: dict[str, str] | None = None, configured: str = "auto") -> Watched:
    targets = tuple(DumpTarget("ssh", read, read=read) for read in reads)
    record = Record(
        "server42", 1.0, dump_targets=targets, identity=Identity(hostname="server42"), clock_offset_s=0.0,
        build_id="ab" * 20, stext=0xFFFFFFFF9A000000, kerneloffset=0x19000000,
        host_seen_at=vmcores.CRASH_TIME - 7200.0,
    )  # fmt: skip
    known = Known(present=True, dump_target=reads[0] if reads else "", record=record)
    host = Host("server42", ssh=Ssh("192.0.2.7"), controllers=(), dump_target=configured)
    target = configured if configured != "auto" else known.dump_target
    fired = vmcores.CRASH_TIME - 2.0
    return Watched(host, target, known, "accepted", fired, fired + 3600, dump_stores=stores or {})


def test_a_target_that_only_the_host_names_is_not_opened_and_the_line_to_add_is_told() -> None:
    for read, how in ((SSH_TARGET, SSH_TARGET), (NFS_TARGET, "/where/it/is/mounted or sftp://host/path")):
        [place] = places_of(watched(read))
        assert place.target is None
        assert f'dump_stores: {{"{read}": "{how}"}}' in place.problem
    [place] = places_of(watched(SSH_TARGET, stores={SSH_TARGET: SSH_TARGET}))
    assert place.target is not None
    assert place.target.url == SSH_TARGET


@pytest.mark.parametrize(
    ("read", "prefix"),
    [
        ("nfs://nas.example.com/export/crash/web", "nas.example.com:/export/crash"),
        ("nfs://[fd00::7]/export/web", "[fd00::7]:/export"),
        ("sftp://root@nas/var/crash", "ssh://nas/var/crash"),
        ("sftp://root@nas/var/crash", "scp://root@nas/"),
        ("cifs://nas/share", "smb://nas/share/"),
    ],
)
def test_a_prefix_may_be_written_as_kdump_writes_it(read: str, prefix: str) -> None:
    [place] = places_of(watched(read, stores={prefix: "/mnt/here"}))
    assert place.target is not None
    assert place.target.path.startswith("/mnt/here")


@pytest.mark.parametrize("prefix", ["ssh://admin@nas/var/crash", "ssh://nas/var/cra", "nas:/var/crash", "ssh://na"])
def test_another_user_host_or_folder_is_no_prefix(prefix: str) -> None:
    [place] = places_of(watched(SSH_TARGET, stores={prefix: "/mnt/here"}))
    assert place.target is None


def test_what_the_operator_configured_is_opened_as_it_is() -> None:
    [place] = places_of(watched(SSH_TARGET, configured="sftp://backup/dumps"))
    assert place.target is not None
    assert place.target.url == "sftp://backup/dumps"


@pytest.mark.parametrize(
    ("read", "stores", "path", "shown"),
    [
        ("host:/var/crash", {}, "/var/crash/a/vmcore", "server42:/var/crash/a/vmcore"),
        (NFS_TARGET, {NFS_TARGET: "/mnt/nas"}, "/mnt/nas/a/dump", "/mnt/nas/a/dump"),
        (
            SSH_TARGET,
            {"sftp://root@nas": "sftp://me@gate:2222/nas"},
            "/nas/var/crash/127.0.0.1-2026-11-23-03:49:11/vm core",
            "sftp://me@gate:2222/nas/var/crash/127.0.0.1-2026-11-23-03:49:11/vm%20core",
        ),
        ("ftp://nas/in", {"ftp://nas": "ftp://127.0.0.1:2121"}, "/in/x", "ftp://127.0.0.1:2121/in/x"),
    ],
)
def test_a_path_is_shown_as_inspect_takes_it(read: str, stores: dict[str, str], path: str, shown: str) -> None:
    [place] = places_of(watched(read, stores=stores))
    assert place.target is not None
    assert place.shown(path, "server42") == shown


@pytest.mark.parametrize(
    ("states", "best", "final"),
    [
        ([State.WAITING, State.VERIFIED], State.VERIFIED, True),
        ([State.LANDED, State.WRITING], State.LANDED, False),
        ([State.FAILED, State.WAITING], State.WAITING, False),
        ([State.INCOMPLETE, State.UNREADABLE], State.UNREADABLE, False),
        ([State.WAITING, State.UNREADABLE], State.UNREADABLE, False),  # where nobody can look it may lie already
        ([State.INCOMPLETE, State.FAILED], State.INCOMPLETE, True),
    ],
)
def test_together(states: list[State], best: State, final: bool) -> None:
    over = (State.VERIFIED, State.FAILED, State.INCOMPLETE)
    for order in (states, states[::-1]):
        found = together([TargetState(state, final=state in over) for state in order])
        assert (found.state, found.final) == (best, final)


def test_nothing_was_found_only_once_every_place_was_listed_after_the_host_was_back() -> None:
    old, new = TargetState(State.WAITING), TargetState(State.WAITING, searched=True)
    over = TargetState(State.FAILED, final=True)
    assert not together([new, old]).searched
    assert together([new, over, new]).searched


def test_a_listing_from_before_the_host_was_back_is_none_of_after(tmp_path: Path) -> None:
    """The listing hangs while the host comes back: what it did not show may have come since."""
    back: list[bool] = []

    class Slow(LocalStore):
        def list(self, path: str) -> dict[str, Entry]:
            found = super().list(path)
            back.append(True)
            return found

    _, states = watch(tmp_path, seconds=10.0, factory=Slow, back=lambda: bool(back))
    assert [(state.state, state.searched) for state in states[:2]] == [(State.WAITING, False), (State.WAITING, True)]


def test_landed_at_one_of_three_is_landed_and_each_tells(tmp_path: Path) -> None:
    """Three folders: one gets a dump, one a dump that was cut, one is not mapped."""
    core = vmcores.flattened(vmcores.kdump_writes(vmcores.memory(60)))
    for name, pieces in (("good", [core]), ("cut", [core[:-16]])):
        (tmp_path / name).mkdir()
        for _, step in savers.debian("server42-")(tmp_path / name, pieces):
            step()
    stores = {"nfs://a/good": str(tmp_path / "good"), "nfs://b/cut": str(tmp_path / "cut")}
    heard: list[News] = []
    stop, clock = threading.Event(), SystemClock()
    targets = Targets(
        watched("nfs://b/cut", "nfs://a/good", "nfs://c/none", stores=stores), clock, Deadline(60, clock),
        heard.append, stop, HostState,
    )  # fmt: skip
    threads = [threading.Thread(target=targets.watch, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    await_state(heard, State.VERIFIED)
    stop.set()
    for thread in threads:
        thread.join(60)
    told = [news.text for news in heard if isinstance(news, Report)]
    assert any(text.startswith("nfs://a/good: verified") for text in told)
    assert any(text.startswith("nfs://b/cut: landed") for text in told)
    assert any(text.startswith("nfs://c/none: unreadable") and "dump_stores" in text for text in told)
    last = [news for news in heard if isinstance(news, TargetState)][-1]
    assert (last.state, last.path.startswith(str(tmp_path / "good"))) == (State.VERIFIED, True)
    assert not targets.own_disk


def test_what_lies_at_a_mapped_target_before_the_fire_is_known(tmp_path: Path) -> None:
    (tmp_path / "127.0.0.1-2026-11-22-01:02:03").mkdir()
    before = BaselineProbe("nfs://nas/export/crash", {"nas:/export/crash": str(tmp_path)}).result()
    assert before is not None
    assert (before.path, list(before.entries or {})) == (str(tmp_path), ["127.0.0.1-2026-11-22-01:02:03"])
    for where, stores in (("nfs://nas/x", {}), ("sftp://nas/x", {"ssh://nas": "sftp://192.0.2.1"}), ("host:/x", {})):
        assert BaselineProbe(where, stores).result() is None


def test_the_record_is_handed_to_the_verification() -> None:
    known = expectation(watched(SSH_TARGET))
    assert (known.build_id, known.stext, known.kernel_offset) == ("ab" * 20, 0xFFFFFFFF9A000000, 0x19000000)
    assert known.recorded_at == vmcores.CRASH_TIME - 7200.0
    assert not known.same_boot


def test_the_hosts_own_disk_is_not_read_while_it_runs_the_boot_of_before_the_shot(tmp_path: Path) -> None:
    """It crashed and came back 13 seconds before a shot that it ignored: no clock tells that dump from a new one."""
    core = vmcores.flattened(vmcores.kdump_writes(vmcores.memory(60)))
    for _, step in savers.debian("server42-")(tmp_path, [core]):
        step()
    shot = watched("host:/var/crash")._replace(fired_at=vmcores.CRASH_TIME + 13.0)
    host = HostState("banner", "same")
    heard: list[News] = []
    stop, clock = threading.Event(), SystemClock()
    targets = Targets(shot, clock, Deadline(60, clock), heard.append, stop, lambda: host)
    [place] = targets.places
    assert place.target is not None
    assert place.target.own_disk
    targets.places = (place._replace(target=replace(place.target, path=str(tmp_path), open=LocalStore)),)
    thread = threading.Thread(target=targets.watch, args=(0,))
    thread.start()
    await_state(heard, State.UNREADABLE)
    time.sleep(2.5)  # more than one look
    assert not [news for news in heard if isinstance(news, TargetState) and news.path]
    host = HostState("banner", "new")  # what was kept from it then: it would have been taken
    await_state(heard, State.VERIFIED)
    stop.set()
    thread.join(60)


def await_state(heard: list[News], state: State) -> None:
    end = time.monotonic() + 60
    while not any(isinstance(news, TargetState) and news.state is state for news in list(heard)):
        assert time.monotonic() < end
        time.sleep(0.05)
