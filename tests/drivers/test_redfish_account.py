"""What a Redfish service says of our own account: a role that may not reset, a password as delivered."""

from __future__ import annotations

from typing import Any

import pytest

from tests.drivers.redfish_service import StartRedfish, redfish
from tests.drivers.simulators.redfish_server import USER
from tests.drivers.simulators.redfish_trees import Tree, machine
from trigger.clock import Deadline
from trigger.driver import ReportsSettings, Settings

SERVICE = "/redfish/v1/AccountService"


def settings(start_redfish: StartRedfish, tree: Tree) -> Settings:
    server = start_redfish(tree)
    with redfish(server) as driver:
        driver.probe(Deadline(20))
        assert isinstance(driver, ReportsSettings)
        found = driver.settings(Deadline(20))
    assert server.deliveries() == 0
    return found


def with_account(role: dict[str, Any] | None, **account: Any) -> Tree:
    tree = machine()
    tree[f"{SERVICE}/Accounts"] = {"Members": [{"@odata.id": f"{SERVICE}/Accounts/{n}"} for n in (1, 2, 3)]}
    tree[f"{SERVICE}/Accounts/2"] = {"UserName": "somebody", "RoleId": "Administrator"}
    tree[f"{SERVICE}/Accounts/3"] = {"UserName": USER, "RoleId": "Night", **account}
    if role is not None:
        tree[f"{SERVICE}/Roles/Night"] = {"Id": "Night", **role}
    return tree


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
def test_the_role(start_redfish: StartRedfish, role: dict[str, Any] | None, weak: bool) -> None:
    found = settings(start_redfish, with_account(role))
    words = "the role Night, which has no ConfigureComponents" if weak else ""
    assert (found.too_weak, found.exposures) == (words, ())


def test_the_role_may_be_a_link(start_redfish: StartRedfish) -> None:
    tree = with_account(None, Links={"Role": {"@odata.id": f"{SERVICE}/Roles/9"}})
    tree[f"{SERVICE}/Roles/9"] = {"Id": "9", "AssignedPrivileges": READS}
    assert settings(start_redfish, tree).too_weak


def test_a_password_as_delivered(start_redfish: StartRedfish) -> None:
    found = settings(start_redfish, with_account(None, PasswordChangeRequired=True))
    assert [exposure.kind for exposure in found.exposures] == ["default-account"]
    assert found.too_weak == ""


@pytest.mark.parametrize(
    "members", [7, [], [{"@odata.id": "https://192.0.2.1/x"}], [{"@odata.id": f"{SERVICE}/Accounts/2"}]]
)
def test_what_is_not_shown_is_not_held_against_it(start_redfish: StartRedfish, members: Any) -> None:
    tree = with_account({"AssignedPrivileges": READS})
    tree[f"{SERVICE}/Accounts"] = {"Members": members}
    found = settings(start_redfish, tree)
    assert (found.too_weak, found.exposures) == ("", ())
    assert found.time is not None, "the rest is read all the same"


def test_no_account_service(start_redfish: StartRedfish) -> None:
    assert settings(start_redfish, machine()).too_weak == ""
