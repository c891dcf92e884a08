"""A host over SSH whose shell is real and whose /proc/sysrq-trigger is a pipe that counts keys."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self

import asyncssh

from tests.drivers.simulators.ssh_server import SshServer
from trigger.host import Ssh

SERIAL, UUID = "F45P1G3", "4c4c4544-0046-3510-8034-b4c04f503147"
ANSWERS = {
    "h": "[  9.000001] sysrq: HELP : loglevel(0-9) reboot(b) crash(c)",
    "w": "[  9.000002] sysrq: Show Blocked State\n[  9.000003] task:sh \x1b[2J state:D",
}


class SysrqHost(SshServer):
    """`fault`: "" crashes at c (the connection is cut), goes-on survives it, deaf never answers again, user may not
    write, unwritable fails to, no-shell ends at once. `pressed` is what the kernel got.
    """

    patience_s = 30.0

    def __init__(self, folder: Path, fault: str = "", shell: str = "sh") -> None:
        self.folder, self.fault, self.shell = folder, fault, shell
        self.pressed: list[str] = []
        self.logins = 0
        self._log, self._pipe = folder / "dmesg", folder / "sysrq-trigger"
        self._log.write_text("[  1.0] Linux version 6.1\n[  2.0] the last line of before\n")
        os.mkfifo(self._pipe)
        dmi = folder / "dmi"
        dmi.mkdir()
        for name, text in (("product_uuid", UUID), ("product_serial", SERIAL), ("product_name", "PowerEdge R750")):
            (dmi / name).write_text(f"{text}\n")
        self.key, self.known_hosts = folder / "key", folder / "known_hosts"
        self._host_key, client = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
        client.write_private_key(self.key)
        self.key.chmod(0o600)
        self._authorized = client.export_public_key().decode()
        self._connections: set[Any] = set()
        self._kernel = threading.Thread(target=self._take_keys, daemon=True)
        self._kernel.start()
        self.begin()
        public = self._host_key.export_public_key().decode()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {public}\n")

    def ssh(self, engine: str = "asyncssh") -> Ssh:
        """Return how it is reached."""
        return Ssh("127.0.0.1", self.port, "root", str(self.key), str(self.known_hosts), engine)

    def await_pressed(self, keys: list[str]) -> None:
        """Wait until the kernel got exactly `keys`."""
        end = monotonic() + 60
        while self.pressed != keys and monotonic() < end:
            sleep(0.01)
        assert self.pressed == keys

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._pipe.open("w") as pipe:
            pipe.write("end\n")
        self._kernel.join(60)
        self.end()

    async def _listen(self) -> Any:
        return await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[self._host_key], process_factory=self._serve, encoding=None,
            authorized_client_keys=asyncssh.import_authorized_keys(self._authorized),
        )  # fmt: skip

    def _let_go(self) -> None:
        for connection in tuple(self._connections):
            connection.abort()

    async def _serve(self, process: Any) -> None:
        self.logins += 1
        connection = process.channel.get_connection()
        self._connections.add(connection)
        if self.fault == "no-shell":
            process.stdout.write(b"This account is currently not available.\n")
            process.exit(1)
            return
        trigger = {"user": self.folder / "none", "unwritable": self.folder}.get(self.fault, self._pipe)
        script = process.command.replace("/proc/sysrq-trigger", str(trigger))
        script = script.replace("/sys/class/dmi/id", str(self.folder / "dmi")).replace(
            "$(dmesg ", f"$(cat {self._log} "
        )
        script = script.replace("    dmesg |", f"    cat {self._log} |")
        # A kernel that panics never comes back from the write.
        hangs = "true" if self.fault == "goes-on" else '[ "$1" != c ] || sleep 600'
        script = script.replace(f'echo "$key" >{trigger}', 'press "$key"')
        script = f'press() {{ echo "$1" >{trigger} || return 1; {hangs}; }}\n{script}'
        child = subprocess.Popen(
            [*self.shell.split(), "-c", script], bufsize=0, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        back = self._loop.run_in_executor(None, self._pass_back, child, process)
        assert child.stdin is not None
        try:
            with contextlib.suppress(OSError, asyncssh.Error):
                while data := await process.stdin.read(4096):
                    if self.fault == "deaf" and b"c" in data:
                        await asyncio.sleep(600)
                    child.stdin.write(data)
        finally:
            child.stdin.close()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            with contextlib.suppress(asyncio.CancelledError):
                await back

    def _pass_back(self, child: subprocess.Popen[bytes], process: Any) -> None:
        """Pass on what the shell prints, and that it has ended."""
        assert child.stdout is not None

        def say(data: bytes) -> None:
            with contextlib.suppress(OSError, asyncssh.Error):
                process.stdout.write(data) if data else process.exit(1)

        while data := child.stdout.read(4096):
            self._loop.call_soon_threadsafe(say, data)
        child.wait()
        child.stdout.close()
        self._loop.call_soon_threadsafe(say, b"")

    def _take_keys(self) -> None:
        """Be the kernel behind the pipe."""
        while True:
            with self._pipe.open() as pipe:
                keys = pipe.read().split()
            for key in keys:
                if key == "end":
                    return
                self.pressed.append(key)
                if key == "c" and self.fault != "goes-on":
                    for connection in tuple(self._connections):
                        self._loop.call_soon_threadsafe(connection.abort)
                elif key in ANSWERS:
                    with self._log.open("a") as log:
                        log.write(f"{ANSWERS[key]}\n")
