"""What the last preflight left for the emergency: the part of the record that a shot and a watch use."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from trigger.driver import Answers, DriverOptions, Identity
from trigger.host import Controller, Host
from trigger.identity import has_own_identity, written_identity
from trigger.plan import HOST_ITSELF
from trigger.state import RECORD, StateFolder

if TYPE_CHECKING:
    from trigger.clock import Clock
    from trigger.config.loading import Config
    from trigger.record import Record


class Known(NamedTuple):
    """Empty without a record. `routes` maps a controller's name to what its last probe learned.

    `route_reasons` says by route (nmi, sysrq-sol, sysrq-ssh) why no dump would result; `not_ready` by any.
    """

    present: bool = False
    routes: Mapping[str, Mapping[str, object]] = MappingProxyType({})
    identities: Mapping[str, Identity] = MappingProxyType({})
    not_ready: tuple[str, ...] = ()
    route_reasons: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    boot_id: str = ""
    hostname: str = ""
    memory_bytes: int | None = None
    dump_target: str = ""
    record: Record | None = None

    def options(self, controller: Controller, secrets: Answers, clock: Clock, *, new: bool = False) -> DriverOptions:
        """Return what a driver is given besides its configuration; `new` accepts another certificate or host key."""
        return DriverOptions(
            secrets=secrets,
            known=self.routes.get(controller.name, {}),
            expected=self.identities.get(controller.name, Identity()),
            accept_new=new,
            clock=clock,
        )

    def age_warning(self, now: float) -> tuple[str, ...]:
        """Return what to say of a record that is older than a week: its age never refuses, what it says does."""
        if self.record is None or not self.record.is_stale(now):
            return ()
        return (f"the preflight's record is {self.record.age(now)}",)

    def expected(self, host: Host, controller: str) -> tuple[Identity, ...]:
        """Return who a controller must be: as the host's owner wrote it down, and as the record has it."""
        both = (written_identity(host), self.identities.get(controller, Identity()))
        return tuple(identity for identity in both if identity != Identity())

    def reasons_against(self, ability: str, driver: str = "") -> tuple[str, ...]:
        """Return why no dump would result from a shot by `ability`: a host may be ready by another route only."""
        by_sysrq = "sysrq-ssh" if driver == "host" else "sysrq-sol"
        route = by_sysrq if ability == "send_sysrq_crash" else "nmi"
        return self.route_reasons.get(route, self.not_ready)


def known_of(state: StateFolder, config: Config, host: Host) -> Known:
    """Return what is known of `host` from its newest record; empty without one.

    Raises ConfigError when the record cannot be understood.
    """
    if not (state.has(host.name, RECORD) or config.record_dirs):
        return Known()
    from trigger.record import find_record  # 5 ms that a host without a record does not pay for

    record = find_record(state, host.name, config.record_dirs)
    if record is None:
        return Known()
    target = record.dump_targets[0] if record.dump_targets else None
    return Known(
        present=True,
        routes=record.routes,
        identities={HOST_ITSELF: _merged(record, None)}
        | {c.name: _merged(record, record.controllers.get(c.name)) for c in host.controllers},
        not_ready=record.not_ready_reasons,
        route_reasons=record.route_reasons,
        boot_id=record.boot_id,
        hostname=record.identity.hostname,
        memory_bytes=record.mem_bytes,
        dump_target=target.read if target else "",
        record=record,
    )


def _merged(record: Record, controller: Identity | None) -> Identity:
    """Return who a controller must be: as it said at the preflight, else as the host's own DMI says.

    A UUID that another host's record has as well proves nothing, so it is left out.
    """
    who = controller if controller is not None and has_own_identity(controller) else record.identity
    return who._replace(uuid="") if record.uuid_shared else who
