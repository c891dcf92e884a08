"""SSH to a host: one command, or its files over SFTP. This file and trigger/ssh/shell.py alone touch asyncssh.

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
from pathlib import Path
from typing import Any, TypeVar

from trigger.clock import Deadline
from trigger.errors import ConfigError, DriverError, LoginFailed, Unreachable
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


def of_network(error: OSError) -> str:
    """Return what the network said; asyncio puts "Connect call failed" and the address in its place. "" for nothing."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or ""


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
        return Unreachable(f"{where} cannot be reached over SSH: {of_network(cause) or said}.")
    if isinstance(cause, ValueError):
        return ConfigError(f"The SSH settings for {where} cannot be used: {said}.")
    return DriverError(f"SSH to {where} failed: {said or type(cause).__name__}.")
