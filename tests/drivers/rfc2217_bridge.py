"""An RFC 2217 server (pyserial's PortManager) in front of a telnet serial port: a SerialPort, or QEMU's."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Any, Self

from serial.rfc2217 import PortManager

from drivers.telnet import TelnetConsole
from trigger.clock import Deadline


class TelnetPort:
    """What PortManager takes for a serial port: settings that are only kept, and a BREAK that goes on by telnet."""

    def __init__(self, console: TelnetConsole) -> None:
        self.console = console
        self.baudrate, self.bytesize, self.parity, self.stopbits = 9600, 8, "N", 1
        self.xonxoff = self.rtscts = self.dtr = self.rts = False
        self.cts = self.dsr = self.ri = self.cd = False
        self.breaks = 0
        self._broken = False

    @property
    def break_condition(self) -> bool:
        return self._broken

    @break_condition.setter
    def break_condition(self, on: bool) -> None:
        if on and not self._broken:
            self.breaks += 1
            self.console.send_break()
        self._broken = on

    def reset_input_buffer(self) -> None:
        """Nothing is kept."""

    def reset_output_buffer(self) -> None:
        """Nothing is kept."""


class Rfc2217Bridge:
    """Serves one client at a time; who comes meanwhile is told so and cut off."""

    def __init__(self, behind: int) -> None:
        self.port_behind = TelnetPort(TelnetConsole(socket.create_connection(("127.0.0.1", behind), 10), "behind"))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._line: socket.socket | None = None
        self._sending = threading.Lock()
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._accept, self._pass_back)]
        for thread in self._threads:
            thread.start()

    @property
    def breaks(self) -> int:
        """How many BREAKs clients asked for."""
        return self.port_behind.breaks

    @property
    def in_use(self) -> bool:
        """Whether a client has the port."""
        return self._line is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        if self._line is not None:
            with contextlib.suppress(OSError):
                self._line.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(20)
        self.port_behind.console.close()

    def write(self, data: bytes) -> None:
        """Send to the client; what PortManager calls its connection."""
        line = self._line
        with self._sending, contextlib.suppress(OSError):
            if line is not None:
                line.sendall(data)

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listening.accept()
            except OSError:
                return
            if self._line is not None:
                with contextlib.suppress(OSError), line:
                    line.sendall(b"Port already in use by 192.0.2.7\r\n")
                continue
            self._line = line
            self._manager: Any = PortManager(self.port_behind, self)
            self._threads.append(threading.Thread(target=self._serve, args=(line,), daemon=True))
            self._threads[-1].start()

    def _serve(self, line: socket.socket) -> None:
        with contextlib.suppress(OSError), line:
            while raw := line.recv(1024):
                said = b"".join(self._manager.filter(raw))
                if said:
                    self.port_behind.console.write(said)
        self._line = None

    def _pass_back(self) -> None:
        while not self._ending.is_set():
            try:
                said = self.port_behind.console.read(Deadline(0.2))
            except EOFError:
                return
            if said and self._line is not None:
                self.write(b"".join(self._manager.escape(said)))
