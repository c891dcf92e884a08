"""May this account reset the system? Its role, read from the AccountService; nothing is tried. For preflight.

Sources: DSP0266 1.20 "Privilege model", DSP8011 (ResetType needs ConfigureComponents), ManagerAccount and Role schemas;
HPE and Dell give rights of their own in OemPrivileges, so that a role with some is never called too weak.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from drivers.redfish_body import link
from drivers.redfish_system import members, text
from trigger.driver import Exposure
from trigger.errors import DriverError

Get = Callable[[str], dict[str, Any]]

ACCOUNTS = "/redfish/v1/AccountService/Accounts"
ROLES = "/redfish/v1/AccountService/Roles"
NEEDED = "ConfigureComponents"
_MOST = 16  # accounts that are looked at; a BMC that lists more has a directory behind it


class Account(NamedTuple):
    """Our own account: `weak` says in words what its role lacks, "" where it lacks nothing or nobody can tell."""

    weak: str = ""
    exposures: tuple[Exposure, ...] = ()


def read_account(get: Get, user: str) -> Account:
    """Return what the controller says of the account `user`.

    Most controllers show an account at least itself; what they do not show is not held against them.
    """
    try:
        account = _own_account(get, user)
        if account is None:
            return Account()
        exposures = _delivered(account)
        role = text(account, "RoleId")
        links = account.get("Links")
        named = links.get("Role") if isinstance(links, dict) else None
    except DriverError:
        return Account()
    try:
        body = get(link(named) if isinstance(named, dict) else f"{ROLES}/{role}")
    except DriverError:
        return Account("", exposures)
    assigned, oem = body.get("AssignedPrivileges"), body.get("OemPrivileges")
    if not isinstance(assigned, list) or NEEDED in assigned or oem:
        return Account("", exposures)
    return Account(f"the role {role or text(body, 'Id') or 'without a name'}, which has no {NEEDED}", exposures)


def _delivered(account: Mapping[str, Any]) -> tuple[Exposure, ...]:
    if account.get("PasswordChangeRequired") is not True:
        return ()
    says = "the controller wants this account's password changed: it is the one that it was delivered with"
    return (Exposure("default-account", says, "change it, and wherever `password:` points to"),)


def _own_account(get: Get, user: str) -> Mapping[str, Any] | None:
    for path in members(get(ACCOUNTS))[:_MOST]:
        try:
            account = get(path)
        except DriverError:
            continue  # somebody else's
        if text(account, "UserName") == user:
            return account
    return None
