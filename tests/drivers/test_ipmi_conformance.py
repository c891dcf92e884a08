"""The IPMI driver under the faults of the suite that datagrams can have."""

from __future__ import annotations

import contextlib
import copy
import uuid
from typing import Any, ClassVar

from drivers.ipmi import IpmiDriver
from tests.drivers.redfish_service import Answers
from tests.drivers.scripted_bmc import Script, ScriptedBmc
from tests.drivers.udp_proxy import UdpProxy
from trigger.conformance import ITS_IDENTITY, OTHER_IDENTITY, DriverConformance, Simulator
from trigger.driver import Driver, DriverOptions
from trigger.host import Controller

_NMI = "chassis control"
_PLAYS: dict[str, dict[str, Any]] = {
    "healthy": {},
    "idle": {},
    "refused": {"codes": {_NMI: [0xC1]}},
    "not-ready": {"codes": {_NMI: [0xD5]}},
    "error": {"codes": {_NMI: [0xFF]}},
    "error-after-acting": {"codes": {_NMI: [0xFF]}},
    "lost-reply": {"loses": {_NMI: 1}},
    "silent": {"silent": frozenset({_NMI})},
    "deaf": {"silent": frozenset({_NMI})},
    "garbage": {"silent": frozenset({_NMI})},
    "endless": {"silent": frozenset({_NMI})},
    "duplicate-reply": {"copies": 2},
    "wrong-password": {"password": "another made-up one"},
    "no-sessions": {"codes": {"open": [0x01] * 1000}},
    "no-prompt": {"silent": frozenset({"open", "capabilities"})},
    "closed-port": {},
    "other-identity": {"guid": uuid.UUID(OTHER_IDENTITY.uuid).bytes},
}
_IDLE = ("idle", "refused", "not-ready", "error", "deaf")


class ScriptedSimulator:
    """A scripted BMC behind a proxy; it acts on a chassis control unless its fault says otherwise."""

    def __init__(self, fault: str) -> None:
        self._fault, self._ends = fault, contextlib.ExitStack()
        guid = uuid.UUID(ITS_IDENTITY.uuid).bytes
        self._bmc = self._ends.enter_context(ScriptedBmc(Script(**({"guid": guid} | copy.deepcopy(_PLAYS[fault])))))
        self._proxy = self._ends.enter_context(UdpProxy(("127.0.0.1", self._bmc.port)))
        self.port = self._proxy.port
        if fault in ("garbage", "endless"):
            self._proxy.flood(pause=0.02 if fault == "garbage" else 0.0005)
        if fault == "closed-port":
            self.close()

    def deliveries(self) -> int:
        """Return the NMIs that the machine got."""
        return 0 if self._fault in _IDLE else self._bmc.received[_NMI]

    def secrets(self) -> tuple[str, ...]:
        """Return the password."""
        return (Script().password,)

    def close(self) -> None:
        """End BMC and proxy."""
        self._ends.close()


class TestIpmi(DriverConformance):
    """IPMI over a scripted BMC."""

    faults: ClassVar[tuple[str, ...]] = tuple(_PLAYS)
    never: ClassVar[tuple[str, ...]] = (*DriverConformance.never, "garbage")
    never_logs_in: ClassVar[tuple[str, ...]] = ("no-prompt", "no-sessions", "closed-port")

    def start(self, fault: str) -> Simulator:
        return ScriptedSimulator(fault)

    def driver(self, simulator: Simulator, fault: str) -> Driver:
        assert isinstance(simulator, ScriptedSimulator)
        controller = Controller("ipmi", "ipmi", "127.0.0.1", simulator.port, Script().user, where="config.yaml:7")
        return IpmiDriver(controller, DriverOptions(secrets=Answers(Script().password)))
