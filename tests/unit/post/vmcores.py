"""A strict writer of dumps for tests, step by step in makedumpfile's order, so that it can be killed anywhere.

`kdump_writes` and `elf_writes` return the writes of the file as (offset, data); `plain` and `flattened` put them
(or the first of them) together as the file would be on disk, and as a pipe would carry them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

Write = tuple[int, bytes]

PAGE = 4096
CRASH_TIME = 1_790_000_000
RELEASE = "6.1.0-30-amd64"
BUILD_ID = "5a17c0ffee5a17c0ffee5a17c0ffee5a17c0ffee"
STEXT = 0xFFFFFFFF9C000000
KERNEL_OFFSET = 0x1B000000
ZLIB, LZO, SNAPPY, INCOMPLETE, ZSTD = 1, 2, 4, 8, 0x20


def vmcoreinfo(crash_time: int | None = CRASH_TIME, extra: str = "") -> bytes:
    text = f"OSRELEASE={RELEASE}\nBUILD-ID={BUILD_ID}\nPAGESIZE={PAGE}\nSYMBOL(_stext)={STEXT:x}\n"
    text += f"KERNELOFFSET={KERNEL_OFFSET:x}\n{extra}"
    return (text + (f"CRASHTIME={crash_time}\n" if crash_time is not None else "")).encode()


def memory(pages: int = 400) -> dict[int, bytes]:
    """Page frames 0, 3, 6 ...: text, noise, zeros and 0xFF."""
    kinds = (b"trigger " * 512, bytes(PAGE), b"\xff" * PAGE)
    noise = (bytes((i * 2654435761 >> 7) & 0xFF for i in range(n, n + PAGE)) for n in range(pages))
    return {3 * n: page if n % 2 else kinds[n // 2 % 3] for n, page in enumerate(noise)}


def main_header(
    nodename: str = "server42", status: int = ZLIB, bitmap_blocks: int = 2, max_mapnr: int = 1,
    crash_time: int = CRASH_TIME, signature: bytes = b"KDUMP   ", version: int = 6,
) -> bytes:  # fmt: skip
    names = ("Linux", nodename, RELEASE, "#1 SMP PREEMPT_DYNAMIC Debian", "x86_64", "(none)")
    uts = b"".join(name.encode().ljust(65, b"\0") for name in names)
    header = signature + struct.pack("<i", version) + uts
    header = header.ljust(408, b"\0") + struct.pack("<qq", crash_time, 250_000)
    header += struct.pack("<IiiIIIIIIi", status, PAGE, 1, bitmap_blocks, max_mapnr & 0xFFFFFFFF, 0, 0, 0, 0, 4)
    assert len(header) == 464
    return header


def sub_header(
    info_size: int, max_mapnr: int, split: tuple[int, int] | None = None, erase: tuple[int, int] = (0, 0)
) -> bytes:
    start, end = split or (0, 0)
    return struct.pack(
        "<QiiQQqQqQqQQQQ", 0, 31, int(split is not None), start, end, PAGE + 104, info_size, 0, 0, *erase,
        start, end, max_mapnr,
    )  # fmt: skip


def kdump_writes(
    pages: dict[int, bytes], *, nodename: str = "server42", status: int = ZLIB, crash_time: int = CRASH_TIME,
    cycles: int = 2, split: tuple[int, int] | None = None, info: bytes | None = None,
) -> list[Write]:  # fmt: skip
    """Header, first bitmap, zero page; then per cycle a piece of the second bitmap, page data, descriptors."""
    info = vmcoreinfo(crash_time) if info is None else info
    max_mapnr = max(pages) + 1
    half = -(-max_mapnr // 8 // PAGE) * PAGE or PAGE
    start, end = split or (0, max_mapnr)
    mine = sorted(pfn for pfn in pages if start <= pfn < end)
    header = main_header(nodename, status, 2 * half // PAGE, max_mapnr, crash_time)
    bitmap_at, table = 2 * PAGE, 2 * PAGE + 2 * half
    data_at = table + 24 * len(pages)  # each part of a split dump has room for the descriptors of all
    writes: list[Write] = [
        (0, header),
        (PAGE, sub_header(len(info), max_mapnr, split)),
        (PAGE + 104, info),
        (bitmap_at, bitmap(range(max_mapnr), half)),
        (data_at, bytes(PAGE)),
    ]
    position, done = data_at + PAGE, 0
    per_cycle = -(-len(mine) // cycles)
    saved: list[int] = sorted(pfn for pfn in pages if pfn < start)
    for number in range(cycles):
        cycle = mine[number * per_cycle : (number + 1) * per_cycle]
        saved += cycle
        if number == cycles - 1:
            saved += sorted(pfn for pfn in pages if pfn >= end)
        writes.append((bitmap_at + half, bitmap(saved, half)))
        for group in (cycle[i : i + 64] for i in range(0, len(cycle), 64)):
            descriptors, data = b"", b""
            for pfn in group:
                page = pages[pfn]
                packed = zlib.compress(page, 1) if status & ZLIB else page
                if not any(page):
                    descriptors += struct.pack("<qIIQ", data_at, PAGE, 0, 0)
                    continue
                stored, flags = (packed, ZLIB) if len(packed) < PAGE else (page, 0)
                descriptors += struct.pack("<qIIQ", position + len(data), len(stored), flags, 0)
                data += stored
            writes += [(table + 24 * done, descriptors), (position, data)]
            position, done = position + len(data), done + len(group)
    return [write for write in writes if write[1]]


def bitmap(pfns: Sequence[int] | range, length: int) -> bytes:
    bits = bytearray(length)
    for pfn in pfns:
        bits[pfn >> 3] |= 1 << (pfn & 7)
    return bytes(bits)


def elf_writes(
    pages: dict[int, bytes], *, flags: int = 0, crash_time: int | None = CRASH_TIME, nodename: str = "server42",
    note: str = "VMCOREINFO",
) -> list[Write]:  # fmt: skip
    """ELF header and notes, then segment after segment its program header and its data, as makedumpfile -E."""
    names = b"".join(name.encode().ljust(65, b"\0") for name in ("Linux", nodename))
    pages = {**pages, 1 << 20: names.ljust(PAGE, b"\0")}
    symbols = f"SYMBOL(init_uts_ns)={0xFFFFFFFF9D000000:x}\nOFFSET(uts_namespace.name)=4\n"
    info = vmcoreinfo(crash_time, symbols)
    notes = elf_note("CORE", 1, bytes(336)) + elf_note(note, 0, info)
    count = 1 + len(pages)
    notes_at = 64 + 56 * count
    data_at = -(-(notes_at + len(notes)) // PAGE) * PAGE
    header = b"\x7fELF\2\1\1".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, flags, 64, 56, count, 0, 0, 0
    )
    writes = [(0, header), (64, struct.pack("<IIQQQQQQ", 4, 0, notes_at, 0, 0, len(notes), len(notes), 0))]
    writes.append((notes_at, notes))
    for number, (pfn, page) in enumerate(sorted(pages.items())):
        at = data_at + PAGE * number
        virtual = 0xFFFFFFFF9D000000 + 4 if pfn == 1 << 20 else 0xFFFF888000000000 + pfn * PAGE
        load = struct.pack("<IIQQQQQQ", 1, 7, at, virtual, pfn * PAGE, PAGE, PAGE, 0)
        writes += [(at, page), (64 + 56 * (number + 1), load)]
    return writes


def elf_note(name: str, kind: int, descriptor: bytes) -> bytes:
    raw = name.encode() + b"\0"
    padded = raw + bytes(-len(raw) % 4)
    return struct.pack("<III", len(raw), len(descriptor), kind) + padded + descriptor + bytes(-len(descriptor) % 4)


def plain(writes: Sequence[Write]) -> bytes:
    out = bytearray()
    for offset, data in writes:
        if len(out) < offset:
            out += bytes(offset - len(out))
        out[offset : offset + len(data)] = data
    return bytes(out)


def flattened(writes: Sequence[Write], *, end: bool = True) -> bytes:
    out = b"makedumpfile".ljust(16, b"\0") + struct.pack(">qq", 1, 1)
    out = out.ljust(4096, b"\0")
    for offset, data in writes:
        out += struct.pack(">qq", offset, len(data)) + data
    return out + (b"\xff" * 16 if end else b"")
