"""The serial console at a remote serial port (RFC 2217), by pyserial: terminal servers, ser2net.

Unlike telnet's, its BREAK is held and let go by two requests that the server acknowledges. Opening the port sets its
speed (option `baud`), 8 bits, no parity, one stop bit and no flow control: RFC 2217 has no way to leave them alone.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

from drivers.serial_line import TURN_S, SerialLine, baud_of
from drivers.telnet import IN_USE
from trigger.clock import Deadline
from trigger.driver import Console, Driver, DriverOptions, Probe
from trigger.errors import ConfigError, ConsoleBusy, DriverError, TriggerError, Unreachable
from trigger.host import Controller
from trigger.text import harmless


class Rfc2217Driver(Driver):
    """A console at ADDRESS:PORT. Option `baud` (115200)."""

    OPTIONS: ClassVar[Mapping[str, type]] = {"baud": int}

    def __init__(self, controller: Controller, options: DriverOptions) -> None:
        super().__init__(controller, options)
        if not controller.port:
            raise ConfigError(
                f"{controller.name}: RFC 2217 has no port of its own ({controller.where}). Nothing was sent.",
                next_step="Write the server's: `port: 7001`",
            )
        self._baud = baud_of(controller, options)
        self._where = f"{controller.name}: {controller.address}:{controller.port}"

    def probe(self, deadline: Deadline) -> Probe:
        """Return an empty Probe: a serial port does not say what is behind it."""
        return Probe(warnings=(f"{self.controller.name}: a serial port does not say which machine is behind it",))

    def open_console(self, deadline: Deadline, *, steal: bool = False) -> Console:
        """See HasConsole.open_console. RFC 2217 has no way to take a port over: `steal` changes nothing."""
        opening = _Opening(self._make_port(deadline), self._where)
        return SerialLine(opening.result(deadline), self._where)

    def _make_port(self, deadline: Deadline) -> Any:
        address = f"[{self.controller.address}]" if ":" in self.controller.address else self.controller.address
        # Each of pyserial's few negotiations may take this long; the whole is cut off at the deadline.
        wait = max(1.0, min(3.0, deadline.left() / 2))
        url = f"rfc2217://{address}:{self.controller.port}?timeout={wait:.1f}"
        port = _port_class()(baudrate=self._baud, timeout=TURN_S)
        port.port = url
        return port


def _port_class() -> Any:
    """Return pyserial's class, closing what it forgets: the socket of a connection that the other side has ended."""
    from serial.rfc2217 import Serial

    class Port(Serial):  # type: ignore[misc]
        def close(self) -> None:
            line = self._socket
            super().close()
            if line is not None:
                line.close()

    return Port


class _Opening:
    """pyserial's open in a thread, as it knows no deadline. What opens too late is closed again."""

    def __init__(self, port: Any, where: str) -> None:
        self._port, self._where = port, where
        self._error: TriggerError | None = None
        self._late = False
        self._done, self._lock = threading.Event(), threading.Lock()

    def result(self, deadline: Deadline) -> Any:
        """Open, and return the opened port; raises ConsoleBusy, Unreachable or DriverError before `deadline`."""
        threading.Thread(target=self._open, name="rfc2217", daemon=True).start()
        finished = self._done.wait(deadline.left())
        with self._lock:
            self._late = not self._done.is_set()
        if self._error is not None:
            raise self._error
        if not finished and self._late:
            raise Unreachable(f"{self._where}: the serial port was not opened in time. Nothing was sent to the host.")
        return self._port

    def _open(self) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # pyserial 3.5: Thread.setDaemon
                self._port.open()
        except Exception as error:
            self._error = self._explained(error)
        with self._lock:
            self._done.set()
            late = self._late
        if late:
            self._port.close()

    def _explained(self, error: Exception) -> TriggerError:
        said = _heard(self._port)
        text = harmless(said.decode("utf-8", "replace").strip(), limit=200)
        if any(word in said.lower() for word in IN_USE):
            return ConsoleBusy(
                f"{self._where}: somebody else has the serial port: {text}. They were not disturbed.",
                next_step="Ask them to leave; a port cannot be taken over from here.",
            )
        why = harmless(str(error), limit=200)
        if "Could not open port" in why:
            return Unreachable(f"{self._where}: cannot be reached: {why}. Nothing was sent to the host.")
        if "does not seem to support" in why:
            why = f"it does not speak RFC 2217{f', saying: {text}' if text else ''}"
            return DriverError(
                f"{self._where}: {why}. Nothing was sent to the host.",
                next_step="A plain telnet port: `driver: telnet`",
            )
        return DriverError(f"{self._where}: {why}. Nothing was sent to the host.")


def _heard(port: Any) -> bytes:
    """Return what a server said before it hung up; pyserial keeps it where only its own read looks."""
    kept, said = getattr(port, "_read_buffer", None), b""
    while kept is not None and not kept.empty():
        said += kept.get() or b""
    return said
