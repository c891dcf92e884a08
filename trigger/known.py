"""What the last preflight left for the emergency: the part of the record that a shot and a watch use."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from trigger.driver import Identity
from trigger.host import Host
from trigger.identity import has_own_identity
from trigger.record import Record, find_record
from trigger.state import StateFolder

if TYPE_CHECKING:
    from trigger.config import Config


class Known(NamedTuple):
    """Empty without a record. `routes` maps a controller's name to what its last probe learned."""

    present: bool = False
    routes: Mapping[str, Mapping[str, object]] = MappingProxyType({})
    identities: Mapping[str, Identity] = MappingProxyType({})
    not_ready: tuple[str, ...] = ()
    boot_id: str = ""
    hostname: str = ""
    memory_bytes: int | None = None
    dump_target: str = ""
    record: Record | None = None


def known_of(state: StateFolder, config: Config, host: Host) -> Known:
    """Return what is known of `host` from its newest record; empty without one.

    Raises ConfigError when the record cannot be understood.
    """
    record = find_record(state, host.name, config.record_dirs)
    if record is None:
        return Known()
    target = record.dump_targets[0] if record.dump_targets else None
    return Known(
        present=True,
        routes=record.routes,
        identities={c.name: _merged(record.identity, record.controllers.get(c.name)) for c in host.controllers},
        not_ready=record.not_ready_reasons,
        boot_id=record.boot_id,
        hostname=record.identity.hostname,
        memory_bytes=record.mem_bytes,
        dump_target=target.read if target else "",
        record=record,
    )


def _merged(host: Identity, controller: Identity | None) -> Identity:
    """Return who a controller must be: as it said at the preflight, else as the host's own DMI says."""
    if controller is not None and has_own_identity(controller):
        return controller
    return host
