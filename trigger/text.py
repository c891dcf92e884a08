"""What hosts and controllers say is hostile: the one function that makes it safe to show.

Used at the edge, for strings from consoles, event logs, FRUs, extended messages, banners and dmesg. It leaves
printable text alone and makes everything that could act on a terminal, or reorder what is read, visible.
"""

from __future__ import annotations

import sys
import unicodedata

_KEPT_WITH_NEWLINES = frozenset("\n\t")
# Cc control, Cf format (bidirectional overrides, zero-width), Cs surrogates, Co private use, Cn unassigned;
# Zl and Zp are line and paragraph separators, which some terminals and pages treat as a new line.
_HOSTILE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def harmless(text: str, *, lines: bool = False, limit: int = 100_000) -> str:
    """Return `text` with control, escape and bidirectional characters written out, e.g. `\\x1b`.

    With `lines`, newlines and tabs stay. Longer texts than `limit` characters are cut, and say so.
    """
    cut = f"... ({len(text) - limit} more characters)" if len(text) > limit else ""
    text = text[:limit]
    if text.isascii() and text.isprintable():
        return text + cut
    return "".join(_visible(char, lines) for char in text) + cut


def without_secrets(text: str) -> str:
    """Return `text` with every live secret hidden: for the words of exceptions, which anybody may have written.

    Costs nothing in a process that has resolved none (trigger/secrets.py loads the registry).
    """
    if "trigger.redaction" not in sys.modules:
        return text
    from trigger.redaction import LIVE

    return LIVE.redact(text)


def _visible(char: str, lines: bool) -> str:
    if lines and char in _KEPT_WITH_NEWLINES:
        return char
    if unicodedata.category(char) not in _HOSTILE_CATEGORIES:
        return char
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def csv_cell(text: str) -> str:
    """Return `text`, harmless and quoted so that no spreadsheet takes it for a formula (CWE-1236)."""
    safe = harmless(text)
    return "'" + safe if safe[:1] in ("=", "+", "-", "@") else safe
