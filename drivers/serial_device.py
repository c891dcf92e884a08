"""The host's serial console at a serial device of this machine (/dev/ttyUSB0): a null-modem cable, by pyserial."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from drivers.serial_line import TURN_S, SerialLine, baud_of
from trigger.clock import Deadline
from trigger.driver import Console, Driver, DriverOptions, Probe
from trigger.errors import ConfigError, ConsoleBusy, DriverError, Unreachable
from trigger.host import Controller
from trigger.text import harmless

_LOCKS = Path("/run/lock")  # where programs that dial leave LCK..NAME with their process id (FHS 5.9)


class SerialDriver(Driver):
    """A console at a device: `address` is its path. Option `baud` (115200)."""

    OPTIONS: ClassVar[Mapping[str, type]] = {"baud": int}

    def __init__(self, controller: Controller, options: DriverOptions) -> None:
        super().__init__(controller, options)
        if not controller.address.startswith("/dev/"):
            raise ConfigError(
                f"{controller.name}: {controller.address!r} is no device ({controller.where}). Nothing was sent.",
                next_step="Write its path as the address: /dev/ttyUSB0",
            )
        self._baud = baud_of(controller, options)

    def probe(self, deadline: Deadline) -> Probe:
        """Return an empty Probe: a cable does not say where it ends."""
        return Probe(warnings=(f"{self.controller.name}: a serial device does not say which machine is behind it",))

    def open_console(self, deadline: Deadline, *, steal: bool = False) -> Console:
        """See HasConsole.open_console. What has the device open is named; nothing takes it over."""
        import serial

        path, where = self.controller.address, f"{self.controller.name}: {self.controller.address}"
        holder = _holder(path)
        if holder:
            raise _busy(where, holder)
        try:
            port = serial.Serial(path, self._baud, timeout=TURN_S, exclusive=True)
        except serial.SerialException as error:
            if "lock" in str(error).casefold():
                raise _busy(where, "another program") from None
            raise Unreachable(
                f"{where}: {_reason(error)}. Nothing was sent to the host.",
                next_step="Is the cable's adapter there, and may you use it? Its group is often dialout.",
            ) from None
        except (OSError, ValueError) as error:
            raise DriverError(f"{where}: {harmless(str(error))}. Nothing was sent to the host.") from None
        return SerialLine(port, where)


def _busy(where: str, holder: str) -> ConsoleBusy:
    return ConsoleBusy(
        f"{where}: {holder} has the serial device open. It was not disturbed.",
        next_step="End that program; a device cannot be taken over from here.",
    )


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    return os.strerror(number) if isinstance(number, int) else harmless(str(error), limit=200)


def _holder(path: str) -> str:
    """Return who has the device, as far as the lock files and /proc let us see: "minicom (process 4711)", or ""."""
    device = os.path.realpath(path)
    for number in (_locked_by(device), *_opened_by(device)):
        if number and number != os.getpid():
            return _named(number)
    return ""


def _locked_by(device: str) -> int:
    try:
        number = int((_LOCKS / f"LCK..{Path(device).name}").read_text(errors="replace").split()[0])
        os.kill(number, 0)
    except (OSError, ValueError, IndexError):
        return 0
    return number


def _opened_by(device: str) -> list[int]:
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(link.readlink()) == device:
                found.append(int(link.parts[2]))
        except OSError:
            continue
    return found


def _named(number: int) -> str:
    try:
        return f"{harmless(Path(f'/proc/{number}/comm').read_text().strip())} (process {number})"
    except OSError:
        return f"process {number}"
