"""The serial console at a telnet port: console servers, terminal servers, virtual machines.

BREAK is the telnet command IAC BRK (RFC 854). Telnet acknowledges nothing: what was sent is known, what arrived is not.
"""

from __future__ import annotations

import queue
import select
import socket
from collections.abc import Mapping
from typing import ClassVar

from trigger.clock import Deadline
from trigger.driver import Console, Driver, Probe
from trigger.errors import ConsoleBusy, DriverError, Unreachable
from trigger.text import harmless

PORT = 23
IAC, DONT, DO, WONT, WILL, SUBNEGOTIATION, END, BREAK = 255, 254, 253, 252, 251, 250, 240, 243
BINARY, ECHO, NO_GO_AHEAD = 0, 1, 3  # RFC 856, 857, 858
_WRITE_S = 5.0
_BLOCK = 65536
_LISTEN_S = 0.3  # how long a server may take to say that the line is in use
# What console servers print before they hang up (public manuals and logs of Cyclades, Digi, Cisco, Moxa).
IN_USE = (b"in use", b"busy", b"already connected", b"connection refused", b"not available")


class TelnetDriver(Driver):
    """A console at ADDRESS:PORT. It can do nothing else, and says nothing of who the machine is."""

    OPTIONS: ClassVar[Mapping[str, type]] = {}

    def probe(self, deadline: Deadline) -> Probe:
        """Return an empty Probe: a telnet port knows nothing, and opening it would take the line from others."""
        return Probe(warnings=(f"{self.controller.name}: a telnet port does not say which machine is behind it",))

    def open_console(self, deadline: Deadline, *, steal: bool = False) -> Console:
        """Connect; see `HasConsole.open_console`. Telnet has no way to take a line over: `steal` changes nothing."""
        where = f"{self.controller.name}: {self.controller.address}:{self.controller.port or PORT}"
        try:
            line = socket.create_connection(
                (self.controller.address, self.controller.port or PORT), timeout=max(0.01, deadline.left())
            )
        except OSError as error:
            raise Unreachable(
                f"{where}: the console cannot be reached: {error.strerror or error}. Nothing was sent to the host."
            ) from None
        console = TelnetConsole(line, where)
        try:
            _check_not_busy(console, where, deadline.at_most(_LISTEN_S))
        except BaseException:
            console.close()
            raise
        return console


class TelnetConsole:
    """One telnet connection. See trigger.driver.Console; one thread reads, one writes."""

    # What we agree to: 8-bit data both ways, their echo, no go-ahead. Everything else is refused, once.
    _WE_WILL: ClassVar = (BINARY, NO_GO_AHEAD)
    _THEY_MAY: ClassVar = (BINARY, ECHO, NO_GO_AHEAD)

    def __init__(self, line: socket.socket, where: str) -> None:
        self._line, self._where = line, where
        self._parser = TelnetParser()
        self._early: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._agreed: set[tuple[int, int]] = set()
        line.settimeout(_WRITE_S)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self, deadline: Deadline) -> bytes:
        """See Console.read."""
        if not self._early.empty():
            return self._early.get()
        while select.select([self._line], [], [], deadline.left())[0]:
            try:
                raw = self._line.recv(_BLOCK)
            except OSError as error:
                raise EOFError(f"{self._where}: {error.strerror}") from None
            if not raw:
                raise EOFError(f"{self._where}: the other side hung up")
            said, asked = self._parser.feed(raw)
            self._answer(asked)
            if said:
                return said
        return b""

    def write(self, data: bytes) -> None:
        """See Console.write."""
        self._send(data.replace(b"\xff", b"\xff\xff"))

    def send_break(self) -> None:
        """Send IAC BRK once. It returns when the bytes have left: telnet has no acknowledgement."""
        self._send(bytes((IAC, BREAK)))

    def close(self) -> None:
        """Hang up; raises nothing."""
        try:
            self._line.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        finally:
            self._line.close()

    def put_back(self, said: bytes) -> None:
        """Let the next `read` return `said` first."""
        self._early.put(said)

    def _send(self, data: bytes) -> None:
        try:
            self._line.sendall(data)
        except OSError as error:
            raise DriverError(f"{self._where}: the console was lost: {error.strerror or error}") from None

    def _answer(self, asked: list[tuple[int, int]]) -> None:
        """Answer what the other side wants to negotiate, each wish once, so that two of us cannot loop."""
        for verb, option in asked:
            if (verb, option) in self._agreed:
                continue
            self._agreed.add((verb, option))
            if verb == DO:
                self._send(bytes((IAC, WILL if option in self._WE_WILL else WONT, option)))
            elif verb == WILL:
                self._send(bytes((IAC, DO if option in self._THEY_MAY else DONT, option)))


class TelnetParser:
    """Data apart from commands, however the stream is cut (RFC 854)."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, raw: bytes) -> tuple[bytes, list[tuple[int, int]]]:
        """Return the data in `raw` and the negotiations (verb, option); an unfinished command waits for the rest."""
        raw = self._rest + raw
        data, asked, at = bytearray(), [], 0
        while at < len(raw):
            found = raw.find(IAC, at)
            if found < 0:
                data += raw[at:]
                at = len(raw)
                break
            data += raw[at:found]
            length = _length(raw, found)
            if length == 0:
                at = found
                break
            if raw[found + 1] == IAC:
                data.append(IAC)
            elif raw[found + 1] in (DO, DONT, WILL, WONT):
                asked.append((raw[found + 1], raw[found + 2]))
            at = found + length
        # A subnegotiation that never ends must not grow without end.
        self._rest = raw[at:] if len(raw) - at <= _BLOCK else b""
        return bytes(data), asked


def _length(raw: bytes, at: int) -> int:
    """Return how long the command is that begins at `at`; 0 when it is not complete."""
    if at + 1 >= len(raw):
        return 0
    verb = raw[at + 1]
    if verb in (DO, DONT, WILL, WONT):
        return 3 if at + 2 < len(raw) else 0
    if verb == SUBNEGOTIATION:
        end = raw.find(bytes((IAC, END)), at + 2)
        return end + 2 - at if end >= 0 else 0
    return 2


def _check_not_busy(console: TelnetConsole, where: str, deadline: Deadline) -> None:
    """Raise when the server hangs up at once, as console servers do when the line is in use."""
    said = b""
    try:
        while not deadline.passed():
            said += console.read(deadline)
    except EOFError:
        text = harmless(said.decode("utf-8", "replace").strip(), limit=200)
        if any(word in said.lower() for word in IN_USE):
            raise ConsoleBusy(
                f"{where}: somebody else has the console: {text}. They were not disturbed.",
                next_step="Ask them to leave; a telnet port cannot be taken over from here.",
            ) from None
        raise DriverError(
            f"{where}: the other side hung up at once{f', saying: {text}' if text else ''}. Nothing was sent."
        ) from None
    if said:
        console.put_back(said)
