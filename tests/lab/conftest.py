"""What the lab's tests share: the lab of a module, the operator's home, and what only the soak runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import packages
from tests.lab.chain import Lab

# The full Debian guest takes six minutes to build and to dump: `make soak` runs it, `make test` leaves it out.
collect_ignore = [] if os.environ.get("TRIGGER_SOAK") == "1" else ["test_debian.py"]


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of the module's own, under its HOST; a module with OVER_SOL = False has the serial port to itself."""
    packages.install(print)
    name, sol = request.module.HOST, getattr(request.module, "OVER_SOL", True)
    with Lab.start(tmp_path_factory.mktemp("lab") / name, name=name, sol=sol, report=print) as lab:
        yield lab


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The operator's home: configuration and state."""
    return tmp_path_factory.mktemp("home")
