"""What a Redfish service says of our own account: a role that may not reset, a password as delivered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from drivers.redfish import RedfishDriver
from tests.drivers.redfish_service import Answers, redfish_controller
from tests.drivers.simulators.redfish_server import RedfishServer
from tests.drivers.simulators.redfish_trees import Tree, machine
from trigger.clock import Deadline
from trigger.driver import DriverOptions, ReportsSettings, Settings

SERVICE = "/redfish/v1/AccountService"


@pytest.fixture
def servers() -> Iterator[list[RedfishServer]]:
    started: list[RedfishServer] = []
    yield started
    for server in started:
        server.close()


def settings(servers: list[RedfishServer], tree: Tree) -> Settings:
    servers.append(RedfishServer(tree))
    controller = redfish_controller(servers[-1])
    with RedfishDriver(controller, DriverOptions(secrets=Answers())) as driver:
        driver.probe(Deadline(20))
        assert isinstance(driver, ReportsSettings)
        found = driver.settings(Deadline(20))
    assert servers[-1].deliveries() == 0
    return found


def with_account(role: dict[str, Any] | None, **account: Any) -> Tree:
    tree = machine()
    user = redfish_user()
    tree[f"{SERVICE}/Accounts"] = {"Members": [{"@odata.id": f"{SERVICE}/Accounts/{n}"} for n in (1, 2, 3)]}
    tree[f"{SERVICE}/Accounts/2"] = {"UserName": "somebody", "RoleId": "Administrator"}
    tree[f"{SERVICE}/Accounts/3"] = {"UserName": user, "RoleId": "Night", **account}
    if role is not None:
        tree[f"{SERVICE}/Roles/Night"] = {"Id": "Night", **role}
    return tree


def redfish_user() -> str:
    server = RedfishServer(machine())
    try:
        return redfish_controller(server).user
    finally:
        server.close()


READS = ["Login", "ConfigureSelf"]


@pytest.mark.parametrize(
    ("role", "weak"),
    [
        ({"AssignedPrivileges": READS}, True),
        ({"AssignedPrivileges": [*READS, "ConfigureComponents"]}, False),
        ({"AssignedPrivileges": READS, "OemPrivileges": ["VirtualPowerAndResetPriv"]}, False),
        ({"AssignedPrivileges": "Login"}, False),
        ({}, False),
        (None, False),
    ],
)
def test_the_role(servers: list[RedfishServer], role: dict[str, Any] | None, weak: bool) -> None:
    found = settings(servers, with_account(role))
    words = "the role Night, which has no ConfigureComponents" if weak else ""
    assert (found.too_weak, found.exposures) == (words, ())


def test_the_role_may_be_a_link(servers: list[RedfishServer]) -> None:
    tree = with_account(None, Links={"Role": {"@odata.id": f"{SERVICE}/Roles/9"}})
    tree[f"{SERVICE}/Roles/9"] = {"Id": "9", "AssignedPrivileges": READS}
    assert settings(servers, tree).too_weak


def test_a_password_as_delivered(servers: list[RedfishServer]) -> None:
    found = settings(servers, with_account(None, PasswordChangeRequired=True))
    assert [exposure.kind for exposure in found.exposures] == ["default-account"]
    assert found.too_weak == ""


@pytest.mark.parametrize(
    "members", [7, [], [{"@odata.id": "https://192.0.2.1/x"}], [{"@odata.id": f"{SERVICE}/Accounts/2"}]]
)
def test_what_is_not_shown_is_not_held_against_it(servers: list[RedfishServer], members: Any) -> None:
    tree = with_account({"AssignedPrivileges": READS})
    tree[f"{SERVICE}/Accounts"] = {"Members": members}
    found = settings(servers, tree)
    assert (found.too_weak, found.exposures) == ("", ())
    assert found.time is not None, "the rest is read all the same"


def test_no_account_service(servers: list[RedfishServer]) -> None:
    assert settings(servers, machine()).too_weak == ""
