"""A simulated machine for tests and `trigger demo`: in a process of its own, asked and changed from here."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import select
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from trigger.clock import Deadline
from trigger.simulated.ready_config import config_text
from trigger.simulated.switches import Switches

ANSWER_SECONDS = 60.0  # a machine is up in a quarter of a second; fifty at once on two busy cores took 11
STOP_SECONDS = 10.0


class SimulatedMachineError(Exception):
    """The simulated machine did not start, refused a request, or said something on its standard error."""


def host_entry(greeting: Mapping[str, Any], **controller: object) -> dict[str, object]:
    """Return what the configuration says of a machine that greeted so; `controller` are more keys of its controller."""
    return {
        "identity": {"uuid": greeting["guid"]},
        "ssh": {
            "host": greeting["address"],
            "port": greeting["ssh_port"],
            "user": "root",
            "key": greeting["ssh_key"],
            "known_hosts": greeting["known_hosts"],
        },
        "controllers": [
            {
                "driver": "ipmi",
                "address": greeting["address"],
                "port": greeting["bmc_port"],
                "user": greeting["user"],
                "password": {"file": greeting["password_file"]},
                **controller,
            }
        ],
        "dump": {"target": greeting["dump_dir"]},
    }


class SimulatedMachine:
    """One simulated machine, between `with` and its end. May be used from several threads.

    `directory` must exist or be creatable; everything the machine writes is below it. Attributes, after the start:
    `bmc_address`, `bmc_port` (through the faults), `bmc_port_without_faults`, `ssh_port`, `dump_dir`, `user`,
    `password`, `password_file`, `guid`, `ssh_key`, `known_hosts`. Every method raises SimulatedMachineError when the
    machine is gone. Leaving the `with` raises it too if the machine complained, so that a broken simulation is noticed.
    """

    def __init__(self, switches: Switches, directory: Path) -> None:
        self.switches = switches
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        complaint = self.stop()
        if complaint and kind is None:
            raise SimulatedMachineError(f"the simulated machine complained:\n{complaint}")

    def start(self) -> None:
        """Start the process and wait until it listens."""
        self.directory = self.directory.absolute()
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "machine.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "trigger.simulated", "--control"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                process_group=0,  # Ctrl-C at a terminal is for `trigger`, not for the machine
            )
        first = {"directory": str(self.directory), "switches": dataclasses.asdict(self.switches)}
        try:
            self.greeting = self._ask(first)
        except SimulatedMachineError:
            self.stop()
            raise
        self.bmc_address: str = self.greeting["address"]
        self.bmc_port: int = self.greeting["bmc_port"]
        self.bmc_port_without_faults: int = self.greeting["bmc_port_without_faults"]
        self.ssh_port: int = self.greeting["ssh_port"]
        self.dump_dir = Path(self.greeting["dump_dir"])
        self.user: str = self.greeting["user"]
        self.password_file = Path(self.greeting["password_file"])
        self.password = self.password_file.read_text().strip()
        self.guid: str = self.greeting["guid"]
        self.ssh_key = Path(self.greeting["ssh_key"])
        self.known_hosts = Path(self.greeting["known_hosts"])

    def stop(self) -> str:
        """End the process; return what it wrote to its standard error, "" if all went well. May be called twice."""
        process, self._process = self._process, None
        if process is None:
            return ""
        assert process.stdin and process.stdout
        with self._lock:
            with contextlib.suppress(BrokenPipeError):  # it has ended already
                process.stdin.close()  # the end of its input is the end of the process
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
        complaint = (self.directory / "machine.log").read_text(errors="replace")
        return complaint or (f"exit status {process.returncode}" if process.returncode else "")

    @property
    def process_id(self) -> int:
        """Return the process's id, 0 when it does not run."""
        return self._process.pid if self._process else 0

    def _ask(self, request: Mapping[str, object]) -> dict[str, Any]:
        with self._lock:
            process = self._process
            if process is None or process.stdin is None or process.stdout is None:
                raise SimulatedMachineError("the simulated machine does not run")
            line = _exchange(process.stdin, process.stdout, json.dumps(request).encode() + b"\n")
        if not line:
            log = (self.directory / "machine.log").read_text(errors="replace")
            raise SimulatedMachineError(f"the simulated machine has ended, or hangs:\n{log}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SimulatedMachineError(answer["error"])
        return answer

    # Asking

    def status(self) -> dict[str, Any]:
        """Return `requests`, `datagrams` (both counters), `state`, `boot_id` and `dump` (directory, "" if none)."""
        return self._ask({"do": "status"})

    def delivered(self) -> int:
        """Return how many NMIs reached the host, counted behind the BMC."""
        return int(self.requests().get("delivered", 0))

    def requests(self) -> dict[str, int]:
        """Return what the BMC received, by kind (trigger/simulated/bmc.py says which); missing means none.

        `nmi` counts the requests for an NMI whatever was answered, `delivered` those that reached the host.
        """
        requests: dict[str, int] = self.status()["requests"]
        return requests

    def state(self) -> str:
        """Return the host's state: hung, healthy, dead, crashed, dumping, rebooting or stuck."""
        return str(self.status()["state"])

    def boot_id(self) -> str:
        """Return the boot id that the host has now."""
        return str(self.status()["boot_id"])

    def dump(self) -> Path | None:
        """Return the directory of the last dump that was written to its end (complete or not), None before."""
        path = self.status()["dump"]
        return Path(path) if path else None

    def wait_for(self, *states: str, seconds: float = 10.0) -> str:
        """Wait until the host is in one of `states`; return which. Raises SimulatedMachineError after `seconds`.

        A state that lasts less than a moment (crashed, rebooting) may be missed.
        """
        deadline = Deadline(seconds)
        while True:
            moment = min(0.1, deadline.left())  # in small portions: other threads may want to ask meanwhile
            answer = self._ask({"do": "wait", "states": list(states), "seconds": moment})
            if answer["reached"]:
                return str(answer["state"])
            if deadline.passed():
                raise SimulatedMachineError(f"after {seconds} s the host is still {answer['state']}")

    # Changing

    def switch(self, **changes: object) -> None:
        """Change switches of the BMC, the network and the next crash, by their names in Switches."""
        self._ask({"do": "switch", "switches": changes})

    def set_host(self, state: str) -> None:
        """Make the host "hung", "healthy" (same boot) or "dead" at once; a dump that is being written stops."""
        self._ask({"do": "host", "state": state})

    def reboot(self) -> None:
        """Make the host healthy at once, in a new boot."""
        self._ask({"do": "reboot"})

    def crash(self) -> None:
        """Give the host an NMI that nobody sent: it crashes and dumps, and `delivered` does not count it."""
        self._ask({"do": "crash"})

    def reset_counts(self) -> None:
        """Count from zero again: `requests`, `delivered` and the datagrams."""
        self._ask({"do": "reset-counts"})

    # Configuring

    def host_entry(self, **controller: object) -> dict[str, object]:
        """Return this machine's keys below `hosts: NAME:`; `controller` adds or replaces keys of its controller."""
        return host_entry(self.greeting, **controller)

    def write_config(
        self,
        path: Path,
        *,
        name: str = "server42",
        controller: Mapping[str, object] | None = None,
        **keys: object,
    ) -> Path:
        """Write a configuration with this machine as host `name`; return `path`.

        `controller` adds or replaces keys of the controller (`cipher_suite`, `privilege`), `keys` those of the host
        (`dump={"target": "auto"}`); None as a value takes the key away (`identity=None`, `ssh=None`).
        """
        entry = {**self.host_entry(**(controller or {})), **keys}
        path.write_text(config_text({name: {key: value for key, value in entry.items() if value is not None}}))
        return path


def _exchange(to: IO[bytes], back: IO[bytes], line: bytes) -> bytes:
    """Send one line and return the line that comes back, b"" when the process has ended or says nothing in time."""
    try:
        to.write(line)
        to.flush()
    except BrokenPipeError:
        return b""
    answers, _, _ = select.select([back], [], [], ANSWER_SECONDS)
    return back.readline() if answers else b""
