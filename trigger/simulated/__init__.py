"""A simulated machine: a BMC that speaks RMCP+, a host that crashes, writes a well-formed dump and comes back.

It needs neither root nor QEMU. `trigger demo` runs on it and the tests take every fault from it:

    with SimulatedMachine(Switches(lose_replies=-1), tmp_path / "machine") as machine:
        machine.write_config(tmp_path / "config.yaml")
        ...
        assert machine.delivered() == 1

Nothing in `trigger/` but `commands/demo.py` imports it.
"""

from trigger.simulated.machine import SimulatedMachine, SimulatedMachineError
from trigger.simulated.switches import Switches

__all__ = ["SimulatedMachine", "SimulatedMachineError", "Switches"]
