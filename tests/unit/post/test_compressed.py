"""Debian's KDUMP_COMPRESSION: the end marker is found inside, by the real compressors' files."""

from __future__ import annotations

import functools
import random
import struct
import subprocess
import time

import pytest

from tests.unit.post import vmcores
from trigger.post import compressed, lz4
from trigger.post.facts import Complete
from trigger.post.formats import inspect
from trigger.post.reader import BytesReader, Malformed, Metered, TooMuch

COMMANDS = {
    "gzip": (["gzip", "-c"], ["gzip", "-1c"]),
    "bzip2": (["bzip2", "-c"], ["bzip2", "-1c"]),
    "lz4": (["lz4", "-c"], ["lz4", "-9", "-B4", "-BD", "-c"], ["lz4", "-c", "--content-size", "-BX", "-B5"]),
    "xz": (["xz", "-0c"], ["xz", "-0", "-T2", "--block-size=65536", "-c"]),
}
CASES = [(name, tuple(command)) for name, commands in COMMANDS.items() for command in commands]


@functools.cache
def dump(pages: int = 500, end: bool = True) -> bytes:
    chosen = random.Random(pages)
    noise = {frame: chosen.randbytes(4096) for frame in range(1, 3 * pages, 7)}  # as pages that do not shrink
    return vmcores.flattened(vmcores.kdump_writes({**vmcores.memory(pages), **noise}), end=end)


def compress(command: tuple[str, ...], data: bytes) -> bytes:
    return subprocess.run(command, input=data, capture_output=True, check=True, timeout=60).stdout


@pytest.mark.parametrize(("name", "command"), CASES)
def test_a_whole_dump_inside(name: str, command: tuple[str, ...]) -> None:
    packed = compress(command, dump())
    facts = inspect(BytesReader(packed), "dump.202611230349")
    assert facts.complete is Complete.YES, facts.reason
    assert (facts.wrapper, facts.format, facts.flattened, facts.nodename) == (name, "kdump", True, "server42")
    assert facts.size == len(packed)
    assert facts.described() == f"kdump, flattened, zlib, in {name}"


@pytest.mark.parametrize(("name", "command"), CASES)
def test_a_makedumpfile_that_died_before_its_compressor(name: str, command: tuple[str, ...]) -> None:
    for lost in (1, 16, 17, 40_000):
        packed = compress(command, dump()[:-lost])
        facts = inspect(BytesReader(packed), "dump")
        assert (facts.complete, facts.fault) == (Complete.NO, "marker"), (lost, facts.reason)


@pytest.mark.parametrize(("name", "command"), CASES)
def test_a_compressed_file_cut_anywhere_is_never_complete(name: str, command: tuple[str, ...]) -> None:
    packed = compress(command, dump(40))
    for length in [*range(0, len(packed), 1 + len(packed) // 150), *range(len(packed) - 40, len(packed))]:
        assert inspect(BytesReader(packed[:length]), "dump").complete is not Complete.YES, length


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 65_536, 900_000, 901_000, 5_000_000])
@pytest.mark.parametrize(("name", "command"), CASES)
def test_the_last_bytes_inside(name: str, command: tuple[str, ...], size: int) -> None:
    """Block borders: the last sixteen bytes may lie in two blocks, and then the file is not judged by half of them."""
    data = random.Random(size).randbytes(size // 2) + b"trigger " * ((size - size // 2) // 8 + 1)
    data = data[:size]
    packed = compress(command, data)
    try:
        tail = compressed.tail(Metered(BytesReader(packed)), name)
    except Malformed:
        assert size == 0
        return
    except TooMuch:  # blocks that refer to earlier ones
        assert "-BD" in command
        return
    assert data.endswith(tail)
    assert len(tail) == min(16, size) or size > 16


def test_linked_lz4_blocks_whose_end_depends_on_what_was_not_read() -> None:
    packed = compress(("lz4", "-9", "-B4", "-BD", "-c"), b"trigger " * 1_000_000)
    with pytest.raises(TooMuch, match="refer to earlier ones"):
        compressed.tail(Metered(BytesReader(packed)), "lz4")
    once = compress(("lz4", "-9", "-B4", "-BD", "-c"), dump(60))
    assert inspect(BytesReader(once), "dump").complete is Complete.YES


def test_an_end_marker_that_lies_in_two_blocks_is_not_taken_for_missing() -> None:
    whole = dump()
    padding = -(len(whole) - 7) % 65_536
    data = whole[:4096] + struct.pack(">qq", 1 << 40, padding - 16) + bytes(padding - 16) + whole[4096:]
    assert inspect(BytesReader(data), "dump").complete is Complete.YES
    for command in (("lz4", "-B4", "-c"), ("xz", "-0", "-T2", "--block-size=65536", "-c")):
        facts = inspect(BytesReader(compress(command, data)), "dump")
        assert (facts.complete, facts.fault) == (Complete.UNKNOWN, "limit"), facts.reason


def test_concatenated_members() -> None:
    whole = dump()
    for name, command in (("gzip", ("gzip", "-c")), ("bzip2", ("bzip2", "-c")), ("lz4", ("lz4", "-c"))):
        packed = compress(command, whole[:100_000]) + compress(command, whole[100_000:])
        assert inspect(BytesReader(packed), name).complete is Complete.YES, name


def test_a_gzip_that_is_too_long_to_read_is_unknown_not_refused() -> None:
    packed = compress(("gzip", "-1c"), dump())
    facts = inspect(BytesReader(packed), "dump", limit=300_000)
    assert (facts.complete, facts.fault) == (Complete.UNKNOWN, "limit")
    assert facts.nodename == "server42"
    assert facts.read <= 300_000


def test_a_bomb_is_not_inflated() -> None:
    for command in (("gzip", "-1c"), ("xz", "-0c")):
        packed = compress(command, b"makedumpfile".ljust(200 << 20, b"\0"))
        begun = time.monotonic()
        facts = inspect(BytesReader(packed), "dump")
        assert (facts.complete, facts.fault) == (Complete.UNKNOWN, "limit")
        assert time.monotonic() - begun < 3


def test_an_elf_inside_cannot_be_proved() -> None:
    packed = compress(("gzip", "-c"), vmcores.plain(vmcores.elf_writes(vmcores.memory(20))))
    facts = inspect(BytesReader(packed), "dump")
    assert (facts.format, facts.complete) == ("elf", Complete.UNKNOWN)
    assert "no end marker to prove" in facts.reason


def test_lz4_repeats_overlap_what_they_write() -> None:
    data = b"ab" * 5000 + b"c" * 5000
    packed = compress(("lz4", "-9c"), data)
    assert lz4.head(packed, 20_000) == data
