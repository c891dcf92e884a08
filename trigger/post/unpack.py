"""One compressed page of a kdump file. zlib is in the standard library; LZO and Snappy are small enough to write.

LZO1X as in the kernel's lib/lzo/lzo1x_decompress_safe.c, Snappy as in its format_description.txt; zstd where
Python (3.14) or the package backports.zstd has it. A page takes a millisecond: good for a kernel log, not for a dump.
"""

from __future__ import annotations

import contextlib
import importlib
import zlib

ZLIB, LZO, SNAPPY, ZSTD = 1, 2, 4, 0x20


class Unreadable(Exception):
    """The page is damaged, or its compression is not available here."""


def unpack(flags: int, raw: bytes, size: int) -> bytes:
    """Return a page of `size` bytes out of its descriptor's flags and stored bytes; raises Unreadable."""
    try:
        if flags & ZLIB:
            page = zlib.decompressobj().decompress(raw, size)
        elif flags & LZO:
            page = lzo1x(raw, size)
        elif flags & SNAPPY:
            page = snappy(raw, size)
        elif flags & ZSTD:
            page = _zstd(raw)
        else:
            page = raw
    except (zlib.error, IndexError, ValueError) as bad:
        raise Unreadable(f"a page cannot be decompressed: {bad}") from None
    if len(page) != size:
        raise Unreadable(f"a page decompresses to {len(page)} bytes")
    return page


def _zstd(raw: bytes) -> bytes:
    for name in ("compression.zstd", "backports.zstd"):
        with contextlib.suppress(ImportError):
            zstd = importlib.import_module(name)
            break
    else:
        raise Unreadable("its pages are compressed by zstd, which Python has from 3.14 on")
    try:
        return bytes(zstd.decompress(raw))
    except zstd.ZstdError as bad:
        raise Unreadable(f"a page cannot be decompressed: {bad}") from None


def lzo1x(raw: bytes, limit: int) -> bytes:
    """Decompress LZO1X; raises IndexError or ValueError when it is damaged."""
    out = bytearray()
    at = literals = 0
    first = raw[0]
    if first > 17:
        literals, at = first - 17, 1
    state = min(literals, 4)
    while True:
        if literals:
            out += raw[at : at + literals]
            at += literals
        if len(out) > limit:
            raise ValueError("too long")
        code = raw[at]
        at += 1
        if code < 16 and state == 0:
            literals, at = _run(raw, at, code, 15)
            literals, state = literals + 3, 4
            continue
        length, back, literals, at = _match(raw, at, code, state)
        if back == 0:
            return bytes(out)
        _copy(out, back, length)
        state = literals


def _run(raw: bytes, at: int, value: int, base: int) -> tuple[int, int]:
    """Return a length that does not fit its bits: zero bytes count 255 each, the next adds itself and `base`."""
    if value == 0:
        while raw[at] == 0:
            value, at = value + 255, at + 1
        value, at = value + base + raw[at], at + 1
    return value, at


def _match(raw: bytes, at: int, code: int, state: int) -> tuple[int, int, int, int]:
    """Return (length, distance, literals that follow, place after it) of a match; distance 0 is the end."""
    if code >= 64:
        return (code >> 5) + 1, 1 + ((code >> 2) & 7) + (raw[at] << 3), code & 3, at + 1
    if code < 16:
        near = 1 + (code >> 2) + (raw[at] << 2)
        return (3, 0x800 + near, code & 3, at + 1) if state == 4 else (2, near, code & 3, at + 1)
    if code >= 32:
        length, at = _run(raw, at, code & 31, 31)
        word = raw[at] | raw[at + 1] << 8
        return length + 2, 1 + (word >> 2), word & 3, at + 2
    length, at = _run(raw, at, code & 7, 7)
    word = raw[at] | raw[at + 1] << 8
    back = ((code & 8) << 11) + (word >> 2)
    return length + 2, back + 0x4000 if back else 0, word & 3, at + 2


def _copy(out: bytearray, back: int, length: int) -> None:
    """Copy from `back` bytes before the end; an overlap repeats."""
    start = len(out) - back
    if start < 0:
        raise ValueError("a match lies before the start")
    if back >= length:
        out += out[start : start + length]
    else:
        pattern = bytes(out[start:])
        out += (pattern * (length // back + 1))[:length]


def snappy(raw: bytes, limit: int) -> bytes:
    """Decompress raw Snappy; raises IndexError or ValueError when it is damaged."""
    expected = shift = at = 0
    while True:
        expected |= (raw[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not raw[at - 1] & 0x80:
            break
    if expected > limit:
        raise ValueError("too long")
    out = bytearray()
    while at < len(raw):
        tag = raw[at]
        kind, length, at = tag & 3, (tag >> 2) + 1, at + 1
        if kind == 0:
            if length > 60:
                extra = length - 60
                length, at = int.from_bytes(raw[at : at + extra], "little") + 1, at + extra
            out += raw[at : at + length]
            at += length
        else:
            size = {1: 1, 2: 2, 3: 4}[kind]
            back = int.from_bytes(raw[at : at + size], "little")
            if kind == 1:
                length, back = ((tag >> 2) & 7) + 4, back | (tag >> 5) << 8
            at += size
            if back == 0:
                raise ValueError("a match of distance 0")
            _copy(out, back, length)
        if len(out) > limit:
            raise ValueError("too long")
    return bytes(out)
