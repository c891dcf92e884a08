"""Benches: a simulated machine, a configuration and a state folder for one test."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.program import Bench
from trigger.simulated.machine import SimulatedMachine
from trigger.simulated.switches import Switches


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Make benches: `bench(nmi="ignore")` is a simulated machine with that switch."""
    machines: list[SimulatedMachine] = []

    def make(**switches: Any) -> Bench:
        folder = tmp_path / f"bench{len(machines)}"
        folder.mkdir()
        # A fire locks its host's name on the whole machine: tests that run side by side need names of their own.
        host = f"server42-{secrets.token_hex(4)}"
        machine = SimulatedMachine(Switches(hostname=host, **switches), folder / "machine")
        machine.__enter__()
        machines.append(machine)
        config = folder / "config.yaml"
        machine.write_config(config, name=host)
        return Bench(machine, folder, config, host)

    yield make
    for machine in machines:
        machine.__exit__(None, None, None)
