"""VMCOREINFO: what the kernel says of itself in every dump (admin-guide/kdump/vmcoreinfo.rst)."""

from __future__ import annotations

from collections.abc import Mapping

MAX_BYTES = 1024 * 1024  # the kernel gives it one page; more than this is no VMCOREINFO
_MAX_LINE = 512


def parse(raw: bytes) -> dict[str, str]:
    """Return its KEY=VALUE lines (OSRELEASE, BUILD-ID, PAGESIZE, SYMBOL(x), KERNELOFFSET, CRASHTIME ...)."""
    values: dict[str, str] = {}
    for line in raw[:MAX_BYTES].split(b"\0", 1)[0].split(b"\n"):
        key, equals, value = line[:_MAX_LINE].partition(b"=")
        if equals and key:
            values.setdefault(key.decode("ascii", "replace"), value.decode("ascii", "replace"))
    return values


def number(values: Mapping[str, str], key: str, base: int = 10) -> int | None:
    """Return a value as a number, or None when it is missing or is no number."""
    text = values.get(key, "")
    try:
        return int(text, base) if text.isascii() and len(text) < 40 else None
    except ValueError:
        return None


def crash_time(values: Mapping[str, str]) -> float | None:
    """Return CRASHTIME, seconds since the epoch on the crashed host's clock."""
    seconds = number(values, "CRASHTIME")
    return float(seconds) if seconds is not None and 0 < seconds < 2**40 else None
