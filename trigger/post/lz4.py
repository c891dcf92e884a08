"""The lz4 frame format, as far as a proof needs it (lz4_Frame_format.md, lz4_Block_format.md).

The standard library has no lz4. The first block is decoded for the dump's headers, the last for its end
marker.
"""

from __future__ import annotations

from trigger.post.reader import Malformed, Metered, TooMuch

_TAIL_BYTES = 16
_MAX_BLOCK = 4 * 1024 * 1024
_MAX_BLOCKS = 20_000
_STORED = 0x80000000
_HISTORY = bytes(
    64 * 1024
)  # stands for an earlier block that was not read; its zeros are no part of a marker


def head(raw: bytes, limit: int) -> bytes:
    """Return the first bytes inside, at most `limit`; raises ValueError when `raw` is no lz4 frame."""
    position, _, _ = _frame(raw)
    word = int.from_bytes(raw[position : position + 4], "little")
    block = raw[position + 4 : position + 4 + (word & ~_STORED)]
    return block[:limit] if word & _STORED else decode(block, limit)


def tail(data: Metered) -> bytes:
    """Return the last 16 bytes inside, or raise Malformed when the frames do not end properly, or TooMuch."""
    position, last, blocks = 0, b"", 0
    final: tuple[int, int] | None = None
    while position < data.size:
        try:
            header, block_sum, content_sum = _frame(data.exactly(position, min(19, data.size - position)))
        except ValueError as bad:
            raise Malformed(str(bad)) from None
        position += header
        while word := int.from_bytes(data.exactly(position, 4), "little"):
            final = (position, word)
            position += 4 + (word & ~_STORED) + block_sum
            blocks += 1
            if blocks > _MAX_BLOCKS:
                raise TooMuch(f"it has more than {_MAX_BLOCKS} lz4 blocks")
        position += 4 + content_sum
    if position != data.size or final is None:
        raise Malformed("its lz4 data end too early", "truncated")
    at, word = final
    size = word & ~_STORED
    if word & _STORED:
        last = data.exactly(at + 4 + max(0, size - _TAIL_BYTES), min(size, _TAIL_BYTES))
    else:
        try:
            last = decode(data.exactly(at + 4, size), _MAX_BLOCK, _HISTORY)
        except ValueError as bad:
            raise Malformed(str(bad)) from None
    return last[-_TAIL_BYTES:]


def _frame(raw: bytes) -> tuple[int, int, int]:
    """Return (length of the frame's header, bytes after each block, bytes after the end mark)."""
    if len(raw) < 7 or raw[:4] != b"\x04\x22\x4d\x18" or raw[4] >> 6 != 1:
        raise ValueError("its lz4 frame header is damaged")
    flags = raw[4]
    length = 7 + (8 if flags & 0x08 else 0) + (4 if flags & 0x01 else 0)
    return length, 4 if flags & 0x10 else 0, 4 if flags & 0x04 else 0


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
