"""The kernel's page tables: from a virtual address to a physical one, as VMCOREINFO says how.

x86_64: arch/x86/include/asm/page_64.h, pgtable_types.h. aarch64: arch/arm64/include/asm/pgtable-hwdef.h, memory.h and
kernel/vmcore_info.c; Arm ARM D8.3 (translation table descriptors). Keys: admin-guide/kdump/vmcoreinfo.rst.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from trigger.post import vmcoreinfo
from trigger.post.unpack import Unreadable

_START_KERNEL_MAP = 0xFFFFFFFF80000000  # x86_64: where the kernel's image is mapped
_WORD = (1 << 64) - 1


class Physical(Protocol):
    """Memory by physical address."""

    def read(self, address: int, length: int) -> bytes:
        """Return memory; raises Unreadable or Malformed when it is not in the dump."""
        ...


@dataclass(frozen=True, slots=True)
class Paging:
    """The tables of one kernel. `top` is where the first is (physical), `page_bits` the log2 of a page's size.

    `address_bits` are translated, as many per table as it has entries. `frame` are an entry's bits that are an
    address; `high` moves bits 12 to 15 to 48 to 51 (aarch64, 64 KiB pages). `arm` says how entries are told apart.
    """

    top: int
    page_bits: int
    address_bits: int
    frame: int
    arm: bool = False
    high: bool = False

    def walk(self, memory: Physical, address: int) -> int:
        """Return the physical address of the page at `address`; a large page ends the walk early."""
        per_table = self.page_bits - 3
        levels = -(-(self.address_bits - self.page_bits) // per_table)
        address &= (1 << self.address_bits) - 1
        table = self.top
        for level in range(levels - 1, -1, -1):
            shift = self.page_bits + per_table * level
            index = (address >> shift) & ((1 << per_table) - 1)
            entry = int.from_bytes(memory.read(table + index * 8, 8), "little")
            if not entry & 1:
                raise Unreadable(f"the address {address:#x} is not mapped")
            table = entry & self.frame
            if self.high:
                table |= (entry >> 12 & 0xF) << 48
            if level and self._is_block(entry):
                return (table >> shift << shift) + (address & ((1 << shift) - 1))
        return table

    def _is_block(self, entry: int) -> bool:
        return entry & 3 == 1 if self.arm else bool(entry & 0x80)


def paging_of(info: Mapping[str, str]) -> Paging:
    """Return the page tables that VMCOREINFO describes; raises Unreadable for a machine that is not known."""
    return _aarch64(info) if "NUMBER(kimage_voffset)" in info else _x86_64(info)


def _x86_64(info: Mapping[str, str]) -> Paging:
    base = vmcoreinfo.number(info, "NUMBER(phys_base)")
    table = vmcoreinfo.number(info, "SYMBOL(init_top_pgt)", 16)
    if table is None:
        table = vmcoreinfo.number(info, "SYMBOL(init_level4_pgt)", 16)  # before Linux 4.13
    if base is None or table is None:
        raise Unreadable("its VMCOREINFO does not tell how to find a virtual address")
    levels = 5 if vmcoreinfo.number(info, "NUMBER(pgtable_l5_enabled)") else 4
    hidden = vmcoreinfo.number(info, "NUMBER(sme_mask)") or 0
    return Paging(table - _START_KERNEL_MAP + base, 12, 12 + 9 * levels, 0x000FFFFFFFFFF000 & ~hidden)


def _aarch64(info: Mapping[str, str]) -> Paging:
    offset = vmcoreinfo.number(info, "NUMBER(kimage_voffset)", 16)
    table = vmcoreinfo.number(info, "SYMBOL(swapper_pg_dir)", 16)
    bits = vmcoreinfo.number(info, "NUMBER(VA_BITS)")
    unused = vmcoreinfo.number(info, "NUMBER(TCR_EL1_T1SZ)", 16)
    page = vmcoreinfo.number(info, "PAGESIZE")
    if offset is None or table is None or bits is None or page not in (4096, 16384, 65536):
        raise Unreadable("its VMCOREINFO does not tell how to find a virtual address")
    page_bits = page.bit_length() - 1
    # With 64 KiB pages swapper_pg_dir is laid out for 52 bits even where the processor has 48.
    if unused is not None and page != 65536:
        bits = 64 - unused
    if not 36 <= bits <= 52:
        raise Unreadable(f"its VMCOREINFO names virtual addresses of {bits} bits")
    frame = (1 << 48) - page
    return Paging((table - offset) & _WORD, page_bits, bits, frame, arm=True, high=page == 65536)
