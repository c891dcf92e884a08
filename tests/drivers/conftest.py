"""The two BMC programs of the IPMI tests, one each for a whole file, and the Redfish services of a test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.drivers.ipmi_bmcs import RealBmc, ipmi_sim, pyghmi_bmc
from tests.drivers.redfish_service import StartRedfish
from tests.drivers.simulators.redfish_server import RedfishServer
from tests.drivers.simulators.redfish_trees import Tree, machine


@pytest.fixture(scope="module")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealBmc]:
    with ipmi_sim(tmp_path_factory.mktemp("ipmi_sim")) as bmc:
        yield bmc


@pytest.fixture(scope="module")
def pyghmi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealBmc]:
    with pyghmi_bmc(tmp_path_factory.mktemp("pyghmi")) as bmc:
        yield bmc


@pytest.fixture(params=["ipmi_sim", "pyghmi"])
def bmc(request: pytest.FixtureRequest) -> RealBmc:
    chosen: RealBmc = request.getfixturevalue("sim" if request.param == "ipmi_sim" else "pyghmi")
    (chosen.folder / "delivered").unlink(missing_ok=True)
    (chosen.folder / "code").unlink(missing_ok=True)
    return chosen


@pytest.fixture
def start_redfish() -> Iterator[StartRedfish]:
    """Start Redfish services, of a standard machine unless a tree is given; they end with the test."""
    started: list[RedfishServer] = []

    def start(tree: Tree | None = None, fault: str = "healthy", **more: Any) -> RedfishServer:
        started.append(RedfishServer(tree if tree is not None else machine(), fault, **more))
        return started[-1]

    yield start
    for server in started:
        server.close()
