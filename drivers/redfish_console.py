"""What a controller says of its serial console, and what time it has: hints for people and for preflight. Pure.

Sources: DMTF ComputerSystem schema 1.13 and later (SerialConsole: SSH, Telnet, IPMI), Manager schema (SerialConsole,
deprecated but what most services still have; DateTime). A controller's "disabled" is no proof: an R750 says so of a
console that works (drivers/quirks.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from drivers.redfish_system import text


class SerialConsole(NamedTuple):
    """One way to the console: `kind` is ssh, telnet, ipmi or oem; None and "" where the controller does not say."""

    kind: str
    enabled: bool | None = None
    port: int | None = None
    sessions: int | None = None
    leave: str = ""


def serial_consoles(system: Mapping[str, Any], manager: Mapping[str, Any]) -> tuple[SerialConsole, ...]:
    """Return the ways to the console, the system's own description before its manager's."""
    own = system.get("SerialConsole")
    if isinstance(own, dict):
        sessions = _number(own.get("MaxConcurrentSessions"))
        ways = [(kind, own.get(kind)) for kind in ("SSH", "Telnet", "IPMI")]
        found = [_way(kind, way, sessions) for kind, way in ways if isinstance(way, dict)]
        if found:
            return tuple(found)
    managers = manager.get("SerialConsole")
    if not isinstance(managers, dict):
        return ()
    kinds, enabled = managers.get("ConnectTypesSupported"), managers.get("ServiceEnabled")
    sessions = _number(managers.get("MaxConcurrentSessions"))
    return tuple(
        SerialConsole(kind.lower(), enabled if isinstance(enabled, bool) else None, None, sessions)
        for kind in (kinds if isinstance(kinds, list) else [])
        if isinstance(kind, str)
    )


def _way(kind: str, way: Mapping[str, Any], sessions: int | None) -> SerialConsole:
    enabled = way.get("ServiceEnabled")
    return SerialConsole(
        kind.lower(),
        enabled if isinstance(enabled, bool) else None,
        _number(way.get("Port")),
        sessions,
        text(way, "HotKeySequenceDisplay"),
    )


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
