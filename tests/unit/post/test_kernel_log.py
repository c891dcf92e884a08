"""The kernel's log out of a dump: against makedumpfile's own, old kernels, every page compression, hostile memory."""

from __future__ import annotations

import contextlib
import ctypes
import random
import struct
import subprocess
import sys
import time
import types
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.post import savers, vmcores
from tests.unit.post.test_hostile import EXTREMES, examples, mutate
from tests.unit.post.watching import OURS, watch
from trigger.post import kernel_log, unpack
from trigger.post.formats import inspect
from trigger.post.inspection import inspect_url
from trigger.post.landing import State
from trigger.post.memory import Virtual
from trigger.post.reader import BytesReader
from trigger.simulated import dmesg, vmcore
from trigger.simulated.crashed_memory import Boot, Crash

BOOT = Boot("6.1.0-32-amd64", "boot one")
CRASH = Crash("server42", BOOT, 1_795_000_000.25, dmesg.records(BOOT.release, "server42", 5000.0))


def simulated(flattened: bool = False) -> bytes:
    records = list(vmcore.records(CRASH, memory_pages=8192, dump_pages=200))
    return vmcores.flattened(records) if flattened else vmcores.plain(records)


def log_of(data: bytes, *, local: bool = True) -> str:
    reader = BytesReader(data)
    return kernel_log.of_dump(reader, inspect(reader, "vmcore"), local=local)


def test_it_is_what_makedumpfile_finds(tmp_path: Path) -> None:
    (tmp_path / "vmcore").write_bytes(simulated())
    command = ["makedumpfile", "--dump-dmesg", str(tmp_path / "vmcore"), str(tmp_path / "dmesg")]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    for flattened in (False, True):
        assert log_of(simulated(flattened), local=flattened) == (tmp_path / "dmesg").read_text()


def test_inspect_and_the_watch_use_it_where_no_log_lies_beside(tmp_path: Path) -> None:
    folder = tmp_path / savers.STAMP
    folder.mkdir()
    (folder / f"dump.{savers.STAMP}").write_bytes(simulated(flattened=True))
    found = inspect_url(str(folder))
    assert found.dmesg == ""
    assert found.look is not None
    assert found.look.panic == "NMI: Not continuing"
    assert any("hung task" in line for line in found.look.before)
    last, _ = watch(tmp_path, expectation=OURS, fire=CRASH.time - 3)
    assert last.state is State.VERIFIED
    assert last.look is not None
    assert last.look.panic == "NMI: Not continuing"


def test_a_dump_without_what_it_takes_has_no_log() -> None:
    assert log_of(vmcores.plain(vmcores.kdump_writes(vmcores.memory(9)))) == ""
    assert log_of(vmcores.plain(vmcores.elf_writes(vmcores.memory(9)))) == ""
    assert log_of(b"not a dump, this file") == ""


class Flat:
    """Memory that is mapped one to one, for the structures of old kernels."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self, address: int, length: int) -> bytes:
        return self.data[address : address + length]


def virtual(data: bytes) -> Virtual:
    memory = Virtual.__new__(Virtual)
    memory.read = Flat(data).read  # type: ignore[method-assign]
    return memory


@pytest.mark.parametrize("name", ["printk_log", "log"])
def test_the_records_of_kernels_before_5_10_wrap_around(name: str) -> None:
    def record(seconds: float, text: bytes) -> bytes:
        size = -(-(16 + len(text)) // 8) * 8
        head = struct.pack("<QHHHBB", int(seconds * 1e9), size, len(text), 0, 0, 0)
        return (head + text).ljust(size, b"\0")

    new, old = record(3.5, b"third"), record(1.25, b"first") + record(2.0, b"second\nline")
    ring = new.ljust(128, b"\xaa") + old + bytes(16)
    memory = struct.pack("<QIIII", 64, len(ring), 128, len(new), 0).ljust(64, b"\0") + ring
    symbols = {"log_buf": "0", "log_buf_len": "8", "log_first_idx": "c", "log_next_idx": "10"}
    offsets = {"ts_nsec": "0", "len": "8", "text_len": "10"}
    info = {f"SYMBOL({symbol})": address for symbol, address in symbols.items()} | {f"SIZE({name})": "16"}
    info |= {f"OFFSET({name}.{field})": offset for field, offset in offsets.items()}
    assert kernel_log.read(virtual(memory), info) == (
        "[    1.250000] first\n[    2.000000] second\n[    2.000000] line\n[    3.500000] third\n"
    )


def test_a_ring_buffer_that_has_wrapped_around() -> None:
    """Eight descriptors and 64 bytes of text: record 9 does not fit behind record 8, and starts over at 0."""
    memory = bytearray(4096)
    ring, descs, infos, text = 64, 512, 1024, 2048
    struct.pack_into("<Q", memory, 0, ring)
    struct.pack_into("<IxxxxQQQQQIxxxxQ", memory, ring, 3, descs, infos, 10, 7, 10, 6, text)

    def put(number: int, begin: int, end: int, words: bytes, state: int = 2) -> None:
        at = descs + number % 8 * 24
        struct.pack_into("<QQQ", memory, at, state << 62 | number, begin, end)
        struct.pack_into("<QQH", memory, infos + number % 8 * 32, number, number * 10**9, len(words))
        start = begin % 64 if end % 64 > begin % 64 else 0
        struct.pack_into(f"<Q{len(words)}s", memory, text + start, number, words)

    put(7, 64, 80, b"seven", state=3)  # its text was overwritten: the kernel marked it reusable
    put(8, 80, 104, b"eight")
    put(9, 104, 128 + 16, b"nine")
    struct.pack_into("<QQQ", memory, descs + 2 * 24, 2 << 62 | 10, 1, 1)  # a record without text
    info = {"SYMBOL(prb)": "0", "SIZE(prb_desc)": "24", "SIZE(printk_info)": "32"}
    info |= {f"OFFSET({name})": str(offset) for name, offset in RING_OFFSETS.items()}
    log = kernel_log.read(virtual(bytes(memory)), info)
    assert log == "[    8.000000] eight\n[    9.000000] nine\n[    0.000000] \n"


RING_OFFSETS = {
    "printk_ringbuffer.desc_ring": 0, "prb_desc_ring.count_bits": 0, "prb_desc_ring.descs": 8,
    "prb_desc_ring.infos": 16, "prb_desc_ring.head_id": 24, "prb_desc_ring.tail_id": 32, "atomic_long_t.counter": 0,
    "printk_ringbuffer.text_data_ring": 48, "prb_data_ring.size_bits": 0, "prb_data_ring.data": 8,
    "prb_desc.state_var": 0, "prb_desc.text_blk_lpos": 8, "prb_data_blk_lpos.begin": 0, "prb_data_blk_lpos.next": 8,
    "printk_info.ts_nsec": 8, "printk_info.text_len": 16,
}  # fmt: skip


TEXT = (b"trigger nmi server42; " * 20)[:300]
# What google/snappy and liblzo2 make of TEXT
SNAPPY = "ac025474726967676572206e6d692073657276657234323b20fe1600fe1600fe1600fe1600561600"
LZO = "000474726967676572206e6d692073657276657234323b2020e354000f34323b2074726967676572206e6d69207365110000"


def pages() -> Iterator[bytes]:
    """Pages of every character: noise, text, a long and a short pattern."""
    chosen = random.Random(42)
    for _ in range(60):
        yield chosen.randbytes(4096)
        yield bytes(chosen.choice(b"abcdef ") for _ in range(4096))
        yield (chosen.randbytes(chosen.randrange(1, 300)) * 4096)[:4096]
        yield b"".join(bytes([chosen.randrange(4)]) * chosen.randrange(1, 200) for _ in range(99))[:4096].ljust(4096)


def test_snappy_and_lzo_of_the_real_compressors() -> None:
    assert unpack.snappy(bytes.fromhex(SNAPPY), 4096) == TEXT
    assert unpack.lzo1x(bytes.fromhex(LZO), 4096) == TEXT
    liblzo2 = ctypes.CDLL("liblzo2.so.2")  # which makedumpfile is linked with
    work, out = ctypes.create_string_buffer(1 << 17), ctypes.create_string_buffer(8192)
    for page in pages():
        length = ctypes.c_ulong(0)
        assert liblzo2.lzo1x_1_compress(page, len(page), out, ctypes.byref(length), work) == 0
        assert unpack.unpack(unpack.LZO, out.raw[: length.value], 4096) == page
        assert unpack.unpack(unpack.ZLIB, zlib.compress(page), 4096) == page


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"\x05\x10hello", b"hello"),
        (b"\x0c\x08abc\x22\x03\x00", b"abc" * 4),
        (b"\x43\xf0\x3e" + b"x" * 63 + b"\x0f\x01\x00\x00\x00", b"x" * 67),
    ],
)
def test_every_kind_of_snappy_tag(raw: bytes, expected: bytes) -> None:
    assert unpack.snappy(raw, 4096) == expected


def test_zstd_is_read_where_python_has_it_and_named_where_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)  # as if neither were there
    with pytest.raises(unpack.Unreadable, match=r"from 3\.14 on"):
        unpack.unpack(unpack.ZSTD, b"(packed)", 4096)
    module = types.ModuleType("zstd")
    vars(module).update(decompress=lambda raw: raw * 512, ZstdError=type("ZstdError", (Exception,), {}))
    monkeypatch.setitem(sys.modules, "backports.zstd", module)
    assert unpack.unpack(unpack.ZSTD, b"(packed)", 4096) == b"(packed)" * 512


@examples(0.1)
@given(st.binary(max_size=200), st.sampled_from([1, 2, 4, 0x20, 0]))
def test_damaged_pages(raw: bytes, flags: int) -> None:
    with contextlib.suppress(unpack.Unreadable):
        assert len(unpack.unpack(flags, raw, 4096)) == 4096


@examples(0.1)
@given(
    st.booleans(),
    st.lists(
        st.tuples(st.integers(0, 1 << 16), st.sampled_from(EXTREMES), st.sampled_from(["<I", "<Q", "B"])),
        max_size=6,
    ),
    st.lists(
        st.tuples(
            st.sampled_from(["prb_desc_ring", "prb_data_ring", "SYMBOL(prb)", "phys_base", "SIZE(p", "init_top_pgt"]),
            st.integers(0, 9),
        ),
        max_size=3,
    ),
)
def test_hostile_memory(flattened: bool, changes: list[tuple[int, int, str]], digits: list[tuple[str, int]]) -> None:
    data = mutate(simulated_once(flattened), changes)
    for key, digit in digits:
        at = data.find(key.encode())
        equals = data.find(b"=", at)
        if at > 0 and equals > 0:
            data = data[: equals + 1] + str(digit).encode() + data[equals + 2 :]
    begun = time.process_time()
    log_of(data)
    assert time.process_time() - begun < 1


def simulated_once(flattened: bool, cache: dict[bool, bytes] = {}) -> bytes:  # noqa: B006, a cache
    if flattened not in cache:
        cache[flattened] = simulated(flattened)
    return cache[flattened]
