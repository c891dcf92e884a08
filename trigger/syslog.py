"""Tells a syslog server that a shot is about to leave, and how the run ended, with the head of the journal's chain.

What stands there vouches for the journal (`trigger history --verify --anchors`), since who can rewrite the journal
cannot rewrite the log of another machine. It never delays or changes a run: messages are handed to a thread, which
gets its turn while the controller's answer is awaited, after the request has left. A server that cannot be reached
costs a note, and at most CLOSE_SECONDS at the very end, when everything else has been said.

Messages are RFC 5424, facility authpriv, severity notice; over TCP with octet counting (RFC 6587 section 3.4.1).
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time

from trigger.clock import Deadline
from trigger.events import Finished, Fired, Firing
from trigger.journal import Line

CONNECT_SECONDS = 1.0
CLOSE_SECONDS = 1.5
PORT = 514
_PRIORITY = 10 * 8 + 5  # authpriv, notice
# Structured data needs an enterprise number (RFC 5424 section 7.2.2); 32473 is the one for documentation (RFC 5612).
_SD_ID = "trigger@32473"


class Syslog:
    """One run's messages to one address: a path (/dev/log), udp://HOST[:PORT] or tcp://HOST[:PORT]."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.failure = ""
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._work, name="syslog", daemon=True)
        self._thread.start()

    def tell(self, line: Line) -> None:
        """Hand over a line of the journal that is on disk, if it is one of those that are told; returns at once."""
        if isinstance(line.event, Firing | Finished) or (isinstance(line.event, Fired) and refused(line.event)):
            self._queue.put(message(line))

    def close(self) -> str:
        """Wait until everything was sent, at most CLOSE_SECONDS; return why it was not, or ""."""
        self._queue.put(None)
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            return f"{self.address} did not answer within {CLOSE_SECONDS} s"
        return self.failure

    def _work(self) -> None:
        waiting: list[bytes] = []
        end = False
        while not end:
            self._attempt(waiting)
            item = self._queue.get()
            end = item is None
            waiting += [item] if item is not None else []
        self._attempt(waiting)
        if self._socket is not None:
            self._socket.close()

    def _attempt(self, waiting: list[bytes]) -> None:
        """Send what waits, over a new connection where there is none; keep what could not be sent."""
        try:
            if self._socket is None:
                self._socket = connect(self.address)
            framed = self._socket.type == socket.SOCK_STREAM
            while waiting:
                self._socket.sendall(b"%d %s" % (len(waiting[0]), waiting[0]) if framed else waiting[0])
                del waiting[0]
            self.failure = ""
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
            self.failure = f"{self.address} cannot be told: {reason}"
            if self._socket is not None:
                self._socket.close()
                self._socket = None


def refused(event: Fired) -> bool:
    """Return whether the controller delivered nothing, which takes back what the message at Firing said."""
    return event.outcome == "refused"


def connect(address: str) -> socket.socket:
    """Return a connected socket; raises OSError. The resolver has no deadline, hence the thread around this."""
    if address.startswith("/"):
        return _local(address)
    scheme, _, rest = address.partition("://")
    host, port = split_port(rest)
    kind = socket.SOCK_STREAM if scheme == "tcp" else socket.SOCK_DGRAM
    failure: OSError = OSError(f"{host} has no address")
    deadline = Deadline(CONNECT_SECONDS)
    for family, _, _, _, where in socket.getaddrinfo(host, port, type=kind):
        found = socket.socket(family, kind)
        try:
            found.settimeout(max(0.05, deadline.left()))
            found.connect(where)
        except OSError as error:
            found.close()
            failure = error
        else:
            return found
    raise failure


def split_port(text: str) -> tuple[str, int]:
    """Return the host without brackets, and the port; raises ValueError for a port that is no number."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, int(rest[1:] or PORT)
    host, colon, port = text.rpartition(":")
    return (host, int(port)) if colon and ":" not in host else (text, PORT)


def _local(path: str) -> socket.socket:
    """Connect to a local socket; daemons listen on a datagram socket, some on a stream."""
    failure: OSError | None = None
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        found = socket.socket(socket.AF_UNIX, kind)
        try:
            found.settimeout(CONNECT_SECONDS)
            found.connect(path)
        except OSError as error:
            found.close()
            failure = failure or error
        else:
            return found
    assert failure is not None
    raise failure


def message(line: Line) -> bytes:
    """Return the RFC 5424 message about one line of the journal."""
    event = line.event
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(line.time)) + f".{int(line.time * 1000) % 1000:03d}Z"
    values = {"host": line.host, "run": line.run, "seq": str(line.seq), "head": str(line.raw.get("head", ""))}
    match event:
        case Firing():
            text = f"{line.host}: about to send {event.request} through {event.controller} at {event.address}"
        case Fired():
            text = f"{line.host}: {event.controller} refused: nothing was delivered"
        case Finished():
            values |= {"exit": str(event.exit_code), "sent": event.sent}
            text = f"{line.host}: {event.text}"
        case _:
            raise ValueError(f"nothing to tell of {type(event).__name__}")
    data = " ".join(f'{name}="{_escaped(value)}"' for name, value in values.items())
    name = _printable(socket.gethostname(), 255)
    head = f"<{_PRIORITY}>1 {moment} {name} trigger {os.getpid()} {type(event).__name__}"
    return f"{head} [{_SD_ID} {data}] {text}".encode("utf-8", "replace")[:8000]


def _escaped(value: str) -> str:
    """Escape a parameter's value (RFC 5424 section 6.3.3)."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def _printable(text: str, limit: int) -> str:
    return "".join(char for char in text if "!" <= char <= "~")[:limit] or "-"
