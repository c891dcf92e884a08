"""A dump inside gzip, bzip2, lz4 or xz: its first bytes for identity, its last sixteen for the end marker.

bzip2, lz4 and xz are made of blocks: the last block is found from the end and decompressed alone. gzip has no
such place to start from, so it is decompressed from the beginning, as far as the limit of reading allows.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable

from trigger.post import lz4
from trigger.post.reader import Malformed, Metered, TooMuch

TAIL_BYTES = 16
_HEAD_OUTPUT = 1024 * 1024
_MAX_RATIO = 2  # what is decompressed, to what may be read; pages are compressed already, a bomb is more
_MAX_MEMORY = 128 * 1024 * 1024
_PIECE = 1024 * 1024
_SIGNATURES = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\xfd7zXZ\0", "xz"),
)


def recognise(head: bytes) -> str:
    """Return gzip, bzip2, lz4, xz or ""."""
    return next((name for signature, name in _SIGNATURES if head.startswith(signature)), "")


def head(data: Metered, wrapper: str) -> bytes:
    """Return the first bytes inside, at most 1 MiB, b"" when they are damaged; raises Malformed or TooMuch."""
    raw = data.head
    if wrapper == "bzip2":  # nothing comes out before the first block is whole
        raw = data.exactly(0, min(data.size, _BZIP2_WINDOW))
    try:
        if wrapper == "gzip":
            return zlib.decompressobj(wbits=31).decompress(raw, _HEAD_OUTPUT)
        if wrapper == "bzip2":
            return bz2.BZ2Decompressor().decompress(raw, _HEAD_OUTPUT)
        if wrapper == "xz":
            return lzma.LZMADecompressor(memlimit=_MAX_MEMORY).decompress(raw, _HEAD_OUTPUT)
        return lz4.head(raw, _HEAD_OUTPUT)
    except (zlib.error, OSError, lzma.LZMAError, EOFError, ValueError):
        return b""


def tail(data: Metered, wrapper: str) -> bytes:
    """Return the last 16 bytes inside; raises Malformed when the file is not whole, or TooMuch.

    Fewer come back only when there are not more, or when what is missing makes no difference.
    """
    find: Callable[[Metered], bytes] = {"gzip": _gzip, "bzip2": _bzip2, "xz": _xz, "lz4": lz4.tail}[wrapper]
    last = find(data)
    if len(last) < TAIL_BYTES and last and not last.strip(b"\xff"):
        raise TooMuch(f"its last {wrapper} block is too short to hold a whole end marker: decompress it")
    return last


def _gzip(data: Metered) -> bytes:
    """Decompress all members from the start: about a second for 64 MB of dump."""
    if data.size > data.limit - data.spent:
        raise TooMuch(
            f"gzip can only be read from its start, and {data.size} bytes are too many for that through a network:"
            " `trigger inspect --deep` reads them all, or gunzip it there"
        )
    last, output, position = b"", 0, 0
    decompressor = zlib.decompressobj(wbits=31)
    pending = b""
    while position < data.size or pending:
        if not pending:
            length = min(_PIECE, data.size - position)
            pending = data.exactly(position, length)
            position += length
        try:
            piece = decompressor.decompress(pending, _PIECE)
        except zlib.error as bad:
            raise Malformed(f"its gzip data are damaged: {bad}") from None
        pending = decompressor.unconsumed_tail or decompressor.unused_data
        output += len(piece)
        if output > data.limit * _MAX_RATIO:
            raise TooMuch(f"more than {data.limit * _MAX_RATIO} bytes are inside it: gunzip it")
        last = (last + piece)[-TAIL_BYTES:]
        if decompressor.eof:
            if not pending.strip(b"\0") and position >= data.size:
                return last
            decompressor = zlib.decompressobj(wbits=31)
    raise Malformed("its gzip data end too early", "truncated")


_BZIP2_BLOCK = 0x314159265359  # pi
_BZIP2_END = 0x177245385090  # sqrt(pi)
_BZIP2_WINDOW = 1_000_000  # a block holds at most 900 kB and grows by 1 % at worst


def _bzip2(data: Metered) -> bytes:
    """Find the last block, which may begin at any bit, and decompress it as a stream of its own."""
    length = min(data.size, _BZIP2_WINDOW)
    bits = int.from_bytes(data.exactly(data.size - length, length), "big")
    for padding in range(8):
        if (bits >> (padding + 32)) & (2**48 - 1) == _BZIP2_END:
            break
    else:
        raise Malformed("its bzip2 end mark is missing", "truncated")
    block = bits >> (padding + 80)  # its last bit is now the last bit of the last block
    magic = _BZIP2_BLOCK.to_bytes(6, "big")
    best: tuple[int, int] | None = None
    for shift in range(8):
        shifted = (block >> shift).to_bytes(length, "big")
        if (found := shifted.rfind(magic)) >= 0:
            width = (length - found) * 8 + shift  # bits from the magic to the end of the block
            best = min(best, (width, shift)) if best else (width, shift)
    if best is None:
        raise Malformed("no bzip2 block was found before its end mark")
    width = best[0]
    block &= (1 << width) - 1
    checksum = (block >> (width - 80)) & (2**32 - 1) if width >= 80 else 0
    stream = (((block << 48) | _BZIP2_END) << 32) | checksum  # of one block, the block's sum is the stream's
    total = width + 80
    pad = -total % 8
    try:
        inside = bz2.decompress(b"BZh9" + (stream << pad).to_bytes((total + pad) // 8, "big"))
    except (OSError, ValueError) as bad:
        raise Malformed(f"its last bzip2 block is damaged: {bad}") from None
    return inside[-TAIL_BYTES:]


def _xz(data: Metered) -> bytes:
    """Find the last block by the index at the end (xz file format 1.1, 2.1.2 and 4) and decompress it."""
    footer = data.exactly(data.size - 12, 12) if data.size >= 32 else b""
    if footer[10:] != b"YZ" or zlib.crc32(footer[4:10]) != int.from_bytes(footer[:4], "little"):
        raise Malformed("its xz footer is missing", "truncated")
    index_size = (int.from_bytes(footer[4:8], "little") + 1) * 4
    index_at = data.size - 12 - index_size
    index = data.exactly(index_at, index_size)
    if zlib.crc32(index[:-4]) != int.from_bytes(index[-4:], "little"):
        raise Malformed("its xz index is damaged")
    stored, inside = _xz_last_block(index)
    block_size = stored + 3 & ~3
    if inside > data.limit * _MAX_RATIO:
        raise TooMuch(f"its last xz block holds {inside} bytes, more than are decompressed: unxz it")
    stream = data.exactly(0, 12) + data.exactly(index_at - block_size, block_size)
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_MEMORY)
    last, got = b"", 0
    try:
        while got < inside:
            piece = decompressor.decompress(stream, _PIECE)
            stream = b""
            if not piece:
                break
            got += len(piece)
            last = (last + piece)[-TAIL_BYTES:]
    except (lzma.LZMAError, EOFError) as bad:
        raise Malformed(f"its last xz block is damaged: {bad}") from None
    if got != inside:
        raise Malformed("its last xz block is shorter than its index says")
    return last


def _xz_last_block(index: bytes) -> tuple[int, int]:
    """Return (size in the file without padding, size inside) of the last block that the index names."""
    count, position = _xz_number(index, 1)
    last = None
    for _ in range(count):
        stored, position = _xz_number(index, position)
        inside, position = _xz_number(index, position)
        last = (stored, inside)
    if last is None:
        raise Malformed("there is nothing inside its xz file", "marker")
    return last


def _xz_number(index: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(index) - 4 and shift <= 63:
        byte = index[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if not byte & 0x80:
            return value, position
    raise Malformed("its xz index is damaged")
