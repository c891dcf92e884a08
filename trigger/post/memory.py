"""The crashed machine's memory in a dump, by physical and by virtual address, without symbols.

VMCOREINFO gives what is needed: phys_base, init_top_pgt, and whether there are five levels of page tables
(kernel: admin-guide/kdump/vmcoreinfo.rst; arch/x86/include/asm/page_64.h, pgtable_types.h). x86_64 only.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Mapping
from typing import Protocol

from trigger.post import elf, kdump, vmcoreinfo
from trigger.post.flattened import RecordIndex
from trigger.post.reader import Malformed, Metered, View
from trigger.post.unpack import Unreadable, unpack

_PAGE = 4096
_START_KERNEL_MAP = 0xFFFFFFFF80000000
_FRAME = 0x000FFFFFFFFFF000
_MAX_BITMAP = 1024 * 1024 * 1024
_COUNTED = 32 * 1024  # bytes of bitmap between two running counts


class Physical(Protocol):
    """Memory by physical address."""

    def read(self, address: int, length: int) -> bytes:
        """Return memory; raises Unreadable or Malformed when it is not in the dump."""
        ...


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
    """Memory by the kernel's virtual addresses, on x86_64."""

    def __init__(self, physical: Physical, info: Mapping[str, str]) -> None:
        base = vmcoreinfo.number(info, "NUMBER(phys_base)")
        table = vmcoreinfo.number(info, "SYMBOL(init_top_pgt)", 16)
        if table is None:
            table = vmcoreinfo.number(info, "SYMBOL(init_level4_pgt)", 16)  # before Linux 4.13
        if base is None or table is None:
            raise Unreadable("its VMCOREINFO does not tell how to find a virtual address")
        self._physical = physical
        self._top = table - _START_KERNEL_MAP + base
        self._levels = 5 if vmcoreinfo.number(info, "NUMBER(pgtable_l5_enabled)") else 4
        self._hidden = vmcoreinfo.number(info, "NUMBER(sme_mask)") or 0
        self._known: dict[int, int] = {}

    def read(self, address: int, length: int) -> bytes:
        """Return memory, page after page; raises Unreadable or Malformed."""
        pieces = []
        while length > 0:
            start = address % _PAGE
            part = min(length, _PAGE - start)
            pieces.append(self._physical.read(self._page(address - start) + start, part))
            address, length = address + part, length - part
        return b"".join(pieces)

    def number(self, address: int, size: int) -> int:
        """Return an unsigned little-endian number of `size` bytes."""
        return int.from_bytes(self.read(address, size), "little")

    def _page(self, address: int) -> int:
        """Return the physical address of a page by walking the page tables; large pages end the walk early."""
        if address not in self._known:
            table = self._top
            for level in range(self._levels - 1, -1, -1):
                shift = 12 + 9 * level
                entry = int.from_bytes(self._physical.read(table + ((address >> shift) & 511) * 8, 8), "little")
                if not entry & 1:
                    raise Unreadable(f"the address {address:#x} is not mapped")
                table = entry & _FRAME & ~self._hidden
                if level and entry & 0x80:
                    table = (table >> shift << shift) + (address & ((1 << shift) - 1))
                    break
            self._known[address] = table
        return self._known[address]
