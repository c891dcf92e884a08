"""`trigger history` and `trigger report` where they meet another locale, a full disk, a damaged journal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit import incidents
from tests.unit.incidents import HOST, RUN, Incident

OTHER = "server43"


@pytest.fixture
def whole(tmp_path: Path) -> Incident:
    made = incidents.whole(tmp_path / "state")
    (tmp_path / "config.yaml").write_text(f"state_dir: {made.state.path}\n")
    return made


def run(folder: Path, *words: str, out: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run the real program; its output goes to the file `out`, if there is one."""
    whole = {"PATH": os.environ["PATH"], "HOME": str(folder), "TRIGGER_CONFIG": str(folder / "config.yaml")}
    with Path(out or os.devnull).open("wb") as file:
        return subprocess.run(
            [sys.executable, "-m", "trigger", *words], env={**whole, **environment}, timeout=60,
            stdout=file if out else subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder,
        )  # fmt: skip


def unreadable(made: Incident) -> None:
    """Give another host a journal that is none."""
    (made.state.path / "hosts" / OTHER / "journal.jsonl").mkdir(parents=True, mode=0o700)
    (made.state.path / "hosts" / OTHER).chmod(0o700)


@pytest.mark.parametrize("form", ["text", "md", "html", "json"])
@pytest.mark.parametrize("encoding", ["iso8859-15", "latin-1"])
def test_what_a_locale_cannot_show_is_written_out(tmp_path: Path, form: str, encoding: str) -> None:
    made = Incident(tmp_path / "state")
    made.fire()
    made.console(((0.1, "saving to 日本語 über\r\n"),))
    made.close()
    (tmp_path / "config.yaml").write_text(f"state_dir: {made.state.path}\n")
    done = run(tmp_path, "report", "--format", form, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert b"\\u65e5" in done.stdout if form != "html" else "日本語".encode() in done.stdout, "a page is UTF-8"


def test_a_full_disk_is_no_bug(whole: Incident, tmp_path: Path) -> None:
    for words in (("report",), ("history",), ("history", "--run", RUN)):
        done = run(tmp_path, *words, out="/dev/full")
        assert done.returncode == 1
        assert done.stderr.decode() == "trigger: the output cannot be written: No space left on device.\n"


def test_one_journal_that_cannot_be_read_hides_no_other(whole: Incident, tmp_path: Path) -> None:
    unreadable(whole)
    done = run(tmp_path, "history", "--json")
    assert done.returncode == 5, "the list is not whole"
    assert [json.loads(line)["run"] for line in done.stdout.splitlines()] == [RUN]
    assert f"hosts/{OTHER}/journal.jsonl cannot be read" in done.stderr.decode()
    for words in (("history", HOST), ("history", "--run", RUN), ("report", RUN), ("report", "--host", HOST)):
        done = run(tmp_path, *words)
        assert (done.returncode, done.stderr) == (0, b""), words
    for more in (("history", OTHER), ("history", "--run", "20260101T000000-000000"), ("report",)):
        done = run(tmp_path, *more)
        assert done.returncode == 5, more
        assert f"hosts/{OTHER}/journal.jsonl cannot be read" in done.stderr.decode()
