"""The real program in a process of its own, against a simulated machine that counts what it receives."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trigger.simulated.machine import SimulatedMachine

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
    host: str
    extra: dict[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = ("-m", "trigger")

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
            [sys.executable, *self.program, *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=self.environment(), cwd=self.folder, **options,
        )  # fmt: skip

    def run(self, *arguments: str) -> Result:
        """Run `trigger` to its end."""
        process = self.start(*arguments)
        return finish(process)

    def asked(self, *arguments: str, question: str = "Type its name", answer: str, ahead: str = "") -> tuple[int, str]:
        """Run `trigger` on a terminal, answer its question, and return the exit code and all that was shown.

        `ahead` is typed at once, before anything is asked.
        """
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.folder)
            os.execve(sys.executable, [sys.executable, *self.program, *arguments], self.environment())
        killer = threading.Timer(LIMIT_S, os.kill, (pid, signal.SIGKILL))
        killer.start()
        seen = b""
        try:
            os.write(terminal, ahead.encode())
            while question.encode() not in seen:
                seen += os.read(terminal, 4096)
            os.write(terminal, answer.encode())
            while more := os.read(terminal, 4096):
                seen += more
        except OSError:
            pass  # the terminal closes with the program
        finally:
            killer.cancel()
            os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen.decode()

    def nmi(self, *arguments: str) -> Result:
        """Run `trigger nmi HOST --json`, confirmed, without the rule that nobody has a record yet."""
        return self.run("nmi", self.host, "--json", *self.confirmed(), *arguments)

    def hurry(self) -> None:
        """Use the program that needs one second instead of 20 to take the same boot for proof of no effect."""
        here = Path(__file__).resolve()
        self.program = (str(here.with_name("hurried.py")),)
        self.extra["PYTHONPATH"] = str(here.parents[2])

    def confirmed(self) -> tuple[str, ...]:
        """Return the options that confirm a fire at the host that nobody has preflighted."""
        return "--confirm", self.host, "--override", "no-record", "--reason", "test"

    def journal(self) -> list[dict[str, Any]]:
        """Return the journal's lines."""
        path = self.state / "hosts" / self.host / "journal.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


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
