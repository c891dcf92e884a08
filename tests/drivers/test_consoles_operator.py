"""Serial-over-LAN with an account that is an operator: pyghmi asks for administrator first."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.ipmi_sol import open_sol
from tests.drivers.ipmi_bmcs import Secret
from trigger.clock import Deadline
from trigger.errors import DriverError
from trigger.host import Controller
from trigger.simulated.machine import SimulatedMachine
from trigger.simulated.switches import Switches


def test_an_operator_gets_as_far_as_an_administrator(tmp_path: Path) -> None:
    """This BMC refuses the role with status 0x0A of RAKP message 2, which pyghmi takes for the end; it has no SOL."""
    with SimulatedMachine(Switches(hostname="server42", privilege="operator"), tmp_path / "machine") as machine:
        controller = Controller("ipmi", "ipmi", machine.bmc_address, machine.bmc_port, machine.user)
        with pytest.raises(DriverError, match="SOL is disabled"):
            open_sol(controller, Secret(machine.password), Deadline(60))
        assert machine.requests()["rakp3"] == 1
