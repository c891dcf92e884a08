"""The crashed machine's memory in a dump, by physical and by virtual address, without symbols.

VMCOREINFO gives what is needed to walk the kernel's page tables (paging.py).
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Mapping

from trigger.post import elf, kdump
from trigger.post.flattened import RecordIndex
from trigger.post.paging import Physical, paging_of
from trigger.post.reader import Malformed, Metered, View
from trigger.post.unpack import Unreadable, unpack

_MAX_BITMAP = 1024 * 1024 * 1024
_COUNTED = 32 * 1024  # bytes of bitmap between two running counts


def open_physical(data: Metered, *, records: int) -> Physical:
    """Return the memory of a kdump or ELF dump, flattened or not; raises Malformed, Unreadable or TooMuch.

    At most `records` records of a flattened dump are followed: over a network each costs a round trip.
    """
    view: View = data
    if data.head.startswith(b"makedumpfile"):
        view = RecordIndex(data, records)
    if view.exactly(0, 8) == kdump.SIGNATURE:
        return KdumpMemory(view, data)
    return ElfMemory(view)


class ElfMemory:
    """Memory of an ELF core: its segments."""

    def __init__(self, view: View) -> None:
        self._view = view
        loads = [segment for segment in elf.read_header(view).segments if segment.kind == elf.PT_LOAD]
        self._segments = sorted((segment for segment in loads if segment.size), key=lambda segment: segment.physical)
        self._starts = [segment.physical for segment in self._segments]

    def read(self, address: int, length: int) -> bytes:
        """Return memory from one segment."""
        # several segments may begin at one address: the kernel's image is mapped twice
        for segment in reversed(self._segments[: bisect_right(self._starts, address)][-4:]):
            if address + length <= segment.physical + segment.size:
                return self._view.exactly(segment.offset + address - segment.physical, length)
        raise Unreadable(f"the memory at {address:#x} is not in the dump")


class KdumpMemory:
    """Memory of a kdump file: the page's place in the second bitmap is its descriptor's number."""

    def __init__(self, view: View, data: Metered) -> None:
        self._view = view
        self._header = kdump.read_header(view)
        data.allow(min(self._header.max_mapnr // 8, _MAX_BITMAP))
        self._counts = [0]  # pages before each _COUNTED bytes of the bitmap
        self._pages: dict[int, bytes] = {}

    def read(self, address: int, length: int) -> bytes:
        """Return memory, page after page."""
        size = self._header.block_size
        pieces = []
        while length > 0:
            page, start = divmod(address, size)
            part = self._page(page)[start : start + length]
            pieces.append(part)
            address, length = address + len(part), length - len(part)
        return b"".join(pieces)

    def _page(self, frame: int) -> bytes:
        if frame not in self._pages:
            header = self._header
            number = self._number(frame)
            offset, size, flags, _ = struct.unpack(
                header.order + "qIIQ", self._view.exactly(header.descriptors + 24 * number, 24)
            )
            if size > header.block_size:
                raise Malformed(f"a page descriptor names {size} bytes")
            self._pages[frame] = unpack(flags, self._view.exactly(offset, size), header.block_size)
        return self._pages[frame]

    def _number(self, frame: int) -> int:
        """Return how many pages of the dump come before this one; raises Unreadable when it is not there."""
        if not 0 <= frame < self._header.max_mapnr:
            raise Unreadable(f"page frame {frame:#x} does not exist")
        chunk, bit = divmod(frame, _COUNTED * 8)
        while len(self._counts) <= chunk:
            self._counts.append(self._counts[-1] + self._bits(len(self._counts) - 1).bit_count())
        bits = self._bits(chunk)
        if not bits >> bit & 1:
            raise Unreadable(f"page frame {frame:#x} was not saved")
        return self._counts[chunk] + (bits & ((1 << bit) - 1)).bit_count()

    def _bits(self, chunk: int) -> int:
        half = self._header.bitmap_blocks * self._header.block_size // 2
        start = chunk * _COUNTED
        raw = self._view.exactly(self._header.bitmap2 + start, max(0, min(_COUNTED, half - start)))
        return int.from_bytes(raw, "little")


class Virtual:
    """Memory by the kernel's virtual addresses, on x86_64 and aarch64."""

    def __init__(self, physical: Physical, info: Mapping[str, str]) -> None:
        self._physical = physical
        self._paging = paging_of(info)
        self._page_size = 1 << self._paging.page_bits
        self._known: dict[int, int] = {}

    def read(self, address: int, length: int) -> bytes:
        """Return memory, page after page; raises Unreadable or Malformed."""
        pieces = []
        while length > 0:
            start = address % self._page_size
            part = min(length, self._page_size - start)
            pieces.append(self._physical.read(self._page(address - start) + start, part))
            address, length = address + part, length - part
        return b"".join(pieces)

    def number(self, address: int, size: int) -> int:
        """Return an unsigned little-endian number of `size` bytes."""
        return int.from_bytes(self.read(address, size), "little")

    def _page(self, address: int) -> int:
        if address not in self._known:
            self._known[address] = self._paging.walk(self._physical, address)
        return self._known[address]
