"""makedumpfile's flattened format (-F): a chain of records, which a pipe can carry, that ends with a marker.

Layout: 4096 bytes of header, then records of {offset, size: big-endian 64-bit, data} and last a record of
offset = size = -1 (makedumpfile, write_flat_header and write_end_flat_header). A pipe that broke leaves no
marker.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import replace

from trigger.post.facts import Complete, DumpFacts
from trigger.post.reader import Malformed, Metered, TooMuch

SIGNATURE = b"makedumpfile\0\0\0\0"
_HEADER_BYTES = 4096
END = b"\xff" * 16
_HEAD_RECORDS = 4096
_TAIL_BYTES = 256 * 1024
_WALK_RECORDS = 300_000  # 20 GB in records of 64 KiB; beyond, the marker alone is believed
_RECORD = struct.Struct(">qq")


class FlattenedView:
    """The file inside a flattened one, as far as its head goes: a View that walks the chain when asked."""

    def __init__(self, data: Metered) -> None:
        kind, version = _RECORD.unpack(data.exactly(16, 16))
        if (kind, version) != (1, 1):
            raise Malformed(f"its flattened header is of type {kind}, version {version}")
        self._data = data
        self._next = _HEADER_BYTES
        self._records: list[tuple[int, int, int]] = []  # offset and size inside, place in the flattened file
        self._ended = False
        self._last: tuple[int, bytes] = (0, b"")  # what a record near the end puts over the head

    def take_last(self, offset: int, size: int) -> None:
        """Look near the end for the record of exactly that place, which is written again when all is known.

        makedumpfile -E first writes empty program headers, and the real ones with its last buffer of pages.
        Nothing is changed when no such record is there.
        """
        length = min(self._data.size, _TAIL_BYTES)
        tail = self._data.exactly(self._data.size - length, length)
        found = tail.rfind(_RECORD.pack(offset, size))
        if found >= 0 and found + 16 + size <= length:
            self._last = (offset, tail[found + 16 : found + 16 + size])

    def exactly(self, offset: int, length: int) -> bytes:
        """Return bytes of the inner file; raises Malformed when the head of the chain does not hold them."""
        covered = past = seen = 0
        while covered < length and not (covered and past):
            while seen == len(self._records):
                if self._ended or seen >= _HEAD_RECORDS:
                    raise Malformed(f"no record near its start holds {length} bytes at {offset}")
                self._read_record()
            start, size, _ = self._records[seen]
            covered += max(0, min(offset + length, start + size) - max(offset, start))
            past |= start >= offset + length  # the writer sought over the rest: a hole, read as zeros
            seen += 1
        return self._assemble(offset, length, seen)

    def _assemble(self, offset: int, length: int, records: int) -> bytes:
        """Lay the first `records` records over each other: a later one overwrites an earlier one."""
        data = bytearray(length)
        for start, size, place in self._records[:records]:
            low, high = max(offset, start), min(offset + length, start + size)
            if low < high:
                data[low - offset : high - offset] = self._data.exactly(place + low - start, high - low)
        start, last = self._last
        low, high = max(offset, start), min(offset + length, start + len(last))
        if low < high:
            data[low - offset : high - offset] = last[low - start : high - start]
        return bytes(data)

    def _read_record(self) -> None:
        offset, size = _record(self._data, self._next)
        if offset == size == -1:
            self._ended = True
            return
        self._records.append((offset, size, self._next + 16))
        self._next += 16 + size


class RecordIndex:
    """The whole file inside a flattened one: a View over all its records, found by walking the chain once.

    Raises TooMuch when there are more than `limit` records.
    """

    def __init__(self, data: Metered, limit: int) -> None:
        self._data = data
        records: list[tuple[int, int, int, int]] = []  # offset inside, order, size, place
        position = _HEADER_BYTES
        while (record := _record(data, position)) != (-1, -1):
            if len(records) >= limit:
                raise TooMuch(f"it has more than {limit} records")
            offset, size = record
            records.append((offset, len(records), size, position + 16))
            position += 16 + size
        self._records = sorted(records)  # of two at the same place the later one comes last, and counts
        self._starts = [record[0] for record in self._records]

    def exactly(self, offset: int, length: int) -> bytes:
        """Return bytes of the inner file; holes between records read as zeros."""
        out = bytearray(length)
        position = offset
        while position < offset + length:
            number = bisect_right(self._starts, position) - 1
            following = self._starts[number + 1] if number + 1 < len(self._starts) else offset + length
            start, _, size, place = self._records[number] if number >= 0 else (0, 0, 0, 0)
            end = min(offset + length, start + size, following)
            if position < end:
                out[position - offset : end - offset] = self._data.exactly(place + position - start, end - position)
            position = max(end, min(following, offset + length)) if end <= position else end
        return bytes(out)


def prove(data: Metered, facts: DumpFacts, *, walk: bool) -> DumpFacts:
    """Judge completeness by the end marker and, where reading is cheap (`walk`), by the whole chain.

    The last 16 bytes could be 0xFF by chance, in a dump that was cut inside a page of 0xFF; then the chain
    does not lead to them. Where the marker follows more 0xFF the chain is always walked. Raises Malformed.
    """
    if data.size < _HEADER_BYTES + 16 or data.exactly(data.size - 16, 16) != END:
        raise Malformed("the end marker is missing: the writer or the connection stopped", "marker")
    doubtful = data.size >= _HEADER_BYTES + 32 and data.exactly(data.size - 17, 1) == b"\xff"
    reason = "the end marker is there"
    if walk or doubtful:
        records = _walk(data)
        if records is None:
            reason += f", and the first {_WALK_RECORDS} records are in order"
        else:
            reason += f", and all {records} records lead to it"
    return replace(facts, complete=Complete.YES, reason=reason)


def _walk(data: Metered) -> int | None:
    """Follow the chain to its end and count the records; None when there are too many. Raises Malformed."""
    position = _HEADER_BYTES
    for count in range(_WALK_RECORDS):
        offset, size = _record(data, position)
        if offset == size == -1:
            if position + 16 != data.size:
                raise Malformed(f"{data.size - position - 16} bytes follow its end marker")
            return count
        position += 16 + size
    return None


def _record(data: Metered, position: int) -> tuple[int, int]:
    if position + 16 > data.size:
        raise Malformed("its chain of records does not end with the marker", "marker")
    offset, size = _RECORD.unpack(data.exactly(position, 16))
    if offset == size == -1:
        return -1, -1
    if offset < 0 or size <= 0 or position + 16 + size > data.size:
        raise Malformed(f"the record at {position} says {size} bytes for {offset}", "marker")
    return offset, size
