"""HPE iLO: Redfish (iLO 4 with the action in the body, iLO 5 to 7 as the standard says), or its CLI over SSH.

What differs in Redfish is data (drivers/quirks.py). CLI sources: HPE iLO Scripting and CLI guide ("nmi server", "SM CLP
properties of /system1"), DMTF DSP0214 1.0.2 section 5.4.5 (status), iLO sessions recorded by users.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from drivers.ssh_cli import Dialect, RedfishOrCli
from trigger.driver import Driver, Identity, Power

if TYPE_CHECKING:
    from drivers.ssh_serial import Way

_PROPERTY = re.compile(r"^\s*([a-z_]+)=(.*?)\s*$", re.MULTILINE)


def parse_system(said: str) -> tuple[Identity, Power]:
    """Return who and how the machine is, from the output of `show /system1`."""
    found = dict(_PROPERTY.findall(said))
    state = found.get("enabledstate", "").casefold()
    identity = Identity(
        serial=found.get("number", ""),
        hostname=found.get("oemhp_server_name", ""),
        vendor="HPE" if found else "",
        model=found.get("name", ""),
    )
    return identity, {"enabled": Power.ON, "disabled": Power.OFF}.get(state, Power.UNKNOWN)


ILO_CLI = Dialect(
    name="an iLO's command line",
    prompts=((r"(?:</[^>\n]*>)?(?:hp|hpe)?iLO->", ""),),
    nmi="nmi server",
    identify="show /system1",
    parse_identity=parse_system,
    # DSP0214: 0 completed, 1 spawned; 2 processing failed: the line was not understood or not allowed, nothing ran;
    # 3 execution failed: it ran, and how far is not known.
    accepted=r"^\s*status=[01]\s*$|\bstatus=[01]\b",
    refused=r"\bstatus=2\b",
    source="DSP0214; HPE iLO CLI guide; NotesOnILO3.md: bare `nmi` gives status=2, COMMAND SYNTAX ERROR",
)


def virtual_serial_port() -> Way:
    """Return how iLO's serial console is reached. That ESC ^B is the BREAK over SSH too is not confirmed by HPE."""
    from drivers.ssh_serial import Way

    return Way(
        "ilo",
        "an iLO's command line",
        "HPE iLO CLI guide (vsp, ESC ( leaves, stop /system1/oemhp_vsp1); conman hp-ilo.exp (ESC ^B); NotesOnILO3.md",
        prompt=ILO_CLI.prompts[0][0],
        enter=("vsp",),
        connected=r"press 'ESC \('[^\n]*",
        busy=r"in use by another",
        steal=("stop /system1/oemhp_vsp1",),
        leave=b"\x1b(",
        break_keys=b"\x1b\x02",
    )


class IloDriver(RedfishOrCli):
    """HPE iLO. Option `transport: ssh` for the command line; `legacy_ssh: true` for iLO 2 to 4."""

    dialect = ILO_CLI

    def serial(self) -> Way:
        """Return the Virtual Serial Port."""
        return virtual_serial_port()

    def redfish(self) -> Driver:
        """Return the Redfish driver, which asks for paths as iLO writes them: with a slash at the end."""
        from drivers.redfish import RedfishDriver

        class IloRedfish(RedfishDriver):
            systems_uri = "/redfish/v1/Systems/"

        return IloRedfish(self.controller, self.options)
