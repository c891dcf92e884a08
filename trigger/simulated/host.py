"""The simulated host behind the BMC: hung, healthy or dead; it crashes on an NMI, dumps, and comes back."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from trigger.simulated import dmesg, landing
from trigger.simulated.crashed_memory import Boot, Crash
from trigger.simulated.host_files import write_files
from trigger.simulated.host_ssh import SshPort
from trigger.simulated.switches import Switches

UPTIME = 86_400.0 * 11  # seconds since its first boot, when the simulation begins


class SimulatedHost:
    """One host. `state` is hung, healthy or dead, and after a crash crashed, dumping, stuck or rebooting.

    `root` is its file system, as far as SFTP and `cat` see it; its kdump writes to `root`/var/crash.
    """

    def __init__(self, switches: Switches, directory: Path, changed: Callable[[], None]) -> None:
        self.switches = switches
        self.root = directory / "root"
        self.target = self.root / "var/crash"
        self.dump: Path | None = None
        self.ruined = 0  # NMIs that came while a dump was being written
        self._state = switches.host
        self._changed = changed
        self._crash: asyncio.Task[None] | None = None
        self._booted = time.monotonic() - UPTIME
        self.ssh = SshPort(switches, directory, self.root, self.uptime)
        self._boot()

    @property
    def state(self) -> str:
        """Return what the host is doing."""
        return self._state

    def uptime(self) -> float:
        """Return the seconds since its boot."""
        return time.monotonic() - self._booted

    @property
    def release(self) -> str:
        """Return its kernel's release."""
        return self.switches.release or landing.STYLES[self.switches.style].release

    def _boot(self) -> None:
        self.boot_id = str(uuid.uuid4())
        self.target.mkdir(parents=True, exist_ok=True)
        write_files(self.root, self.switches, self.boot_id, self.release)

    async def start(self) -> None:
        """Open the SSH port as the state has it."""
        await self.ssh.show(self._state)

    async def set_state(self, state: str) -> None:
        """Become hung, healthy or dead at once, whatever it was doing; a dump that is being written stops."""
        await self._stop_crash()
        await self._become(state)

    async def reboot(self) -> None:
        """Come back healthy, with a new boot id."""
        await self._stop_crash()
        self._new_boot()
        await self._become("healthy")

    def _new_boot(self) -> None:
        self._booted = time.monotonic()
        self._boot()

    async def _become(self, state: str) -> None:
        self._state = state
        await self.ssh.show(state)
        self._changed()

    async def _stop_crash(self) -> None:
        if self._crash and not self._crash.done():
            self._crash.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._crash

    async def close(self) -> None:
        """Stop everything and close the SSH port."""
        await self._stop_crash()
        await self.ssh.close()

    def nmi(self) -> None:
        """Take one NMI. A second one, while a dump is being written, ruins it: the host stays stuck there."""
        if self._state in ("crashed", "dumping"):
            assert self._crash
            self._crash.cancel()
            self.ruined += 1
            self._state = "stuck"
            self._changed()
        elif self._state in ("hung", "healthy", "dead") and self.switches.crash != "never":
            self._state = "crashed"
            self._crash = asyncio.create_task(self._die_and_dump(time.time() + self.switches.clock_skew))

    async def _die_and_dump(self, moment: float) -> None:
        kind = self.switches.crash
        await self._become("crashed")
        await asyncio.sleep(self.switches.crash_seconds)
        if kind == "no-return":
            await self._become("stuck")
            return
        if kind != "no-dump":
            await self._become("dumping")
            boot = Boot(self.release, self.boot_id)
            name = self.switches.dump_hostname or self.switches.hostname
            log = dmesg.records(self.release, name, self.uptime(), self.switches.panic)
            crash = Crash(name, boot, moment, log)
            self.dump = await landing.land(crash, self.switches, self.target)
        if kind == "stop":
            await self._become("stuck")
            return
        await self._become("rebooting")
        await asyncio.sleep(self.switches.reboot_seconds)
        self._new_boot()
        await self._become("healthy")
