"""Syslog is told at Firing and at the end, with heads that vouch for the journal; it never delays or stops a run."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from tests.e2e.program import Bench
from trigger import syslog
from trigger.chain import read_anchors, verify
from trigger.events import Finished, Fired, Firing, Observed
from trigger.journal import Line
from trigger.state import StateFolder
from trigger.syslog import Syslog, message

Benches = Callable[..., Bench]
FIRING = Firing("ipmi", "ipmi", "127.0.0.1", "chassis control 4", (), 1e10)
FINISHED = Finished(0, "yes", "A complete dump has landed.")
# RFC 5424 section 6, as far as these messages go.
RFC_5424 = re.compile(
    rb"<85>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [!-~]+ trigger \d+ (Firing|Fired|Finished) "
    rb'\[trigger@32473( [a-z]+="([^"\\\]]|\\["\\\]])*")+\] .+',
    re.DOTALL,
)


def line(event: Firing | Fired | Finished | Observed, head: str = "a" * 64) -> Line:
    return Line("r1", "server42", 3, 1.7e9, event, {"head": head})


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(30)
        yield server


def told(server: socket.socket) -> str:
    return f"udp://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("where", ["", 'a]b"c\\', "ü\n\x1b"])
def test_messages_are_rfc_5424(where: str) -> None:
    for event in (FIRING, Fired("ipmi", "refused", "x"), FINISHED):
        assert RFC_5424.fullmatch(message(line(event)._replace(run=where)))


def test_only_shots_refusals_and_ends_are_told(udp: socket.socket) -> None:
    log = Syslog(told(udp))
    for event in (Observed("back", "host", "proof", "x"), FIRING, Fired("ipmi", "accepted", "x"), FINISHED):
        log.tell(line(event))
    assert log.close() == ""
    assert [udp.recv(9000).split()[5] for _ in range(2)] == [b"Firing", b"Finished"]


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_local_socket_of_either_kind(tmp_path: Path, kind: socket.SocketKind) -> None:
    path = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, kind) as server:
        server.bind(str(path))
        if kind == socket.SOCK_STREAM:
            server.listen()
        log = Syslog(str(path))
        log.tell(line(FIRING))
        assert log.close() == ""
        source = server if kind == socket.SOCK_DGRAM else server.accept()[0]
        with source:
            found = source.recv(9000)
    assert found.partition(b"<85>")[0] in (b"", f"{len(message(line(FIRING)))} ".encode())


def test_tcp_counts_octets() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        log = Syslog(f"tcp://127.0.0.1:{server.getsockname()[1]}")
        for event in (FIRING, FINISHED):
            log.tell(line(event))
        assert log.close() == ""
        connection, _ = server.accept()
        with connection:
            data = connection.makefile("rb").read()
    for event in (FIRING, FINISHED):
        length, _, data = data.partition(b" ")
        assert data[: int(length)] == message(line(event))
        data = data[int(length) :]
    assert data == b""


@pytest.mark.parametrize(
    "address", ["/nowhere/log", "tcp://127.0.0.1:1", "udp://no.such.host.invalid", "tcp://[::1]:1"]
)
def test_a_server_that_is_not_there_costs_a_note(address: str) -> None:
    log = Syslog(address)
    log.tell(line(FIRING))
    assert address in log.close()


def test_a_server_that_hangs_costs_a_bounded_moment_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    hang = threading.Event()

    def connect(address: str) -> socket.socket:
        hang.wait(60)
        raise OSError("too late")

    monkeypatch.setattr(syslog, "connect", connect)
    log = Syslog("tcp://192.0.2.1:514")
    begun = time.monotonic()
    log.tell(line(FIRING))
    assert time.monotonic() - begun < 0.5
    assert "did not answer" in log.close()
    assert time.monotonic() - begun < syslog.CLOSE_SECONDS + 5
    hang.set()
    log._thread.join(30)


def configured(b: Bench, address: str) -> None:
    with b.config.open("a") as file:
        file.write(f"\nsyslog: {{address: {json.dumps(address)}}}\n")


def test_a_run_is_told_and_its_heads_are_anchors(bench: Benches, udp: socket.socket, tmp_path: Path) -> None:
    b = bench(nmi_answer_delay=3.0)
    configured(b, told(udp))
    process = b.start("nmi", b.host, "--json", *b.confirmed())
    first = udp.recv(9000)
    assert b"Firing" in first
    assert [found["event"] for found in b.journal()][-1] == "Firing", "told while the answer is awaited"
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    last = udp.recv(9000)
    lines = (b.state / "hosts" / b.host / "journal.jsonl").read_bytes().splitlines()
    heads = [sha256(text).hexdigest() for text in lines]
    assert heads[3].encode() in first
    assert heads[-1].encode() in last
    assert f"journal head:   {heads[-1]}" in err
    assert json.loads(out.splitlines()[-1])["head"] == heads[-1]
    (tmp_path / "syslog").write_bytes(b"Nov 23 jump1 " + first + b"\nNov 23 jump1 " + last + b"\n")
    anchors = read_anchors(tmp_path / "syslog")
    found = verify(StateFolder.choose(str(b.state)), b.host, anchors)
    assert (found.faults, found.vouched) == ((), len(lines))


def test_a_run_without_its_syslog_is_the_same_run(bench: Benches) -> None:
    b = bench()
    configured(b, "tcp://127.0.0.1:1")
    result = b.nmi()
    assert result.code == 0, result.err
    assert b.machine.delivered() == 1
    assert "trigger: note: " in result.err
    assert "syslog" in result.err


def test_a_wrong_address_is_an_error_of_the_configuration(bench: Benches) -> None:
    b = bench()
    configured(b, "not an address")
    result = b.nmi()
    assert result.code == 3
    assert "syslog.address: is no address of a syslog server" in result.err
