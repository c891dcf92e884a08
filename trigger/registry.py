"""Which driver is which class: our own in one static table, third parties' by entry point.

Nothing is scanned while firing through one of ours. A third party's package declares

    [project.entry-points."trigger.drivers"]
    acme = "acme_trigger:AcmeDriver"

and its name is found when a configuration uses it. A name that two packages claim is an error naming both.
"""

from __future__ import annotations

import importlib
from typing import NamedTuple

from trigger.driver import Driver
from trigger.errors import ConfigError

GROUP = "trigger.drivers"
OURS = {
    "ipmi": "drivers.ipmi:IpmiDriver",
    "redfish": "drivers.redfish:RedfishDriver",
    "ilo": "drivers.ilo:IloDriver",
    "drac": "drivers.drac:DracDriver",
    "telnet": "drivers.telnet:TelnetDriver",
    "ssh-console": "drivers.ssh_console:SshConsoleDriver",
    "rfc2217": "drivers.rfc2217:Rfc2217Driver",
    "serial": "drivers.serial_device:SerialDriver",
    "conserver": "drivers.conserver:ConserverDriver",
    "host": "drivers.host:HostDriver",
}
QUIRKS = "drivers.quirks:quirks_table"
QUIRK_COLUMNS = ("driver", "vendor", "generation", "firmware", "differs", "source")
# The ability is the method (trigger/driver.py): what a driver has is what it can do.
ABILITIES = {
    "nmi": "send_nmi",
    "console": "open_console",
    "event log": "event_log",
    "power state": "power",
}


class Registered(NamedTuple):
    """One driver as declared: its name, the class as `module:Class`, and the distribution that brings it."""

    name: str
    target: str
    package: str


def load_driver(name: str) -> type[Driver]:
    """Return the class of driver `name`.

    Raises ConfigError when there is none, when two packages claim the name, or when its package is broken.
    """
    target = OURS.get(name)
    if target is None:
        target = _third_party(name)
    return _import(name, target)


def methods_of(cls: type[Driver]) -> tuple[str, ...]:
    """Return which methods of ABILITIES a driver's class has."""
    return tuple(method for method in ABILITIES.values() if callable(getattr(cls, method, None)))


def abilities_of(name: str) -> tuple[str, ...]:
    """Return the methods of driver `name`; of one that cannot be loaded all it may have.

    The attempt to use that one then says what is wrong with it.
    """
    try:
        return methods_of(load_driver(name))
    except ConfigError:
        return tuple(ABILITIES.values())


def registered() -> list[Registered]:
    """Return every driver there is, ours and third parties', by name. A claimed name appears once per claim."""
    return sorted(
        (*(Registered(name, target, "bmc-trigger") for name, target in OURS.items()), *_entry_points()),
        key=lambda entry: (entry.name, entry.package),
    )


def quirks() -> list[dict[str, str]]:
    """Return what is known of how controllers differ, one row each, with its source."""
    module, _, name = QUIRKS.partition(":")
    rows = getattr(importlib.import_module(module), name)()
    return [dict(zip(QUIRK_COLUMNS, row, strict=True)) for row in rows]


def contested(entries: list[Registered]) -> list[str]:
    """Return a sentence for each name that more than one package claims."""
    packages: dict[str, set[str]] = {}
    for entry in entries:
        packages.setdefault(entry.name, set()).add(entry.package)
    return [
        f"driver {name!r} is claimed by {' and '.join(sorted(claims))}; remove one of these packages"
        for name, claims in sorted(packages.items())
        if len(claims) > 1
    ]


def _third_party(name: str) -> str:
    entries = [entry for entry in _entry_points() if entry.name == name]
    problems = contested(entries)
    if problems:
        raise ConfigError(f"{problems[0]}. Nothing was sent.")
    if not entries:
        import difflib

        near = difflib.get_close_matches(name, OURS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"unknown driver {name!r}{hint} Nothing was sent."
            if hint
            else f"unknown driver {name!r}. Nothing was sent.",
            next_step="trigger drivers lists those that are installed.",
        )
    return entries[0].target


def _entry_points() -> list[Registered]:
    from importlib.metadata import entry_points

    return [
        Registered(point.name, point.value, point.dist.name if point.dist else "?")
        for point in entry_points(group=GROUP)
        if not (point.dist and point.dist.name == "bmc-trigger")
    ]


def _import(name: str, target: str) -> type[Driver]:
    module, _, attribute = target.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise ConfigError(
            f"driver {name!r} ({target}) cannot be loaded: {type(error).__name__}: {error}. Nothing was sent.",
            next_step="Install its package again, or remove it from the configuration.",
        ) from error
    if not (isinstance(found, type) and issubclass(found, Driver)):
        raise ConfigError(f"driver {name!r} ({target}) is not a trigger.driver.Driver. Nothing was sent.")
    return found
