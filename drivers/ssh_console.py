"""Serial consoles that BMCs and console servers offer over SSH: rows of data around drivers/ssh_serial.py.

The row is chosen by `options: {kind: ...}`. For iLO and iDRAC the drivers ilo and drac have a console of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from drivers.ssh_serial import Way, open_serial
from trigger.clock import Deadline
from trigger.driver import Console, Driver, DriverOptions, Probe
from trigger.errors import ConfigError
from trigger.host import Controller

WAYS = {
    way.name: way
    for way in (
        Way(
            "plain",
            "a console that begins with the login",
            "RFC 4335; console servers with one SSH port per line",
        ),
        Way(
            "openbmc",
            "an OpenBMC's console port",
            "openbmc/docs console.md (port 2200, ~. leaves); obmc-console issue 25: a BREAK does not reach the host",
            port=2200,
            leave=b"\r~.",
        ),
        Way(
            "lenovo",
            "a Lenovo XCC",
            "NVIDIA ssh-console vendor.rs: prompt system>, `console 1`, ESC ( leaves, `console kill 1` frees it",
            prompt=r"system>",
            enter=("console 1",),
            steal=("console kill 1",),
            leave=b"\x1b(",
        ),
        Way(
            "supermicro",
            "a Supermicro BMC's SM CLP",
            "NVIDIA ssh-console vendor.rs: cd system1/sol1, start; Enter, Esc, T leaves. `stop` frees it: unconfirmed",
            prompt=r"->",
            enter=("cd /system1/sol1", "start"),
            steal=("stop",),
            leave=b"\r\x1bT",
        ),
        Way(
            "cisco",
            "a Cisco CIMC",
            "CCI-MOC/hil issue 417: closing the session ends it. `connect host` and Ctrl-X: unconfirmed",
            prompt=r"[\w.-]*#",
            enter=("connect host",),
            connected=r"serial over lan[^\n]*\n",
            leave=b"\x18",
        ),
    )
}


class SshConsoleDriver(Driver):
    """A console over SSH, and nothing else. Options: `kind` (a row above), `host_key`, `legacy_ssh`."""

    OPTIONS: ClassVar[Mapping[str, type]] = {"kind": str, "host_key": str, "legacy_ssh": bool}

    def __init__(self, controller: Controller, options: DriverOptions) -> None:
        super().__init__(controller, options)
        kind = controller.options.get("kind", "plain")
        if kind not in WAYS:
            raise ConfigError(
                f"{controller.name}: kind is {kind!r}; it can be {', '.join(WAYS)} ({controller.where})."
                " Nothing was sent.",
                next_step="plain is for a console that begins with the login.",
            )
        self._way = WAYS[str(kind)]

    def probe(self, deadline: Deadline) -> Probe:
        """Return an empty Probe: a console does not say who is behind it, and opening it would take it from others."""
        return Probe(warnings=(f"{self.controller.name}: a console does not say which machine is behind it",))

    def open_console(self, deadline: Deadline, *, steal: bool = False) -> Console:
        """See HasConsole.open_console."""
        port = self.controller.port or self._way.port
        return open_serial(self._way, self.controller, self.options, port, deadline, steal=steal)
