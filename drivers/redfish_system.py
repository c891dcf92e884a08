"""What a ComputerSystem says: identity, power, and how it would be given an NMI. Pure; every field may be wrong.

Source: DMTF ComputerSystem schema 1.20 (PowerState, BootProgress, Actions), DSP0266 sections "Actions" and
"Action info", and recorded trees of real machines, which are less strict than both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from drivers.quirks import Facts, Quirk, matching
from drivers.redfish_body import link, local_path
from trigger.driver import Identity, Power
from trigger.errors import DriverError
from trigger.identity import Match, compare_identities

# Resource.ResetType. Supermicro once forgot a comma between two of them.
_RESET_TYPES = (
    "ForceRestart", "ForceOff", "ForceOn", "FullPowerCycle", "GracefulRestart", "GracefulShutdown", "Nmi", "On",
    "Pause", "PowerCycle", "PushPowerButton", "Resume", "Suspend",
)  # fmt: skip
_RESET_TYPE = re.compile("|".join(sorted(_RESET_TYPES, key=len, reverse=True)), re.IGNORECASE)
_STILL_IN_POST = frozenset({
    "PrimaryProcessorInitializationStarted", "BusInitializationStarted", "MemoryInitializationStarted",
    "SecondaryProcessorInitializationStarted", "PCIResourceConfigStarted", "SetupEntered",
})  # fmt: skip
_HPE_STILL_IN_POST = frozenset({"InPost", "InPostDiscoveryComplete"})


class Reset(NamedTuple):
    """The one request that sends an NMI. `allowed` is None where the controller does not say.

    `action_info` is where it would say, "" when it has been read or there is none.
    """

    uri: str
    body: Mapping[str, str]
    allowed: bool | None = None
    action_info: str = ""


class System(NamedTuple):
    """One ComputerSystem. `reset` is None where it has no way to be reset: not a candidate."""

    uri: str
    id: str
    identity: Identity
    power: Power
    not_ready: str = ""
    reset: Reset | None = None
    manager: str = ""
    logs: tuple[str, ...] = ()
    quirks: tuple[Quirk, ...] = ()
    warnings: tuple[str, ...] = ()


def read_system(uri: str, body: Mapping[str, Any]) -> System:
    """Return what `body`, the resource at `uri`, says; raises DriverError when its reset leads out of /redfish/."""
    facts = _facts(body)
    quirks = matching(facts)
    serial = next((text(body, q.serial_property) for q in quirks if q.serial_property), "")
    power, not_ready, warnings = _readiness(body)
    return System(
        uri=uri,
        id=text(body, "Id") or uri.rstrip("/").rpartition("/")[2],
        identity=Identity(
            uuid=text(body, "UUID"),
            serial=serial or text(body, "SerialNumber"),
            hostname=text(body, "HostName"),
            vendor=facts.vendor,
            model=facts.model,
        ),
        power=power,
        not_ready=not_ready,
        reset=_reset(uri, body, quirks),
        manager=facts.manager,
        logs=tuple(_links(body.get("LogServices"))),
        quirks=quirks,
        warnings=(*warnings, *(quirk.warning for quirk in quirks if quirk.warning)),
    )


def with_action_info(reset: Reset, body: Mapping[str, Any]) -> Reset:
    """Return `reset` with the values that its ActionInfo resource lists."""
    parameters = body.get("Parameters")
    for parameter in parameters if isinstance(parameters, list) else ():
        if isinstance(parameter, dict) and parameter.get("Name") == "ResetType":
            return _with_values(reset, parameter.get("AllowableValues"))._replace(action_info="")
    return reset._replace(action_info="")


def reset_values(listed: object) -> tuple[str, ...] | None:
    """Return the reset types in an allowable-values list, however malformed, or None when there is no list.

    A text counts as a list of one; numbers and nulls are passed over; two names that run together are two names.
    """
    items = [listed] if isinstance(listed, str) else listed
    if not isinstance(items, list):
        return None
    values: list[str] = []
    for item in items:
        if not isinstance(item, str):
            continue
        parts = _RESET_TYPE.findall(item)
        values += parts if "".join(parts) == item else [item]
    return tuple(values)


def choose(systems: Iterable[System], wanted: str, expected: Identity) -> System | list[System]:
    """Return the system that is meant, or the candidates when that cannot be told.

    `wanted` is the configuration's `system:` (Id, UUID, serial number, host name or path), `expected` who the
    host should be. Systems without a reset action are no candidates. Never chosen by position.
    """
    candidates = [system for system in systems if system.reset is not None]
    if wanted:
        named = [system for system in candidates if _is_named(system, wanted)]
        return named[0] if len(named) == 1 else named or candidates
    if len(candidates) == 1:
        return candidates[0]
    known = [system for system in candidates if _is_expected(system.identity, expected)]
    return known[0] if len(known) == 1 else candidates


def text(body: object, *keys: str) -> str:
    """Return the text at `keys` in nested objects, "" when anything on the way is something else."""
    for key in keys:
        body = body.get(key) if isinstance(body, dict) else None
    return body.strip() if isinstance(body, str) else ""


def members(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the paths in a collection; raises DriverError for one that leads out of /redfish/."""
    listed = body.get("Members")
    return tuple(dict.fromkeys(link(item) for item in listed)) if isinstance(listed, list) else ()


def _facts(body: Mapping[str, Any]) -> Facts:
    oem = body.get("Oem")
    links = body.get("Links")
    managers = links.get("ManagedBy") if isinstance(links, dict) else None
    first = managers[0] if isinstance(managers, list) and managers else None
    return Facts(
        vendor=text(body, "Manufacturer"),
        model=text(body, "Model"),
        oem=tuple(oem) if isinstance(oem, dict) else (),
        manager=next(iter(_links(first)), ""),
    )


def _links(value: object) -> list[str]:
    """Return the path of an optional link; one that is broken is no link."""
    try:
        return [link(value)]
    except DriverError:
        return []


def _readiness(body: Mapping[str, Any]) -> tuple[Power, str, tuple[str, ...]]:
    state = text(body, "PowerState")
    progress = text(body, "BootProgress", "LastState")
    hpe = text(body, "Oem", "Hpe", "PostState") or text(body, "Oem", "Hp", "PostState")
    if state in ("Off", "PoweringOff"):
        return Power.OFF, "", ()
    if state == "PoweringOn" or progress in _STILL_IN_POST or hpe in _HPE_STILL_IN_POST:
        return (
            Power.ON,
            f"it is still starting up ({hpe or progress or state}): no kernel would take the NMI",
            (),
        )
    if state == "On":
        return Power.ON, "", ()
    return Power.UNKNOWN, "", (f"the power state is {state or 'not given'}",)


def _reset(uri: str, body: Mapping[str, Any], quirks: tuple[Quirk, ...]) -> Reset | None:
    for quirk in quirks:
        if quirk.body_to_system is not None:
            return Reset(local_path(uri), quirk.body_to_system, _legacy_allowed(body))
    standard = _standard_reset(body)
    if standard is not None and standard.allowed:
        return standard
    for quirk in quirks:
        if quirk.oem_action:
            action = _action(body.get("Actions"), "Oem", quirk.oem_action) or _action(body.get("Oem"), quirk.oem_action)
            if action is not None and isinstance(action.get("target"), str):
                return Reset(local_path(action["target"]), {quirk.oem_parameter: quirk.oem_value}, True)
    return standard


def _standard_reset(body: Mapping[str, Any]) -> Reset | None:
    action = _action(body.get("Actions"), "#ComputerSystem.Reset")
    if action is None or "target" not in action:
        return None
    info = action.get("@Redfish.ActionInfo")
    reset = Reset(local_path(action["target"]), {"ResetType": "Nmi"})
    listed = _with_values(reset, action.get("ResetType@Redfish.AllowableValues"))
    return listed._replace(action_info=local_path(info) if isinstance(info, str) and listed.allowed is None else "")


def _with_values(reset: Reset, listed: object) -> Reset:
    values = reset_values(listed)
    if values is None:
        return reset
    spelled = next((value for value in values if value.casefold() == "nmi"), "")
    return reset._replace(body={"ResetType": spelled or "Nmi"}, allowed=bool(spelled))


def _legacy_allowed(body: Mapping[str, Any]) -> bool | None:
    """Return whether iLO 4 lists Nmi, in Actions or in the older AvailableActions."""
    standard = _standard_reset(body)
    if standard is not None and standard.allowed is not None:
        return standard.allowed
    actions = body.get("AvailableActions")
    for action in actions if isinstance(actions, list) else ():
        capabilities = action.get("Capabilities") if isinstance(action, dict) else None
        for capability in capabilities if isinstance(capabilities, list) else ():
            values = reset_values(capability.get("AllowableValues")) if isinstance(capability, dict) else None
            if values is not None and action.get("Action") == "Reset":
                return "nmi" in (value.casefold() for value in values)
    return None


def _action(body: object, *keys: str) -> dict[str, Any] | None:
    for key in keys:
        body = body.get(key) if isinstance(body, dict) else None
    return body if isinstance(body, dict) else None


def _is_named(system: System, wanted: str) -> bool:
    identity = system.identity
    names = (system.id, system.uri, system.uri.rstrip("/"), identity.uuid, identity.serial, identity.hostname)
    return wanted.casefold() in (name.casefold() for name in names if name)


def _is_expected(identity: Identity, expected: Identity) -> bool:
    return compare_identities(expected, identity)[0] is Match.SAME
