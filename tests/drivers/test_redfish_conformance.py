"""The Redfish driver under every fault of the suite, with each way of logging in and each vendor's form."""

from __future__ import annotations

from typing import ClassVar

from drivers.redfish import RedfishDriver
from tests.drivers.redfish_service import Answers, redfish_controller
from tests.drivers.simulators.certificates import certificate
from tests.drivers.simulators.redfish_server import RedfishServer
from tests.drivers.simulators.redfish_trees import Tree, machine, other_machine
from trigger.conformance import FAULTS, DriverConformance, Simulator
from trigger.driver import Driver, DriverOptions
from trigger.host import Tls


class TestRedfish(DriverConformance):
    """A standard service with session login."""

    faults: ClassVar[tuple[str, ...]] = tuple(FAULTS)
    login = "session"
    kind: type[Driver] = RedfishDriver

    def tree(self) -> Tree:
        return machine()

    def start(self, fault: str) -> Simulator:
        tree = other_machine() if fault == "other-identity" else self.tree()
        login = "none-left" if fault == "no-sessions" else self.login
        other = certificate("other") if fault in ("wrong-certificate", "changed-certificate") else None
        server = RedfishServer(tree, fault, login=login, shown=other)
        if fault == "closed-port":
            server.close()
        return server

    def driver(self, simulator: Simulator, fault: str) -> Driver:
        assert isinstance(simulator, RedfishServer)
        controller = redfish_controller(simulator)
        known: dict[str, object] = {}
        if fault == "changed-certificate":
            controller = redfish_controller(simulator, tls=Tls())
            known = {"fingerprint": certificate().fingerprint}
        return self.kind(controller, DriverOptions(secrets=Answers(), known=known))


class TestRedfishWithBasic(TestRedfish):
    """A service whose sessions give no token (Supermicro X11)."""

    login = "no-token"
