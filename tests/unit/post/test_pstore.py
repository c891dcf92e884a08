"""The kernel's last words where there is no dump."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trigger.post import pstore
from trigger.post.target import LocalStore

PARTS = {
    "dmesg-efi-179000000001001": "Panic#1 Part1\n[ 9.2] Kernel panic - not syncing: NMI: Not continuing\n",
    "dmesg-efi-179000000002001": "Panic#1 Part2\n[ 9.1] Uhhuh. NMI received for unknown reason 21 on CPU 0.\n",
    "dmesg-efi-179000000003001": "Panic#1 Part3\n[ 8.0] INFO: task mysqld:7 blocked for more than 120 seconds.\n",
}


@pytest.mark.parametrize("folder", ["sys/fs/pstore", "var/lib/systemd/pstore/1790000000"])
def test_the_parts_of_a_record_are_put_in_order(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / folder
    place.mkdir(parents=True)
    for name, text in {
        **PARTS,
        "console-ramoops-0": "Kernel panic - not syncing: other",
        "dmesg.txt": "x",
    }.items():
        (place / name).write_text(text)
        os.utime(place / name, (1_790_000_000, 1_790_000_000))
    monkeypatch.setattr(pstore, "FOLDERS", tuple(str(tmp_path) + path for path in pstore.FOLDERS))
    found = pstore.last_words(LocalStore(), 1_789_999_990)
    assert found is not None
    assert found.panic == "NMI: Not continuing"
    assert "Uhhuh" in found.trigger[0]
    assert "mysqld" in found.before[0]
    assert pstore.last_words(LocalStore(), 1_790_000_010) is None


def test_a_host_without_pstore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pstore, "FOLDERS", (str(tmp_path / "none"),))
    assert pstore.last_words(LocalStore(), 0) is None


def test_parts_of_several_records_and_of_none() -> None:
    parts = ["Oops#2 Part1\nc", "Oops#1 Part2\na", "Oops#1 Part1\nb", "loose"]
    assert pstore.assemble(parts).split("\n") == ["loose", "a", "b", "c"]
