"""The main job through Redfish, iLO and iDRAC: simulated controllers in front of the lab's real, hung kernel.

The controller's NMI is QEMU's `inject-nmi`; from there on nothing is simulated.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.drivers.simulators.certificates import certificate
from tests.drivers.simulators.cli_server import DRAC_RACADM, CliServer, host_key
from tests.drivers.simulators.redfish_server import PASSWORD, USER, RedfishServer
from tests.drivers.simulators.redfish_trees import ilo5, machine
from tests.lab.chain import Lab
from tests.lab.test_nmi import Program
from trigger.conformance import ITS_IDENTITY

pytestmark = pytest.mark.lab
HOST = "server42"

Front = RedfishServer | CliServer


def redfish(lab: Lab) -> tuple[Front, dict[str, Any]]:
    who = ITS_IDENTITY._replace(uuid=str(lab.machine.guid))
    server = RedfishServer(machine(who), on_delivery=lab.machine.inject_nmi)
    return server, {"driver": "redfish", "tls": {"fingerprint": certificate().fingerprint}}


def ilo(lab: Lab) -> tuple[Front, dict[str, Any]]:
    who = ITS_IDENTITY._replace(uuid=str(lab.machine.guid))
    server = RedfishServer(ilo5(who), on_delivery=lab.machine.inject_nmi)
    return server, {"driver": "ilo", "tls": {"fingerprint": certificate().fingerprint}}


def drac(lab: Lab) -> tuple[Front, dict[str, Any]]:
    options = {"transport": "ssh", "host_key": host_key().get_fingerprint("sha256")}
    return CliServer(DRAC_RACADM, on_delivery=lab.machine.inject_nmi), {"driver": "drac", "options": options}


def write_config(lab: Lab, port: int, more: dict[str, Any]) -> Path:
    """Write a configuration like the lab's own, with this controller instead."""
    secret = lab.workdir / "controller.password"
    secret.touch(0o600)
    secret.write_text(PASSWORD + "\n")
    controller = {"address": "127.0.0.1", "port": port, "user": USER, "password": {"file": str(secret)}, **more}
    kept = [line for line in lab.config().splitlines() if "driver" not in line]
    where = kept.index("    controllers:") + 1
    lab.config_file.write_text("\n".join([*kept[:where], f"      - {json.dumps(controller)}", *kept[where:], ""]))
    return lab.config_file


@pytest.mark.parametrize("front", [redfish, ilo, drac])
def test_a_hung_kernel_dumps(lab: Lab, tmp_path: Path, front: Callable[[Lab], tuple[Front, dict[str, Any]]]) -> None:
    server, more = front(lab)
    try:
        write_config(lab, server.port, more)
        program = Program(lab, tmp_path)
        program.run("preflight", HOST)
        boot = lab.boot_id()
        lab.hang()
        options = ("--override", "identity-unproved", "--reason", "lab", "--json")
        code, events, said = program.run("nmi", HOST, "--confirm", HOST, *options)
    finally:
        server.close()
    assert code == 0, said
    assert server.deliveries() == 1
    assert lab.boot_id() != boot
    dump = [event for event in events if event["event"] == "DumpFound"][-1]
    assert (dump["state"], dump["complete"], dump["panic"]) == ("verified", "yes", "NMI: Not continuing")
