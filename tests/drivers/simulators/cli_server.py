"""The command lines of an iLO and an iDRAC over SSH, with faults, on an asyncssh server in a thread of its own.

The dialogues are those of the field: prompts, `status=` blocks, racadm's words. It counts the NMIs that reached the
machine, and every password that was tried.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import asyncssh

from tests.drivers.simulators.ssh_server import SshServer
from trigger.conformance import ITS_IDENTITY, OTHER_IDENTITY

USER = "crash"
PASSWORD = 'made-up "secret\\ 42'


@dataclass(frozen=True)
class Manners:
    """How one family talks: `answers` maps a command as typed to its output, `{serial}` filled in."""

    prompt: str
    nmi: str
    answers: dict[str, str]
    done: str
    refused: str
    failed: str
    not_ready: str


ILO = Manners(
    prompt="</>hpiLO-> ",
    nmi="nmi server",
    answers={
        "show /system1": "status=0\nstatus_tag=COMMAND COMPLETED\nMon Nov 23 05:00:00 2026\n\n\n/system1\n  Targets\n"
        "    firmware1\n    led1\n  Properties\n    name=ProLiant DL380 Gen10\n    number={serial}\n"
        "    oemhp_server_name=server42\n    enabledstate=enabled\n  Verbs\n    cd version exit show reset set\n",
        "nmi": "status=2\nstatus_tag=COMMAND PROCESSING FAILED\nerror_tag=COMMAND SYNTAX ERROR\n"
        "Mon Nov 23 05:00:01 2026\n\nYou must specify an NMI target.\n",
    },
    done="status=0\nstatus_tag=COMMAND COMPLETED\nMon Nov 23 05:00:01 2026\n\n",
    refused="status=2\nstatus_tag=COMMAND PROCESSING FAILED\nerror_tag=COMMAND NOT SUPPORTED\n",
    failed="status=3\nstatus_tag=COMMAND EXECUTION FAILED\nerror_tag=UNKNOWN\n",
    not_ready="status=2\nstatus_tag=COMMAND PROCESSING FAILED\nerror_tag=BUSY\nThe system is not ready.\n",
)
_SYSINFO = (
    "\nSystem Information:\nSystem Model            = PowerEdge R750\nSystem BIOS Version     = 1.8.2\n"
    "Service Tag             = {serial}\nHost Name               = server42\nPower Status            = ON\n\n"
)
_DRAC_DONE = "Server power operation successful\n"
_DRAC_REFUSED = "ERROR: RAC0228 : Invalid subcommand specified.\n"
_DRAC_FAILED = "ERROR: Unable to perform the requested operation.\n"
_DRAC_NOT_READY = "ERROR: SYS518 : iDRAC is not ready. Retry the operation later.\n"
DRAC_SMCLP = Manners(
    "/admin1-> ", "racadm serveraction nmi", {"racadm getsysinfo -s": _SYSINFO},
    _DRAC_DONE, _DRAC_REFUSED, _DRAC_FAILED, _DRAC_NOT_READY,
)  # fmt: skip
DRAC_RACADM = Manners(
    "racadm>>", "serveraction nmi", {"getsysinfo -s": _SYSINFO},
    _DRAC_DONE, _DRAC_REFUSED, _DRAC_FAILED, _DRAC_NOT_READY,
)  # fmt: skip
FAULTS = (
    "healthy", "idle", "refused", "not-ready", "error", "error-after-acting", "lost-reply", "silent", "deaf",
    "reset-before", "reset-during", "reset-after", "garbage", "truncated", "endless", "drip", "wrong-certificate",
    "changed-certificate", "wrong-password", "no-sessions", "no-prompt", "not-a-bmc", "closed-port", "other-identity",
)  # fmt: skip


def host_key(name: str = "bmc") -> asyncssh.SSHKey:
    """Return a host key, the same one for the same name."""
    return _made(name)


@functools.cache
def _made(name: str) -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519", name)


class CliServer(SshServer):
    """One simulated controller that is reached over SSH."""

    def __init__(
        self,
        manners: Manners,
        fault: str = "healthy",
        *,
        kbdint: bool = False,
        on_delivery: Callable[[], object] = lambda: None,
        **algorithms: Any,
    ) -> None:
        self.manners, self.fault, self.kbdint, self.on_delivery = manners, fault, kbdint, on_delivery
        self.tried: list[str] = []
        self.lines: list[str] = []
        self.connections = 0
        self._delivered = 0
        self._algorithms = algorithms
        self._stop = asyncio.Event()
        self.begin()
        self._closed = False

    def deliveries(self) -> int:
        """Return how many NMIs the machine got."""
        return self._delivered

    def secrets(self) -> tuple[str, ...]:
        """Return the password in its spellings."""
        return (PASSWORD, repr(PASSWORD)[1:-1])

    def close(self) -> None:
        """Stop; returns when its thread has ended."""
        if self._closed:
            return
        self._closed = True
        self.end()

    async def _listen(self) -> Any:
        shown = "other" if self.fault in ("wrong-certificate", "changed-certificate") else "bmc"
        return await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=self._algorithms.pop("server_host_keys", [host_key(shown)]),
            server_factory=lambda: _Login(self), process_factory=self._serve, **self._algorithms,
        )  # fmt: skip

    def _let_go(self) -> None:
        self._stop.set()

    async def _serve(self, process: Any) -> None:
        with contextlib.suppress(asyncssh.Error, OSError, asyncssh.TerminalSizeChanged):
            if self.fault == "no-prompt":
                await self._stop.wait()
            elif self.fault == "no-sessions":
                process.stdout.write("Maximum number of sessions reached.\n")
            elif self.fault == "not-a-bmc":
                await self._talk(process, "printer$ ")
            else:
                await self._talk(process, self.manners.prompt)
        with contextlib.suppress(Exception):
            process.exit(0)

    async def _talk(self, process: Any, prompt: str) -> None:
        process.stdout.write(f"\n{USER} logged-in to BMC(192.0.2.1)\n\n{prompt}")
        while line := await process.stdin.readline():
            self.lines.append(line.strip())
            serial = (OTHER_IDENTITY if self.fault == "other-identity" else ITS_IDENTITY).serial
            if line.strip() == self.manners.nmi:
                play: Callable[[Any], Any] = getattr(self, "_" + self.fault.replace("-", "_"), self._healthy)
                if not await play(process):
                    return
            else:
                process.stdout.write(
                    self.manners.answers.get(line.strip(), "COMMAND NOT FOUND\n").format(serial=serial)
                )
            process.stdout.write(prompt)
            if self.fault == "reset-before":
                self._abort(process)
                return

    def _abort(self, process: Any) -> None:
        process.channel.get_connection().abort()

    def _deliver(self) -> None:
        self._delivered += 1
        self.on_delivery()

    # What happens at the NMI command, by fault; False ends the session.

    async def _healthy(self, process: Any) -> bool:
        self._deliver()
        return await self._idle(process)

    async def _idle(self, process: Any) -> bool:
        process.stdout.write(self.manners.done)
        return True

    async def _refused(self, process: Any) -> bool:
        process.stdout.write(self.manners.refused)
        return True

    async def _not_ready(self, process: Any) -> bool:
        process.stdout.write(self.manners.not_ready)
        return True

    async def _error(self, process: Any) -> bool:
        process.stdout.write(self.manners.failed)
        return True

    async def _error_after_acting(self, process: Any) -> bool:
        self._deliver()
        return await self._error(process)

    async def _lost_reply(self, process: Any) -> bool:
        self._deliver()
        return False

    async def _silent(self, process: Any) -> bool:
        self._deliver()
        while line := await process.stdin.readline():  # whoever types it again is found out
            if line.strip() == self.manners.nmi:
                self._deliver()
        return False

    async def _deaf(self, process: Any) -> bool:
        await self._stop.wait()
        return False

    async def _reset_during(self, process: Any) -> bool:
        self._abort(process)
        return False

    async def _reset_after(self, process: Any) -> bool:
        self._deliver()
        return await self._reset_during(process)

    async def _garbage(self, process: Any) -> bool:
        self._deliver()
        process.stdout.write(secrets.choice(["\x07\x1b[2J\x00what?\n", "Segmentation fault\n"]))
        return secrets.choice([True, False])

    async def _truncated(self, process: Any) -> bool:
        self._deliver()
        process.stdout.write(self.manners.done[:8])
        return False

    async def _endless(self, process: Any) -> bool:
        self._deliver()
        while not self._stop.is_set():
            process.stdout.write("=" * 8192 + "\n")
            await process.stdout.drain()
        return False

    async def _drip(self, process: Any) -> bool:
        self._deliver()
        while not self._stop.is_set():
            process.stdout.write(".")
            await asyncio.sleep(0.05)
        return False


class _Login(asyncssh.SSHServer):
    def __init__(self, server: CliServer) -> None:
        self.server = server

    def connection_made(self, conn: Any) -> None:
        self.server.connections += 1

    def password_auth_supported(self) -> bool:
        return not self.server.kbdint

    def validate_password(self, username: str, password: str) -> bool:
        self.server.tried.append(password)
        return (username, password) == (USER, PASSWORD) and self.server.fault != "wrong-password"

    def kbdint_auth_supported(self) -> bool:
        return self.server.kbdint or self.server.fault == "wrong-password"

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Any:
        return "", "", "", [("Password:", False)]

    def validate_kbdint_response(self, username: str, responses: Any) -> bool:
        return self.validate_password(username, responses[0])
