"""When there is no dump: the kernel's last words in pstore, on the host, once it is back.

/sys/fs/pstore holds what the firmware or a reserved piece of memory kept over the reboot (Documentation/ABI/testing/
pstore); systemd-pstore(8) moves it to /var/lib/systemd/pstore. A record is cut into parts, the last words first.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from trigger.post import first_look
from trigger.post.landing import Entry
from trigger.post.target import Store

FOLDERS = ("/sys/fs/pstore", "/var/lib/systemd/pstore")
_MAX_FILES = 200
_MAX_BYTES = 256 * 1024
# efi, erst, ramoops and blk name their records so, systemd keeps the names; .enc.z is compressed still
_RECORD = re.compile(r"dmesg-[a-z-]+-?\d+")
_HEADER = re.compile(r"(?:Panic|Oops|Emergency|Shutdown)#(\d+) Part(\d+)\n")


def last_words(store: Store, since: float) -> first_look.FirstLook | None:
    """Return a first look at the records that were made after `since` (seconds since the epoch), None without one.

    Raises OSError or DriverError when the store fails; a folder that is not there is none.
    """
    parts = []
    for path, entry in _records(store):
        if entry.mtime >= since:
            with contextlib.closing(store.open(path)) as reader:
                parts.append(reader.read_at(0, min(reader.size(), _MAX_BYTES)).decode("utf-8", "replace"))
    return first_look.look(assemble(parts)) if parts else None


def assemble(parts: list[str]) -> str:
    """Put the parts of a record in order: Part1 holds its end. Parts without a header keep their order."""

    def place(numbered: tuple[int, str]) -> tuple[int, int, int]:
        number, text = numbered
        header = _HEADER.match(text)
        return (int(header[1][:9]), -int(header[2][:9]), number) if header else (0, 0, number)

    ordered = [text for _, text in sorted(enumerate(parts), key=place)]
    return "\n".join(_HEADER.sub("", text, count=1) for text in ordered)


def _records(store: Store) -> Iterator[tuple[str, Entry]]:
    """Yield the records in both folders and, as systemd makes one for each crash, one folder deeper."""
    count = 0
    for folder in FOLDERS:
        for path, entry in _below(store, folder, deeper=True):
            if _RECORD.fullmatch(entry.name) and (count := count + 1) <= _MAX_FILES:
                yield path, entry


def _below(store: Store, folder: str, *, deeper: bool) -> Iterator[tuple[str, Entry]]:
    try:
        listing = store.list(folder)
    except FileNotFoundError:
        return
    for name, entry in sorted(listing.items()):
        if not entry.is_dir:
            yield f"{folder}/{name}", entry
        elif deeper:
            yield from _below(store, f"{folder}/{name}", deeper=False)
