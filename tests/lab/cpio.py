"""Write an initramfs: the kernel's "newc" cpio format, without root and without the cpio program."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

_TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class Entry:
    """One file, folder, symbolic link or character device of the archive."""

    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def file(data: bytes, permissions: int = 0o644) -> Entry:
    """Return an ordinary file."""
    return Entry(stat.S_IFREG | permissions, data)


def program(data: bytes) -> Entry:
    """Return an executable file."""
    return file(data, 0o755)


def folder(permissions: int = 0o755) -> Entry:
    """Return a folder."""
    return Entry(stat.S_IFDIR | permissions)


def link(target: str) -> Entry:
    """Return a symbolic link."""
    return Entry(stat.S_IFLNK | 0o777, target.encode())


def character_device(major: int, minor: int) -> Entry:
    """Return a character device."""
    return Entry(stat.S_IFCHR | 0o600, device=(major, minor))


def _record(number: int, name: str, entry: Entry) -> bytes:
    raw_name = name.encode() + b"\0"
    fields = (
        number, entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0, *entry.device, len(raw_name), 0,
    )  # fmt: skip
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + raw_name
    return _padded(head) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def archive(tree: Mapping[str, Entry]) -> bytes:
    """Return the archive of a tree given as path -> entry; missing parent folders are added."""
    whole = dict(tree)
    for path in tree:
        for parent in PurePosixPath(path).parents:
            if str(parent) != ".":
                whole.setdefault(str(parent), folder())
    records = [_record(number, path, whole[path]) for number, path in enumerate(sorted(whole), start=1)]
    return b"".join(records) + _record(0, _TRAILER, Entry(0))
