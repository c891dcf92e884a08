"""What a look at a target reads: listings, README.txt, headers or proofs of dumps, the kernel log beside them."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence

from trigger.post import first_look, formats, kernel_log, split
from trigger.post.facts import DumpFacts
from trigger.post.landing import Baseline, Candidate, Entry, Listing, flat_candidate, new_entries
from trigger.post.reader import READ_LIMIT
from trigger.post.target import Store

MAX_CANDIDATES = 64
_README = "README.txt"
_README_BYTES = 16 * 1024
_LOCAL_LIMIT = 8 * 1024**3  # a gzipped dump on a local disk is decompressed to its end, in a minute or two


def candidates(store: Store, baseline: Baseline, known: Collection[str]) -> list[Candidate] | None:
    """Return the new entries at the target that look like dumps, the newest 64, those in `known` left out.

    None when the target's directory does not exist. Raises OSError or DriverError.
    """
    try:
        listing = store.list(baseline.path)
    except FileNotFoundError:
        return None
    found = [pair for pair in new_entries(baseline, listing) if pair[0].name not in known]
    found.sort(key=lambda pair: pair[0].mtime)
    result = []
    for entry, rule in found[-MAX_CANDIDATES:]:
        if rule.flat:
            result.append(flat_candidate(entry, rule, listing))
            continue
        path = f"{baseline.path}/{entry.name}"
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile: kdump purges old dumps
            files = store.list(path)
            readme = _readme(store, path, files) if rule.readme else ""
            result.append(Candidate(entry.name, rule, files, readme))
    return result


def _readme(store: Store, path: str, files: Listing) -> str:
    if not files.get(_README, Entry(_README)).size:
        return ""
    with contextlib.closing(store.open(f"{path}/{_README}")) as reader:
        return reader.read_at(0, min(reader.size(), _README_BYTES)).decode("utf-8", "replace")


def facts(store: Store, paths: Sequence[str], *, prove: bool) -> DumpFacts:
    """Return the facts of a dump, of all its parts if it is split; raises OSError or DriverError."""
    parts = []
    for path in paths:
        with contextlib.closing(store.open(path)) as reader:
            name = path.rpartition("/")[2]
            limit = _LOCAL_LIMIT if store.local else READ_LIMIT
            parts.append(formats.inspect(reader, name, local=store.local, prove=prove, limit=limit))
    return split.combine(parts) if prove else parts[0]


def dmesg(store: Store, path: str) -> first_look.FirstLook:
    """Return the first look at a kernel log; raises OSError or DriverError."""
    with contextlib.closing(store.open(path)) as reader:
        return first_look.look(first_look.read_dmesg(reader))


def dmesg_in(store: Store, path: str, facts: DumpFacts) -> first_look.FirstLook | None:
    """Return the first look at the kernel log inside a dump, None when it cannot be read without symbols."""
    with contextlib.closing(store.open(path)) as reader:
        log = kernel_log.of_dump(reader, facts, local=store.local)
    return first_look.look(log) if log else None
