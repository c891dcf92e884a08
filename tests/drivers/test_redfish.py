"""What the Redfish driver asks for, understands, refuses and says, against a service on this machine."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.redfish import RedfishDriver
from tests.drivers.simulators.certificates import certificate
from tests.drivers.simulators.redfish_server import RedfishServer
from tests.drivers.simulators.redfish_trees import Tree, idrac9, ilo4, ilo5, machine, other_machine, several
from tests.drivers.test_redfish_conformance import Answers, redfish_controller
from trigger.clock import Deadline
from trigger.conformance import ITS_IDENTITY, OTHER_IDENTITY
from trigger.driver import DriverOptions, Identity, Power, Probe
from trigger.errors import ConfigError, DriverError, LoginFailed, OutcomeUnknown, TriggerError, Unreachable
from trigger.host import Tls

Start = Callable[..., RedfishServer]
SYSTEM = "/redfish/v1/Systems/1"


@pytest.fixture
def start() -> Iterator[Start]:
    """Start servers, and stop them."""
    started: list[RedfishServer] = []

    def make(tree: Tree | None = None, fault: str = "healthy", **more: Any) -> RedfishServer:
        started.append(RedfishServer(tree if tree is not None else machine(), fault, **more))
        return started[-1]

    yield make
    for server in started:
        server.close()


def redfish(server: RedfishServer, answers: Answers | None = None, **more: Any) -> RedfishDriver:
    options = {key: more.pop(key) for key in ("known", "expected", "accept_new") if key in more}
    return RedfishDriver(redfish_controller(server, **more), DriverOptions(secrets=answers or Answers(), **options))


def probe(server: RedfishServer, **more: Any) -> Probe:
    with redfish(server, **more) as driver:
        return driver.probe(Deadline(5))


def failure(server: RedfishServer, **more: Any) -> TriggerError:
    """Return the error that a probe ends with; nothing that acts was sent, and no session is left."""
    with redfish(server, **more) as driver, pytest.raises((DriverError, ConfigError)) as raised:
        driver.probe(Deadline(2))
    assert server.deliveries() == 0
    assert not [path for method, path in server.requests if method == "POST" and "Sessions" not in path]
    assert not server.sessions
    return raised.value


# How many requests a fire costs


def fire(server: RedfishServer, **more: Any) -> int:
    """Fire and return how many requests it took, session login and logout apart."""
    before = server.count()
    with redfish(server, **more) as driver:
        driver.probe(Deadline(5))
        assert driver.send_nmi(Deadline(5)).answer.startswith("HTTP 204")
    return server.count() - before


@pytest.mark.parametrize("login", ["session", "no-token"])
def test_a_fire_asks_only_what_nobody_knows(start: Start, login: str) -> None:
    server = start(login=login)
    learned = probe(server).learned
    assert fire(server) == 4  # systems, system, manager, POST
    assert fire(server, known=learned) == 2  # system, POST
    assert fire(server, known={**learned, "fingerprint_unique": True}) == 1
    assert server.deliveries() == 3
    assert server.sessions == {}


def test_action_info_is_asked_within_four_requests(start: Start) -> None:
    tree = machine()
    action = tree[SYSTEM]["Actions"]["#ComputerSystem.Reset"]
    del action["ResetType@Redfish.AllowableValues"]
    action["@Redfish.ActionInfo"] = f"{SYSTEM}/ResetActionInfo"
    tree[f"{SYSTEM}/ResetActionInfo"] = {"Parameters": [{"Name": "ResetType", "AllowableValues": ["On", "Nmi"]}]}
    server = start(tree)
    assert fire(server) == 4
    assert probe(server).nmi_allowed is True


def test_the_certificate_alone_is_no_proof_where_others_share_it(start: Start) -> None:
    server = start()
    learned = probe(server).learned
    assert fire(server, known={**learned, "fingerprint_unique": False}) == 2
    assert fire(server, known={**learned, "fingerprint_unique": True, "only_system": False}) > 1


def test_one_request_says_who_it_is_and_what_it_did_not_read(start: Start) -> None:
    server = start()
    known = {**probe(server).learned, "fingerprint_unique": True}
    found = probe(server, known=known)
    assert (found.identity.uuid, found.identity.serial) == (ITS_IDENTITY.uuid, ITS_IDENTITY.serial)
    assert found.power is Power.UNKNOWN
    assert "power state was not read" in found.warnings[0]
    assert found.learned == known


def test_a_record_of_another_machine_is_noticed(start: Start) -> None:
    known = probe(start()).learned
    found = probe(start(other_machine()), known=known, expected=ITS_IDENTITY)
    assert found.identity.uuid == OTHER_IDENTITY.uuid


def test_a_system_that_moved_is_found_by_its_uuid(start: Start) -> None:
    known = probe(start()).learned
    server = start(several(other_machine(), machine(system="2")))
    found = probe(server, known=known, expected=ITS_IDENTITY)
    assert found.learned["system_uri"] == "/redfish/v1/Systems/2"


def test_what_is_learned_is_plain_and_holds_no_secret(start: Start) -> None:
    import json

    server = start()
    learned = json.loads(json.dumps(probe(server).learned))
    assert learned["reset_uri"] == f"{SYSTEM}/Actions/ComputerSystem.Reset"
    assert learned["login"] == "session"
    assert learned["firmware"] == "2.13"
    assert not any(secret in json.dumps(learned) for secret in server.secrets())


def as_sent(request: tuple[str, str], headers: dict[str, str]) -> tuple[object, ...]:
    """Return a request without what differs from server to server: port, token, number of the session."""
    own = ("x-auth-token", "host")
    path = request[1].replace("Sessions/2", "Sessions/1")
    return request[0], path, *sorted((name, value) for name, value in headers.items() if name not in own)


def test_a_recorded_fire_sends_what_the_library_would(start: Start) -> None:
    servers = start(), start()
    known = {**probe(servers[0]).learned, "fingerprint_unique": True}
    for server, record in zip(servers, ({}, known), strict=True):
        server.requests.clear()
        server.headers.clear()
        with redfish(server, known=record) as driver:
            driver.probe(Deadline(5))
            driver.send_nmi(Deadline(5))
    sent = [{as_sent(*each) for each in zip(server.requests, server.headers, strict=True)} for server in servers]
    assert len(servers[1].requests) == 3  # login, POST, logout
    assert sent[1] <= sent[0]
    assert servers[0].bodies == servers[1].bodies


def test_a_recorded_fire_does_not_load_the_library(start: Start) -> None:
    server = start(login="no-token")
    known = probe(server).learned
    code = (
        "import sys\n"
        "from tests.drivers.test_redfish import Deadline, redfish\n"
        "assert 'requests' not in sys.modules\n"
        "from types import SimpleNamespace\n"
        "from trigger.host import Tls\n"
        f"with redfish(SimpleNamespace(port={server.port}), known={dict(known)!r}, tls=Tls()) as driver:\n"
        "    driver.probe(Deadline(5)), driver.send_nmi(Deadline(5))\n"
        "assert 'requests' not in sys.modules and 'redfish' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=Path(__file__).parents[2])
    assert server.deliveries() == 1


# What is sent


def test_the_request_is_the_one_that_was_described(start: Start) -> None:
    server = start()
    with redfish(server) as driver:
        assert "POST" in driver.describe_nmi()
        driver.probe(Deadline(5))
        described = driver.describe_nmi()
        driver.send_nmi(Deadline(5))
    assert described.startswith(f"POST https://127.0.0.1:{server.port}{SYSTEM}/Actions/ComputerSystem.Reset")
    assert server.bodies == [b'{"ResetType": "Nmi"}']


def test_ilo_4_gets_the_action_in_the_body_of_a_post_to_the_system(start: Start) -> None:
    server = start(ilo4())
    assert fire(server) <= 5  # the systems are asked for twice: with a slash they are there
    assert server.bodies == [b'{"Action": "Reset", "ResetType": "Nmi"}']
    assert ("POST", f"{SYSTEM}/") in server.requests


def test_ilo_5_paths_keep_their_slash(start: Start) -> None:
    server = start(ilo5())
    fire(server)
    assert ("POST", f"{SYSTEM}/Actions/ComputerSystem.Reset/") in server.requests


def test_fujitsu_oem_action_where_the_standard_one_lists_no_nmi(start: Start) -> None:
    tree = machine(system="0", Manufacturer="FUJITSU")
    actions = tree["/redfish/v1/Systems/0"]["Actions"]
    actions["#ComputerSystem.Reset"]["ResetType@Redfish.AllowableValues"] = ["On", "ForceOff"]
    actions["Oem"] = {
        "#FTSComputerSystem.Reset": {
            "target": "/redfish/v1/Systems/0/Actions/Oem/FTSComputerSystem.Reset",
            "http://ts.fujitsu.com/redfish-schemas/v1/FTSSchema#FTSResetType@Redfish.AllowableValues": ["PulseNmi"],
        }
    }
    server = start(tree)
    fire(server)
    assert server.bodies == [b'{"FTSResetType": "PulseNmi"}']


def test_send_nmi_without_a_probe_sends_nothing(start: Start) -> None:
    server = start()
    with pytest.raises(RuntimeError, match="nothing was sent"):
        redfish(server).send_nmi(Deadline(1))
    assert server.connections == 0


# Which system


def two_systems() -> Tree:
    return several(other_machine(), machine(system="blade2"))


def test_the_system_is_chosen_by_identity_never_by_position(start: Start) -> None:
    server = start(two_systems())
    assert probe(server, expected=ITS_IDENTITY).identity.uuid == ITS_IDENTITY.uuid
    assert probe(server, expected=Identity(serial=OTHER_IDENTITY.serial)).identity.uuid == OTHER_IDENTITY.uuid


@pytest.mark.parametrize("name", ["blade2", "BLADE2", ITS_IDENTITY.uuid, ITS_IDENTITY.serial])
def test_the_configuration_names_the_system(start: Start, name: str) -> None:
    assert probe(start(two_systems()), system=name).learned["system_uri"] == "/redfish/v1/Systems/blade2"


@pytest.mark.parametrize("name", ["", "blade9"])
def test_several_systems_and_nothing_to_tell_them_apart_are_listed(start: Start, name: str) -> None:
    error = failure(start(two_systems()), system=name)
    assert isinstance(error, ConfigError)
    assert ITS_IDENTITY.uuid in error.message
    assert OTHER_IDENTITY.serial in error.message
    assert "system:" in error.next_step


def test_a_system_without_a_reset_action_is_no_candidate(start: Start) -> None:
    board = machine(OTHER_IDENTITY, system="HGX_Baseboard_0", Actions={})
    assert probe(start(several(board, machine(system="System_0")))).identity.uuid == ITS_IDENTITY.uuid


@pytest.mark.parametrize(("system", "allowed"), [("host1", False), ("host0", True)])
def test_openbmc_with_several_hosts_fires_at_host0_only(start: Start, system: str, allowed: bool) -> None:
    bmc: Any = {"Links": {"ManagedBy": [{"@odata.id": "/redfish/v1/Managers/bmc"}]}}
    server = start(several(machine(OTHER_IDENTITY, system="host0", **bmc), machine(system="host1", **bmc)))
    if allowed:
        assert probe(server, system=system).identity.uuid == OTHER_IDENTITY.uuid
    else:
        assert "host0" in failure(server, system=system).message


# What the system says


@pytest.mark.parametrize(
    ("more", "power", "not_ready"),
    [
        ({"PowerState": "On"}, Power.ON, False),
        ({"PowerState": "Off"}, Power.OFF, False),
        ({"PowerState": "PoweringOn"}, Power.ON, True),
        ({"PowerState": None}, Power.UNKNOWN, False),
        ({"PowerState": 7}, Power.UNKNOWN, False),
        ({"BootProgress": {"LastState": "MemoryInitializationStarted"}}, Power.ON, True),
        ({"BootProgress": {"LastState": "OSRunning"}}, Power.ON, False),
        ({"Oem": {"Hpe": {"PostState": "InPost"}}}, Power.ON, True),
        ({"Oem": {"Hpe": {"PostState": "FinishedPost"}}}, Power.ON, False),
    ],
)
def test_power_and_post(start: Start, more: dict[str, Any], power: Power, not_ready: bool) -> None:
    found = probe(start(machine(**more)))
    assert (found.power, bool(found.not_ready)) == (power, not_ready)
    assert bool(found.warnings) is (power is Power.UNKNOWN)


@pytest.mark.parametrize(
    ("listed", "allowed"),
    [
        (["On", "Nmi"], True),
        (["On", "ForceOff"], False),
        (["GracefulShutdownGracefulRestart", "Nmi"], True),
        (["GracefulRestartNmi"], True),
        (["NMI"], True),
        ("Nmi", True),
        ([None, 3, "Nmi"], True),
        ([], False),
        (None, None),
        ({"Nmi": 1}, None),
    ],
)
def test_allowed_values_however_malformed(start: Start, listed: object, allowed: bool | None) -> None:
    tree = machine()
    tree[SYSTEM]["Actions"]["#ComputerSystem.Reset"]["ResetType@Redfish.AllowableValues"] = listed
    assert probe(start(tree)).nmi_allowed is allowed


def test_dell_serial_number_is_the_service_tag(start: Start) -> None:
    assert probe(start(idrac9())).identity.serial == ITS_IDENTITY.serial


def test_power_is_read_again(start: Start) -> None:
    server = start()
    with redfish(server) as driver:
        driver.probe(Deadline(5))
        server.tree[SYSTEM]["PowerState"] = "Off"
        assert driver.power(Deadline(5)) is Power.OFF


CONSOLES: list[tuple[dict[str, Any], dict[str, Any], list[tuple[Any, ...]]]] = [
    ({}, {}, []),
    ({}, {"SerialConsole": {"ServiceEnabled": False, "ConnectTypesSupported": []}}, []),
    (
        {},
        {
            "SerialConsole": {
                "ServiceEnabled": True,
                "MaxConcurrentSessions": 2,
                "ConnectTypesSupported": ["SSH", "IPMI"],
            }
        },
        [("ssh", True, None, 2, ""), ("ipmi", True, None, 2, "")],
    ),
    (
        {"SerialConsole": {"SSH": {"ServiceEnabled": True, "Port": 2200, "HotKeySequenceDisplay": "Press ~. to exit"}}},
        {"SerialConsole": {"ServiceEnabled": False, "ConnectTypesSupported": ["IPMI"]}},
        [("ssh", True, 2200, None, "Press ~. to exit")],
    ),
    ({"SerialConsole": {"SSH": {"Port": "22", "ServiceEnabled": 1}}}, {}, [("ssh", None, None, None, "")]),
    ({"SerialConsole": 7}, {"SerialConsole": {"ConnectTypesSupported": "SSH"}}, []),
]


@pytest.mark.parametrize(("system", "manager", "expected"), CONSOLES)
def test_the_serial_console_is_described(
    start: Start, system: dict[str, Any], manager: dict[str, Any], expected: list[tuple[Any, ...]]
) -> None:
    tree = machine(**system)
    tree["/redfish/v1/Managers/1"] |= manager
    with redfish(start(tree)) as driver:
        driver.probe(Deadline(5))
        assert [tuple(console) for console in driver.serial_consoles(Deadline(5))] == expected


def test_the_controller_has_a_clock_of_its_own(start: Start) -> None:
    with redfish(start()) as driver:
        driver.probe(Deadline(5))
        assert driver.controller_time(Deadline(5)) == 1795410000.0


def test_bodies_may_be_compressed(start: Start) -> None:
    assert probe(start(zipped=True)).identity.uuid == ITS_IDENTITY.uuid


# Logging in


def test_a_rejected_password_is_tried_once(start: Start) -> None:
    server = start(fault="wrong-password")
    error = failure(server)
    assert isinstance(error, LoginFailed)
    assert error.rejected
    assert len(server.requests) == 1 + 1  # the login, and the root without credentials to know what its 401 means


def test_a_recorded_basic_login_that_is_rejected_is_not_tried_again(start: Start) -> None:
    server = start(fault="wrong-password", login="no-token")
    error = failure(server)
    assert isinstance(error, LoginFailed)


def test_ilo_4_answers_401_to_sessions_and_takes_basic(start: Start) -> None:
    found = probe(start(ilo4(), login="always-401"))
    assert found.learned["login"] == "basic"


def test_a_service_without_sessions_takes_basic(start: Start) -> None:
    tree = machine()
    del tree["/redfish/v1"]["Links"]
    tree["/redfish/v1/"] = tree["/redfish/v1"]
    assert probe(start(tree, login="always-401")).learned["login"] == "basic"


def test_any_other_401_is_a_rejection(start: Start) -> None:
    assert isinstance(failure(start(login="always-401")), LoginFailed)


def test_a_controller_without_a_session_left_takes_basic(start: Start) -> None:
    assert probe(start(login="none-left")).learned["login"] == "basic"


def test_the_login_is_where_the_root_says(start: Start) -> None:
    tree = machine()
    tree["sessions at"] = "/redfish/v1/Sessions/SessionService/Sessions"
    tree["/redfish/v1/"] = {"Links": {"Sessions": {"@odata.id": tree["sessions at"]}}}
    server = start(tree)
    learned = probe(server).learned
    assert learned["sessions_uri"] == tree["sessions at"]
    assert fire(server, known=learned) == 2


def test_the_session_is_deleted_whatever_became_of_the_request(start: Start) -> None:
    for fault in ("healthy", "error", "lost-reply", "silent", "garbage", "reset-after", "truncated"):
        server = start(fault=fault)
        with redfish(server) as driver:
            driver.probe(Deadline(5))
            try:
                driver.send_nmi(Deadline(0.3))
            except OutcomeUnknown as error:
                assert fault != "healthy", error
        assert (server.deleted, server.sessions) == (1, {}), fault


def test_an_interrupt_while_waiting_leaves_no_session(start: Start) -> None:
    server = start(fault="silent")
    driver = redfish(server)
    driver.probe(Deadline(5))

    def interrupt() -> None:
        wait_for(server.deliveries)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt), driver:
        driver.send_nmi(Deadline(10))
    assert (server.deliveries(), server.deleted) == (1, 1)


def wait_for(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 5
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)


# Tasks


def task(*states: str, **more: Any) -> Tree:
    tree = machine()
    tree["/redfish/v1/TaskService/Tasks/1"] = [{"TaskState": state, **more} for state in states]
    return tree


def test_a_task_is_followed_to_its_end(start: Start) -> None:
    server = start(task("New", "Running", "Completed", TaskStatus="OK"), "task")
    with redfish(server) as driver:
        driver.probe(Deadline(5))
        assert "task completed" in driver.send_nmi(Deadline(5)).answer
    assert server.count("POST") == 1


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (task("Running", "Exception"), "ended as Exception"),
        (task("Completed", TaskStatus="Critical"), "Critical"),
        (task("Running"), "had not ended in time"),
        (machine(), "answers HTTP 404"),
    ],
)
def test_a_task_that_failed_is_unknown(start: Start, tree: Tree, words: str) -> None:
    server = start(tree, "task")
    with redfish(server) as driver, pytest.raises(OutcomeUnknown, match=words):
        driver.probe(Deadline(5))
        driver.send_nmi(Deadline(0.8))
    assert server.deliveries() == 1


# Bad input: a sentence that names the controller and its URL, 6, nothing sent


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
def test_bad_input_ends_in_a_sentence(start: Start, name: str) -> None:
    server = start(dict(BAD_TREES[name]))
    error = failure(server)
    assert error.exit_code == 6
    assert "Nothing was sent" in error.message
    assert name != "too long a body" or "longer than 10 MB" in error.message
    if "leads" not in error.message:
        assert f"redfish: https://127.0.0.1:{server.port}" in error.message


def test_a_gzip_bomb_is_not_unpacked(start: Start) -> None:
    import gzip

    bomb = gzip.compress(b" " * 200_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    assert "longer than 10 MB" in failure(start(machine() | {"/redfish/v1/Systems": head + bomb})).message


def test_numbers_where_texts_belong_are_no_texts(start: Start) -> None:
    tree = machine(UUID=7, SerialNumber=["x"], HostName=None, Manufacturer={}, Oem=3, Links=[], LogServices=1, Id=2)
    found = probe(start(tree))
    assert found.identity == Identity(model="CS-1000", fingerprint=certificate().fingerprint)


def test_a_closed_port(start: Start) -> None:
    server = start()
    server.close()
    error = failure(server)
    assert isinstance(error, Unreachable)
    assert f"https://127.0.0.1:{server.port}" in error.message
    assert "refused" in error.message


def test_a_port_that_does_not_speak_tls(start: Start) -> None:
    assert "TLS handshake" in failure(start(tls=False)).message


@pytest.mark.parametrize("address", ["https://10.1.0.7", "10.1.0.7/redfish", ""])
def test_a_url_in_place_of_an_address_is_a_mistake_in_the_configuration(start: Start, address: str) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml:7"):
        redfish(start(), address=address)


@pytest.mark.parametrize("options", [{"scheme": "gopher"}, {"login": "digest"}])
def test_an_option_that_does_not_exist_is_a_mistake_in_the_configuration(start: Start, options: Any) -> None:
    with pytest.raises(ConfigError):
        redfish(start(), options=options)


def test_http_is_asked_for_and_warned_about(start: Start) -> None:
    server = start(tls=False)
    found = probe(server, options={"scheme": "http"}, tls=Tls())
    assert "not encrypted" in found.warnings[0]
    assert found.identity.uuid == ITS_IDENTITY.uuid


def test_ipv6(start: Start) -> None:
    server = start(address="::1", shown=certificate("six", address="::1"))
    tls = Tls(ca_file=certificate().ca_file)
    assert probe(server, address="::1", tls=tls).identity.uuid == ITS_IDENTITY.uuid


def test_proxies_and_netrc_of_the_environment_are_not_asked(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password made-up\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        server = start()
        assert probe(server).identity.uuid == ITS_IDENTITY.uuid
        assert not any("authorization" in headers for headers in server.headers)
        proxy.settimeout(0)
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_a_name_server_that_hangs_costs_no_more_than_the_deadline(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: hung.wait(5) and [])
    began = time.monotonic()
    with (
        redfish(start(), address="bmc.example.com") as driver,
        pytest.raises(Unreachable, match="name server"),
    ):
        driver.probe(Deadline(0.3))
    assert time.monotonic() - began < 1.5
    hung.set()
