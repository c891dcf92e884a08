"""The memory of a crashed x86-64 kernel, as far as readers of dumps look at it: page tables, log buffer, VMCOREINFO.

Enough that `makedumpfile --dump-dmesg` finds the kernel's log in it and drgn its release. Layouts are those of
Linux 6.1 (kernel/printk/printk_ringbuffer.h, kernel/crash_core.c, arch/x86/kernel/crash_core_64.c).
"""

from __future__ import annotations

import hashlib
import random
import struct
from dataclasses import dataclass, field

PAGE = 4096
TEXT_MAP = 0xFFFF_FFFF_8000_0000  # __START_KERNEL_map
DIRECT_MAP = 0xFFFF_8880_0000_0000  # PAGE_OFFSET without KASLR
IMAGE_AT = 0x100_0000  # physical address of the kernel's image: _stext
_PRESENT = 0x63  # a page table entry: present, writable, accessed, dirty
_LARGE = 0xE3  # and a 2 MiB page

# Where things lie in the image, in bytes from IMAGE_AT
_TOP, _TEXT_TABLE, _DIRECT_TABLE, _TEXT_PAGES, _UTS, _PAGE_ARRAY = 0, 0x1000, 0x2000, 0x3000, 0x4000, 0x4800
_RING, _DESCS, _INFOS, _TEXT = 0x5000, 0x6000, 0x8000, 0x10000
IMAGE_BYTES = 0x18000
_DESC_BITS, _TEXT_BITS = 8, 15  # 256 log records, 32 KiB of text
_FINALIZED = 2 << 62  # state of a log record that may be read


@dataclass(frozen=True, slots=True)
class Boot:
    """One boot of a kernel. `seed` gives what differs from boot to boot: KASLR's offset; `release` the build."""

    release: str
    seed: str

    @property
    def kaslr(self) -> int:
        """Return KERNELOFFSET, a multiple of 2 MiB."""
        return random.Random(self.seed).randrange(1, 400) << 21  # noqa: S311 -- repeatable, not secret

    @property
    def stext(self) -> int:
        """Return the virtual address of _stext."""
        return TEXT_MAP + IMAGE_AT + self.kaslr

    @property
    def phys_base(self) -> int:
        """Return phys_base: what turns a text address into a physical one."""
        return -self.kaslr

    @property
    def build_id(self) -> str:
        """Return the GNU build id, the same for the same release."""
        return hashlib.sha1(self.release.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Crash:
    """One crash: who, which boot, when (`time`: seconds since the epoch on the host's clock), and the log."""

    hostname: str
    boot: Boot
    time: float
    log: list[tuple[float, str]] = field(default_factory=list)


def utsname(crash: Crash) -> bytes:
    """Return `struct new_utsname`: six fields of 65 bytes."""
    fields = ("Linux", crash.hostname, crash.boot.release, "#1 SMP PREEMPT_DYNAMIC", "x86_64", "(none)")
    return b"".join(text.encode().ljust(65, b"\0") for text in fields)


def image(crash: Crash) -> bytes:
    """Return the kernel's image: IMAGE_BYTES at physical address IMAGE_AT."""
    memory = bytearray(IMAGE_BYTES)
    _page_tables(memory, crash.boot)
    memory[_UTS : _UTS + 390] = utsname(crash)
    struct.pack_into("<Q", memory, _PAGE_ARRAY, DIRECT_MAP)
    _log_buffer(memory, crash)
    return bytes(memory)


def _page_tables(memory: bytearray, boot: Boot) -> None:
    """Map the kernel's text in 2 MiB pages, and the first GiB of the direct map in one (4 levels)."""

    def entry(table: int, address: int, shift: int, value: int) -> None:
        struct.pack_into("<Q", memory, table + (address >> shift & 511) * 8, value)

    entry(_TOP, boot.stext, 39, IMAGE_AT + _TEXT_TABLE | _PRESENT)
    entry(_TOP, DIRECT_MAP, 39, IMAGE_AT + _DIRECT_TABLE | _PRESENT)
    entry(_TEXT_TABLE, boot.stext, 30, IMAGE_AT + _TEXT_PAGES | _PRESENT)
    entry(_DIRECT_TABLE, DIRECT_MAP, 30, _LARGE)
    for number in range(8):
        entry(_TEXT_PAGES, boot.stext + (number << 21), 21, IMAGE_AT + (number << 21) | _LARGE)


def _log_buffer(memory: bytearray, crash: Crash) -> None:
    """Write the log as a printk ring buffer; `prb`, the pointer to it, comes first."""
    at = crash.boot.stext
    position = 0
    newest = crash.log[-(1 << _DESC_BITS) :]
    for number, (seconds, line) in enumerate(newest):
        data = line.encode()[:1000]
        block = struct.pack("<Q", number) + data
        end = position + (len(block) + 7 & ~7)
        if end > 1 << _TEXT_BITS:
            raise ValueError("the log is longer than its buffer")
        memory[_TEXT + position : _TEXT + position + len(block)] = block
        struct.pack_into("<QQQ", memory, _DESCS + number * 24, number | _FINALIZED, position, end)
        struct.pack_into("<QQHBBI", memory, _INFOS + number * 88, number, int(seconds * 1e9), len(data), 0, 6, 0)
        position = end
    last = max(0, len(newest) - 1)
    struct.pack_into("<Q", memory, _RING, at + _RING + 8)
    descriptors = (_DESC_BITS, at + _DESCS, at + _INFOS, last, 0, last)
    texts = (_TEXT_BITS, at + _TEXT, position, 0)
    struct.pack_into("<IxxxxQQQQQIxxxxQQQ", memory, _RING + 8, *descriptors, *texts)


def vmcoreinfo(crash: Crash) -> bytes:
    """Return VMCOREINFO: what the kernel tells readers of its dump, as KEY=VALUE lines."""
    boot = crash.boot
    symbols = {"init_uts_ns": _UTS, "swapper_pg_dir": _TOP, "_stext": 0, "init_top_pgt": _TOP, "prb": _RING}
    symbols["mem_map"] = _PAGE_ARRAY  # flat memory: makedumpfile begins with it, and --dump-dmesg reads no further
    lines = [f"OSRELEASE={boot.release}", f"BUILD-ID={boot.build_id}", f"PAGESIZE={PAGE}"]
    lines += [f"SYMBOL({name})={boot.stext + offset:x}" for name, offset in symbols.items()]
    lines += _LAYOUTS.split()
    lines += [
        f"NUMBER(phys_base)={boot.phys_base}",
        "NUMBER(pgtable_l5_enabled)=0",
        f"KERNELOFFSET={boot.kaslr:x}",
        f"NUMBER(KERNEL_IMAGE_SIZE)={1 << 30}",
        "NUMBER(sme_mask)=0",
        f"CRASHTIME={int(crash.time)}",
    ]
    return "".join(line + "\n" for line in lines).encode()


_LAYOUTS = """
OFFSET(uts_namespace.name)=0 SIZE(list_head)=16 OFFSET(list_head.next)=0 OFFSET(list_head.prev)=8
SIZE(page)=64 OFFSET(page.flags)=0 OFFSET(page._refcount)=52 OFFSET(page.mapping)=24 OFFSET(page.lru)=8
OFFSET(page._mapcount)=48 OFFSET(page.private)=40
SIZE(printk_ringbuffer)=88 OFFSET(printk_ringbuffer.desc_ring)=0 OFFSET(printk_ringbuffer.text_data_ring)=48
OFFSET(printk_ringbuffer.fail)=80
SIZE(prb_desc_ring)=48 OFFSET(prb_desc_ring.count_bits)=0 OFFSET(prb_desc_ring.descs)=8
OFFSET(prb_desc_ring.infos)=16 OFFSET(prb_desc_ring.head_id)=24 OFFSET(prb_desc_ring.tail_id)=32
SIZE(prb_desc)=24 OFFSET(prb_desc.state_var)=0 OFFSET(prb_desc.text_blk_lpos)=8
SIZE(prb_data_blk_lpos)=16 OFFSET(prb_data_blk_lpos.begin)=0 OFFSET(prb_data_blk_lpos.next)=8
SIZE(printk_info)=88 OFFSET(printk_info.seq)=0 OFFSET(printk_info.ts_nsec)=8 OFFSET(printk_info.text_len)=16
OFFSET(printk_info.caller_id)=20 OFFSET(printk_info.dev_info)=24
SIZE(dev_printk_info)=64 OFFSET(dev_printk_info.subsystem)=0 LENGTH(printk_info_subsystem)=16
OFFSET(dev_printk_info.device)=16 LENGTH(printk_info_device)=48
SIZE(prb_data_ring)=32 OFFSET(prb_data_ring.size_bits)=0 OFFSET(prb_data_ring.data)=8
OFFSET(prb_data_ring.head_lpos)=16 OFFSET(prb_data_ring.tail_lpos)=24
SIZE(atomic_long_t)=8 OFFSET(atomic_long_t.counter)=0
"""
