"""Hostile bytes and listings: no uncaught error, no reading past the limit, no second spent on one of them.

200,000 examples with TRIGGER_SOAK=1, a twentieth of that otherwise.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import lzma
import os
import struct
import subprocess
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.post import savers, vmcores
from trigger.post.facts import Complete
from trigger.post.first_look import look
from trigger.post.formats import inspect
from trigger.post.landing import Baseline, Candidate, Entry, State, flat_candidate, judge, new_entries
from trigger.post.reader import READ_LIMIT, BytesReader, Malformed, Metered, TooMuch
from trigger.post.verify import Expectation, verify

EXAMPLES = 200_000 if os.environ.get("TRIGGER_SOAK") else 10_000
EXTREMES = (
    0,
    1,
    2,
    7,
    0x7F,
    0x80,
    0xFF,
    0x1000,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63 - 1,
    2**64 - 1,
)


def examples(share: float) -> settings:
    return settings(
        max_examples=max(1, int(EXAMPLES * share)),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@functools.cache
def samples() -> tuple[bytes, ...]:
    pages = vmcores.memory(40)
    kdump, elf = vmcores.kdump_writes(pages), vmcores.elf_writes(vmcores.memory(6))
    flat = vmcores.flattened(kdump)
    return (
        vmcores.plain(kdump),
        vmcores.plain(vmcores.kdump_writes(pages, split=(0, 60))),
        vmcores.plain(elf),
        flat,
        vmcores.flattened(elf),
        vmcores.main_header(signature=b"DISKDUMP").ljust(9000, b"\0"),
        gzip.compress(flat),
        bz2.compress(flat),
        lzma.compress(flat, preset=0),
        subprocess.run(["lz4", "-c"], input=flat, capture_output=True, check=True, timeout=20).stdout,
        b"\xd2\xbe\xd2\xbe" + bytes(600),
    )


class Endless:
    """A file of any size: some real bytes, then a pattern without end."""

    def __init__(self, head: bytes, size: int, filler: bytes) -> None:
        self._head, self._size, self._filler = head, max(size, len(head)), filler
        self.read = 0

    def size(self) -> int:
        return self._size

    def read_at(self, offset: int, length: int) -> bytes:
        length = max(0, min(length, self._size - offset))
        self.read += length
        data = self._head[offset : offset + length]
        return data + (self._filler * (length // len(self._filler) + 1))[: length - len(data)]


def test_no_read_past_the_limit() -> None:
    reader = Endless(b"", 1 << 40, b"x")
    data = Metered(reader, 1_000_000)
    data.exactly(500_000, 700_000)
    with pytest.raises(TooMuch):
        data.exactly(0, 300_000)
    data.allow(100_000)
    data.exactly(500_000, 100_000)
    assert reader.read == data.spent <= 1_100_000
    for offset, length in ((-1, 5), (5, -1), (1 << 40, 1)):
        with pytest.raises(Malformed):
            data.exactly(offset, length)


mutations = st.lists(
    st.one_of(
        st.tuples(
            st.integers(0, 5200),
            st.sampled_from(EXTREMES),
            st.sampled_from(["<I", ">I", "<Q", ">Q", "<H", "B"]),
        ),
        st.tuples(st.integers(-300, -1), st.sampled_from(EXTREMES), st.sampled_from(["<I", ">I", "<Q", ">Q", "B"])),
        st.tuples(st.integers(0, 1 << 17), st.integers(0, 255), st.just("B")),
    ),
    max_size=6,
)


def mutate(data: bytes, changes: list[tuple[int, int, str]]) -> bytes:
    out = bytearray(data)
    for position, value, shape in changes:
        raw = struct.pack(shape, value & (256 ** struct.calcsize(shape) - 1))
        start = position % len(out) if out else 0
        out[start : start + len(raw)] = raw
    return bytes(out)


@examples(0.5)
@given(st.integers(0, 100), mutations, st.one_of(st.none(), st.integers(0, 1 << 17)))
def test_mutated_dumps(which: int, changes: list[tuple[int, int, str]], length: int | None) -> None:
    whole = samples()[which % len(samples())]
    data = mutate(whole, changes)[:length]
    begun = time.process_time()
    facts = inspect(BytesReader(data), "vmcore", local=bool(which & 1))
    assert time.process_time() - begun < 1
    assert facts.read <= READ_LIMIT
    assert facts.reason
    assert facts.complete is not Complete.YES or length is None or length >= len(whole) or len(data) < len(whole)
    facts.described()
    assert verify(facts, Expectation("server42"), 1e9, new=True).reason


@examples(0.1)
@given(
    st.integers(0, 5), mutations, st.sampled_from([2**20, 2**32, 2**40, 2**50, 2**63 - 1]),
    st.sampled_from([b"\0", b"\xff", b"\0\0\0\1", b"KDUMP   "]), st.integers(0, 9000),
)  # fmt: skip
def test_mutated_headers_of_files_without_end(
    which: int, changes: list[tuple[int, int, str]], size: int, filler: bytes, kept: int
) -> None:
    reader = Endless(mutate(samples()[which], changes)[:kept], size, filler)
    begun = time.process_time()
    facts = inspect(reader, "vmcore", local=bool(which & 1))
    assert time.process_time() - begun < 1
    bitmap = (facts.max_pfn or 0) // 8 + 8
    assert reader.read <= READ_LIMIT + min(bitmap, 2**30)
    assert facts.complete in Complete


@pytest.mark.parametrize("filler", [b"\0", b"\xff", b"\0\0\0\1", b"KDUMP   "])
def test_the_largest_bitmap_takes_no_second(filler: bytes) -> None:
    """32 TiB of memory in pages of 4 KiB: a gigabyte of bitmap that nobody wrote."""
    head = bytearray(vmcores.plain(vmcores.kdump_writes(vmcores.memory(3)))[: 2 * 4096])
    struct.pack_into("<I", head, 436, 2 * 2**30 // 4096)  # bitmap_blocks
    struct.pack_into("<Q", head, 4096 + 96, 2**33)  # max_mapnr_64
    reader = Endless(bytes(head), 1 << 50, filler)
    begun = time.process_time()
    facts = inspect(reader, "vmcore")
    took = time.process_time() - begun
    assert reader.read > 2**30
    assert facts.complete is not Complete.YES
    assert took < 1, f"{took:.2f} s"


NAMES = """vmcore vmcore.flat vmcore-incomplete vmcore-dmesg.txt kexec-dmesg.log README.txt dmesg dmesg.txt
vmcore1 vmcore2 dump-incomplete dump.202611230349 vmcore.202611230349 dmesg.202611230349 .. .notified"""
FOLDERS = """127.0.0.1-2026-11-23-03:49:11 server42-2026-11-23-03-49 2026-11-23-03:49 202611230349 kdump_lock
10.0.0.7-202611230349 10.0.0.7-dump.202611230349.gz kdump-test-1-2026-11-23-03:49:11"""
names = st.one_of(st.sampled_from(NAMES.split()), st.text(max_size=40))
folders = st.one_of(st.sampled_from(FOLDERS.split()), st.from_regex(r"\A[-0-9:.a-f]{0,60}\Z"), st.text(max_size=60))
entries = st.builds(Entry, names, st.integers(-1, 2**63), st.floats(), st.booleans())
readmes = st.one_of(st.sampled_from(["", savers.TEMPORARY, savers.FINAL, savers.OLD_FINAL]), st.text(max_size=300))


@examples(0.3)
@given(folders, st.lists(entries, max_size=8), readmes, st.floats(0, 1e9), st.booleans(), st.booleans())
def test_hostile_listings(
    folder: str, inside: list[Entry], readme: str, unchanged: float, back: bool, is_dir: bool
) -> None:
    files = {entry.name: entry for entry in inside}
    begun = time.process_time()
    listing = {folder: Entry(folder, 1, 1.0, is_dir), **files}
    for entry, rule in new_entries(Baseline("/x"), listing):
        candidate = flat_candidate(entry, rule, listing) if rule.flat else Candidate(folder, rule, files, readme)
        landing = judge(candidate, unchanged=unchanged, host_back=back)
        assert landing.state in (State.WRITING, State.LANDED, State.INCOMPLETE, State.FAILED)
        assert landing.cores or landing.state is not State.LANDED
        assert landing.cause or landing.state in (State.WRITING, State.LANDED)
        assert not any("/" in core.removeprefix(candidate.name + "/") for core in landing.cores)
    assert time.process_time() - begun < 1


@examples(0.1)
@given(st.lists(st.one_of(st.text(max_size=80), st.sampled_from(savers.DMESG.decode().splitlines())), max_size=20))
def test_hostile_logs(lines: list[str]) -> None:
    found = look("\n".join(lines))
    assert all(char.isprintable() for text in (found.panic, *found.trigger, *found.before) for char in text)
