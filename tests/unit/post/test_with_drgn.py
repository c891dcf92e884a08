"""drgn as a second opinion: in a child, bounded, and only where it is installed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from trigger.clock import Deadline
from trigger.post.with_drgn import second_opinion

DRGN = """
class MissingDebugInfoError(Exception): pass
class FaultError(Exception): pass
class Text:
    def __init__(self, text): self.text = text
    def string_(self): return self.text
class Program:
    def set_core_dump(self, path): self.dump = open(path).read(); {at_open}
    def __getitem__(self, name): return Text(b"6.1.0\\x1b[2J")
    def load_debug_info(self, **what): {at_debuginfo}
    def crashed_thread(self):
        task = type("Task", (), dict(comm=Text(b"sh"), pid=7))
        return type("Thread", (), dict(object=task, stack_trace=lambda self: "#0 panic\\n#1 sysrq_handle_crash"))()
"""


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    (tmp_path / "vmcore").write_text("a dump")
    return tmp_path / "vmcore"


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, at_open: str = "pass", at_debuginfo: str = "pass") -> None:
    """Put a drgn on the path that behaves as the real one does at these two places."""
    (folder / "drgn.py").write_text(DRGN.replace("{at_open}", at_open).replace("{at_debuginfo}", at_debuginfo))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "drgn", raising=False)


def test_without_drgn_there_is_no_opinion(dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert second_opinion(str(dump), Deadline(10)) is None


def test_the_stack_of_the_crashed_thread(dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch)
    found = second_opinion(str(dump), Deadline(20))
    assert found is not None
    assert found.opened
    assert found.text == "drgn opens it: Linux 6.1.0\\x1b[2J, crashed in sh (7)"
    assert found.stack == ("#0 panic", "#1 sysrq_handle_crash")


def test_without_debuginfo_it_opens_it_all_the_same(
    dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, at_debuginfo="raise MissingDebugInfoError('none')")
    found = second_opinion(str(dump), Deadline(20))
    assert found is not None
    assert (found.opened, found.stack) == (True, ())


@pytest.mark.parametrize(
    ("at_open", "words"),
    [
        ("raise ValueError('not a core dump')", "not a core dump"),
        ("import os; os.abort()", "it crashed"),
        ("print('{'); raise SystemExit(0)", "something else"),
    ],
)
def test_what_drgn_cannot_open(
    at_open: str, words: str, dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, at_open=at_open)
    found = second_opinion(str(dump), Deadline(20))
    assert found is not None
    assert not found.opened
    assert words in found.text


def test_a_drgn_that_hangs_is_ended(dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, at_open="import time; time.sleep(60)")
    begun = time.monotonic()
    found = second_opinion(str(dump), Deadline(0.5))
    assert found is not None
    assert "in time" in found.text
    assert time.monotonic() - begun < 10
