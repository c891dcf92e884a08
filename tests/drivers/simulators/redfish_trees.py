"""Redfish trees of simulated machines, {path: body}, written after the schemas and what vendors are known to serve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trigger.conformance import ITS_IDENTITY, OTHER_IDENTITY
from trigger.driver import Identity

Tree = dict[str, Any]
RESET_TYPES = ["On", "ForceOff", "ForceRestart", "GracefulShutdown", "PushPowerButton", "Nmi"]


def machine(identity: Identity = ITS_IDENTITY, *, system: str = "1", slash: str = "", **more: Any) -> Tree:
    """Return the tree of one server with one system, its manager and a SEL; `more` goes into the ComputerSystem."""
    base = f"/redfish/v1/Systems/{system}"
    manager = "/redfish/v1/Managers/1"
    body = {
        "@odata.id": base + slash,
        "Id": system,
        "UUID": identity.uuid,
        "SerialNumber": identity.serial,
        "HostName": "server42",
        "Manufacturer": "Contoso",
        "Model": "CS-1000",
        "PowerState": "On",
        "Links": {"ManagedBy": [{"@odata.id": manager + slash}]},
        "LogServices": {"@odata.id": f"{base}/LogServices{slash}"},
        "Actions": {
            "#ComputerSystem.Reset": {
                "target": f"{base}/Actions/ComputerSystem.Reset{slash}",
                "ResetType@Redfish.AllowableValues": list(RESET_TYPES),
            }
        },
    }
    body |= more
    return {
        f"/redfish/v1{slash}": root(slash),
        f"/redfish/v1/Systems{slash}": {"Members": [{"@odata.id": base + slash}]},
        base + slash: body,
        manager + slash: {"Id": "1", "FirmwareVersion": "2.13", "DateTime": "2026-11-23T05:00:00Z"},
        **logs(base, slash),
    }


def root(slash: str = "") -> Tree:
    """Return a service root."""
    return {
        "Id": "RootService",
        "Systems": {"@odata.id": f"/redfish/v1/Systems{slash}"},
        "Links": {"Sessions": {"@odata.id": f"/redfish/v1/SessionService/Sessions{slash}"}},
    }


def logs(base: str, slash: str = "") -> Tree:
    """Return a log service with one SEL of three entries, oldest first."""
    sel = f"{base}/LogServices/SEL"
    entries = [
        {"@odata.id": f"{sel}/Entries/{n}", "Id": str(n), "Severity": "OK", "MessageId": f"Test.1.0.N{n}",
         "Created": f"2026-11-23T04:0{n}:00Z", "Message": f"entry {n}"}
        for n in (1, 2, 3)
    ]  # fmt: skip
    return {
        f"{base}/LogServices{slash}": {"Members": [{"@odata.id": sel + slash}]},
        sel + slash: {"Entries": {"@odata.id": f"{sel}/Entries{slash}"}},
        f"{sel}/Entries{slash}": {"Members": entries, "Members@odata.count": 3},
    }


def ilo5(identity: Identity = ITS_IDENTITY, **more: Any) -> Tree:
    """Return an iLO 5: paths end with a slash, HPE's Oem block."""
    hpe = {
        "Manufacturer": "HPE",
        "Model": "ProLiant DL380 Gen10",
        "Oem": {"Hpe": {"PostState": "FinishedPost"}},
    }
    return machine(identity, slash="/", **(hpe | more))


def ilo4(identity: Identity = ITS_IDENTITY, **more: Any) -> Tree:
    """Return an iLO 4: no Actions block, AvailableActions instead, and Action in the body of the POST."""
    actions = [
        {
            "Action": "Reset",
            "Capabilities": [{"PropertyName": "ResetType", "AllowableValues": ["On", "ForceOff", "Nmi"]}],
        }
    ]
    hp = {"Manufacturer": "HP", "Model": "ProLiant DL360 Gen9", "Oem": {"Hp": {"PostState": "FinishedPost"}}}
    tree = machine(identity, slash="/", **(hp | {"AvailableActions": actions, "Actions": {}} | more))
    tree["/redfish/v1/"] |= {"Oem": {"Hp": {"Manager": [{"ManagerType": "iLO 4"}]}}}
    return tree


def idrac9(identity: Identity = ITS_IDENTITY, **more: Any) -> Tree:
    """Return an iDRAC 9: the service tag is in SKU, SerialNumber is the board's."""
    dell = {
        "Manufacturer": "Dell Inc.",
        "Model": "PowerEdge R750",
        "SKU": identity.serial,
        "SerialNumber": "CNFCP0012",
    }
    return machine(identity, system="System.Embedded.1", **(dell | more))


def other_machine() -> Tree:
    """Return the tree of another server."""
    return machine(OTHER_IDENTITY)


def several(*machines: Tree) -> Tree:
    """Return one service with the systems of all `machines`, in this order."""
    tree: Tree = {}
    members: list[Mapping[str, str]] = []
    for each in machines:
        members += each["/redfish/v1/Systems"]["Members"]
        tree |= each
    tree["/redfish/v1/Systems"] = {"Members": members}
    return tree
