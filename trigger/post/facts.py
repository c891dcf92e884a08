"""What is known of one dump file, as its bytes say it. Strings are the dump's own: not yet made harmless."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Complete(enum.Enum):
    """Whether all pages that the writer meant to save are in the file."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class DumpFacts:
    """One dump file. Empty strings, None and empty mappings mean that the file does not say.

    `format` is kdump, elf, diskdump, libvirt-save, vmware-state, vmware-memory, lime, avml, s390, or unknown;
    `flattened` and `wrapper` (gzip, bzip2, lz4, xz) say what lies around it. `fault` is "", flag (the writer
    set INCOMPLETE), marker (no end marker), truncated (shorter than its headers say), cut (the writer
    stopped), malformed, or limit (not read far enough to tell). `reason` is a clause for people: "the end
    marker is missing". `crash_time` is seconds since the epoch on the crashed host's clock. `pages` counts
    the pages that were saved, `dump_level` is makedumpfile's -d, `split` the page frames [first, end) of one
    part of a split dump. `read` is how many bytes were read to say all this.
    """

    name: str
    size: int
    format: str = "unknown"
    flattened: bool = False
    wrapper: str = ""
    complete: Complete = Complete.UNKNOWN
    fault: str = ""
    reason: str = ""
    nodename: str = ""
    release: str = ""
    version: str = ""
    machine: str = ""
    crash_time: float | None = None
    vmcoreinfo: Mapping[str, str] = field(default_factory=dict)
    dump_level: int | None = None
    pages: int | None = None
    page_size: int | None = None
    max_pfn: int | None = None
    compression: str = ""
    cpus: int | None = None
    split: tuple[int, int] | None = None
    producer: str = ""
    read: int = 0

    def described(self) -> str:
        """Return the format in words: "kdump, flattened, zlib, in gzip"."""
        words = [self.format]
        if self.flattened:
            words.append("flattened")
        if self.compression:
            words.append(self.compression)
        if self.wrapper:
            words.append(f"in {self.wrapper}")
        return ", ".join(words)
