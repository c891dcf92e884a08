"""fence_kdump packets over real UDP: whose, in which byte order, and what is not one."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest

from trigger.host import FenceKdump
from trigger.watch.fence_kdump import MAGIC, FenceKdumpListener, is_heartbeat

LITTLE, BIG = struct.pack("<II", MAGIC, 1), struct.pack(">II", MAGIC, 1)


def test_what_a_packet_is() -> None:
    assert is_heartbeat(LITTLE)
    assert is_heartbeat(BIG)
    for other in (
        b"",
        LITTLE[:7],
        LITTLE + b"\0",
        struct.pack("<II", MAGIC, 2),
        struct.pack("<II", 0, 1),
        BIG[::-1] + b"x",
    ):
        assert not is_heartbeat(other)


@pytest.fixture
def listener() -> Iterator[FenceKdumpListener]:
    listener = FenceKdumpListener(FenceKdump("127.0.0.1", 0, ("127.0.0.3", "127.0.0.4")), ("127.0.0.2",))
    listener.start()
    yield listener
    listener.close()


def send(listener: FenceKdumpListener, packet: bytes, source: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((source, 0))
        sender.sendto(packet, ("127.0.0.1", listener.port))


def heard(listener: FenceKdumpListener) -> list[str]:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if news := listener.news():
            return [item.text for item in news]
        time.sleep(0.01)
    return []


@pytest.mark.parametrize("packet", [LITTLE, BIG], ids=["little", "big"])
@pytest.mark.parametrize("source", ["127.0.0.2", "127.0.0.4"], ids=["its own address", "another ring"])
def test_a_packet_of_the_host_is_heard(listener: FenceKdumpListener, packet: bytes, source: str) -> None:
    send(listener, LITTLE, "127.0.0.9")  # a stranger's
    send(listener, b"garbage", source)
    assert listener.dump_in_progress() == ""
    send(listener, packet, source)
    assert heard(listener) == [f"a fence_kdump packet of {source}: its crash kernel is alive"]
    assert "fence_kdump packets" in listener.dump_in_progress()


def test_a_flood_is_told_once(listener: FenceKdumpListener) -> None:
    for _ in range(500):
        send(listener, LITTLE, "127.0.0.2")
    assert len(heard(listener)) == 1
    assert listener.news() == []


def test_a_port_that_is_taken_is_news_and_no_error() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        taken = FenceKdumpListener(FenceKdump("127.0.0.1", other.getsockname()[1]), ("127.0.0.2",))
        taken.start()
        (news,) = taken.news()
        taken.close()
    assert not news.heard
    assert "cannot be heard" in news.text


def test_all_addresses_hear_ipv4() -> None:
    listener = FenceKdumpListener(FenceKdump("", 0), ("127.0.0.2",))
    listener.start()
    try:
        send(listener, LITTLE, "127.0.0.2")
        assert heard(listener)
    finally:
        listener.close()
