"""Which controllers are routes of which action."""

from __future__ import annotations

import pytest

from trigger.errors import ConfigError
from trigger.host import Controller, Host, Ssh
from trigger.plan import ACTIONS, CANNOT, HOST_ITSELF, make_plan
from trigger.registry import ABILITIES, OURS, load_driver

BMC = Controller("ipmi", "ipmi", "192.0.2.1")
WEB = Controller("redfish", "redfish", "192.0.2.1")
LINE = Controller("telnet", "telnet", "192.0.2.9", 7001)
CABLE = Controller("serial", "serial", "/dev/ttyUSB0")
SSH = Ssh("server42", 2222, "root", "/key", "/known", "openssh")


def names(action: str, *controllers: Controller, via: str = "", ssh: Ssh | None = None) -> list[str]:
    return [route.controller.name for route in make_plan(Host("server42", controllers, ssh), action, via=via).routes]


def test_a_console_alone_is_no_route_of_an_nmi() -> None:
    """It used to stand among the failures of `trigger nmi` as "has no nmi"."""
    assert names("nmi", LINE, BMC, CABLE) == ["ipmi"]
    assert names("sysrq-c", LINE, BMC, CABLE) == ["telnet", "ipmi", "serial"]


def test_redfish_is_no_route_of_a_console() -> None:
    assert names("sysrq", WEB, LINE) == names("sysrq-c", WEB, LINE) == ["telnet"]
    assert names("nmi", WEB, LINE) == ["redfish"]


def test_named_or_the_last_one_is_tried_and_says_what_it_lacks() -> None:
    assert names("nmi", LINE, BMC, via="telnet") == ["telnet"]
    assert names("nmi", LINE, CABLE) == ["telnet", "serial"]
    assert names("sysrq", WEB) == ["redfish"]


@pytest.mark.parametrize("action", CANNOT)
def test_the_table_is_what_the_drivers_say(action: str) -> None:
    method = {"sysrq-c": "open_console"}.get(action, ACTIONS[action])
    assert method in ABILITIES.values()
    assert set(CANNOT[action]) == {name for name in OURS if not hasattr(load_driver(name), method)}


def test_the_host_itself_needs_no_controller() -> None:
    [route] = make_plan(Host("server42", (BMC,), SSH), "sysrq-c", via=HOST_ITSELF).routes
    assert (route.controller.name, route.controller.driver) == ("host", "host")
    assert (route.controller.address, route.controller.port, route.controller.user) == ("server42", 2222, "root")
    assert dict(route.controller.options) == {"key": "/key", "known_hosts": "/known", "engine": "openssh"}


def test_the_host_itself_is_only_used_when_named() -> None:
    assert names("sysrq", BMC, ssh=SSH) == ["ipmi"]
    own = Controller(HOST_ITSELF, "telnet", "192.0.2.9")
    assert make_plan(Host("server42", (own,), SSH), "sysrq", via=HOST_ITSELF).routes[0].controller == own
    with pytest.raises(ConfigError, match="no controller is named 'host'"):
        names("sysrq", BMC, via=HOST_ITSELF)
