"""fence_kdump packets: a crash kernel tells its cluster that it is alive, and so it tells us.

Source: fence-agents fence_kdump (message.h): UDP port 7410, 8 bytes, two 32-bit numbers in the byte order of the
sender: the magic number 0x1B302A40 and the version 1. Anybody can send them: weak evidence, which never ends a run.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import threading
from collections.abc import Iterable
from time import monotonic
from typing import NamedTuple

from trigger.host import FenceKdump
from trigger.text import harmless

PORT = 7410
MAGIC, VERSION = 0x1B302A40, 1
_ACCEPTED = frozenset({struct.pack("<II", MAGIC, VERSION), struct.pack(">II", MAGIC, VERSION)})
_TURN_S = 0.5
# A crash kernel sends one every few seconds; more is nobody's news.
TOLD_EVERY_S = 30.0


def is_heartbeat(packet: bytes) -> bool:
    """Return whether `packet` is a fence_kdump message, in either byte order."""
    return packet in _ACCEPTED


def addresses_of(names: Iterable[str]) -> frozenset[str]:
    """Return every address of `names`, IPv4 ones as they are; a name that is not known has none."""
    found: set[str] = set()
    for name in names:
        with contextlib.suppress(OSError):
            found.update(_plain(str(info[4][0])) for info in socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM))
    return frozenset(found)


class Heartbeat(NamedTuple):
    """A sentence about packets; `heard` is false when it says that none can be heard."""

    text: str
    heard: bool = True


class FenceKdumpListener:
    """Hears the heartbeats of one host in a thread of its own, from `start` until `close`."""

    def __init__(self, settings: FenceKdump, names: Iterable[str]) -> None:
        """`names` are the host's own addresses or names; those of `settings.addresses` (other rings) count as well."""
        self._settings, self._names = settings, (*names, *settings.addresses)
        self._stop = threading.Event()
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._heard_at: float | None = None
        self._news: queue.SimpleQueue[Heartbeat] = queue.SimpleQueue()
        self.port = 0

    def start(self) -> None:
        """Begin to listen; raises nothing: that nobody can listen is news."""
        try:
            self._socket = _bound(self._settings.listen, self._settings.port)
        except OSError as error:
            where = f"{self._settings.listen or 'any address'} port {self._settings.port}"
            self._news.put(Heartbeat(f"fence_kdump packets cannot be heard at {where}: {error.strerror}", heard=False))
            return
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, args=(self._socket,), name="fence_kdump", daemon=True)
        self._thread.start()

    def dump_in_progress(self) -> str:
        """Return what was heard of this host since `start`, as a clause for a refusal; "" for nothing."""
        return "its crash kernel sends fence_kdump packets" if self._heard_at is not None else ""

    def news(self) -> list[Heartbeat]:
        """Return what came since the last call: the first packet, and one now and then."""
        found = []
        while not self._news.empty():
            found.append(self._news.get())
        return found

    def close(self) -> None:
        """Stop listening; raises nothing."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(2 * _TURN_S)
        if self._socket is not None:
            self._socket.close()

    def _run(self, ears: socket.socket) -> None:
        ours = addresses_of(self._names)
        told_at = 0.0
        while not self._stop.is_set():
            try:
                packet, sender = ears.recvfrom(64)
            except TimeoutError:
                continue
            except OSError:
                return  # closed
            address = _plain(str(sender[0]))
            if not is_heartbeat(packet) or address not in ours:
                continue
            first, self._heard_at = self._heard_at is None, monotonic()
            if first or self._heard_at - told_at > TOLD_EVERY_S:
                told_at = self._heard_at
                self._news.put(Heartbeat(f"a fence_kdump packet of {harmless(address)}: its crash kernel is alive"))


def _bound(address: str, port: int) -> socket.socket:
    """Return a UDP socket; without an address one that hears IPv4 and IPv6 where the machine has both."""
    if address:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_DGRAM)[0][0]
    else:
        family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    ears = socket.socket(family, socket.SOCK_DGRAM)
    try:
        # Several runs on one machine may watch several hosts; each packet of a unicast sender reaches the newest only.
        ears.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and not address:
            ears.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        ears.bind((address or ("::" if family == socket.AF_INET6 else "0.0.0.0"), port))  # noqa: S104  # by choice
        ears.settimeout(_TURN_S)
    except BaseException:
        ears.close()
        raise
    return ears


def _plain(address: str) -> str:
    """Return an IPv4 address that came over an IPv6 socket as it is written."""
    return address.removeprefix("::ffff:").split("%")[0]
