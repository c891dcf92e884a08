"""A UDP proxy that loses, delays, repeats and invents datagrams, for in front of any server of this machine.

It knows nothing of RMCP+. In the simulated machine it runs on the machine's own event loop; `udp_faults` runs one
in a thread, for tests and benchmarks in front of something else (ipmi_sim, for one).
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

MOST_CLIENTS = 256  # the one silent for longest is forgotten beyond
GARBAGE_SECONDS = 60.0  # garbage goes to clients heard of in this time


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong on the way. The default is nothing.

    `loss` is the share of datagrams lost in each direction (0 to 1), drawn from `seed` apart for each direction;
    `delay` seconds are added to the round trip, half each way; `duplicate` sends every reply twice,
    `duplicate_requests` every request; `replay` sends the reply before last again before each reply; `garbage` is
    datagrams a second, without end, to each client.
    """

    loss: float = 0.0
    seed: int = 1
    delay: float = 0.0
    duplicate: bool = False
    duplicate_requests: bool = False
    replay: bool = False
    garbage: float = 0.0


@dataclass(slots=True)
class _Client:
    """One client: the socket that speaks to the target for it, and what it was sent last."""

    address: Any
    upstream: socket.socket
    heard: float = field(default_factory=time.monotonic)
    last_reply: bytes = b""


def udp_socket(address: str) -> socket.socket:
    """Return a UDP socket that does not block, bound to a free port of `address` (IPv4 or IPv6)."""
    family, kind, protocol, _name, bound = socket.getaddrinfo(address, 0, type=socket.SOCK_DGRAM)[0]
    udp = socket.socket(family, kind, protocol)
    udp.setblocking(False)
    udp.bind(bound)
    return udp


class FaultProxy:
    """Forwards datagrams between clients and `target` (address, port). Used on one event loop only.

    `port` is where clients send to, on the same address as the target's. `counters` counts `from_clients`,
    `from_target`, `lost_to_target`, `lost_to_client` and `garbage`.
    """

    def __init__(self, target: tuple[str, int], faults: Faults | None = None) -> None:
        self.target = target
        self.front = udp_socket(target[0])
        self.port: int = self.front.getsockname()[1]
        self.counters: collections.Counter[str] = collections.Counter()
        self.clients: dict[Any, _Client] = {}
        self._replies_to_lose = 0
        self._garbage: asyncio.Task[None] | None = None
        self.use(faults or Faults())

    def use(self, faults: Faults) -> None:
        """Behave by `faults` from now on; the random numbers begin anew."""
        self.faults = faults
        self._random = {
            name: random.Random(f"{name} {faults.seed}")  # noqa: S311 -- repeatable, not secret
            for name in ("to_target", "to_client", "noise")
        }

    def lose_replies(self, count: int) -> None:
        """Lose the next `count` replies whatever `faults` says; -1 is all from now on, 0 none."""
        self._replies_to_lose = count

    def serve(self) -> None:
        """Forward on the running event loop until `close`."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.front, self._from_client)
        self._garbage = self._loop.create_task(self._send_garbage())

    def close(self) -> None:
        """Stop, and close every socket."""
        if self._garbage:
            self._garbage.cancel()
        for sock in (self.front, *(client.upstream for client in self.clients.values())):
            self._loop.remove_reader(sock)
            sock.close()

    def _from_client(self) -> None:
        try:
            data, address = self.front.recvfrom(65535)
        except OSError:  # nothing there after all, or a client's port is closed
            return
        self.counters["from_clients"] += 1
        client = self._client(address)
        client.heard = time.monotonic()
        if self._is_lost("to_target"):
            return
        for _ in range(2 if self.faults.duplicate_requests else 1):
            self._later(lambda: client.upstream.send(data))

    def _client(self, address: Any) -> _Client:
        client = self.clients.pop(address, None)
        if client is None:
            upstream = udp_socket(self.target[0])
            upstream.connect(self.target)
            client = _Client(address, upstream)
            self._loop.add_reader(upstream, self._from_target, client)
        self.clients[address] = client  # at the end: the dictionary's order is that of last use
        if len(self.clients) > MOST_CLIENTS:
            oldest = self.clients.pop(next(iter(self.clients)))
            self._loop.remove_reader(oldest.upstream)
            oldest.upstream.close()
        return client

    def _from_target(self, client: _Client) -> None:
        try:
            data = client.upstream.recv(65535)
        except OSError:
            return
        self.counters["from_target"] += 1
        old, client.last_reply = client.last_reply, data
        if self.faults.replay and old:
            self._to_client(client, old)
        if self._replies_to_lose:
            self._replies_to_lose -= 1 if self._replies_to_lose > 0 else 0
            self.counters["lost_to_client"] += 1
        elif not self._is_lost("to_client"):
            for _ in range(2 if self.faults.duplicate else 1):
                self._to_client(client, data)

    def _to_client(self, client: _Client, data: bytes) -> None:
        self._later(lambda: self.front.sendto(data, client.address))

    def _is_lost(self, direction: str) -> bool:
        lost = self._random[direction].random() < self.faults.loss
        self.counters[f"lost_{direction}"] += lost
        return lost

    def _later(self, send: Callable[[], int]) -> None:
        """Send after half the delay; what cannot be sent is a lost datagram."""

        def now() -> None:
            with contextlib.suppress(OSError):
                send()

        if self.faults.delay:
            self._loop.call_later(self.faults.delay / 2, now)
        else:
            now()

    async def _send_garbage(self) -> None:
        while True:
            rate = self.faults.garbage
            await asyncio.sleep(1 / rate if rate else 0.05)
            if not rate:
                continue
            for client in list(self.clients.values()):
                if time.monotonic() - client.heard < GARBAGE_SECONDS:
                    self.counters["garbage"] += 1
                    self._to_client(client, garbage(self._random["noise"], client.last_reply))


def garbage(noise: random.Random, reply: bytes) -> bytes:
    """Return one datagram that is no answer: noise, nothing at all, or `reply` cut short or with a broken signature.

    Only the signature of a signed RMCP+ reply is broken: the headers before it are not covered by it, so that a reply
    with another RMCP sequence number, say, would be a good answer still; and an unsigned one would be a forgery.
    """
    kind = noise.randrange(4)
    if kind == 0 or not reply:
        return noise.randbytes(noise.randrange(200))
    if kind == 2:
        return reply[: noise.randrange(len(reply))]
    if kind == 3 and len(reply) > 28 and reply[4] == 6 and reply[5] & 0x40:
        broken = bytearray(reply)
        broken[-noise.randrange(1, 13)] ^= noise.randrange(1, 256)
        return bytes(broken)
    return b"\x06\x00\xff\x07" + noise.randbytes(noise.randrange(80))  # an RMCP header, then noise


@contextlib.contextmanager
def udp_faults(target: tuple[str, int], faults: Faults | None = None) -> Iterator[FaultProxy]:
    """Run a FaultProxy in front of `target` in a thread; read its `port` and `counters`.

    To change it from another thread: `proxy.use(...)` and `proxy.lose_replies(...)` are safe to call.
    """
    loop = asyncio.new_event_loop()
    proxy = FaultProxy(target, faults)
    loop.call_soon(proxy.serve)
    thread = threading.Thread(target=loop.run_forever, name="udp-faults")
    thread.start()
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(proxy.close)
        loop.call_soon_threadsafe(loop.call_soon, loop.stop)  # one turn later: the cancelled task has ended
        thread.join()
        loop.close()
