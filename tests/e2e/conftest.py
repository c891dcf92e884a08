"""The real program in a process of its own, against a simulated machine that counts what it receives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from trigger.simulated.machine import SimulatedMachine
from trigger.simulated.switches import Switches

LIMIT_S = 60


@dataclass
class Result:
    """What one run of the program said."""

    code: int
    events: list[dict[str, Any]]
    err: str

    def event(self, kind: str) -> dict[str, Any]:
        """Return the last event of a kind."""
        return [event for event in self.events if event["event"] == kind][-1]


@dataclass
class Bench:
    """A simulated machine, a configuration for it, and a state folder."""

    machine: SimulatedMachine
    folder: Path
    config: Path
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.folder / "state" / "trigger"

    def environment(self) -> dict[str, str]:
        """A clean environment: nothing of the operator's own state or configuration."""
        keep = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return {
            **keep,
            "HOME": str(self.folder),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "TRIGGER_CONFIG": str(self.config),
            **self.extra,
        }

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start `trigger` with `arguments`; the caller ends it."""
        return subprocess.Popen(
            [sys.executable, "-m", "trigger", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=self.environment(), cwd=self.folder, **options,
        )  # fmt: skip

    def run(self, *arguments: str) -> Result:
        """Run `trigger` to its end."""
        process = self.start(*arguments)
        return finish(process)

    def nmi(self, *arguments: str) -> Result:
        """Run `trigger nmi server42 --json`, confirmed, without the rule that nobody has a record yet."""
        return self.run("nmi", "server42", "--json", *CONFIRMED, *arguments)

    def journal(self, host: str = "server42") -> list[dict[str, Any]]:
        """Return the journal's lines."""
        path = self.state / "hosts" / host / "journal.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


CONFIRMED = ("--confirm", "server42", "--override", "no-record", "--reason", "test")


def finish(process: subprocess.Popen[str], limit: float = LIMIT_S) -> Result:
    """Wait for a started `trigger` and return what it said."""
    try:
        out, err = process.communicate(timeout=limit)
    finally:
        process.kill()
    events = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return Result(process.returncode, events, err)


def until(condition: Callable[[], bool], what: str, limit: float = 20) -> None:
    """Wait for a condition, or fail saying what did not happen."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, f"not within {limit} s: {what}"
        time.sleep(0.02)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Make benches: `bench(nmi="ignore")` is a simulated machine with that switch."""
    machines: list[SimulatedMachine] = []

    def make(**switches: Any) -> Bench:
        folder = tmp_path / f"bench{len(machines)}"
        folder.mkdir()
        machine = SimulatedMachine(Switches(**switches), folder / "machine")
        machine.__enter__()
        machines.append(machine)
        config = folder / "config.yaml"
        machine.write_config(config)
        return Bench(machine, folder, config)

    yield make
    for machine in machines:
        machine.__exit__(None, None, None)
