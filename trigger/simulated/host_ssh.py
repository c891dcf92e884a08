"""The simulated host's SSH port: silent while it hangs, closed while it is dead, a real SSH server while it is healthy.

asyncssh is imported only when the host becomes healthy, so that hung hosts start fast and stay small.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from trigger.simulated.host_shell import run
from trigger.simulated.switches import Switches

if TYPE_CHECKING:
    import asyncssh

BANNER = b"SSH-2.0-OpenSSH_9.9 simulated\r\n"


def bound_socket(address: str, port: int) -> socket.socket:
    """Return a TCP socket bound to `address` and `port` (0: a free one) that can share its port with another."""
    family, kind, protocol, _name, bound = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    tcp = socket.socket(family, kind, protocol)
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    tcp.setblocking(False)
    tcp.bind(bound)
    return tcp


def write_key(path: Path) -> str:
    """Make an Ed25519 key, write it to `path` (0600) for OpenSSH and asyncssh, return the public half in one line."""
    key = Ed25519PrivateKey.generate()
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    )
    public = key.public_key()
    line = public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return line.decode()


class SshPort:
    """The port, in `show`'s state. Files in `directory`: `ssh_host_key`, `id_ed25519`, `known_hosts`.

    The number of the port stays the same throughout: a second socket, bound and never listening, keeps it.
    """

    def __init__(self, switches: Switches, directory: Path, root: Path, uptime: Callable[[], float]) -> None:
        self.switches = switches
        self.root = root
        self.uptime = uptime
        self._place = bound_socket(switches.address, 0)
        self.port: int = self._place.getsockname()[1]
        self._host_key = directory / "ssh_host_key"
        self.client_key = directory / "id_ed25519"
        self.known_hosts = directory / "known_hosts"
        self.known_hosts.write_text(f"[{switches.address}]:{self.port} {write_key(self._host_key)}\n")
        self._authorized = write_key(self.client_key)
        self._listening: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepted: set[socket.socket] = set()  # and not yet taken over by the task that serves them

    async def show(self, state: str) -> None:
        """Behave as a host in `state` does; sessions from before are cut.

        hung: connections are accepted by the kernel and nothing ever answers them; healthy: served, those that were
        waiting included; anything else: closed.
        """
        await self._stop_serving()
        if state not in ("hung", "healthy"):
            self._stop_listening()
            return
        if self._listening is None:
            self._listening = bound_socket(self.switches.address, self.port)
            self._listening.listen(128)
        if state == "healthy":
            options = await self._options()
            asyncio.get_running_loop().add_reader(self._listening, self._accept, self._listening, options)

    async def close(self) -> None:
        """Close everything."""
        await self._stop_serving()
        self._stop_listening()
        self._place.close()

    async def _stop_serving(self) -> None:
        if self._listening:
            asyncio.get_running_loop().remove_reader(self._listening)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while self._accepted:
            self._accepted.pop().close()

    def _stop_listening(self) -> None:
        if self._listening:
            self._listening.close()
            self._listening = None

    async def _options(self) -> asyncssh.SSHServerConnectionOptions | None:
        if self.switches.ssh == "banner":
            return None
        await asyncio.to_thread(importlib.import_module, "asyncssh")  # takes 0.2 s; the BMC must go on meanwhile
        import asyncssh

        return asyncssh.SSHServerConnectionOptions(
            server_host_keys=[str(self._host_key)],
            authorized_client_keys=asyncssh.import_authorized_keys(self._authorized),
            process_factory=self._run_command,
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(self.root).encode()),
            password_auth=False,
            gss_host=None,
            server_version="OpenSSH_9.9",
        )

    def _accept(self, listening: socket.socket, options: Any) -> None:
        with contextlib.suppress(OSError):  # it has gone again
            connection, _client = listening.accept()
            connection.setblocking(False)
            self._accepted.add(connection)
            work = self._banner(connection) if options is None else self._session(connection, options)
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _banner(self, connection: socket.socket) -> None:
        self._accepted.discard(connection)
        with connection, contextlib.suppress(OSError):
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(connection, BANNER)
            while await loop.sock_recv(connection, 4096):
                pass

    async def _session(self, connection: socket.socket, options: Any) -> None:
        import asyncssh

        self._accepted.discard(connection)
        with connection, contextlib.suppress(OSError, asyncssh.Error, asyncio.IncompleteReadError):
            session = await asyncssh.run_server(connection, options=options)
            try:
                await session.wait_closed()
            finally:
                session.abort()

    async def _run_command(self, process: asyncssh.SSHServerProcess[str]) -> None:
        done = run(process.command or "", self.root, self.uptime())
        process.stdout.write(done.output)
        process.stderr.write(done.errors)
        process.exit(done.status)
