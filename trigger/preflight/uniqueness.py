"""Which certificates belong to one controller alone?

A certificate that no other record has proves which controller answers, and saves the fire a request
(design.md, "Identity"). Only a preflight can tell, for it sees every record.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from trigger.record import FILE_NAME, Record, find_record, write_record
from trigger.state import StateFolder

_FINGERPRINT = re.compile(rb'"fingerprint": "([0-9a-f]{64})"')


def mark_unique(record: Record, seen: Counter[str]) -> Record:
    """Return the record, each of its routes with `fingerprint_unique` where it has a certificate."""
    routes = {}
    for name, learned in record.routes.items():
        fingerprint = str(learned.get("fingerprint", ""))
        routes[name] = {**learned, "fingerprint_unique": seen[fingerprint] <= 1} if fingerprint else learned
    return replace(record, routes=routes)


def count_fingerprints(state: StateFolder) -> Counter[str]:
    """Return in how many hosts' records each certificate stands; records that cannot be read do not count."""
    seen: Counter[str] = Counter()
    for name in state.host_names():
        try:
            data = (state.host_folder(name) / FILE_NAME).read_bytes()
        except OSError:
            continue
        seen.update({match.decode() for match in _FINGERPRINT.findall(data)})
    return seen


def write_marks(state: StateFolder, hosts: Sequence[str]) -> None:
    """Mark the certificates in the records of these hosts. Raises GuardRefused as `write_record` does."""
    if not hosts:
        return
    seen = count_fingerprints(state)
    for host in hosts:
        record = find_record(state, host)
        marked = mark_unique(record, seen) if record else None
        if marked is not None and marked != record:
            write_record(state, marked)
