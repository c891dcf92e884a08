"""Everything that can be said of one dump, anywhere: the proof, and the kernel log beside it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from trigger.errors import DriverError
from trigger.host import Ssh
from trigger.post import first_look, formats, looks, split
from trigger.post.distributions import RULES
from trigger.post.facts import DumpFacts
from trigger.post.landing import Baseline, Listing
from trigger.post.reader import READ_LIMIT
from trigger.post.target import Store, resolve

DEEP_LIMIT = 2**62


@dataclass(frozen=True, slots=True)
class Inspection:
    """One dump: where it is, what it says, and the first look at its kernel log.

    `dmesg` is the log beside it; without one the log is read out of the dump, where that can be done.
    """

    path: str
    facts: DumpFacts
    dmesg: str = ""
    look: first_look.FirstLook | None = None
    local: bool = False


def inspect_url(
    where: str, *, ssh: Ssh | None = None, dump_stores: Mapping[str, str] | None = None, deep: bool = False
) -> Inspection:
    """Inspect a dump by its local path (relative ones too) or URL; a folder stands for the dump in it.

    `deep` lifts the limit on reading, which only gzipped dumps need. Raises ConfigError for what cannot be
    opened by name, OSError or DriverError for what cannot be read.
    """
    if "://" not in where:
        where = os.path.realpath(where)  # a link that leads in a circle is refused when it is opened
    target = resolve(where, ssh=ssh, dump_stores=dump_stores)
    with contextlib.closing(target.open()) as store:
        return inspect_in(store, target.path, deep=deep)


def inspect_in(store: Store, path: str, *, deep: bool = False) -> Inspection:
    """Inspect a dump, or the dump in a folder, of an opened store."""
    folder, name = str(PurePosixPath(path).parent), PurePosixPath(path).name
    listing = store.list(folder)
    if name and name in listing and listing[name].is_dir:
        folder, name = path, ""
        listing = store.list(folder)
    if not name:
        name = _core_in(store, folder, listing)
    names = _parts(name, listing)
    facts = []
    limit = DEEP_LIMIT if deep else READ_LIMIT
    for part in names:
        with contextlib.closing(store.open(f"{folder}/{part}")) as reader:
            facts.append(formats.inspect(reader, part, local=store.local, limit=limit))
    dmesg = dmesg_beside(name, listing)
    whole = split.combine(facts)
    look = looks.dmesg(store, f"{folder}/{dmesg}") if dmesg else looks.dmesg_in(store, f"{folder}/{name}", whole)
    beside = f"{folder}/{dmesg}" if dmesg else ""
    return Inspection(f"{folder}/{name}", whole, dmesg=beside, look=look, local=store.local)


def _core_in(store: Store, folder: str, listing: Listing) -> str:
    """Return the name of the one dump in a folder as a saver leaves it."""
    cores = [
        name
        for name, entry in listing.items()
        if not entry.is_dir
        and any(pattern.fullmatch(name) for rule in RULES for pattern in (rule.final, rule.partial) if pattern)
    ]
    if len(cores) == 1 or (cores and all(re.fullmatch(r"vmcore\d+", name) for name in cores)):
        return min(cores)
    if not cores:
        below = looks.candidates(store, Baseline(folder, {}), ()) or []
        hint = f"; the newest below it: {folder}/{below[-1].name}" if below else ""
        raise DriverError(f"There is no dump in {folder}{hint}.")
    raise DriverError(f"There are several dumps in {folder}: {', '.join(sorted(cores))}. Name one.")


def _parts(name: str, listing: Listing) -> list[str]:
    """Return all parts of a split dump when `name` is one of SUSE's vmcore1, vmcore2 ..., else `name` alone."""
    if not re.fullmatch(r"vmcore\d+", name):
        return [name]
    return sorted(other for other in listing if re.fullmatch(r"vmcore\d+", other)) or [name]


def dmesg_beside(name: str, listing: Listing) -> str:
    """Return the name of the kernel log that was saved with the dump `name`, or ""."""
    stamped = re.sub(r"^((?:.+-)?)(?:dump|vmcore)\.(\d{12}).*$", r"\1dmesg.\2", name)
    for candidate in (stamped, "vmcore-dmesg.txt", "dmesg", "dmesg.txt"):
        if candidate != name and candidate in listing and not listing[candidate].is_dir:
            return candidate
    return ""
