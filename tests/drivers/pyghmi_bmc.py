"""pyghmi's BMC as a process: ADDRESS PORT USER PASSWORD GUID FILE; a line in FILE for each diagnostic interrupt."""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

from pyghmi.ipmi.bmc import Bmc


class CountingBmc(Bmc):  # type: ignore[misc]
    """A BMC whose system is on and whose diagnostic interrupts are only counted."""

    counted: Path

    def get_power_state(self) -> str:
        return "on"

    def pulse_diag(self) -> None:
        with self.counted.open("a") as file:
            file.write("diagnostic interrupt\n")


if __name__ == "__main__":
    address, port, user, password, guid, counted = sys.argv[1:]
    bmc = CountingBmc({user: password}, port=int(port), bmcuuid=uuid.UUID(guid), address=address)
    bmc.counted = Path(counted)
    bmc.listen()
