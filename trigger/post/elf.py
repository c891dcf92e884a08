"""ELF cores: /proc/vmcore copied as it is, makedumpfile -E, QEMU's and libvirt's memory dumps, Xen's.

Layout: elf(5); the kernel's fs/proc/vmcore.c; VMCOREINFO is an ELF note of that name. makedumpfile sets bit 0
of e_flags when there was no space left (DUMP_ELF_INCOMPLETE).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace

from trigger.post import vmcoreinfo
from trigger.post.facts import Complete, DumpFacts
from trigger.post.reader import Malformed, Metered, TooMuch, View

SIGNATURE = b"\x7fELF"
_ET_CORE = 4
_PT_NULL, PT_LOAD, _PT_NOTE = 0, 1, 4
_PN_XNUM = 0xFFFF  # more than 65534 segments: their number is in sh_info of section 0
_NT_PRSTATUS = 1
_INCOMPLETE = 0x1
_MAX_TABLE = 16 * 1024 * 1024
_MAX_NOTES = 4 * 1024 * 1024
_MACHINES = {
    3: "i686", 62: "x86_64", 183: "aarch64", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "arm", 243: "riscv64",
    258: "loongarch64",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Segment:
    """One program header that holds memory: where in the file, at which addresses. Sizes in bytes."""

    kind: int
    offset: int
    virtual: int
    physical: int
    size: int


@dataclass(frozen=True, slots=True)
class Header:
    """What the ELF header and its tables say. `sections_end` is where the last section's data end."""

    order: str
    wide: bool
    machine: str
    flags: int
    segments: tuple[Segment, ...]
    nulls: int
    sections_end: int
    notes: tuple[tuple[str, int, bytes], ...] = field(default=())


@dataclass(frozen=True, slots=True)
class _Start:
    """The ELF header's fields that are used; offsets and sizes in bytes."""

    order: str
    wide: bool
    machine: int
    flags: int
    ph_at: int
    ph_size: int
    ph_count: int
    sh_at: int
    sh_size: int
    sh_count: int


def _start(view: View) -> _Start:
    ident = view.exactly(0, 16)
    if ident[4] not in (1, 2) or ident[5] not in (1, 2):
        raise Malformed("its ELF class or byte order is impossible")
    order, wide = "<>"[ident[5] - 1], ident[4] == 2
    shape = order + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH")
    kind, machine, _, _, ph_at, sh_at, flags, _, ph_size, ph_count, sh_size, sh_count, _ = struct.unpack(
        shape, view.exactly(16, struct.calcsize(shape))
    )
    if kind != _ET_CORE:
        raise Malformed(f"it is an ELF file of type {kind}, not a core")
    if ph_count == _PN_XNUM:
        ph_count = _section_info(view, order, wide, sh_at)
    return _Start(order, wide, machine, flags, ph_at, ph_size, ph_count, sh_at, sh_size, sh_count)


def program_headers(view: View) -> tuple[int, int]:
    """Return offset and size of the table of program headers; raises Malformed."""
    start = _start(view)
    return start.ph_at, start.ph_size * start.ph_count


def read_header(view: View) -> Header:
    """Parse the ELF header, program headers, section headers and notes; raises Malformed or TooMuch."""
    start = _start(view)
    order, wide = start.order, start.wide
    segments = _segments(view, order, wide, start.ph_at, start.ph_size, start.ph_count)
    memory = tuple(segment for segment in segments if segment.kind in (PT_LOAD, _PT_NOTE))
    header = Header(
        order=order,
        wide=wide,
        machine=_MACHINES.get(start.machine, f"ELF machine {start.machine}"),
        flags=start.flags,
        segments=memory,
        nulls=sum(segment.kind == _PT_NULL for segment in segments),
        sections_end=_sections_end(view, order, wide, start.sh_at, start.sh_size, start.sh_count),
    )
    return replace(header, notes=_notes(view, header))


def _segments(view: View, order: str, wide: bool, at: int, size: int, count: int) -> list[Segment]:
    shape = struct.Struct(order + ("IIQQQQQQ" if wide else "IIIIIIII"))
    if count == 0:
        return []
    if size != shape.size:
        raise Malformed(f"its program headers are {size} bytes long")
    if count * size > _MAX_TABLE:
        raise TooMuch(f"{count} program headers are more than are read")
    segments = []
    for entry in shape.iter_unpack(view.exactly(at, count * size)):
        if wide:
            kind, _, offset, virtual, physical, in_file, _, _ = entry
        else:
            kind, offset, virtual, physical, in_file, _, _, _ = entry
        segments.append(Segment(kind, offset, virtual, physical, in_file))
    return segments


def _section_info(view: View, order: str, wide: bool, at: int) -> int:
    """Return sh_info of section 0, where the number of segments stands when e_phnum is PN_XNUM."""
    if not at:
        raise Malformed("it says that its segments are counted in a section that it does not have")
    (info,) = struct.unpack(order + "I", view.exactly(at + (44 if wide else 28), 4))
    return int(info)


def _sections_end(view: View, order: str, wide: bool, at: int, size: int, count: int) -> int:
    """Return the end of the last section's data; Xen's `xl dump-core` writes sections and no segments."""
    if not at or not count:
        return 0
    shape = struct.Struct(order + ("IIQQQQIIQQ" if wide else "IIIIIIIIII"))
    if size != shape.size or count * size > _MAX_TABLE:
        return 0
    end = 0
    for entry in shape.iter_unpack(view.exactly(at, count * size)):
        kind, offset, length = entry[1], entry[4], entry[5]
        if kind not in (0, 8):  # SHT_NULL, SHT_NOBITS
            end = max(end, offset + length)
    return end


def _notes(view: View, header: Header) -> tuple[tuple[str, int, bytes], ...]:
    """Return (name, type, descriptor) of the notes; one that does not fit ends its segment."""
    found = []
    for segment in header.segments:
        if segment.kind != _PT_NOTE or not segment.size:
            continue
        raw = view.exactly(segment.offset, min(segment.size, _MAX_NOTES))
        position = 0
        while position + 12 <= len(raw):
            name_size, size, kind = struct.unpack_from(header.order + "III", raw, position)
            name_at = position + 12
            at = name_at + (name_size + 3 & ~3)
            if at + size > len(raw):
                break
            name = raw[name_at : name_at + min(name_size, 64)].split(b"\0", 1)[0].decode("ascii", "replace")
            # The kernel pads its per-CPU notes with zeros up to a fixed size (an empty note), and goes on
            # after.
            if name or size:
                found.append((name, kind, raw[at : at + min(size, vmcoreinfo.MAX_BYTES)]))
            position = at + (size + 3 & ~3)
    return tuple(found)


def facts_of(view: View, facts: DumpFacts) -> tuple[Header, DumpFacts]:
    """Add to `facts` what headers and notes say, not completeness. Raises Malformed, TooMuch."""
    header = read_header(view)
    info: dict[str, str] = {}
    for name, _, descriptor in header.notes:
        if name == "VMCOREINFO" and not info:
            info = vmcoreinfo.parse(descriptor)
    names = {name for name, _, _ in header.notes}
    producer = "kernel or makedumpfile" if info else ""
    if "QEMU" in names:
        producer = "QEMU"
    elif "Xen" in names or (header.sections_end and not header.segments):
        producer = "Xen"
    memory = [segment for segment in header.segments if segment.kind == PT_LOAD]
    page_size = vmcoreinfo.number(info, "PAGESIZE")
    page_size = page_size if page_size and 4096 <= page_size <= 65536 else None
    return header, replace(
        facts,
        format="elf",
        machine=header.machine,
        release=info.get("OSRELEASE", ""),
        crash_time=vmcoreinfo.crash_time(info),
        vmcoreinfo=info,
        page_size=page_size,
        pages=sum(segment.size for segment in memory) // page_size if page_size else None,
        cpus=sum(kind == _NT_PRSTATUS and name == "CORE" for name, kind, _ in header.notes) or None,
        producer=producer,
        nodename=_nodename(view, header, info),
    )


def _nodename(view: View, header: Header, info: dict[str, str]) -> str:
    """Read the host's name out of the memory in the dump: an ELF header has no place for it.

    `init_uts_ns.name` (struct new_utsname, six fields of 65 bytes) is in the kernel's data, which the first
    segments map by virtual address. "" when VMCOREINFO or the segment is missing.
    """
    symbol = vmcoreinfo.number(info, "SYMBOL(init_uts_ns)", 16)
    offset = vmcoreinfo.number(info, "OFFSET(uts_namespace.name)")
    if symbol is None or offset is None:
        return ""
    address = symbol + offset + 65
    for segment in header.segments:
        if segment.kind == PT_LOAD and segment.virtual <= address <= segment.virtual + segment.size - 65:
            try:
                raw = view.exactly(segment.offset + address - segment.virtual, 65)
            except Malformed:
                return ""
            return raw.split(b"\0", 1)[0].decode("utf-8", "replace")
    return ""


def flag_fault(header: Header) -> str:
    """Return the writer's own word that the dump is incomplete, or ""."""
    return "makedumpfile marked it INCOMPLETE: no space left at its target" if header.flags & _INCOMPLETE else ""


def prove(data: Metered, header: Header, facts: DumpFacts) -> DumpFacts:
    """Judge completeness of a plain (not flattened) ELF core; raises Malformed with the fault."""
    if fault := flag_fault(header):
        return replace(facts, complete=Complete.NO, fault="flag", reason=fault)
    if header.nulls:
        raise Malformed(f"{header.nulls} of its program headers were never written", "cut")
    end = max((segment.offset + segment.size for segment in header.segments), default=0)
    end = max(end, header.sections_end)
    if end == 0:
        raise Malformed("it holds no memory at all", "cut")
    if end > data.size:
        raise Malformed(f"its last segment ends at {end}, but it has {data.size} bytes", "truncated")
    reason = f"all {len(header.segments)} segments lie inside the file"
    if not header.segments:
        reason = "all its sections lie inside the file"
    return replace(facts, complete=Complete.YES, reason=reason)
