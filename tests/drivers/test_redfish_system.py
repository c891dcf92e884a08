"""Which system behind a Redfish service is meant, and what the service says of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.drivers.redfish_service import SYSTEM, StartRedfish, failure, probe, redfish
from tests.drivers.simulators.redfish_trees import Tree, idrac9, machine, other_machine, several
from trigger.clock import Deadline
from trigger.conformance import ITS_IDENTITY, OTHER_IDENTITY
from trigger.driver import Identity, Power
from trigger.errors import ConfigError

# Which system


def two_systems() -> Tree:
    return several(other_machine(), machine(system="blade2"))


def test_the_system_is_chosen_by_identity_never_by_position(start_redfish: StartRedfish) -> None:
    server = start_redfish(two_systems())
    assert probe(server, expected=ITS_IDENTITY).identity.uuid == ITS_IDENTITY.uuid
    assert probe(server, expected=Identity(serial=OTHER_IDENTITY.serial)).identity.uuid == OTHER_IDENTITY.uuid


@pytest.mark.parametrize("name", ["blade2", "BLADE2", ITS_IDENTITY.uuid, ITS_IDENTITY.serial])
def test_the_configuration_names_the_system(start_redfish: StartRedfish, name: str) -> None:
    assert probe(start_redfish(two_systems()), system=name).learned["system_uri"] == "/redfish/v1/Systems/blade2"


@pytest.mark.parametrize("name", ["", "blade9"])
def test_several_systems_and_nothing_to_tell_them_apart_are_listed(start_redfish: StartRedfish, name: str) -> None:
    error = failure(start_redfish(two_systems()), system=name)
    assert isinstance(error, ConfigError)
    assert ITS_IDENTITY.uuid in error.message
    assert OTHER_IDENTITY.serial in error.message
    assert "system:" in error.next_step


def test_a_system_without_a_reset_action_is_no_candidate(start_redfish: StartRedfish) -> None:
    board = machine(OTHER_IDENTITY, system="HGX_Baseboard_0", Actions={})
    assert probe(start_redfish(several(board, machine(system="System_0")))).identity.uuid == ITS_IDENTITY.uuid


@pytest.mark.parametrize(("system", "allowed"), [("host1", False), ("host0", True)])
def test_openbmc_with_several_hosts_fires_at_host0(start_redfish: StartRedfish, system: str, allowed: bool) -> None:
    bmc: Any = {"Links": {"ManagedBy": [{"@odata.id": "/redfish/v1/Managers/bmc"}]}}
    server = start_redfish(several(machine(OTHER_IDENTITY, system="host0", **bmc), machine(system="host1", **bmc)))
    if allowed:
        assert probe(server, system=system).identity.uuid == OTHER_IDENTITY.uuid
    else:
        assert "host0" in failure(server, system=system).message


# What the system says


@pytest.mark.parametrize(
    ("more", "power", "not_ready"),
    [
        ({"PowerState": "On"}, Power.ON, False),
        ({"PowerState": "Off"}, Power.OFF, False),
        ({"PowerState": "PoweringOn"}, Power.ON, True),
        ({"PowerState": None}, Power.UNKNOWN, False),
        ({"PowerState": 7}, Power.UNKNOWN, False),
        ({"BootProgress": {"LastState": "MemoryInitializationStarted"}}, Power.ON, True),
        ({"BootProgress": {"LastState": "OSRunning"}}, Power.ON, False),
        ({"Oem": {"Hpe": {"PostState": "InPost"}}}, Power.ON, True),
        ({"Oem": {"Hpe": {"PostState": "FinishedPost"}}}, Power.ON, False),
    ],
)
def test_power_and_post(start_redfish: StartRedfish, more: dict[str, Any], power: Power, not_ready: bool) -> None:
    found = probe(start_redfish(machine(**more)))
    assert (found.power, bool(found.not_ready)) == (power, not_ready)
    assert bool(found.warnings) is (power is Power.UNKNOWN)


@pytest.mark.parametrize(
    ("listed", "allowed"),
    [
        (["On", "Nmi"], True),
        (["On", "ForceOff"], False),
        (["GracefulShutdownGracefulRestart", "Nmi"], True),
        (["GracefulRestartNmi"], True),
        (["NMI"], True),
        ("Nmi", True),
        ([None, 3, "Nmi"], True),
        ([], False),
        (None, None),
        ({"Nmi": 1}, None),
    ],
)
def test_allowed_values_however_malformed(start_redfish: StartRedfish, listed: object, allowed: bool | None) -> None:
    tree = machine()
    tree[SYSTEM]["Actions"]["#ComputerSystem.Reset"]["ResetType@Redfish.AllowableValues"] = listed
    assert probe(start_redfish(tree)).nmi_allowed is allowed


def test_dell_serial_number_is_the_service_tag(start_redfish: StartRedfish) -> None:
    assert probe(start_redfish(idrac9())).identity.serial == ITS_IDENTITY.serial


def test_power_is_read_again(start_redfish: StartRedfish) -> None:
    server = start_redfish()
    with redfish(server) as driver:
        driver.probe(Deadline(5))
        server.tree[SYSTEM]["PowerState"] = "Off"
        assert driver.power(Deadline(5)) is Power.OFF


CONSOLES: list[tuple[dict[str, Any], dict[str, Any], list[tuple[Any, ...]]]] = [
    ({}, {}, []),
    ({}, {"SerialConsole": {"ServiceEnabled": False, "ConnectTypesSupported": []}}, []),
    (
        {},
        {
            "SerialConsole": {
                "ServiceEnabled": True,
                "MaxConcurrentSessions": 2,
                "ConnectTypesSupported": ["SSH", "IPMI"],
            }
        },
        [("ssh", True, None, 2, ""), ("ipmi", True, None, 2, "")],
    ),
    (
        {"SerialConsole": {"SSH": {"ServiceEnabled": True, "Port": 2200, "HotKeySequenceDisplay": "Press ~. to exit"}}},
        {"SerialConsole": {"ServiceEnabled": False, "ConnectTypesSupported": ["IPMI"]}},
        [("ssh", True, 2200, None, "Press ~. to exit")],
    ),
    ({"SerialConsole": {"SSH": {"Port": "22", "ServiceEnabled": 1}}}, {}, [("ssh", None, None, None, "")]),
    ({"SerialConsole": 7}, {"SerialConsole": {"ConnectTypesSupported": "SSH"}}, []),
]


@pytest.mark.parametrize(("system", "manager", "expected"), CONSOLES)
def test_the_serial_console_is_described(
    start_redfish: StartRedfish, system: dict[str, Any], manager: dict[str, Any], expected: list[tuple[Any, ...]]
) -> None:
    tree = machine(**system)
    tree["/redfish/v1/Managers/1"] |= manager
    with redfish(start_redfish(tree)) as driver:
        driver.probe(Deadline(5))
        assert [tuple(console) for console in driver.serial_consoles(Deadline(5))] == expected


def test_the_controller_has_a_clock_of_its_own(start_redfish: StartRedfish) -> None:
    with redfish(start_redfish()) as driver:
        driver.probe(Deadline(5))
        assert driver.controller_time(Deadline(5)) == 1795410000.0


def test_bodies_may_be_compressed(start_redfish: StartRedfish) -> None:
    assert probe(start_redfish(zipped=True)).identity.uuid == ITS_IDENTITY.uuid
