"""The process of one simulated machine: BMC, proxy and host on one event loop, steered over its standard input.

The first line of the input is `{"directory": ..., "switches": {...}}`; the first line of the output says where the
machine listens. Then each line is one request and gets one line of answer. The end of the input ends the process, so
that it never outlives whoever started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import secrets
import sys
import uuid
from pathlib import Path
from typing import Any

from trigger.simulated.bmc import SimulatedBmc, Wire
from trigger.simulated.host import SimulatedHost
from trigger.simulated.ready_config import write_password
from trigger.simulated.switches import Switches, changed
from trigger.simulated.udp_faults import FaultProxy, Faults, udp_socket


def filled_in(switches: Switches) -> Switches:
    """Return `switches` with a password and a GUID made up where there were none."""
    return dataclasses.replace(
        switches, password=switches.password or secrets.token_hex(8), guid=switches.guid or str(uuid.uuid4())
    )


def faults_of(switches: Switches, *, after_nmi: bool) -> Faults:
    """Return what the proxy does by `switches`."""
    return Faults(
        loss=switches.loss,
        seed=switches.seed,
        delay=switches.delay,
        duplicate=switches.duplicate,
        duplicate_requests=switches.duplicate_requests,
        replay=switches.replay,
        garbage=switches.garbage if after_nmi or not switches.garbage_after_nmi else 0.0,
    )


class MachineProcess:
    """All parts of one machine. Must be made and used on a running event loop."""

    def __init__(self, switches: Switches, directory: Path) -> None:
        self.switches = switches
        self.directory = directory
        self.changed = asyncio.Event()
        self.host = SimulatedHost(switches, directory, self.changed.set)
        wire = Wire(udp_socket(switches.address))
        self.bmc = SimulatedBmc(switches, wire, self._nmi)
        self.proxy = FaultProxy((switches.address, self.bmc.port), faults_of(switches, after_nmi=False))

    async def start(self) -> None:
        """Begin to answer."""
        write_password(self.directory, self.switches.password)
        await self.host.start()
        self.bmc.serve()
        self.proxy.serve()

    async def close(self) -> None:
        """Close every socket and end every task."""
        self.proxy.close()
        self.bmc.close()
        await self.host.close()

    def _nmi(self) -> None:
        """Let the host have its NMI, and the network the faults that begin with one."""
        self.proxy.lose_replies(self.switches.lose_replies)
        if self.switches.garbage_after_nmi:
            self.proxy.use(faults_of(self.switches, after_nmi=True))
        self.host.nmi()

    def greeting(self) -> dict[str, Any]:
        """Return where the machine listens and what it is; no secret among it."""
        return {
            "address": self.switches.address,
            "bmc_port": self.proxy.port,
            "bmc_port_without_faults": self.bmc.port,
            "ssh_port": self.host.ssh.port,
            "user": self.switches.user,
            "password_file": str(self.directory / "bmc-password"),
            "guid": self.switches.guid,
            "dump_dir": str(self.host.target),
            "ssh_key": str(self.host.ssh.client_key),
            "known_hosts": str(self.host.ssh.known_hosts),
        }

    def status(self) -> dict[str, Any]:
        """Return what was counted, and how the host is."""
        return {
            "requests": dict(self.bmc.counters),
            "datagrams": dict(self.proxy.counters),
            "state": self.host.state,
            "boot_id": self.host.boot_id,
            "dump": str(self.host.dump or ""),
            "ruined": self.host.ruined,
        }

    def use(self, switches: Switches) -> None:
        """Behave by `switches` from now on. Addresses, keys and the state of the host stay as they are."""
        self.switches = self.host.switches = self.host.ssh.switches = switches
        self.bmc.use(switches)
        self.proxy.use(faults_of(switches, after_nmi=bool(self.bmc.counters["delivered"])))

    async def request(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one request; return its answer. Raises ValueError on nonsense."""
        match request:
            case {"do": "status"}:
                return self.status()
            case {"do": "switch", "switches": dict(switches)}:
                self.use(changed(self.switches, switches))
                if "lose_replies" in switches:  # it counts from the next NMI; those lost from the last one are over
                    self.proxy.lose_replies(0)
            case {"do": "host", "state": "hung" | "healthy" | "dead" as state}:
                await self.host.set_state(state)
            case {"do": "reboot"}:
                await self.host.reboot()
            case {"do": "reset-counts"}:
                self.bmc.counters.clear()
                self.proxy.counters.clear()
            case {"do": "crash"}:
                self.host.nmi()
            case {"do": "wait", "states": list(states), "seconds": float(seconds)}:
                return {"reached": await self._wait(states, seconds), **self.status()}
            case _:
                raise ValueError(f"no such request: {request}")
        return self.status()

    async def _wait(self, states: list[str], seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.host.state not in states:
                    self.changed.clear()
                    await self.changed.wait()
        return self.host.state in states


async def serve_requests() -> None:
    """Run one machine by the lines of standard input until it ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 20)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    first = json.loads(await reader.readline())
    switches = filled_in(changed(Switches(), first["switches"]))
    machine = MachineProcess(switches, Path(first["directory"]))
    await machine.start()
    try:
        _answer(machine.greeting())
        while line := await reader.readline():
            try:
                _answer(await machine.request(json.loads(line)))
            except ValueError as error:
                _answer({"error": str(error)})
    finally:
        await machine.close()
        transport.close()


def _answer(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)
