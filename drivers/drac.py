"""Dell iDRAC: Redfish (iDRAC 8 to 10), or its CLI over SSH (iDRAC 6 to 10).

What differs in Redfish is data (drivers/quirks.py). CLI source: Dell RACADM CLI guide, `serveraction` and `getsysinfo`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from drivers.ssh_cli import Dialect, RedfishOrCli
from trigger.driver import Driver, Identity, Power

if TYPE_CHECKING:
    from drivers.ssh_serial import Way

_PROPERTY = re.compile(r"^\s*([A-Z][A-Za-z ]*?)\s*=\s*(.*?)\s*$", re.MULTILINE)


def parse_sysinfo(said: str) -> tuple[Identity, Power]:
    """Return who and how the machine is, from the output of `racadm getsysinfo -s`."""
    found = dict(_PROPERTY.findall(said))
    state = found.get("Power Status", "").casefold()
    identity = Identity(
        serial=found.get("Service Tag", ""),
        hostname=found.get("Host Name", ""),
        vendor="Dell Inc." if found else "",
        model=found.get("System Model", ""),
    )
    return identity, {"on": Power.ON, "off": Power.OFF}.get(state, Power.UNKNOWN)


DRAC_CLI = Dialect(
    name="an iDRAC's command line",
    # Older firmware has a SM CLP shell in which racadm is a command, newer firmware is racadm itself.
    prompts=((r"/admin1->", "racadm "), (r"racadm>>", "")),
    nmi="serveraction nmi",
    identify="getsysinfo -s",
    parse_identity=parse_sysinfo,
    accepted=r"operation (initiated )?success",
    # Said of a line that racadm did not run. Other errors may come after acting.
    refused=r"invalid (sub)?command|invalid syntax|syntax error|unsupported|not supported|not recogni[sz]ed"
    r"|(permission|privilege|authori[sz])\w* .*(denied|insufficient|required)"
    r"|(insufficient|not have|no|denied).*(permission|privilege)|access denied|not ready",
    source="Dell RACADM CLI guide; intel/tcf ttbl/dell.py (both prompts)",
)


def com2() -> Way:
    """Return how iDRAC's serial console is reached. Nobody wrote down what a BREAK is there; SSH's own is asked for."""
    from drivers.ssh_serial import Way

    return Way(
        "drac",
        "an iDRAC's command line",
        "iDRAC user's guide (console com2, ^\\ leaves); digithink OperationsGuide (its words); RFC 4335",
        prompt="(?:" + "|".join(prompt for prompt, _ in DRAC_CLI.prompts) + ")",
        enter=("console com2",),
        connected=r"to end type:? *\^\\[^\n]*\n?",
        steal=("console kill 1",),
        leave=b"\x1c",
    )


class DracDriver(RedfishOrCli):
    """Dell iDRAC. Option `transport: ssh` for the command line; `legacy_ssh: true` for iDRAC 6 and 7."""

    dialect = DRAC_CLI

    def serial(self) -> Way:
        """Return the console of COM2."""
        return com2()

    def redfish(self) -> Driver:
        """Return the Redfish driver as it is."""
        from drivers.redfish import RedfishDriver

        return RedfishDriver(self.controller, self.options)
