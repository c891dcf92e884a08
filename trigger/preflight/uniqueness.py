"""What belongs to one host alone: which certificates and which UUIDs do the records of several hosts have?

A certificate that no other record has proves which controller answers, and saves the fire a request (design.md,
"Identity"). A UUID that two hosts have, a whole batch as delivered, proves nothing, whatever firmware prints it. Only
a preflight can tell, for it sees every record.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import replace

from trigger.identity import canonical_uuid
from trigger.record import FILE_NAME, Record, find_record, write_record
from trigger.state import StateFolder

_FINGERPRINT = re.compile(rb'"fingerprint": "([0-9a-f]{64})"')
_UUID = re.compile(rb'"uuid": "([^"\\]{32,80})"')


class Records:
    """What the records of all hosts say of certificates and UUIDs. Read when first asked; safe to share by threads."""

    def __init__(self, state: StateFolder) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._owners: dict[str, set[str]] | None = None
        self._keys_of: dict[str, frozenset[str]] = {}

    def is_shared(self, uuid: str, host: str) -> bool:
        """Return whether the record of another host than `host` has this UUID, in any byte order."""
        return self._others(canonical_uuid(uuid), host)

    def mark(self, record: Record) -> Record:
        """Return the record with `fingerprint_unique` on its routes that have a certificate, and `uuid_shared`."""
        routes = {}
        for name, learned in record.routes.items():
            mine = str(learned.get("fingerprint", ""))
            unique = not self._others(f"certificate {mine}", record.host)
            routes[name] = {**learned, "fingerprint_unique": unique} if mine else learned
        uuids = {record.identity.uuid, *(who.uuid for who in record.controllers.values())}
        shared = any(self.is_shared(uuid, record.host) for uuid in uuids)
        return replace(record, routes=routes, uuid_shared=shared)

    def write_marks(self, hosts: Sequence[str]) -> list[str]:
        """Mark the records of these hosts, which were just written; return the hosts whose UUID is shared.

        Raises GuardRefused as `write_record` does.
        """
        with self._lock:
            for host in hosts if self._owners is not None else ():
                self._look_again(host, self._owners or {})
        shared = []
        for host in hosts:
            record = find_record(self._state, host)
            marked = self.mark(record) if record else None
            if marked is not None and marked != record:
                write_record(self._state, marked)
            if marked is not None and marked.uuid_shared:
                shared.append(host)
        return shared

    def _others(self, key: str, host: str) -> bool:
        with self._lock:
            if self._owners is None:
                self._owners = self._read()
            return bool(key) and bool(self._owners.get(key, set()) - {host})

    def _read(self) -> dict[str, set[str]]:
        """Return which hosts have each certificate and UUID; records that cannot be read do not count."""
        owners: dict[str, set[str]] = {}
        for host in self._state.host_names():
            self._look_again(host, owners)
        return owners

    def _look_again(self, host: str, owners: dict[str, set[str]]) -> None:
        """Replace what is known of one host's record by what is in it now."""
        for key in self._keys_of.pop(host, frozenset()):
            owners[key].discard(host)
        self._keys_of[host] = self._keys(host)
        for key in self._keys_of[host]:
            owners.setdefault(key, set()).add(host)

    def _keys(self, host: str) -> frozenset[str]:
        try:
            data = (self._state.host_folder(host) / FILE_NAME).read_bytes()
        except OSError:
            return frozenset()
        certificates = {f"certificate {found.decode()}" for found in _FINGERPRINT.findall(data)}
        uuids = {canonical_uuid(found.decode("utf-8", "replace")) for found in set(_UUID.findall(data))}
        return frozenset(certificates | (uuids - {""}))
