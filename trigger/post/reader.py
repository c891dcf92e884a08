"""Reading a dump by seeking: the small Protocol of a source, and a meter that keeps every read within bounds.

Headers of a dump are hostile input: each offset in them is checked against the file, and no dump, however
strange, makes us read more than the limit.
"""

from __future__ import annotations

from typing import Protocol

HEAD_BYTES = 256 * 1024
READ_LIMIT = 64 * 1024 * 1024


class Reader(Protocol):
    """A dump as bytes that can be sought. Both methods may raise OSError or trigger.errors.DriverError."""

    def size(self) -> int:
        """Return the size in bytes."""
        ...

    def read_at(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer only at the end of the file."""
        ...


class View(Protocol):
    """Checked reads: what the parsers of this package are given."""

    def exactly(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes at `offset`, or raise Malformed."""
        ...


class Malformed(Exception):
    """The bytes are not what their header says.

    `fault` is truncated (the file is shorter than it says), cut (the writer stopped), marker, or malformed.
    """

    def __init__(self, reason: str, fault: str = "malformed") -> None:
        super().__init__(reason)
        self.reason = reason
        self.fault = fault


class TooMuch(Exception):
    """Going on would read more than the limit; nothing is known of the rest."""


class BytesReader:
    """A Reader over bytes in memory: the decompressed head of a dump."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def size(self) -> int:
        """Return the number of bytes."""
        return len(self._data)

    def read_at(self, offset: int, length: int) -> bytes:
        """Return a slice."""
        return self._data[offset : offset + length]


class Metered:
    """A View of a Reader that counts what it reads and refuses to read past its limit.

    The first 256 KiB are read once and kept: every header of a dump lies there. The size is taken once, so a
    file that grows meanwhile is judged as it was.
    """

    def __init__(self, reader: Reader, limit: int = READ_LIMIT) -> None:
        self._reader = reader
        self.size = reader.size()
        self.limit = limit
        self.spent = 0
        self.head = self._fetch(0, min(self.size, HEAD_BYTES))

    def allow(self, extra: int) -> None:
        """Raise the limit by `extra` bytes: a kdump file's bitmap, which grows with the host's memory."""
        self.limit += extra

    def exactly(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes; raises Malformed outside the file, TooMuch over the limit."""
        if offset < 0 or length < 0:
            raise Malformed(f"a header names the impossible range {offset}+{length}")
        if offset + length > self.size:
            raise Malformed(f"it has {self.size} bytes, but its headers need {offset + length}", "truncated")
        if offset + length <= len(self.head):
            return self.head[offset : offset + length]
        return self._fetch(offset, length)

    def _fetch(self, offset: int, length: int) -> bytes:
        if self.spent + length > self.limit:
            raise TooMuch(f"more than {self.limit} bytes would have to be read")
        self.spent += length
        data = self._reader.read_at(offset, length)
        if len(data) != length:
            raise Malformed(f"it ended at {offset + len(data)} while it was read", "truncated")
        return data
