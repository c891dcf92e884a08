"""The two BMC programs that the IPMI tests run against, one each for a whole file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.drivers.ipmi_bmcs import RealBmc, ipmi_sim, pyghmi_bmc


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
