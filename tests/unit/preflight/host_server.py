"""An SSH server on loopback whose logins behave like hosts: each user name is another one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from trigger.host import Ssh


@dataclass
class HostServer:
    """`prints` maps a user name to what its shell prints, or to hang, flood or menu."""

    port: int
    folder: Path
    prints: dict[str, str]
    logins: dict[str, int] = field(default_factory=dict)
    scripts: dict[str, str] = field(default_factory=dict)

    def ssh(self, user: str, **changes: Any) -> Ssh:
        """Return how this host is reached."""
        values = {"port": self.port, "user": user, "key": str(self.folder / "id")}
        return Ssh(**{"host": "127.0.0.1", "known_hosts": str(self.folder / "known_hosts"), **values, **changes})


@contextmanager
def serve(folder: Path, prints: dict[str, str], *, sftp: bool = False) -> Iterator[HostServer]:
    """Serve the hosts, with this machine's files over SFTP if `sftp`; keys and known_hosts are made in `folder`."""
    host_key, user_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    user_key.write_private_key(folder / "id")
    (folder / "id").chmod(0o600)
    user_key.write_public_key(folder / "authorized")
    server = HostServer(0, folder, prints)

    async def shell(process: asyncssh.SSHServerProcess[bytes]) -> None:
        user = process.get_extra_info("username")
        server.logins[user] = server.logins.get(user, 0) + 1
        await _behave(process, server, user)

    async def listen() -> Any:
        return await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[host_key], authorized_client_keys=str(folder / "authorized"),
            process_factory=shell, encoding=None, sftp_factory=asyncssh.SFTPServer if sftp else None,
        )  # fmt: skip

    with _loop() as on_loop:
        listener = on_loop(listen)
        server.port = listener.get_port()
        public = host_key.export_public_key("openssh").decode()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {public}")
        yield server
        on_loop(lambda: _close(listener))


async def _behave(process: asyncssh.SSHServerProcess[bytes], server: HostServer, user: str) -> None:
    what = server.prints[user]
    if what == "hang":
        await asyncio.sleep(60)
    elif what == "flood":
        for _ in range(1600):
            process.stdout.write(b"x" * 65536)
            await process.stdout.drain()
    elif what == "menu":
        process.stdout.write(b"1) reboot\n2) log out\n> ")
        process.exit(0)
    elif what == "csh":
        process.stderr.write(b"sh: Command not found.\n")
        process.exit(127)
    else:
        server.scripts[user] = (await process.stdin.read()).decode()
        process.stdout.write(what.encode())
        process.exit(0)


async def _close(listener: Any) -> None:
    listener.close()
    await listener.wait_closed()


@contextmanager
def _loop() -> Iterator[Callable[[Callable[[], Any]], Any]]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="hosts", daemon=True)
    thread.start()

    def on_loop(make: Callable[[], Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(make(), loop).result(20)

    async def cancel() -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    try:
        yield on_loop
    finally:
        on_loop(cancel)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
