"""Keeps live secrets out of everything that is written: a registry of their spellings, and a filter for logging.

A library that logs what it sends does not know that it is a password, and logs it raw, as JSON, as hex, in a URL or
in an Authorization header. What cannot be promised: a secret that a library has encrypted, hashed or cut into pieces
is not recognised, and neither is one that was never resolved in this process.
"""

from __future__ import annotations

import binascii
import json
import logging
import re
import threading
from collections.abc import Iterator

HIDDEN = "***"
_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
_SHORTEST_ENCODED = 6  # characters of an encoded form; shorter ones would hide innocent text


class Redactor:
    """A registry of live secrets. Safe to share between threads."""

    def __init__(self) -> None:
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._lock = threading.Lock()

    def add(self, value: str, user: str = "") -> None:
        """Remember a secret, and the user it belongs to, for base64 of `user:password` (RFC 7617)."""
        with self._lock:
            self._forms |= set(_spellings(value, user))
            longest_first = sorted(self._forms, key=lambda form: (-len(form), form))
            self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def redact(self, text: str) -> str:
        """Return `text` with every spelling of every secret replaced by ***."""
        pattern = self._pattern
        return pattern.sub(HIDDEN, text) if pattern else text


# Every secret that this process has resolved: trigger/secrets.py adds them, the filter of logging reads them.
LIVE = Redactor()


class RedactingFilter(logging.Filter):
    """Redacts records in place: the message with its arguments, the traceback and the stack.

    Put it on handlers: a logger's filter does not see the records of the loggers below it.
    """

    def __init__(self, redactor: Redactor = LIVE) -> None:
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record and let it pass."""
        try:
            message = record.getMessage()
        except Exception as error:  # a library's broken format must not print its arguments on stderr instead
            message = f"(a log record that cannot be formatted: {type(error).__name__})"
        record.msg, record.args = self._redactor.redact(message), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        record.exc_info = None  # so that no handler formats it anew; formatters print exc_text
        record.exc_text = self._redactor.redact(record.exc_text) if record.exc_text else None
        record.stack_info = self._redactor.redact(record.stack_info) if record.stack_info else None
        return True


def _spellings(value: str, user: str) -> Iterator[str]:
    """Yield the ways in which a secret may appear in text."""
    if not value:
        return
    raw = value.encode("utf-8", "surrogateescape")
    yield value
    yield from (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
    yield from (repr(value)[1:-1], repr(raw)[2:-1])
    for digits in ("02X", "02x"):
        yield from (_url(raw, digits, "%20"), _url(raw, digits, "+"), _url(raw, digits, "%20", b"/"))
    encoded = [*_hex(raw), *_base64(raw), *(_base64(f"{user}:{value}".encode()) if user else ())]
    yield from (form for form in encoded if len(form) >= _SHORTEST_ENCODED)


def _url(raw: bytes, digits: str, space: str, safe: bytes = b"") -> str:
    """Return the bytes as in a URL (RFC 3986 section 2.1), or with `space` "+" as in a form."""
    kept = _UNRESERVED + safe
    return "".join(chr(byte) if byte in kept else space if byte == 32 else f"%{byte:{digits}}" for byte in raw)


def _hex(raw: bytes) -> Iterator[str]:
    """Yield the bytes in hex as dumps print them: joined, or with spaces, colons, or 0x and commas."""
    for digits in (raw.hex(), raw.hex().upper()):
        pairs = [digits[index : index + 2] for index in range(0, len(digits), 2)]
        yield from (
            "".join(pairs),
            " ".join(pairs),
            ":".join(pairs),
            ", ".join(f"0x{pair}" for pair in pairs),
        )
        yield "".join(f"\\x{pair}" for pair in pairs)


def _base64(raw: bytes) -> Iterator[str]:
    """Yield base64 of the bytes alone and, since three bytes become four characters, inside of something longer.

    For each of the three ways to stand in a longer text, the characters that depend on the neighbours are cut off.
    """
    yield binascii.b2a_base64(raw, newline=False).decode().rstrip("=")
    for before in range(3):
        padded = bytes(before) + raw
        whole = binascii.b2a_base64(padded + bytes(-len(padded) % 3), newline=False).decode()
        first = -(-before * 8 // 6)  # characters that hold a bit of what stands before
        middle = whole[first : len(padded) * 8 // 6]
        yield from (middle, middle.replace("+", "-").replace("/", "_"))
