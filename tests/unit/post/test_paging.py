"""Page tables of x86_64 and aarch64, made here entry by entry, walked to the byte."""

from __future__ import annotations

import pytest

from trigger.post.memory import Virtual
from trigger.post.paging import paging_of
from trigger.post.unpack import Unreadable

KIMAGE = 0xFFFF800008000000  # where an arm64 kernel is mapped, and below where it is loaded
LOADED = 0x40200000
SWAPPER = 0x1000000  # of the image


class Sparse:
    """Physical memory of any size: what was put there, and zeros."""

    def __init__(self) -> None:
        self.bytes: dict[int, int] = {}
        self.free = 0x50000000  # where the next table goes

    def put(self, address: int, data: bytes) -> None:
        self.bytes.update(enumerate(data, address))

    def read(self, address: int, length: int) -> bytes:
        return bytes(self.bytes.get(at, 0) for at in range(address, address + length))


def arm_info(page: int, bits: int, **more: str) -> dict[str, str]:
    return {
        "PAGESIZE": str(page), "NUMBER(VA_BITS)": str(bits), "NUMBER(kimage_voffset)": f"0x{KIMAGE - LOADED:x}",
        "SYMBOL(swapper_pg_dir)": f"{KIMAGE + SWAPPER:x}", **more,
    }  # fmt: skip


def map_arm(memory: Sparse, page: int, bits: int, virtual: int, physical: int, *, block_level: int = 0) -> None:
    """Write the descriptors that map one page, or one block of a higher level."""
    page_bits = page.bit_length() - 1
    per_table = page_bits - 3
    levels = -(-(bits - page_bits) // per_table)
    table = LOADED + SWAPPER
    for level in range(levels - 1, -1, -1):
        index = ((virtual & (1 << bits) - 1) >> page_bits + per_table * level) & (1 << per_table) - 1
        last = level == block_level
        there = int.from_bytes(memory.read(table + index * 8, 8), "little")
        if there:  # a table that another page has made
            table = there & (1 << 48) - page
            continue
        if not last:
            memory.free += page
        target = physical if last else memory.free
        high = (target >> 48) << 12 if page == 65536 else 0
        kind = 3 if not last or level == 0 else 1
        attributes = 0x60000000000700 if last else 0
        entry = (target & (1 << 48) - page) | high | attributes | kind
        memory.put(table + index * 8, entry.to_bytes(8, "little"))
        if last:
            return
        table = target


@pytest.mark.parametrize(
    ("page", "bits", "info_bits", "more"),
    [
        (4096, 48, 48, {"NUMBER(TCR_EL1_T1SZ)": "0x10"}),
        (4096, 39, 39, {}),
        (16384, 47, 47, {"NUMBER(TCR_EL1_T1SZ)": "0x11"}),
        (16384, 48, 52, {"NUMBER(TCR_EL1_T1SZ)": "0x10"}),  # built for 52 bits, on a processor that has 48
        (65536, 42, 42, {}),
        (65536, 52, 52, {"NUMBER(TCR_EL1_T1SZ)": "0x10"}),  # its table is for 52 bits all the same
    ],
)
def test_aarch64(page: int, bits: int, info_bits: int, more: dict[str, str]) -> None:
    memory = Sparse()
    first, second = 0xFFFFFF8012340000, 0xFFFFFF8012340000 + page
    map_arm(memory, page, bits, first, 0x7_0000_0000)
    map_arm(memory, page, bits, second, 0x6_0000_0000)
    memory.put(0x7_0000_0000 + page - 3, b"abc")
    memory.put(0x6_0000_0000, b"defg")
    virtual = Virtual(memory, arm_info(page, info_bits, **more))
    assert virtual.read(second - 3, 7) == b"abcdefg"
    with pytest.raises(Unreadable, match="not mapped"):
        virtual.read(first - 1, 1)


@pytest.mark.parametrize(("page", "bits", "level"), [(4096, 48, 1), (4096, 48, 2), (65536, 48, 1)])
def test_aarch64_blocks(page: int, bits: int, level: int) -> None:
    memory = Sparse()
    at, size = 0xFFFF800040000000, page << (page.bit_length() - 4) * level
    map_arm(memory, page, bits, at, size * 3, block_level=level)
    memory.put(size * 3 + 0x12345, b"in a block")
    assert Virtual(memory, arm_info(page, bits)).read(at + 0x12345, 10) == b"in a block"


def test_aarch64_physical_addresses_of_52_bits() -> None:
    memory = Sparse()
    map_arm(memory, 65536, 48, 0xFFFF800012340000, 0xA_0000_1234_0000)
    memory.put(0xA_0000_1234_0000, b"far away")
    assert Virtual(memory, arm_info(65536, 48)).read(0xFFFF800012340000, 8) == b"far away"


@pytest.mark.parametrize("missing", ["PAGESIZE", "NUMBER(VA_BITS)", "SYMBOL(swapper_pg_dir)", "NUMBER(kimage_voffset)"])
def test_what_it_takes(missing: str) -> None:
    with pytest.raises(Unreadable):
        paging_of({key: value for key, value in arm_info(4096, 48).items() if key != missing})
    with pytest.raises(Unreadable):
        paging_of(arm_info(4096, 99) if missing == "PAGESIZE" else arm_info(5000, 48))
