"""A bad network on 127.0.0.1: a UDP proxy whose every datagram meets a fate that the test decides."""

from __future__ import annotations

import contextlib
import functools
import heapq
import itertools
import os
import random
import selectors
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic, sleep
from types import TracebackType
from typing import Self

Address = tuple[str, int]

OPEN_REQUEST, OPEN_RESPONSE, RAKP_1, RAKP_2, RAKP_3, RAKP_4 = range(0x10, 0x16)


@dataclass(frozen=True)
class Datagram:
    """One datagram on its way; `number` counts from 0 in its direction."""

    to_bmc: bool
    number: int
    data: bytes

    @property
    def payload_type(self) -> int:
        """The RMCP+ payload type (0x10 to 0x15: session setup), -1 for IPMI 1.5 and garbage."""
        return self.data[5] & 0x3F if self.data[:1] == b"\x06" and self.data[4:5] == b"\x06" else -1


# The delays in seconds of the copies to deliver: () loses the datagram, (0, 0) doubles it.
Fate = Callable[[Datagram], Sequence[float]]


def straight(datagram: Datagram) -> Sequence[float]:
    """Deliver everything at once."""
    return (0.0,)


def late(seconds: float) -> Fate:
    """Delay everything by `seconds` in each direction."""
    return lambda datagram: (seconds,)


def lossy(seed: int, loss: float, doubled: float = 0.0, seconds: float = 0.0) -> Fate:
    """Lose a share of the datagrams in both directions, double another, delay all."""
    chance = random.Random(seed)

    def fate(datagram: Datagram) -> Sequence[float]:
        if chance.random() < loss:
            return ()
        return (seconds, seconds) if chance.random() < doubled else (seconds,)

    return fate


def losing(chosen: Callable[[Datagram], bool]) -> Fate:
    """Lose the chosen ones."""
    return lambda datagram: () if chosen(datagram) else (0.0,)


class UdpProxy:
    """Forwards between clients and one BMC, each client from a port of its own; `seen` has what arrived, in order."""

    def __init__(self, bmc: Address, fate: Fate = straight, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.fate = fate
        self.seen: list[Datagram] = []
        self._bmc = bmc
        self._front = socket.socket(family, socket.SOCK_DGRAM)
        self._front.bind((host, 0))
        self.port: int = self._front.getsockname()[1]
        self._backs: dict[Address, socket.socket] = {}
        self.client: Address | None = None  # the newest
        self._ready = selectors.DefaultSelector()
        self._count = itertools.count()
        self._stop = threading.Event()
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._flooding: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._flooding:
            self._flooding.join()
        self._ready.close()
        for sock in (self._front, *self._backs.values()):
            sock.close()

    def sent(self, payload_type: int | None = None) -> int:
        """Count what clients sent, all of it or one payload type."""
        return sum(d.to_bmc and payload_type in (None, d.payload_type) for d in list(self.seen))

    def await_sent(self, count: int, seconds: float = 5.0) -> None:
        """Wait until clients have sent `count` datagrams; the last one, Close Session, has no answer to wait for."""
        end = monotonic() + seconds
        while self.sent() < count and monotonic() < end:
            sleep(0.002)

    def inject(self, data: bytes) -> None:
        """Send `data` to the newest client as if the BMC had."""
        if self.client is not None:
            self._front.sendto(data, self.client)

    def flood(self, datagrams: Sequence[bytes] | None = None, pause: float = 0.0005) -> None:
        """Send garbage, or `datagrams` over and over, to the newest client until the proxy ends."""

        def run() -> None:
            number = 0
            while not self._stop.wait(pause):
                self.inject(datagrams[number % len(datagrams)] if datagrams else os.urandom(number % 90))
                number += 1

        self._flooding = threading.Thread(target=run, daemon=True)
        self._flooding.start()

    def _run(self) -> None:
        self._ready.register(self._front, selectors.EVENT_READ, None)
        while not self._stop.is_set():
            wait = min(0.05, max(0.0, self._due[0][0] - monotonic())) if self._due else 0.05
            for key, _ in self._ready.select(wait):
                if key.data is None:
                    self._from_client()
                else:
                    self._from_bmc(key.data)
            while self._due and self._due[0][0] <= monotonic():
                heapq.heappop(self._due)[2]()

    def _from_client(self) -> None:
        data, self.client = self._front.recvfrom(4096)
        if self.client not in self._backs:
            family = socket.AF_INET6 if ":" in self._bmc[0] else socket.AF_INET
            back = self._backs[self.client] = socket.socket(family, socket.SOCK_DGRAM)
            back.connect(self._bmc)
            self._ready.register(back, selectors.EVENT_READ, self.client)
        self._meet_fate(True, data, self._backs[self.client].send)

    def _from_bmc(self, client: Address) -> None:
        with contextlib.suppress(ConnectionRefusedError):
            data = self._backs[client].recv(4096)
            self._meet_fate(False, data, functools.partial(self._to_client, client))

    def _to_client(self, client: Address, data: bytes) -> None:
        self._front.sendto(data, client)

    def _meet_fate(self, to_bmc: bool, data: bytes, deliver: Callable[[bytes], object]) -> None:
        datagram = Datagram(to_bmc, sum(d.to_bmc == to_bmc for d in self.seen), data)
        self.seen.append(datagram)
        for delay in self.fate(datagram):
            if delay:
                # The count in the middle keeps the order of equals, and functions from being compared.
                heapq.heappush(self._due, (monotonic() + delay, next(self._count), lambda: deliver(data)))
            else:
                deliver(data)
