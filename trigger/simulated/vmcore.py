"""Writes a small, well-formed dump in makedumpfile's compressed format, plain or flattened.

The format is makedumpfile's (diskdump_mod.h, IMPLEMENTATION): main header, sub header with notes, two bitmaps, page
descriptors, pages; 64-bit little-endian, header version 6. A dump is made as (offset, bytes) records in the order
in which makedumpfile writes, so that a reader can watch it grow.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from trigger.simulated.crashed_memory import IMAGE_AT, IMAGE_BYTES, PAGE, Crash, image, utsname, vmcoreinfo

DUMP_LEVEL = 31
COMPRESSED_ZLIB, INCOMPLETE = 0x1, 0x8  # status bits of the header; 0x8 is what ENOSPC leaves
PAGE_IS_ZLIB = 0x1
_SUB_HEADER = 104
_BATCH = 16  # pages to a record, 64 KiB before compression, as makedumpfile's cache

FLAT_END = struct.pack(">qq", -1, -1)
"""The last 16 bytes of a complete flattened dump."""


def records(crash: Crash, *, memory_pages: int, dump_pages: int, status: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield the dump of `crash` as (file offset, bytes), headers first, in the order of writing.

    `memory_pages` is the machine's memory and `dump_pages` how many of them the dump holds, both in 4 KiB pages;
    `status` is or-ed to the header's (INCOMPLETE).
    """
    pages = _pages(crash, memory_pages, dump_pages)
    notes = _notes(crash)
    sub_blocks = -(-(_SUB_HEADER + len(notes)) // PAGE)
    half = -(-memory_pages // 8 // PAGE) * PAGE
    bitmaps = (1 + sub_blocks) * PAGE
    yield 0, _main_header(crash, sub_blocks, 2 * half // PAGE, memory_pages, status)
    yield PAGE, _sub_header(crash, notes, memory_pages) + notes
    yield bitmaps, _bitmap(range(memory_pages), half)
    yield bitmaps + half, _bitmap(pages, half)
    descriptors = bitmaps + 2 * half
    end = descriptors + 24 * len(pages)
    yield end, bytes(PAGE)  # the zero page that all zero pages would share
    end += PAGE
    numbers = sorted(pages)
    for first in range(0, len(numbers), _BATCH):
        table, data = b"", b""
        for number in numbers[first : first + _BATCH]:
            packed = zlib.compress(pages[number], 1)
            table += struct.pack("<qIIQ", end + len(data), len(packed), PAGE_IS_ZLIB, 0)
            data += packed
        yield end, data
        yield descriptors + 24 * first, table
        end += len(data)


def write_plain(file: BinaryIO, record: tuple[int, bytes]) -> None:
    """Write one record to where it belongs in a plain dump."""
    file.seek(record[0])
    file.write(record[1])


def flattened(parts: Iterable[tuple[int, bytes]]) -> Iterator[bytes]:
    """Yield the flattened form (makedumpfile -F): header, then each record behind its offset and size, then the end."""
    yield (b"makedumpfile".ljust(16, b"\0") + struct.pack(">qq", 1, 1)).ljust(4096, b"\0")
    for offset, data in parts:
        yield struct.pack(">qq", offset, len(data)) + data
    yield FLAT_END


def _pages(crash: Crash, memory_pages: int, dump_pages: int) -> dict[int, bytes]:
    """Return the pages that the dump holds: the kernel's image, and noise that compresses by about a half."""
    kernel = image(crash)
    first = IMAGE_AT // PAGE
    if memory_pages < first + IMAGE_BYTES // PAGE or dump_pages < IMAGE_BYTES // PAGE:
        raise ValueError("the dump is too small for the kernel's image")
    pages = {first + n: kernel[n * PAGE : (n + 1) * PAGE] for n in range(IMAGE_BYTES // PAGE)}
    noise = random.Random(crash.boot.seed)  # noqa: S311 -- repeatable, not secret
    while len(pages) < dump_pages:
        pages.setdefault(noise.randrange(memory_pages), noise.randbytes(PAGE // 2) + bytes(PAGE // 2))
    return pages


def _main_header(crash: Crash, sub_blocks: int, bitmap_blocks: int, memory_pages: int, status: int) -> bytes:
    seconds, micro = int(crash.time), int(crash.time % 1 * 1_000_000)
    header = b"KDUMP   " + struct.pack("<i", 6) + utsname(crash).ljust(396, b"\0")
    header += struct.pack("<qq", seconds, micro)
    header += struct.pack("<Iii", COMPRESSED_ZLIB | status, PAGE, sub_blocks)
    return header + struct.pack("<IIIIIIi", bitmap_blocks, memory_pages, 0, 0, 0, 0, 1)


def _sub_header(crash: Crash, notes: bytes, memory_pages: int) -> bytes:
    info = vmcoreinfo(crash)
    at = PAGE + _SUB_HEADER
    phys_base = crash.boot.phys_base & 0xFFFF_FFFF_FFFF_FFFF
    split, no_eraseinfo = (0, 0), (0, 0)
    places = (at + notes.index(info), len(info), at, len(notes), *no_eraseinfo)
    return struct.pack("<Qii11Q", phys_base, DUMP_LEVEL, 0, *split, *places, *split, memory_pages)


def _notes(crash: Crash) -> bytes:
    """Return the ELF notes: the registers of one CPU, and VMCOREINFO."""
    return _note(b"CORE\0", 1, bytes(336)) + _note(b"VMCOREINFO\0", 0, vmcoreinfo(crash))


def _note(name: bytes, kind: int, content: bytes) -> bytes:
    header = struct.pack("<III", len(name), len(content), kind)
    return header + name.ljust(-(-len(name) // 4) * 4, b"\0") + content.ljust(-(-len(content) // 4) * 4, b"\0")


def _bitmap(numbers: Iterable[int], size: int) -> bytes:
    """Return a bitmap of `size` bytes with the bits of `numbers` set, the lowest page in the lowest bit."""
    bits = bytearray(size)
    for number in numbers:
        bits[number >> 3] |= 1 << (number & 7)
    return bytes(bits)
