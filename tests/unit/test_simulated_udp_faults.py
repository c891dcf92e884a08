"""The UDP proxy loses, delays, repeats and invents datagrams exactly as it was told."""

from __future__ import annotations

import random
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from trigger.simulated.udp_faults import FaultProxy, Faults, garbage, udp_faults


class Echo:
    """A UDP server that answers `n` with `reply n` and keeps what it received."""

    def __init__(self, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((address, 0))
        self.address = (address, self.socket.getsockname()[1])
        self.received: list[bytes] = []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while (message := self.socket.recvfrom(4096))[0] != b"end":
            self.received.append(message[0])
            self.socket.sendto(b"reply " + message[0], message[1])

    def close(self) -> None:
        with socket.socket(self.socket.family, socket.SOCK_DGRAM) as last:
            last.sendto(b"end", self.address)
        self.thread.join()
        self.socket.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    with closing(Echo("127.0.0.1")) as server:
        yield server


class Client:
    def __init__(self, proxy: FaultProxy) -> None:
        self.socket = socket.socket(proxy.front.family, socket.SOCK_DGRAM)
        self.socket.connect((proxy.target[0], proxy.port))

    def ask(self, message: bytes, replies: int = 1) -> list[bytes]:
        """Send once; return up to `replies` answers, fewer if the next does not come within 0.2 s."""
        self.socket.send(message)
        answers: list[bytes] = []
        while len(answers) < replies and select.select([self.socket], [], [], 0.2)[0]:
            answers.append(self.socket.recv(4096))
        return answers

    def close(self) -> None:
        self.socket.close()


def talk(echo: Echo, faults: Faults, count: int, replies: int = 1) -> list[list[bytes]]:
    with udp_faults(echo.address, faults) as proxy, closing(Client(proxy)) as client:
        return [client.ask(b"%d" % number, replies) for number in range(count)]


def test_without_faults_everything_arrives_once(echo: Echo) -> None:
    assert talk(echo, Faults(), 50) == [[b"reply %d" % number] for number in range(50)]
    assert echo.received == [b"%d" % number for number in range(50)]


def test_ipv6() -> None:
    with closing(Echo("::1")) as echo:
        assert talk(echo, Faults(), 2) == [[b"reply 0"], [b"reply 1"]]


def test_loss_is_seeded_and_goes_both_ways(echo: Echo) -> None:
    def pattern(seed: int) -> tuple[int, int, int]:
        with udp_faults(echo.address, Faults(loss=0.3, seed=seed)) as proxy, closing(Client(proxy)) as client:
            client.socket.setblocking(False)
            for number in range(300):
                client.socket.send(b"%d" % number)
                if number % 20 == 19:  # little at a time: what is lost is lost on purpose
                    settle(proxy, number + 1)
            return (
                proxy.counters["lost_to_target"],
                proxy.counters["lost_to_client"],
                proxy.counters["from_target"],
            )

    def settle(proxy: FaultProxy, sent: int) -> None:
        end = time.monotonic() + 10
        while proxy.counters["from_clients"] < sent or (
            proxy.counters["from_target"] < sent - proxy.counters["lost_to_target"]
        ):
            assert time.monotonic() < end, dict(proxy.counters)
            time.sleep(0.001)

    first = pattern(7)
    assert first == pattern(7)
    assert first != pattern(8)
    assert 60 <= first[0] <= 120 and 40 <= first[1] <= 90


def test_replies_can_be_lost_one_by_one_or_all(echo: Echo) -> None:
    with udp_faults(echo.address) as proxy, closing(Client(proxy)) as client:
        proxy.lose_replies(1)
        assert client.ask(b"a") == []
        assert client.ask(b"b") == [b"reply b"]
        proxy.lose_replies(-1)
        assert client.ask(b"c") == [] and client.ask(b"d") == []
        assert echo.received == [b"a", b"b", b"c", b"d"]


def test_delay_is_a_round_trip(echo: Echo) -> None:
    with udp_faults(echo.address, Faults(delay=0.1)) as proxy, closing(Client(proxy)) as client:
        start = time.monotonic()
        assert client.ask(b"a") == [b"reply a"]
        assert 0.1 <= time.monotonic() - start < 0.19


def test_replies_or_requests_come_twice(echo: Echo) -> None:
    assert talk(echo, Faults(duplicate=True), 1, replies=3) == [[b"reply 0"] * 2]
    assert echo.received == [b"0"]
    assert talk(echo, Faults(duplicate_requests=True), 1, replies=3) == [[b"reply 0"] * 2]
    assert echo.received == [b"0"] * 3


def test_the_old_reply_comes_before_the_new_one_even_if_that_is_lost(echo: Echo) -> None:
    with udp_faults(echo.address, Faults(replay=True)) as proxy, closing(Client(proxy)) as client:
        assert client.ask(b"a", 2) == [b"reply a"]
        assert client.ask(b"b", 3) == [b"reply a", b"reply b"]
        proxy.lose_replies(1)
        assert client.ask(b"c", 3) == [b"reply b"]


def test_garbage_does_not_end_and_is_never_a_reply(echo: Echo) -> None:
    with udp_faults(echo.address, Faults(garbage=500)) as proxy, closing(Client(proxy)) as client:
        answers = client.ask(b"a", 60)
        assert len(answers) == 60 and answers.count(b"reply a") == 1
        before = proxy.counters["garbage"]
        proxy.use(Faults())
        assert before >= 59


def test_garbage_is_never_a_good_reply() -> None:
    """What is signed begins with the fifth byte: neither that part nor its signature may come whole."""
    noise = random.Random(1)
    signed = b"\x06\x00\xff\x07\x06\xc0" + bytes(range(60))
    unsigned = b"\x06\x00\xff\x07\x06\x11" + bytes(range(60))
    for reply in (signed, unsigned):
        made = {garbage(noise, reply) for _ in range(2000)}
        assert not any(reply[4:] in datagram for datagram in made)
        assert not any(datagram[:20] == unsigned[:20] and len(datagram) == len(unsigned) for datagram in made)
    assert any(datagram[:50] == signed[:50] for datagram in (garbage(noise, signed) for _ in range(200)))


def test_two_clients_are_kept_apart(echo: Echo) -> None:
    with (
        udp_faults(echo.address) as proxy,
        closing(Client(proxy)) as one,
        closing(Client(proxy)) as two,
    ):
        assert one.ask(b"1") == [b"reply 1"]
        assert two.ask(b"2") == [b"reply 2"]
        assert one.ask(b"3", 2) == [b"reply 3"]
