"""makedumpfile's compressed kdump format, proved by its bitmap and the tail of its page descriptors.

Layout: makedumpfile's diskdump_mod.h and IMPLEMENTATION. The writer puts down the header with its final
flags, the first bitmap, then cycle by cycle a piece of the second bitmap, page descriptors and page data.
There is no trailer, and a valid header says nothing: a reset in the middle leaves one. What proves the end is
that every page named by the second bitmap has a descriptor, and that the last page's data lie inside the
file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from trigger.post import vmcoreinfo
from trigger.post.facts import Complete, DumpFacts
from trigger.post.reader import Malformed, Metered, TooMuch, View

SIGNATURE = b"KDUMP   "
DISKDUMP_SIGNATURE = b"DISKDUMP"

_COMPRESSION = {0: "", 1: "zlib", 2: "lzo", 4: "snappy", 0x20: "zstd"}
_COMPRESSION_BITS = 0x27
_INCOMPLETE = 0x8  # DUMP_DH_COMPRESSED_INCOMPLETE: ENOSPC
_DISKDUMP_INCOMPLETE = 0x1
_BITMAP_PIECE = 1024 * 1024
_COUNTED = 32 * 1024  # what is counted at once: larger numbers leave the processor's cache, and take twice as long
_BITMAP_LIMIT = 1024 * 1024 * 1024  # 32 TiB of memory in 4 KiB pages
_DESCRIPTOR_PIECE = 24 * 2730  # just under 64 KiB
_DESCRIPTOR_LIMIT = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Layout:
    """Offsets that differ with word size and alignment of the crashed machine. `sub` is a struct format."""

    order: str
    time: int
    time_format: str
    status: int
    sub: str


# struct kdump_sub_header: phys_base, dump_level, split, start_pfn, end_pfn, then (offset, size) of
# vmcoreinfo, notes and eraseinfo, then start_pfn_64, end_pfn_64, max_mapnr_64
_LAYOUTS = (
    _Layout("<", 408, "qq", 424, "QiiQQqQqQqQQQQ"),
    _Layout(">", 408, "qq", 424, "QiiQQqQqQqQQQQ"),
    _Layout("<", 404, "ii", 412, "IiiIIqIqIqIQQQ"),  # i386 aligns 64-bit values to 4
)
_ARM = _Layout("<", 404, "ii", 412, "IiiII4xqI4xqI4xqI4xQQQ")
_BIG_ENDIAN_32 = _Layout(">", 404, "ii", 412, "IiiII4xqI4xqI4xqI4xQQQ")


@dataclass(frozen=True, slots=True)
class Header:
    """The main header and the sub header, every number checked to be possible, offsets not yet."""

    order: str
    version: int
    utsname: tuple[str, ...]
    timestamp: float
    status: int
    block_size: int
    sub_blocks: int
    bitmap_blocks: int
    max_mapnr: int
    cpus: int
    dump_level: int | None
    split: tuple[int, int] | None
    vmcoreinfo: tuple[int, int]
    eraseinfo: tuple[int, int]

    @property
    def bitmap2(self) -> int:
        """Offset of the second bitmap, the pages that were saved."""
        return (1 + self.sub_blocks) * self.block_size + self.bitmap_blocks * self.block_size // 2

    @property
    def descriptors(self) -> int:
        """Offset of the first page descriptor."""
        return (1 + self.sub_blocks + self.bitmap_blocks) * self.block_size


def read_header(view: View) -> Header:
    """Parse the headers at the start of `view`; raises Malformed."""
    main = view.exactly(0, 464)
    layout = _find_layout(main)
    utsname = tuple(_string(main[12 + 65 * i : 77 + 65 * i]) for i in range(6))
    seconds, microseconds = struct.unpack_from(layout.order + layout.time_format, main, layout.time)
    status, block, sub_blocks, bitmap_blocks, max_mapnr = struct.unpack_from(
        layout.order + "IiiII", main, layout.status
    )
    (version,) = struct.unpack_from(layout.order + "i", main, 8)
    (cpus,) = struct.unpack_from(layout.order + "i", main, layout.status + 36)
    if not 0 <= sub_blocks <= 1_000_000:
        raise Malformed(f"its sub header has the impossible size of {sub_blocks} blocks")
    header = Header(
        layout.order, version, utsname, seconds + microseconds / 1e6, status, block, sub_blocks,
        bitmap_blocks, max_mapnr, cpus, None, None, (0, 0), (0, 0),
    )  # fmt: skip
    return _with_sub_header(view, header, layout) if sub_blocks and main[:8] == SIGNATURE else header


def _find_layout(main: bytes) -> _Layout:
    """Find byte order and word size by the one field that has few legal values: the block (page) size."""
    machine = _string(main[272:337])
    for layout in _LAYOUTS:
        (block,) = struct.unpack_from(layout.order + "i", main, layout.status + 4)
        if 4096 <= block <= 65536 and block & (block - 1) == 0:
            return _ARM if layout.time == 404 and machine.startswith("arm") else layout
    (block,) = struct.unpack_from(">i", main, _BIG_ENDIAN_32.status + 4)
    if 4096 <= block <= 65536 and block & (block - 1) == 0:
        return _BIG_ENDIAN_32
    raise Malformed("its header has no possible block size")


def _with_sub_header(view: View, header: Header, layout: _Layout) -> Header:
    """Add the sub header's fields; each counts only from the header version that brought it."""
    raw = view.exactly(header.block_size, struct.calcsize(layout.order + layout.sub))
    (_, level, split, start, end, info_at, info_size, _, _, erase_at, erase_size, start64, end64, max64) = (
        struct.unpack(layout.order + layout.sub, raw)
    )
    version = header.version
    if version >= 6:
        start, end = start64, end64
    return replace(
        header,
        max_mapnr=max64 if version >= 6 else header.max_mapnr,
        dump_level=level if version >= 1 else None,
        split=(start, end) if version >= 2 and split == 1 else None,
        vmcoreinfo=(info_at, info_size) if version >= 3 else (0, 0),
        eraseinfo=(erase_at, erase_size) if version >= 5 else (0, 0),
    )


def facts_of(view: View, facts: DumpFacts) -> tuple[Header, DumpFacts]:
    """Add to `facts` what the headers and VMCOREINFO say; completeness is left unknown. Raises Malformed."""
    header = read_header(view)
    _, nodename, release, version, machine, _ = header.utsname
    info = _vmcoreinfo(view, header)
    crashed = vmcoreinfo.crash_time(info)
    if crashed is None and 0 < header.timestamp < 2**40:
        crashed = header.timestamp
    return header, replace(
        facts,
        format="kdump",
        nodename=nodename,
        release=release or info.get("OSRELEASE", ""),
        version=version,
        machine=machine,
        crash_time=crashed,
        vmcoreinfo=info,
        dump_level=header.dump_level,
        page_size=header.block_size,
        max_pfn=header.max_mapnr,
        compression=_COMPRESSION.get(header.status & _COMPRESSION_BITS, "unknown compression"),
        cpus=header.cpus if 0 < header.cpus < 2**20 else None,
        split=header.split,
        # QEMU fills in the machine only (dump/dump.c, write_dump_header)
        producer="makedumpfile" if header.utsname[0] else "QEMU",
    )


def _vmcoreinfo(view: View, header: Header) -> dict[str, str]:
    offset, size = header.vmcoreinfo
    if not 0 < size <= vmcoreinfo.MAX_BYTES:
        return {}
    return vmcoreinfo.parse(view.exactly(offset, size))


def flag_fault(header: Header) -> str:
    """Return the writer's own word that the dump is incomplete, or ""."""
    return "makedumpfile marked it INCOMPLETE: no space left at its target" if header.status & _INCOMPLETE else ""


def prove(data: Metered, header: Header, facts: DumpFacts) -> DumpFacts:
    """Judge completeness of a plain (not flattened) file; raises Malformed with the fault, or TooMuch."""
    if fault := flag_fault(header):
        return replace(facts, complete=Complete.NO, fault="flag", reason=fault)
    if sum(header.eraseinfo) > data.size and header.eraseinfo[1] > 0:
        raise Malformed("its erase information lies past its end", "truncated")
    pages = count_pages(data, header)
    facts = replace(facts, pages=pages)
    first_data = _first_data(data, header, pages)
    if pages == 0:
        return replace(facts, complete=Complete.YES, reason="no page is in this part of the split dump")
    end = _end_of_pages(data, header, pages, first_data)
    slack = data.size - end - max(0, header.eraseinfo[1])
    reason = f"all {pages} pages have descriptors and the last one ends inside the file"
    if slack > 0:
        reason += f" ({slack} bytes follow it)"
    return replace(facts, complete=Complete.YES, reason=reason)


def count_pages(data: Metered, header: Header) -> int:
    """Count the bits of the second bitmap; for one part of a split dump, those within its range."""
    half = header.bitmap_blocks * header.block_size // 2
    if half * 8 < header.max_mapnr:
        raise Malformed(f"its bitmap is too small for {header.max_mapnr} page frames")
    first, end = header.split or (0, header.max_mapnr)
    end = min(end, header.max_mapnr)
    if first > end:
        raise Malformed(f"it says that it holds the page frames {first} to {end}")
    if header.descriptors > data.size:
        raise Malformed(f"it has {data.size} bytes, but its headers need {header.descriptors}", "truncated")
    return _count_bits(data, header.bitmap2, first, end)


def _count_bits(data: Metered, bitmap: int, first: int, end: int) -> int:
    """Count the bits `first` to `end` of the bitmap at that offset; the lowest bit of a byte comes first."""
    length = (end + 7) // 8 - first // 8
    if length > _BITMAP_LIMIT:
        raise TooMuch(f"its bitmap of {length} bytes is larger than any that is read")
    data.allow(length)
    count = -_bits_outside(data, bitmap, first, end) if length else 0
    before, known = b"", 0
    for done in range(0, length, _BITMAP_PIECE):
        piece = data.exactly(bitmap + first // 8 + done, min(_BITMAP_PIECE, length - done))
        for at in range(0, len(piece), _COUNTED):
            part = piece[at : at + _COUNTED]
            if part != before:  # most of a large bitmap is empty or full for long stretches
                before, known = part, int.from_bytes(part, "little").bit_count()
            count += known
    return count


def _bits_outside(data: Metered, bitmap: int, first: int, end: int) -> int:
    """Count the bits of the first and the last byte of a range that are not in it."""
    begin = int.from_bytes(data.exactly(bitmap + first // 8, 1), "little") & ((1 << first % 8) - 1)
    last = int.from_bytes(data.exactly(bitmap + (end - 1) // 8, 1), "little") >> ((end - 1) % 8 + 1)
    return begin.bit_count() + last.bit_count()


def _first_data(data: Metered, header: Header, pages: int) -> int:
    """Return where the page data begin; raises Malformed when the bitmap was not finished.

    makedumpfile counts all pages before it writes the first, and leaves room for their descriptors; each part
    of a split dump has room for those of all parts. But it writes the second bitmap piece by piece: killed
    between two pieces it leaves a bitmap that names only the pages that are there. The data then begin 24
    bytes for every missing page after the place that the bitmap gives them. In a finished file the zero page
    lies at that place, and the first descriptor names it or the page after it.
    """
    total = pages
    if header.split:
        total = _count_bits(data, header.bitmap2, 0, header.max_mapnr)
    if total == 0:
        raise Malformed("its bitmap names no page at all", "cut")
    place = header.descriptors + 24 * total
    if place > data.size:
        raise Malformed(f"it ends within its page descriptors ({data.size} of {place} bytes)", "truncated")
    if pages == 0:  # a part without pages ends with the zero page
        if data.size != place + header.block_size:
            raise Malformed("its bitmap was not finished", "cut")
        return place
    (offset,) = struct.unpack(header.order + "q", data.exactly(header.descriptors, 8))
    if offset == 0:
        raise Malformed("its page descriptors were never written", "cut")
    if offset not in (place, place + header.block_size):
        if offset > place:
            raise Malformed(f"its bitmap was not finished: about {(offset - place) // 24} pages are missing", "cut")
        raise Malformed(f"its first page lies at {offset}, inside its headers")
    return place


def _end_of_pages(data: Metered, header: Header, pages: int, first_data: int) -> int:
    """Return where the last page's data end; raises Malformed when a descriptor or data are missing."""
    table = header.descriptors
    end = first_data
    position = table + 24 * pages
    limit = position - _DESCRIPTOR_LIMIT
    while position > table:
        if position < limit:
            raise TooMuch("its last descriptors name only the zero page, and no more of them were read")
        start = max(table, position - _DESCRIPTOR_PIECE)
        real = None
        for offset, size, flags, _ in struct.iter_unpack(header.order + "qIIQ", data.exactly(start, position - start)):
            if offset == 0:
                raise Malformed("its last page descriptors were never written", "cut")
            if offset < first_data or size > header.block_size:
                raise Malformed(f"a page descriptor names {size} bytes at {offset}")
            end = max(end, offset + size)
            if offset != first_data:
                real = (offset, size, flags)
        if end > data.size:
            raise Malformed(f"its last page ends at {end}, but it has {data.size} bytes", "truncated")
        if real:
            _check_last(data, *real)
            break
        position = start
    return end


def _check_last(data: Metered, offset: int, size: int, flags: int) -> None:
    """Refuse a last page of zeros where compressed data must be: allocated on disk but never written."""
    if flags & _COMPRESSION_BITS and size and not any(data.exactly(offset, size)):
        raise Malformed("its last page is a hole: the data never reached the disk", "cut")


def diskdump_facts(view: View, facts: DumpFacts) -> DumpFacts:
    """Facts of the older DISKDUMP format, which has the same main header; only its flag is judged."""
    header = read_header(view)
    _, nodename, release, version, machine, _ = header.utsname
    facts = replace(
        facts,
        format="diskdump",
        nodename=nodename,
        release=release,
        version=version,
        machine=machine,
        crash_time=header.timestamp if 0 < header.timestamp < 2**40 else None,
        page_size=header.block_size,
        producer="diskdump",
    )
    if header.status & _DISKDUMP_INCOMPLETE:
        return replace(facts, complete=Complete.NO, fault="flag", reason="diskdump marked it incomplete")
    return replace(facts, reason="the diskdump format has no mark that proves its end")


def _string(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")
