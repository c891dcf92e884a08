"""What a fire over Redfish sends and how many requests it takes, against a service on this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.drivers.redfish_service import SYSTEM, StartRedfish, fire, probe, redfish
from tests.drivers.simulators.redfish_trees import Tree, ilo4, ilo5, machine, other_machine, several
from trigger.clock import Deadline
from trigger.conformance import ITS_IDENTITY, OTHER_IDENTITY
from trigger.driver import Power
from trigger.errors import OutcomeUnknown

# How many requests a fire costs


@pytest.mark.parametrize("login", ["session", "no-token"])
def test_a_fire_asks_only_what_nobody_knows(start_redfish: StartRedfish, login: str) -> None:
    server = start_redfish(login=login)
    learned = probe(server).learned
    assert fire(server) == 4  # systems, system, manager, POST
    assert fire(server, known=learned) == 2  # system, POST
    assert fire(server, known={**learned, "fingerprint_unique": True}) == 1
    assert server.deliveries() == 3
    assert server.sessions == {}


def test_action_info_is_asked_within_four_requests(start_redfish: StartRedfish) -> None:
    tree = machine()
    action = tree[SYSTEM]["Actions"]["#ComputerSystem.Reset"]
    del action["ResetType@Redfish.AllowableValues"]
    action["@Redfish.ActionInfo"] = f"{SYSTEM}/ResetActionInfo"
    tree[f"{SYSTEM}/ResetActionInfo"] = {"Parameters": [{"Name": "ResetType", "AllowableValues": ["On", "Nmi"]}]}
    server = start_redfish(tree)
    assert fire(server) == 4
    assert probe(server).nmi_allowed is True


def test_the_certificate_alone_is_no_proof_where_others_share_it(start_redfish: StartRedfish) -> None:
    server = start_redfish()
    learned = probe(server).learned
    assert fire(server, known={**learned, "fingerprint_unique": False}) == 2
    assert fire(server, known={**learned, "fingerprint_unique": True, "only_system": False}) > 1


def test_one_request_says_who_it_is_and_what_it_did_not_read(start_redfish: StartRedfish) -> None:
    server = start_redfish()
    known = {**probe(server).learned, "fingerprint_unique": True}
    found = probe(server, known=known)
    assert (found.identity.uuid, found.identity.serial) == (ITS_IDENTITY.uuid, ITS_IDENTITY.serial)
    assert found.power is Power.UNKNOWN
    assert "power state was not read" in found.warnings[0]
    assert found.learned == known


def test_a_record_of_another_machine_is_noticed(start_redfish: StartRedfish) -> None:
    known = probe(start_redfish()).learned
    found = probe(start_redfish(other_machine()), known=known, expected=ITS_IDENTITY)
    assert found.identity.uuid == OTHER_IDENTITY.uuid


def test_a_system_that_moved_is_found_by_its_uuid(start_redfish: StartRedfish) -> None:
    known = probe(start_redfish()).learned
    server = start_redfish(several(other_machine(), machine(system="2")))
    found = probe(server, known=known, expected=ITS_IDENTITY)
    assert found.learned["system_uri"] == "/redfish/v1/Systems/2"


def test_what_is_learned_is_plain_and_holds_no_secret(start_redfish: StartRedfish) -> None:
    import json

    server = start_redfish()
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


def test_a_recorded_fire_sends_what_the_library_would(start_redfish: StartRedfish) -> None:
    servers = start_redfish(), start_redfish()
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


def test_a_recorded_fire_does_not_load_the_library(start_redfish: StartRedfish) -> None:
    server = start_redfish(login="no-token")
    known = probe(server).learned
    code = (
        "import sys\n"
        "from tests.drivers.redfish_service import Deadline, redfish\n"
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


def test_the_request_is_the_one_that_was_described(start_redfish: StartRedfish) -> None:
    server = start_redfish()
    with redfish(server) as driver:
        assert "POST" in driver.describe_nmi()
        driver.probe(Deadline(5))
        described = driver.describe_nmi()
        driver.send_nmi(Deadline(5))
    assert described.startswith(f"POST https://127.0.0.1:{server.port}{SYSTEM}/Actions/ComputerSystem.Reset")
    assert server.bodies == [b'{"ResetType": "Nmi"}']


def test_ilo_4_gets_the_action_in_the_body_of_a_post_to_the_system(start_redfish: StartRedfish) -> None:
    server = start_redfish(ilo4())
    assert fire(server) <= 5  # the systems are asked for twice: with a slash they are there
    assert server.bodies == [b'{"Action": "Reset", "ResetType": "Nmi"}']
    assert ("POST", f"{SYSTEM}/") in server.requests


def test_ilo_5_paths_keep_their_slash(start_redfish: StartRedfish) -> None:
    server = start_redfish(ilo5())
    fire(server)
    assert ("POST", f"{SYSTEM}/Actions/ComputerSystem.Reset/") in server.requests


def test_fujitsu_oem_action_where_the_standard_one_lists_no_nmi(start_redfish: StartRedfish) -> None:
    tree = machine(system="0", Manufacturer="FUJITSU")
    actions = tree["/redfish/v1/Systems/0"]["Actions"]
    actions["#ComputerSystem.Reset"]["ResetType@Redfish.AllowableValues"] = ["On", "ForceOff"]
    actions["Oem"] = {
        "#FTSComputerSystem.Reset": {
            "target": "/redfish/v1/Systems/0/Actions/Oem/FTSComputerSystem.Reset",
            "http://ts.fujitsu.com/redfish-schemas/v1/FTSSchema#FTSResetType@Redfish.AllowableValues": ["PulseNmi"],
        }
    }
    server = start_redfish(tree)
    fire(server)
    assert server.bodies == [b'{"FTSResetType": "PulseNmi"}']


def test_send_nmi_without_a_probe_sends_nothing(start_redfish: StartRedfish) -> None:
    server = start_redfish()
    with pytest.raises(RuntimeError, match="nothing was sent"):
        redfish(server).send_nmi(Deadline(1))
    assert server.connections == 0


# Tasks


def task(*states: str, **more: Any) -> Tree:
    tree = machine()
    tree["/redfish/v1/TaskService/Tasks/1"] = [{"TaskState": state, **more} for state in states]
    return tree


def test_a_task_is_followed_to_its_end(start_redfish: StartRedfish) -> None:
    server = start_redfish(task("New", "Running", "Completed", TaskStatus="OK"), "task")
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
def test_a_task_that_failed_is_unknown(start_redfish: StartRedfish, tree: Tree, words: str) -> None:
    server = start_redfish(tree, "task")
    with redfish(server) as driver, pytest.raises(OutcomeUnknown, match=words):
        driver.probe(Deadline(5))
        driver.send_nmi(Deadline(0.8))
    assert server.deliveries() == 1
