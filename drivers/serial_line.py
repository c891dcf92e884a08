"""A pyserial port as a console: what drivers/serial_device.py and drivers/rfc2217.py share."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from trigger.clock import Deadline
from trigger.driver import DriverOptions
from trigger.errors import ConfigError, DriverError, Refused
from trigger.host import Controller

BAUD = 115200  # what most servers' serial consoles are set to
BREAK_S = 0.3  # longer than a character at any speed, and what tcsendbreak takes (POSIX: 0.25 to 0.5 s)
TURN_S = 0.1  # how long one read of pyserial waits; changing its time-out would negotiate with a remote port anew


class SerialLine:
    """One opened pyserial port. See trigger.driver.Console; one thread reads, one writes."""

    def __init__(self, port: Any, where: str) -> None:
        self._port, self._where = port, where

    def read(self, deadline: Deadline) -> bytes:
        """See Console.read."""
        import serial

        try:
            while True:
                said: bytes = self._port.read(max(1, self._port.in_waiting))
                if said or deadline.passed():
                    return said
        except (serial.SerialException, OSError, TypeError) as error:  # TypeError: closed by another thread
            raise EOFError(f"{self._where}: {_words(error)}") from None

    def write(self, data: bytes) -> None:
        """See Console.write."""
        import serial

        try:
            self._port.write(data)
        except (serial.SerialException, OSError) as error:
            raise DriverError(f"{self._where}: the console was lost: {_words(error)}") from None

    def send_break(self) -> None:
        """Hold one BREAK for BREAK_S. A remote port acknowledges it or refuses it (RFC 2217); a device cannot."""
        import serial

        try:
            self._begin_break()
            try:
                time.sleep(BREAK_S)
            finally:
                self._port.break_condition = False
        except (serial.SerialException, OSError, ValueError) as error:
            raise DriverError(f"{self._where}: the BREAK was not acknowledged: {_words(error)}") from None

    def _begin_break(self) -> None:
        try:
            self._port.break_condition = True
        except ValueError as error:  # RFC 2217: the server answered with something else
            raise Refused(f"{self._where}: the server refused the BREAK: {_words(error)}") from None

    def close(self) -> None:
        """See Console.close."""
        with contextlib.suppress(Exception):
            self._port.close()


def baud_of(controller: Controller, options: DriverOptions) -> int:
    """Return the option `baud`, else BAUD. Raises ConfigError."""
    baud = controller.options.get("baud", BAUD)
    if not isinstance(baud, int) or isinstance(baud, bool) or not 50 <= baud <= 4_000_000:
        raise ConfigError(
            f"{controller.name}: baud is {baud!r} ({controller.where}). Nothing was sent.",
            next_step="Write the speed of the host's console, such as 115200.",
        )
    return baud


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
