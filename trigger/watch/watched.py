"""What is being watched after a shot: everything that `wait` needs to go on where `nmi` stopped."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from trigger.host import Host
from trigger.known import Known

if TYPE_CHECKING:
    from trigger.post.landing import Baseline
    from trigger.watch.console import ConsoleWatch
    from trigger.watch.controller import ControllerWatch
    from trigger.watch.fence_kdump import FenceKdumpListener


class Watched(NamedTuple):
    """One shot. `outcome` is accepted or unknown; times are seconds since the epoch; `until` as in the options.

    `baseline` is what lay at the target before the shot, None when nobody could look. `dump_stores` maps what
    hosts write to how it is read from here. `shot` is what was sent, in words. `console` and `fence` are being
    listened to, `controller` is asked.
    """

    host: Host
    dump_target: str
    known: Known
    outcome: str
    fired_at: float
    deadline_at: float
    until: str = "verified"
    baseline: Baseline | None = None
    dump_stores: Mapping[str, str] = MappingProxyType({})
    shot: str = "NMI"
    console: ConsoleWatch | None = None
    controller: ControllerWatch | None = None
    fence: FenceKdumpListener | None = None
