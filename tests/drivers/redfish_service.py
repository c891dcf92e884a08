"""How tests talk to a Redfish service on this machine: its configuration, a probe, a probe that fails, a fire."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from drivers.redfish import RedfishDriver
from tests.drivers.simulators.certificates import certificate
from tests.drivers.simulators.redfish_server import PASSWORD, USER, RedfishServer
from trigger.clock import Deadline
from trigger.driver import DriverOptions, Probe
from trigger.errors import ConfigError, DriverError, TriggerError
from trigger.host import Controller, Tls

StartRedfish = Callable[..., RedfishServer]
SYSTEM = "/redfish/v1/Systems/1"


@dataclass
class Answers:
    """The made-up password; counts how often it is asked for."""

    value: str = PASSWORD
    asked: int = 0

    def password(self) -> str:
        """Return the password."""
        self.asked += 1
        return self.value


def redfish_controller(server: RedfishServer, **more: Any) -> Controller:
    """Return the configuration of `server`, its certificate pinned."""
    fields: dict[str, Any] = {
        "name": "redfish",
        "driver": "redfish",
        "address": "127.0.0.1",
        "port": server.port,
        "user": USER,
        "tls": Tls(fingerprint=certificate().fingerprint),
        "where": "config.yaml:7",
    }
    return Controller(**(fields | more))


def redfish(server: RedfishServer, answers: Answers | None = None, **more: Any) -> RedfishDriver:
    options = {key: more.pop(key) for key in ("known", "expected", "accept_new") if key in more}
    return RedfishDriver(redfish_controller(server, **more), DriverOptions(secrets=answers or Answers(), **options))


def probe(server: RedfishServer, **more: Any) -> Probe:
    with redfish(server, **more) as driver:
        return driver.probe(Deadline(5))


def failure(server: RedfishServer, **more: Any) -> TriggerError:
    """Return the error that a probe ends with; nothing that acts was sent, and no session is left."""
    with redfish(server, **more) as driver, pytest.raises((DriverError, ConfigError)) as raised:
        driver.probe(Deadline(2))
    assert server.deliveries() == 0
    assert not [path for method, path in server.requests if method == "POST" and "Sessions" not in path]
    assert not server.sessions
    return raised.value


def fire(server: RedfishServer, **more: Any) -> int:
    """Fire and return how many requests it took, session login and logout apart."""
    before = server.count()
    with redfish(server, **more) as driver:
        driver.probe(Deadline(5))
        assert driver.send_nmi(Deadline(5)).answer.startswith("HTTP 204")
    return server.count() - before
