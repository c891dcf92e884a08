"""The lz4 frame format, as far as a proof needs it (lz4_Frame_format.md, lz4_Block_format.md).

The standard library has no lz4. The first block is decoded for the dump's headers, the last for its end
marker.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from trigger.post.reader import Malformed, Metered, TooMuch

_TAIL_BYTES = 16
_MAX_BLOCK = 4 * 1024 * 1024
_MAX_BLOCKS = 20_000
_STORED = 0x80000000
_MAX_LINKED = 64


def head(raw: bytes, limit: int) -> bytes:
    """Return the first bytes inside, at most `limit`; raises ValueError when `raw` is no lz4 frame."""
    position = _frame(raw).header
    word = int.from_bytes(raw[position : position + 4], "little")
    block = raw[position + 4 : position + 4 + (word & ~_STORED)]
    return block[:limit] if word & _STORED else decode(block, limit)


def tail(data: Metered) -> bytes:
    """Return the last 16 bytes inside, or raise Malformed when the frames do not end properly, or TooMuch."""
    position, count = 0, 0
    blocks: deque[tuple[int, int]] = deque(maxlen=_MAX_LINKED)  # the last ones: offset of the data, size word
    linked = False
    while position < data.size:
        try:
            frame = _frame(data.exactly(position, min(19, data.size - position)))
        except ValueError as bad:
            raise Malformed(str(bad)) from None
        position += frame.header
        linked = frame.linked
        blocks.clear()
        while word := int.from_bytes(data.exactly(position, 4), "little"):
            blocks.append((position + 4, word))
            position += 4 + (word & ~_STORED) + frame.after_block
            count += 1
            if count > _MAX_BLOCKS:
                raise TooMuch(f"it has more than {_MAX_BLOCKS} lz4 blocks")
        position += 4 + frame.after_end
    if position != data.size or not blocks:
        raise Malformed("its lz4 data end too early", "truncated")
    return _decode_end(data, list(blocks), linked=linked)


def _decode_end(data: Metered, blocks: list[tuple[int, int]], *, linked: bool) -> bytes:
    """Decode the last block; where blocks refer to earlier ones, the last few, with two guesses at what was before.

    What both guesses give alike does not depend on them.
    """
    if not linked:
        return _decode_all(data, blocks[-1:], b"")[-_TAIL_BYTES:]
    stored, first = 0, len(blocks)
    while first > 0 and stored < _MAX_BLOCK:
        first -= 1
        stored += blocks[first][1] & ~_STORED
    one, other = (_decode_all(data, blocks[first:], bytes([guess]) * 65536) for guess in (0x00, 0xFF))
    if one[-_TAIL_BYTES:] != other[-_TAIL_BYTES:]:
        raise TooMuch("its last lz4 blocks refer to earlier ones: decompress it with lz4")
    return one[-_TAIL_BYTES:]


def _decode_all(data: Metered, blocks: list[tuple[int, int]], history: bytes) -> bytes:
    out = b""
    for at, word in blocks:
        raw = data.exactly(at, word & ~_STORED)
        if word & _STORED:
            out = raw
        else:
            try:
                out = decode(raw, _MAX_BLOCK, history)
            except ValueError as bad:
                raise Malformed(str(bad)) from None
        history = (history + out)[-65536:]
    return out


@dataclass(frozen=True, slots=True)
class _Frame:
    """The header of a frame: how long it is, how many bytes of checksum follow each block and the end mark."""

    header: int
    linked: bool
    after_block: int
    after_end: int


def _frame(raw: bytes) -> _Frame:
    """Parse a frame's header; raises ValueError."""
    if len(raw) < 7 or raw[:4] != b"\x04\x22\x4d\x18" or raw[4] >> 6 != 1:
        raise ValueError("its lz4 frame header is damaged")
    flags = raw[4]
    length = 7 + (8 if flags & 0x08 else 0) + (4 if flags & 0x01 else 0)
    return _Frame(length, not flags & 0x20, 4 if flags & 0x10 else 0, 4 if flags & 0x04 else 0)


def decode(block: bytes, limit: int, history: bytes = b"") -> bytes:
    """Decode one block up to about `limit` bytes; raises ValueError when it is damaged."""
    out = bytearray(history)
    limit += len(history)
    position, end = 0, len(block)
    while position < end and len(out) < limit:
        token = block[position]
        position += 1
        literals, position = _length(block, position, token >> 4)
        out += block[position : position + literals]
        position += literals
        if position >= end:  # the last sequence has literals only; so has a block whose rest was not read
            break
        distance = int.from_bytes(block[position : position + 2], "little")
        match, position = _length(block, position + 2, token & 15)
        match += 4
        if not 0 < distance <= len(out) or len(out) + match > limit + _MAX_BLOCK:
            raise ValueError("its lz4 data are damaged")
        start = len(out) - distance
        if distance >= match:
            out += out[start : start + match]
        else:  # it overlaps what it writes: a repeated pattern
            pattern = bytes(out[start:])
            out += (pattern * (match // distance + 1))[:match]
    return bytes(out[len(history) : limit])


def _length(block: bytes, position: int, value: int) -> tuple[int, int]:
    if value == 15:
        while position < len(block):
            byte = block[position]
            position += 1
            value += byte
            if byte != 255:
                break
    return value, position
