"""Whole trees of machines are understood: those written here, and recorded ones where they are at hand.

Recorded trees are extra: `{uri: body}` as *.json.gz below $TRIGGER_FIXTURES/redfish, or ../shared/fixtures/redfish
beside the repository. Nothing of them is in the repository, and everything passes without them.
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from drivers.redfish import RedfishDriver
from tests.drivers.redfish_service import Answers, redfish_controller
from tests.drivers.simulators.redfish_server import RedfishServer
from tests.drivers.simulators.redfish_trees import Tree, idrac9, ilo4, ilo5, machine
from trigger.clock import Deadline
from trigger.driver import DriverOptions, Power

_BESIDE = Path(__file__).parents[3] / "shared" / "fixtures"
RECORDED = sorted((Path(os.environ.get("TRIGGER_FIXTURES", _BESIDE)) / "redfish").glob("*.json.gz"))
WRITTEN = {"standard": machine, "ilo4": ilo4, "ilo5": ilo5, "idrac9": idrac9}


def tree(name: str) -> Tree:
    if name in WRITTEN:
        return WRITTEN[name]()
    path = next(path for path in RECORDED if path.name == name)
    found: Tree = json.loads(gzip.decompress(path.read_bytes()))
    return found


@pytest.mark.parametrize("name", [*WRITTEN, *(path.name for path in RECORDED)])
def test_a_whole_machine_is_understood_and_hit_once(name: str) -> None:
    server = RedfishServer(tree(name))
    try:
        with RedfishDriver(redfish_controller(server), DriverOptions(secrets=Answers())) as driver:
            probe = driver.probe(Deadline(5))
            entries = driver.event_log(Deadline(5), newest=20)
            driver.send_nmi(Deadline(5))
    finally:
        server.close()
    assert probe.nmi_allowed is True
    assert probe.power is Power.ON
    assert probe.identity.serial and probe.identity.uuid and probe.identity.model and probe.identity.firmware
    assert 0 < len(entries) <= 20
    assert [entry.time for entry in entries] == sorted(entry.time or 0.0 for entry in entries)
    assert server.deliveries() == 1
