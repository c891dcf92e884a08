"""A real SSH server on loopback, with SFTP of a folder and a few commands, in a thread with its own loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from trigger.host import Ssh


@dataclass
class Sshd:
    """The server: how to reach it, and what it saw."""

    port: int
    key: Path
    known_hosts: Path
    commands: list[str | None] = field(default_factory=list)
    environments: list[dict[str, str]] = field(default_factory=list)
    logins: int = 0
    bytes_read: int = 0
    drop: Any = None

    def ssh(self, **changes: Any) -> Ssh:
        values: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": "root",
            "key": str(self.key),
            "known_hosts": str(self.known_hosts),
        }
        return Ssh(**{**values, **changes})


@contextmanager
def serve(folder: Path, root: Path) -> Iterator[Sshd]:
    """Serve `root` over SFTP; keys and known_hosts are made in `folder`."""
    host_key, user_key = (
        asyncssh.generate_private_key("ssh-ed25519"),
        asyncssh.generate_private_key("ssh-ed25519"),
    )
    user_key.write_private_key(folder / "id")
    (folder / "id").chmod(0o600)
    user_key.write_public_key(folder / "authorized")
    sshd = Sshd(0, folder / "id", folder / "known_hosts")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="sshd", daemon=True)
    thread.start()
    connections: list[asyncssh.SSHServerConnection] = []

    class Server(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            connections.append(conn)

        def auth_completed(self) -> None:
            sshd.logins += 1

    class Files(asyncssh.SFTPServer):
        def __init__(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
            super().__init__(chan, chroot=bytes(root))

        def read(self, file_obj: Any, offset: int, size: int) -> bytes:
            data: bytes = super().read(file_obj, offset, size)  # type: ignore[assignment]
            sshd.bytes_read += len(data)
            return data

    async def command(process: asyncssh.SSHServerProcess[bytes]) -> None:
        sshd.commands.append(process.command)
        sshd.environments.append(dict(process.env))
        await _answer(process, process.command or "")

    async def start() -> Any:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=Server,
            server_host_keys=[host_key],
            authorized_client_keys=str(folder / "authorized"),
            process_factory=command,
            sftp_factory=Files,
            encoding=None,
        )

    async def drop() -> None:
        for connection in connections:
            connection.abort()
        connections.clear()

    def on_loop(make: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(make(), loop).result(20)

    server = on_loop(start)
    sshd.port = server.get_port()
    sshd.drop = lambda: on_loop(drop)
    (folder / "known_hosts").write_bytes(f"[127.0.0.1]:{sshd.port} ".encode() + host_key.export_public_key("openssh"))

    async def end() -> None:
        server.close()
        await drop()
        await server.wait_closed()

    try:
        yield sshd
    finally:
        on_loop(end)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _answer(process: asyncssh.SSHServerProcess[bytes], command: str) -> None:
    """What the pretended host's shell does with the commands of these tests."""
    if command == "hang":
        await asyncio.sleep(60)
    elif command == "flood":
        for _ in range(64):
            process.stdout.write(b"x" * 65536)
            await process.stdout.drain()
    elif command == "fail":
        process.stderr.write(b"no such \x1b[2Jthing\n")
        process.exit(3)
    elif command == "cat":
        process.stdout.write(await process.stdin.read())
        process.exit(0)
    else:
        process.stdout.write(b"ran: " + command.encode() + b"\n")
        process.exit(0)
