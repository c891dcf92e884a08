"""BMCs with a serial console over SSH, in front of a telnet serial port: the dialogues of the field, and a BREAK.

From public recordings and tools for HPE, Dell, Lenovo, Supermicro, Cisco and OpenBMC; where nobody wrote the words
down they are made up. One console session at a time: what is not left properly stays taken, as on a Supermicro.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import asyncssh

from tests.drivers.simulators.cli_server import PASSWORD, USER, host_key
from tests.drivers.simulators.ssh_server import SshServer

IAC, BREAK = 255, 243


@dataclass(frozen=True)
class Family:
    """How one family talks. `keys` is the BREAK that it understands in the data, b"" for SSH's own."""

    prompt: str
    enter: str
    opened: str
    busy: str
    steal: str
    leave: bytes
    keys: bytes = b""


FAMILIES = {
    "ilo": Family(
        "</>hpiLO-> ", "vsp",
        "\r\nStarting virtual serial port.\r\nPress 'ESC (' to return to the CLI Session.\r\n\r\n"
        "</>hpiLO-> Virtual Serial Port active: IO=0x03F8 INT=4\r\n",
        "\r\nVirtual Serial Port is currently in use by another session.\r\n",
        "stop /system1/oemhp_vsp1", b"\x1b(", b"\x1b\x02",
    ),
    "drac": Family(
        "/admin1-> ", "console com2", "\r\nConnected to Serial Device 2. To end type: ^\\\r\n",
        "\r\nconsole: Serial Device 2 is currently in use\r\n", "console kill 1", b"\x1c",
    ),
    "lenovo": Family(
        "system> ", "console 1", "\r\n", "\r\nConsole 1 is in use by USERID\r\n", "console kill 1", b"\x1b(",
    ),
    "supermicro": Family(
        "-> ", "start", "\r\npress <Enter>, <Esc>, and then <T> to terminate session\r\n",
        "\r\nSOL is in use by another user\r\n", "stop", b"\x1bT",
    ),
    "cisco": Family(
        "C220-WZP1# ", "connect host", "\r\nCISCO Serial Over LAN:\r\nPress Ctrl+x to Exit the session\r\n",
        "\r\nSOL is already active\r\n", "", b"\x18",
    ),
    "openbmc": Family("", "", "", "", "", b""),
    "plain": Family("", "", "", "", "", b""),
}  # fmt: skip


class SshConsoleServer(SshServer):
    """One BMC of `kind` whose console leads to the telnet port `behind`, e.g. a SerialPort or QEMU."""

    def __init__(self, kind: str, behind: int, *, hangs_up_saying: str = "") -> None:
        self.family, self._behind, self._hangs_up_saying = FAMILIES[kind], behind, hangs_up_saying
        self.occupied = False
        self.breaks = 0
        self.lines: list[str] = []
        self.left = 0  # sessions that ended as they should
        self.begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    async def _listen(self) -> Any:
        return await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[host_key()], server_factory=_Login,
            process_factory=self._serve, encoding=None,
        )  # fmt: skip

    async def _serve(self, process: Any) -> None:
        with contextlib.suppress(asyncssh.Error, OSError, asyncssh.TerminalSizeChanged, asyncio.CancelledError):
            if self._hangs_up_saying:
                process.stdout.write(self._hangs_up_saying.encode())
            elif not self.family.prompt:
                await self._console(process)
            else:
                await self._commands(process)
        with contextlib.suppress(Exception):
            process.exit(0)

    async def _commands(self, process: Any) -> None:
        family, line = self.family, b""
        process.stdout.write(b"\r\n\x1b[1mWelcome\x1b[0m\r\n" + family.prompt.encode())
        while byte := await process.stdin.read(1):
            process.stdout.write(byte)
            if byte != b"\r":
                line += byte
                continue
            command, line = line.decode().strip(), b""
            if command:
                self.lines.append(command)
            if command == "exit":
                return
            if command == family.steal and family.steal:
                self.occupied = False
                process.stdout.write(b"\r\nstatus=0\r\n")
            elif command == family.enter and self.occupied:
                process.stdout.write(family.busy.encode())
            elif command == family.enter:
                process.stdout.write(family.opened.encode())
                self.occupied = True
                if not await self._console(process):
                    return
                self.occupied = False
                self.left += 1
            process.stdout.write(b"\r\n" + family.prompt.encode())

    async def _console(self, process: Any) -> bool:
        """Pass bytes both ways; return whether the console was left as it should be."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._behind)
        back = asyncio.ensure_future(_pass_back(reader, process))
        held = b""
        try:
            while True:
                try:
                    byte = await process.stdin.read(1)
                except asyncssh.BreakReceived:
                    self._break(writer)
                    continue
                if not byte:
                    return False
                held += byte
                if self.family.keys and held == self.family.keys:
                    self._break(writer)
                elif held == self.family.leave:
                    return True
                elif any(keys.startswith(held) for keys in (self.family.keys, self.family.leave)):
                    continue
                else:
                    writer.write(held.replace(b"\xff", b"\xff\xff"))
                held = b""
        finally:
            back.cancel()
            writer.close()

    def _break(self, writer: asyncio.StreamWriter) -> None:
        self.breaks += 1
        writer.write(bytes((IAC, BREAK)))


async def _pass_back(reader: asyncio.StreamReader, process: Any) -> None:
    """Pass on what the far end says, its telnet negotiations (three bytes each) left out."""
    while byte := await reader.read(1):
        if byte == b"\xff":
            byte = await reader.read(1)
            if byte and 251 <= byte[0] <= 254:
                await reader.read(1)
                continue
        process.stdout.write(byte)


class _Login(asyncssh.SSHServer):
    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (USER, PASSWORD)
