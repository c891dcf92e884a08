"""SSH to a host: one command, or its files over SFTP. The only file that touches asyncssh.

asyncssh runs on fsspec's own loop, in fsspec's thread, and every call waits for it with a time-out
(`fsspec.asyn.sync`): a connection is opened, used and closed on that loop only, because asyncssh's are not
safe to close from another thread. Nothing of ~/.ssh/config that would act for the other side is taken from
it: no agent, X11 or environment goes over, no command of the file is run there. Host keys are always
verified.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from trigger.clock import Deadline
from trigger.errors import ConfigError, DriverError, LoginFailed, Unreachable, Untrusted
from trigger.host import Ssh
from trigger.text import harmless

CONNECT_SECONDS = 20.0
MAX_OUTPUT = 1024 * 1024
_KEEPALIVE_SECONDS = 5
_CLOSE_SECONDS = 2.0

T = TypeVar("T")


class HostKeyNotTrusted(DriverError):
    """The host's key is not the one in known_hosts, or is not in there. Nothing was sent."""


class CommandFailed(DriverError):
    """The command ran on the host and ended with a status other than 0; `status` is None after a signal."""

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message)
        self.status = status


def connect_options(ssh: Ssh) -> dict[str, Any]:
    """Return the arguments of `asyncssh.connect` for a host, its name apart.

    What `ssh` does not say is taken from ~/.ssh/config (user, port, jump hosts, keys, known_hosts). Raises
    ConfigError when that file cannot be read or names a key that does not exist.
    """
    options: dict[str, Any] = {
        "agent_forwarding": False,
        "x11_forwarding": False,
        "gss_delegate_creds": False,
        "command": None,
        "env": None,
        "send_env": None,
        "request_pty": False,
        "password_auth": False,
        "kbdint_auth": False,
        "connect_timeout": CONNECT_SECONDS,
        "login_timeout": CONNECT_SECONDS,
        "keepalive_interval": _KEEPALIVE_SECONDS,
        "keepalive_count_max": 3,
    }
    if ssh.port != 22:
        options["port"] = ssh.port
    if ssh.user:
        options["username"] = ssh.user
    if ssh.key:
        options["client_keys"] = [_readable(ssh.key, "key", ssh)]
    options["known_hosts"] = _known_hosts(ssh)
    return options


def _readable(name: str, what: str, ssh: Ssh) -> str:
    path = Path(name).expanduser()
    if not path.is_file() or not os.access(path, os.R_OK):
        raise ConfigError(f"The SSH {what} file {path} for {ssh.host} cannot be read.")
    return str(path)


def _known_hosts(ssh: Ssh) -> list[str] | bytes:
    """Return the files that known host keys are in; never None, which would switch verification off."""
    if ssh.known_hosts:
        return [_readable(ssh.known_hosts, "known_hosts", ssh)]
    import asyncssh

    try:
        configured = asyncssh.SSHClientConnectionOptions(host=ssh.host, config=(), client_keys=None).known_hosts
    except (ValueError, OSError) as bad:
        raise ConfigError(f"~/.ssh/config cannot be used for {ssh.host}: {bad}") from None
    files = [str(name) for name in configured] if isinstance(configured, (list, tuple)) else []
    files = files or ["~/.ssh/known_hosts"]
    paths = [Path(name).expanduser() for name in (*files, "/etc/ssh/ssh_known_hosts")]
    return [str(path) for path in paths if path.is_file() and os.access(path, os.R_OK)] or b""


def run(ssh: Ssh, command: str, deadline: Deadline, *, stdin: str = "", limit: int = MAX_OUTPUT) -> str:
    """Run one command on the host and return what it printed.

    Raises Unreachable, LoginFailed, HostKeyNotTrusted, ConfigError; CommandFailed when it ends with another
    status than 0; DriverError when it prints more than `limit` bytes. Never longer than `deadline`.
    """
    options = connect_options(ssh)

    async def session() -> tuple[bytes, bytes, int | None]:
        import asyncssh

        async with asyncssh.connect(ssh.host, **options) as connection:
            process = await connection.create_process(command, encoding=None)
            with contextlib.suppress(BrokenPipeError):  # it has ended already, without reading
                process.stdin.write(stdin.encode())
                process.stdin.write_eof()
            out, err = await asyncio.gather(_read_capped(process.stdout, limit), _read_capped(process.stderr, limit))
            await process.wait_closed()
            return out, err, process.exit_status

    out, err, status = in_time(session, deadline, ssh)
    if status != 0:
        said = harmless(err.decode("utf-8", "replace").strip())[:500]
        raise CommandFailed(f"A command on {ssh.host} ended with status {status}: {said}", status)
    return out.decode("utf-8", "replace")


async def _read_capped(stream: Any, limit: int) -> bytes:
    """Read to the end; raises DriverError after `limit` bytes, as what was cut off might change the meaning."""
    kept = bytearray()
    while data := await stream.read(65536):
        kept += data
        if len(kept) > limit:
            raise DriverError(f"A command over SSH printed more than {limit} bytes, and was ended.")
    return bytes(kept)


def open_sftp(ssh: Ssh, deadline: Deadline) -> Any:
    """Return an fsspec filesystem (sshfs) over a new connection to the host; end it with `close_sftp`.

    Raises Unreachable, LoginFailed, HostKeyNotTrusted or ConfigError, before `deadline`.
    """
    from sshfs import SSHFileSystem

    options = connect_options(ssh)
    try:
        # fsspec caches instances by their arguments: a dead connection would come back
        return SSHFileSystem(ssh.host, skip_instance_cache=True, timeout=max(0.05, deadline.left()), **options)
    except Exception as error:
        raise explain(ssh, error) from error


def close_sftp(filesystem: Any) -> None:
    """Close its connection on the loop that owns it; best effort, two seconds at most, raises nothing."""
    from fsspec.asyn import sync

    async def close() -> None:
        filesystem.client.close()
        await filesystem.client.wait_closed()

    with contextlib.suppress(Exception):
        sync(filesystem.loop, close, timeout=_CLOSE_SECONDS)


def in_time(make: Callable[[], Coroutine[Any, Any, T]], deadline: Deadline, ssh: Ssh) -> T:
    """Run the coroutine that `make` returns on fsspec's loop until `deadline`; errors come as `explain` says."""
    from fsspec.asyn import get_loop, sync

    try:
        result: T = sync(get_loop(), make, timeout=max(0.05, deadline.left()))
    except Exception as error:
        raise explain(ssh, error) from error
    return result


def explain(ssh: Ssh, error: BaseException) -> DriverError | ConfigError:
    """Return what an exception of asyncssh, sshfs or the network means, as a sentence for people."""
    import asyncssh
    from fsspec.exceptions import FSTimeoutError

    where = f"{ssh.user + '@' if ssh.user else ''}{ssh.host}"
    cause = error.__cause__ if isinstance(error, PermissionError) and error.__cause__ else error
    said = harmless(str(cause))[:300]
    if isinstance(cause, (DriverError, ConfigError)):
        return cause
    if isinstance(cause, asyncssh.HostKeyNotVerifiable):
        return HostKeyNotTrusted(
            f"The SSH host key of {ssh.host} is not trusted: {said}.",
            next_step=f"Compare its key, and store it: ssh-keyscan {ssh.host}, or log in once by hand.",
        )
    if isinstance(cause, asyncssh.PermissionDenied):
        return LoginFailed(
            f"{ssh.host} did not let {ssh.user or 'us'} in over SSH: {said}.",
            rejected=True,
            next_step="Try the same user and key with ssh; a key with a passphrase must be in the agent.",
        )
    if isinstance(cause, (FSTimeoutError, asyncio.TimeoutError, TimeoutError)):
        return Unreachable(f"{where} did not answer over SSH in time.")
    if isinstance(cause, (asyncssh.DisconnectError, asyncssh.SFTPNoConnection, asyncssh.SFTPConnectionLost)):
        return Unreachable(f"The SSH connection to {where} was lost: {said}.")
    if isinstance(cause, OSError):
        return Unreachable(f"{where} cannot be reached over SSH: {cause.strerror or said}.")
    if isinstance(cause, ValueError):
        return ConfigError(f"The SSH settings for {where} cannot be used: {said}.")
    return DriverError(f"SSH to {where} failed: {said or type(cause).__name__}.")


# A controller's own command line: one interactive shell, a password, a pinned host key.

# Refused unless `legacy` is asked for: SHA-1 key exchanges and signatures, CBC ciphers, DSS (iLO 2 to 4, iDRAC 6, 7).
_MODERN = {"kex_algs": "-gss-*,*-sha1", "signature_algs": "-ssh-rsa"}
_LEGACY = {
    "kex_algs": "+diffie-hellman-group14-sha1,diffie-hellman-group-exchange-sha1,diffie-hellman-group1-sha1",
    "encryption_algs": "+aes256-cbc,aes128-cbc,3des-cbc",
    "signature_algs": "+ssh-rsa,ssh-dss",
    "server_host_key_algs": "+ssh-rsa,ssh-dss",
}


@dataclass(frozen=True, slots=True)
class ShellPeer:
    """A controller's SSH service. `host_key` is its SHA-256 fingerprint as OpenSSH prints it, "" for unknown.

    `password` is called once, when the controller asks for it; a rejected one is not tried in another way.
    """

    name: str
    address: str
    port: int
    user: str
    password: Callable[[], str]
    host_key: str = ""
    accept_new: bool = False
    legacy: bool = False


class Shell:
    """An interactive shell with a terminal, opened by `open_shell`. Bytes are as they came."""

    def __init__(self, connection: Any, process: Any, host_key: str, peer: ShellPeer) -> None:
        self.host_key = host_key
        self._connection, self._process, self._peer = connection, process, peer

    def write(self, data: bytes) -> None:
        """Send `data`, once; raises EOFError when the connection is known to be gone."""

        async def send() -> None:
            if self._process.stdin.is_closing():
                raise EOFError
            self._process.stdin.write(data)

        _on_the_loop(send, Deadline(_CLOSE_SECONDS))

    def read(self, deadline: Deadline) -> bytes:
        """Return what has come, waiting until something does; b"" when `deadline` passes; EOFError when it is lost."""

        async def receive() -> bytes:
            try:
                data: bytes = await asyncio.wait_for(self._process.stdout.read(65536), max(0.001, deadline.left()))
            except TimeoutError:
                return b""
            if not data:
                raise EOFError
            return data

        return _on_the_loop(receive, Deadline(deadline.left() + 1.0))

    def close(self) -> None:
        """Close the connection; a second or two at most, raises nothing."""

        async def end() -> None:
            self._connection.close()
            try:
                await asyncio.wait_for(self._connection.wait_closed(), 0.5)
            except (TimeoutError, asyncio.CancelledError):
                self._connection.abort()

        with contextlib.suppress(Exception):
            _on_the_loop(end, Deadline(_CLOSE_SECONDS / 2))


def open_shell(peer: ShellPeer, deadline: Deadline) -> Shell:
    """Log in to a controller and start its shell.

    Raises Untrusted (unknown or changed host key, before the password is given), LoginFailed, Unreachable or
    DriverError, always before `deadline`. Nothing of ~/.ssh is used.
    """
    seen: list[str] = []

    async def start() -> Shell:
        import asyncssh

        options: dict[str, Any] = _LEGACY if peer.legacy else _MODERN
        connection = await asyncssh.connect(
            peer.address, peer.port, username=peer.user, config=None, client_keys=None, agent_path=None,
            known_hosts=([], [], []), client_factory=_client_of(peer, seen),
            preferred_auth="password,keyboard-interactive", connect_timeout=deadline.left(),
            login_timeout=deadline.left(), keepalive_interval=0, **options,
        )  # fmt: skip
        try:
            process = await connection.create_process(term_type="vt100", term_size=(200, 50), encoding=None)
        except BaseException:
            connection.abort()
            raise
        return Shell(connection, process, seen[-1], peer)

    try:
        return _on_the_loop(start, deadline)
    except Exception as error:
        raise _explain_shell(peer, error, seen) from error


def _client_of(peer: ShellPeer, seen: list[str]) -> type:
    import asyncssh

    class Client(asyncssh.SSHClient):
        def __init__(self) -> None:
            self.given = False

        def validate_host_public_key(self, host: str, addr: str, port: int, key: Any) -> bool:
            seen.append(key.get_fingerprint("sha256"))
            return peer.accept_new or (bool(peer.host_key) and seen[-1] == peer.host_key)

        async def password_auth_requested(self) -> str | None:
            return await self._once()

        def kbdint_auth_requested(self) -> str | None:
            return None if self.given else ""

        async def kbdint_challenge_received(self, name: str, instructions: str, lang: str, prompts: Any) -> Any:
            if len(prompts) > 1:
                return None
            return [await self._once() or ""] if prompts else []

        async def _once(self) -> str | None:
            if self.given:
                return None
            self.given = True
            # The secret may come from a command or a keyring: the loop belongs to others too.
            return await asyncio.get_running_loop().run_in_executor(None, peer.password)

    return Client


def _on_the_loop(make: Callable[[], Coroutine[Any, Any, T]], deadline: Deadline) -> T:
    from fsspec.asyn import get_loop, sync

    result: T = sync(get_loop(), make, timeout=max(0.05, deadline.left()))
    return result


def _explain_shell(peer: ShellPeer, error: BaseException, seen: list[str]) -> DriverError | ConfigError:
    """Return what went wrong at a controller's SSH service, as a sentence that names it and says what to do."""
    import asyncssh
    from fsspec.exceptions import FSTimeoutError

    where = f"{peer.name}: ssh://{peer.address}:{peer.port}"
    said = harmless(str(error))[:300]
    if isinstance(error, (DriverError, ConfigError)):
        return error
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        key = seen[-1] if seen else "none"
        change = f"has changed (it was {peer.host_key})" if peer.host_key else "is not known"
        return Untrusted(
            f"{where}: the host key {change}. It is {key}. Nobody logged in and nothing was sent.",
            fingerprint=key,
            next_step=(
                "Compare it with the controller's own page. If it is right: `options: {host_key: ...}` in the"
                " configuration, or preflight --trust-new; while firing, --override tls-changed."
            ),
        )
    if isinstance(error, asyncssh.PermissionDenied):
        return LoginFailed(
            f"{where} rejects the login of {peer.user!r}. Nothing was sent, and this password is not tried again.",
            rejected=True,
            next_step="Check the user and the password of this controller.",
        )
    if isinstance(error, (FSTimeoutError, asyncio.TimeoutError, TimeoutError)):
        return Unreachable(f"{where} did not complete a login in time. Nothing was sent.")
    if isinstance(error, asyncssh.KeyExchangeFailed):
        return Unreachable(
            f"{where} offers no algorithm that is accepted: {said}. Nothing was sent.",
            next_step="Only if this is an old iLO or iDRAC: `options: {legacy_ssh: true}` on this controller.",
        )
    if isinstance(error, asyncssh.Error):
        return Unreachable(f"{where} ended the connection: {said}. Nothing was sent.")
    if isinstance(error, OSError):
        return Unreachable(f"{where} cannot be reached: {error.strerror or said}. Nothing was sent.")
    return DriverError(f"{where} failed: {said or type(error).__name__}. Nothing was sent.")
