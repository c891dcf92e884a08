"""Whatever a Redfish service answers ends in a sentence that names the controller and its URL, 6, nothing sent."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest

from tests.drivers.redfish_service import SYSTEM, StartRedfish, failure, probe, redfish
from tests.drivers.simulators.certificates import certificate
from tests.drivers.simulators.redfish_trees import Tree, machine
from trigger.clock import Deadline
from trigger.conformance import ITS_IDENTITY
from trigger.driver import Identity
from trigger.errors import ConfigError, Unreachable
from trigger.host import Tls


def without_systems() -> Tree:
    return machine() | {"/redfish/v1/Systems": {"Members": []}}


def links_to(path: object) -> Tree:
    return machine() | {"/redfish/v1/Systems": {"Members": [{"@odata.id": path}]}}


def body(text: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)


BAD_TREES: dict[str, Tree] = {
    "no systems": without_systems(),
    "a system at another host": links_to("https://203.0.113.7/redfish/v1/Systems/1"),
    "a system outside /redfish/": links_to("/etc/passwd"),
    "a system below ..": links_to("/redfish/v1/../../etc"),
    "a system with a line end": links_to("/redfish/v1/Systems/1\r\nX: y"),
    "a number for a link": links_to(7),
    "a missing system": links_to("/redfish/v1/Systems/9"),
    "a system that is a list": machine() | {SYSTEM: body(b"[1, 2]")},
    "a system without actions": machine(Actions=None),
    "a reset that leads out": machine(Actions={"#ComputerSystem.Reset": {"target": "http://203.0.113.7/"}}),
    "a reset whose target is a number": machine(Actions={"#ComputerSystem.Reset": {"target": 7}}),
    "HTML": machine() | {"/redfish/v1/Systems": body(b"<html>Log in</html>")},
    "deep nesting": machine() | {"/redfish/v1/Systems": body(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)},
    "half an answer": machine() | {"/redfish/v1/Systems": b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"},
    "another protocol": machine() | {"/redfish/v1/Systems": b"220 mail.example ESMTP\r\n"},
    "too long a body": machine() | {"/redfish/v1/Systems": b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 11_000_000},
    "a redirect": machine()
    | {"/redfish/v1/Systems": b"HTTP/1.1 302 F\r\nLocation: https://203.0.113.7/\r\nContent-Length: 0\r\n\r\n"},
}


@pytest.mark.parametrize("name", BAD_TREES)
def test_bad_input_ends_in_a_sentence(start_redfish: StartRedfish, name: str) -> None:
    server = start_redfish(dict(BAD_TREES[name]))
    error = failure(server)
    assert error.exit_code == 6
    assert "Nothing was sent" in error.message
    assert name != "too long a body" or "longer than 10 MB" in error.message
    if "leads" not in error.message:
        assert f"redfish: https://127.0.0.1:{server.port}" in error.message


def test_a_gzip_bomb_is_not_unpacked(start_redfish: StartRedfish) -> None:
    import gzip

    bomb = gzip.compress(b" " * 200_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    assert "longer than 10 MB" in failure(start_redfish(machine() | {"/redfish/v1/Systems": head + bomb})).message


def test_numbers_where_texts_belong_are_no_texts(start_redfish: StartRedfish) -> None:
    tree = machine(UUID=7, SerialNumber=["x"], HostName=None, Manufacturer={}, Oem=3, Links=[], LogServices=1, Id=2)
    found = probe(start_redfish(tree))
    assert found.identity == Identity(model="CS-1000", fingerprint=certificate().fingerprint)


def test_a_closed_port(start_redfish: StartRedfish) -> None:
    server = start_redfish()
    server.close()
    error = failure(server)
    assert isinstance(error, Unreachable)
    assert f"https://127.0.0.1:{server.port}" in error.message
    assert "refused" in error.message


def test_a_port_that_does_not_speak_tls(start_redfish: StartRedfish) -> None:
    assert "TLS handshake" in failure(start_redfish(tls=False)).message


@pytest.mark.parametrize("address", ["https://10.1.0.7", "10.1.0.7/redfish", ""])
def test_a_url_for_an_address_is_a_mistake_in_the_configuration(start_redfish: StartRedfish, address: str) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml:7"):
        redfish(start_redfish(), address=address)


@pytest.mark.parametrize("options", [{"scheme": "gopher"}, {"login": "digest"}])
def test_an_unknown_option_is_a_mistake_in_the_configuration(start_redfish: StartRedfish, options: Any) -> None:
    with pytest.raises(ConfigError):
        redfish(start_redfish(), options=options)


def test_http_is_asked_for_and_warned_about(start_redfish: StartRedfish) -> None:
    server = start_redfish(tls=False)
    found = probe(server, options={"scheme": "http"}, tls=Tls())
    assert "not encrypted" in found.warnings[0]
    assert found.identity.uuid == ITS_IDENTITY.uuid


def test_ipv6(start_redfish: StartRedfish) -> None:
    server = start_redfish(address="::1", shown=certificate("six", address="::1"))
    tls = Tls(ca_file=certificate().ca_file)
    assert probe(server, address="::1", tls=tls).identity.uuid == ITS_IDENTITY.uuid


def test_proxies_and_netrc_of_the_environment_are_not_asked(
    start_redfish: StartRedfish, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password made-up\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        server = start_redfish()
        assert probe(server).identity.uuid == ITS_IDENTITY.uuid
        assert not any("authorization" in headers for headers in server.headers)
        proxy.settimeout(0)
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_a_name_server_that_hangs_costs_no_more_than_the_deadline(
    start_redfish: StartRedfish, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: hung.wait(5) and [])
    began = time.monotonic()
    with (
        redfish(start_redfish(), address="bmc.example.com") as driver,
        pytest.raises(Unreachable, match="name server"),
    ):
        driver.probe(Deadline(0.3))
    assert time.monotonic() - began < 1.5
    hung.set()
