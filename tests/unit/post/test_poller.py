"""Watching a target: every saver killed after every step, and whose dump it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.post import savers, vmcores
from tests.unit.post.savers import SAVERS, Saver, Step
from tests.unit.post.watching import core_of, pieces, watch
from trigger.post.landing import Baseline, Entry, State
from trigger.post.target import LocalFile, LocalStore, baseline
from trigger.post.verify import Identity

PANIC = "sysrq triggered crash"


def cases() -> Iterator[tuple[Saver, int, bool]]:
    for saver in SAVERS:
        count = len(list(saver.steps(Path("unused"), pieces(core_of(saver.flattened)))))
        for killed_after in range(count + 1):
            for back in (False, True):
                yield saver, killed_after, back


@pytest.mark.parametrize(
    ("saver", "killed_after", "back"),
    list(cases()),
    ids=lambda value: value.name if isinstance(value, Saver) else str(value),
)
def test_a_saver_killed_after_any_step(saver: Saver, killed_after: int, back: bool, tmp_path: Path) -> None:
    """The verdict is "verified" only when the finished file is there, and always when the saver got that far."""
    whole = core_of(saver.flattened)
    steps = list(saver.steps(tmp_path, pieces(whole)))[:killed_after]
    done = [name for name, _ in steps]
    clock_steps = [step for _, step in steps]
    remaining = [*clock_steps, lambda: flags.append(True)] if back else clock_steps
    flags: list[bool] = []
    last, _ = watch(tmp_path, remaining, seconds=len(steps) * 2 + 90.0, back=lambda: bool(flags))
    there = [path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == whole]
    landed = saver.landed_by in done or (saver.landed_by == "core last" and bool(there))
    if landed or (back and there):
        assert last.state is State.VERIFIED, last
        assert Path(last.path) in there
        assert last.bytes == len(whole)
        assert last.look is None if saver.name == "RHEL raw" else last.look and last.look.panic == PANIC
    else:
        assert last.state not in (State.VERIFIED, State.LANDED), last
    if back and not landed and not there and any("core" in name for name in done):
        # A shared server's folder named by an address is not surely ours until its dump says so.
        assert last.state in (State.INCOMPLETE, State.FAILED), last
    if not back and not landed:
        assert last.state is State.TIMED_OUT, last


@pytest.mark.parametrize("saver", SAVERS, ids=lambda saver: saver.name)
def test_a_dump_whose_writer_died_under_a_final_name(saver: Saver, tmp_path: Path) -> None:
    """Debian has no pipefail; a full disk, a broken mount: the saver goes on as if nothing had happened."""
    for lost in (1, 17, 5000):
        target = tmp_path / str(lost)
        target.mkdir()
        steps = [step for _, step in saver.steps(target, pieces(core_of(saver.flattened)[:-lost]))]
        last, seen = watch(target, steps, seconds=1200.0 if saver.landed_by == "core last" else 200.0)
        assert last.state is State.INCOMPLETE, last
        assert last.facts is not None
        assert last.facts.fault in ("marker", "truncated")
        assert State.VERIFIED not in [state.state for state in seen]


def test_every_phase_is_told_once_and_in_order(tmp_path: Path) -> None:
    steps = [step for _, step in savers.debian("10.0.0.7-")(tmp_path, pieces(core_of(True)))]
    last, seen = watch(tmp_path, steps)
    phases = [state.state for state in seen]
    order = [State.WAITING, State.WRITING, State.LANDED, State.VERIFIED]
    assert sorted(set(phases), key=phases.index) == order
    assert phases == sorted(phases, key=order.index)
    sizes = [state.bytes for state in seen if state.state is State.WRITING]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 3
    assert any(state.rate > 0 for state in seen)
    assert last.verdict is not None
    assert last.verdict.identity is Identity.OURS


def test_a_shared_server_where_another_host_dumps_at_the_same_time(tmp_path: Path) -> None:
    other = list(savers.debian("10.0.0.8-")(tmp_path, pieces(core_of(True, nodename="web7"))))
    ours = list(savers.rhel("10.0.0.7", "vmcore.flat")(tmp_path, pieces(core_of(True))))
    last, seen = watch(tmp_path, [step for _, step in [*other, *ours]])
    assert last.state is State.VERIFIED
    assert "10.0.0.7" in last.path
    assert last.ours
    assert not any(state.ours for state in seen if "10.0.0.8" in state.path)
    assert any("web7" in text for text in last.others)
    alone, _ = watch(tmp_path, before=Baseline(str(tmp_path), {Path(last.path).parent.name: Entry("x")}))
    assert alone.state is State.TIMED_OUT
    assert any("web7" in text for text in alone.others)


def test_what_lay_there_before_is_never_ours(tmp_path: Path) -> None:
    for _, step in savers.rhel("127.0.0.1", "vmcore")(tmp_path, pieces(core_of(False))):
        step()
    last, _ = watch(tmp_path, before=baseline(LocalStore(), str(tmp_path)))
    assert last.state is State.TIMED_OUT
    assert watch(tmp_path)[0].state is State.VERIFIED


def test_an_older_crash_that_is_copied_there_is_never_ours(tmp_path: Path) -> None:
    core = core_of(False, crash_time=vmcores.CRASH_TIME - 3600)
    for _, step in savers.rhel("127.0.0.1", "vmcore")(tmp_path, [core]):
        step()
    last, _ = watch(tmp_path)
    assert last.state is State.TIMED_OUT
    assert any("before the fire" in text for text in last.others)


def test_nobody_elses_dump_is_ever_shown_as_landed(tmp_path: Path) -> None:
    """Without a baseline everything at the target is new, and `--until landed` would take the first."""
    older = core_of(False, crash_time=vmcores.CRASH_TIME - 3600)
    for prefix, core in (("10.0.0.8", core_of(False, nodename="web7")), ("10.0.0.7", older)):
        for _, step in savers.rhel(prefix, "vmcore")(tmp_path, [core]):
            step()
    last, seen = watch(tmp_path, before=Baseline(str(tmp_path), None))
    assert {state.state for state in [*seen, last]} <= {State.WAITING, State.TIMED_OUT}
    assert len(last.others) == 2


def test_a_log_that_cannot_be_read_does_not_hide_the_dump(tmp_path: Path) -> None:
    for _, step in savers.rhel("127.0.0.1", "vmcore")(tmp_path, [core_of(False)]):
        step()

    class NoLogs(LocalStore):
        def open(self, path: str) -> LocalFile:
            if path.endswith(".txt"):
                raise PermissionError(13, "Permission denied", path)
            return super().open(path)

    last, _ = watch(tmp_path, factory=NoLogs)
    assert (last.state, last.look) == (State.VERIFIED, None)


def test_a_dump_that_cannot_be_read_says_which(tmp_path: Path) -> None:
    for _, step in savers.rhel("127.0.0.1", "vmcore")(tmp_path, [core_of(False)]):
        step()

    class NoCores(LocalStore):
        def open(self, path: str) -> LocalFile:
            raise PermissionError(13, "Permission denied", path)

    last, _ = watch(tmp_path, factory=NoCores)
    assert last.state is State.TIMED_OUT
    assert last.reason.endswith("/vmcore: Permission denied")


def test_a_rehearsal_of_kdumpctl_is_ignored(tmp_path: Path) -> None:
    test = tmp_path / "kdump-test-1790000000-1-2026-11-23-03:49:11"
    test.mkdir()
    (test / "vmcore").write_bytes(core_of(False))
    assert watch(tmp_path)[0].reason == "nothing new is there"


def test_a_dump_that_does_not_say_whose_it_is_lands_but_is_not_verified(tmp_path: Path) -> None:
    for _, step in savers.rhel("127.0.0.1", "vmcore")(tmp_path, [core_of(False, nodename="")]):
        step()
    last, _ = watch(tmp_path)
    assert last.state is State.LANDED
    assert last.final
    assert "cannot be told" in last.reason


def test_suse_says_why_there_is_no_core(tmp_path: Path) -> None:
    folder = tmp_path / "2026-11-23-03-49"
    folder.mkdir()
    for status, words in (
        ("deleted (12 < KDUMP_FREE_DISK_SIZE 64)", "KDUMP_FREE_DISK_SIZE"),
        ("skipped", "KDUMP_DUMPFORMAT"),
        ("error while saving, return code: 1", "return code: 1"),
        ("saved successfully", "no vmcore"),
    ):
        (folder / "README.txt").write_text(
            savers.FINAL.replace("vmcore status: saved successfully", f"vmcore status: {status}")
        )
        last, _ = watch(tmp_path)
        assert last.state is State.FAILED
        assert last.final
        assert words in last.reason


def test_what_the_target_says_is_made_harmless(tmp_path: Path) -> None:
    folder = tmp_path / "evil\x1b[2J-2026-11-23-03-49"
    folder.mkdir()
    (folder / "README.txt").write_text("Kernel crashdump\nvmcore status: error \x1b]0;owned\x07\n")
    last, _ = watch(tmp_path)
    assert last.state is State.FAILED
    assert "error \\x1b]0;owned" in last.reason
    (folder / "README.txt").unlink()
    for _, step in savers.rhel("evil\x1b[2J", "vmcore")(tmp_path, [core_of(False, nodename="web7")]):
        step()
    others = watch(tmp_path)[0].others
    assert others
    assert all(text.isprintable() for text in others)


def test_debians_copy_beside_a_failed_makedumpfile(tmp_path: Path) -> None:
    folder = tmp_path / savers.STAMP
    folder.mkdir()
    (folder / "dump-incomplete").write_bytes(b"makedumpfile")
    (folder / f"vmcore.{savers.STAMP}").write_bytes(vmcores.plain(vmcores.elf_writes(vmcores.memory(9))))
    last, _ = watch(tmp_path)
    assert last.state is State.VERIFIED
    assert last.path.endswith(f"vmcore.{savers.STAMP}")


def test_a_writer_that_stalls_is_incomplete_but_not_given_up(tmp_path: Path) -> None:
    steps = [step for _, step in savers.rhel("127.0.0.1", "vmcore")(tmp_path, pieces(core_of(False)))]
    pause: list[Step] = [lambda: None] * 500  # a thousand seconds
    last, seen = watch(tmp_path, [*steps[:7], *pause, *steps[7:]], seconds=3000.0)
    assert last.state is State.VERIFIED
    stalled = [state for state in seen if state.state is State.INCOMPLETE]
    assert stalled
    assert not any(state.final for state in stalled)
    assert "nothing has been written for 15 minutes" in stalled[0].reason
