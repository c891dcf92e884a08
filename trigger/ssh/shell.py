"""A session over SSH that stays open: a controller's own command line or console, or one command on the host itself.

At a controller: a terminal, a password, a pinned host key, and nothing of ~/.ssh. At the host: as in
trigger/ssh/connection.py, whose rule holds here too: every connection lives on fsspec's loop only, and every call
has a time-out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from trigger.clock import Deadline
from trigger.errors import ConfigError, DriverError, LoginFailed, Unreachable, Untrusted
from trigger.host import Ssh
from trigger.ssh.connection import connect_options, in_time, of_network
from trigger.text import harmless

_CLOSE_SECONDS = 2.0

T = TypeVar("T")

# Refused unless `legacy` is asked for: SHA-1 key exchanges and signatures, CBC ciphers, DSS (iLO 2 to 4, iDRAC 6, 7).
_MODERN = {"kex_algs": "-gss-*,*-sha1", "signature_algs": "-ssh-rsa"}
_LEGACY = {
    "kex_algs": "+diffie-hellman-group14-sha1,diffie-hellman-group-exchange-sha1,diffie-hellman-group1-sha1",
    "encryption_algs": "+aes256-cbc,aes128-cbc,3des-cbc",
    "signature_algs": "+ssh-rsa,ssh-dss",
    "server_host_key_algs": "+ssh-rsa,ssh-dss",
}

_OLD_ALGORITHMS = "Only if this is an old iLO or iDRAC: `options: {legacy_ssh: true}` on this controller."


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

    def __init__(self, connection: Any, process: Any, host_key: str = "") -> None:
        self.host_key = host_key
        self._connection, self._process = connection, process

    def write(self, data: bytes) -> None:
        """Send `data`, once; raises EOFError when the connection is known to be gone."""

        async def send() -> None:
            if self._process.stdin.is_closing():
                raise EOFError
            self._process.stdin.write(data)

        _unless_lost(send, Deadline(_CLOSE_SECONDS))

    def send_break(self, milliseconds: int = 500) -> None:
        """Ask for one BREAK on the serial port behind this session (RFC 4335); raises EOFError as `write` does.

        It is not acknowledged, and a server that knows no BREAK says nothing.
        """

        async def send() -> None:
            if self._process.stdin.is_closing():
                raise EOFError
            self._process.send_break(milliseconds)

        _unless_lost(send, Deadline(_CLOSE_SECONDS))

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

        return _unless_lost(receive, Deadline(deadline.left() + 1.0))

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
        return Shell(connection, process, seen[-1])

    try:
        return _on_the_loop(start, deadline)
    except Exception as error:
        raise _explain_shell(peer, error, seen) from error


def open_process(ssh: Ssh, command: str, deadline: Deadline) -> Shell:
    """Start one command on the host, its input kept open, and return it; raises what `run` in connection.py raises."""
    options = connect_options(ssh)

    async def start() -> Shell:
        import asyncssh

        connection = await asyncssh.connect(ssh.host, **options)
        try:
            process = await connection.create_process(command, encoding=None, stderr=asyncssh.STDOUT)
        except BaseException:
            connection.abort()
            raise
        return Shell(connection, process)

    return in_time(start, deadline, ssh)


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


def _unless_lost(make: Callable[[], Coroutine[Any, Any, T]], deadline: Deadline) -> T:
    """Do something on a session; raises EOFError when its connection has gone, which asyncssh says in several ways."""
    import asyncssh

    try:
        return _on_the_loop(make, deadline)
    except (asyncssh.Error, OSError):
        raise EOFError from None


def _on_the_loop(make: Callable[[], Coroutine[Any, Any, T]], deadline: Deadline) -> T:
    from fsspec.asyn import get_loop, sync

    result: T = sync(get_loop(), make, timeout=max(0.05, deadline.left()))
    return result


def _untrusted(peer: ShellPeer, where: str, key: str) -> Untrusted:
    change = f"has changed (it was {peer.host_key})" if peer.host_key else "is not known"
    return Untrusted(
        f"{where}: the host key {change}. It is {key}. Nobody logged in and nothing was sent.",
        fingerprint=key,
        next_step=(
            "Compare it with the controller's own page. If it is right: `options: {host_key: ...}` in the"
            " configuration, or preflight --trust-new; while firing, --override tls-changed."
        ),
    )


def _explain_shell(peer: ShellPeer, error: BaseException, seen: list[str]) -> DriverError | ConfigError:
    """Return what went wrong at a controller's SSH service, as a sentence that names it and says what to do."""
    import asyncssh
    from fsspec.exceptions import FSTimeoutError

    where = f"{peer.name}: ssh://{peer.address}:{peer.port}"
    said = harmless(str(error))[:300]
    if isinstance(error, (DriverError, ConfigError)):
        return error
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return _untrusted(peer, where, seen[-1] if seen else "none")
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
            next_step=_OLD_ALGORITHMS,
        )
    if isinstance(error, asyncssh.ConnectionLost) and not seen:
        # A peer that finds no common algorithm may close before we have read what it offers.
        return Unreachable(
            f"{where} ended the connection before it showed a host key ({said}); it may offer no algorithm that is"
            " accepted. Nothing was sent.",
            next_step=_OLD_ALGORITHMS,
        )
    if isinstance(error, asyncssh.Error):
        return Unreachable(f"{where} ended the connection: {said}. Nothing was sent.")
    if isinstance(error, OSError):
        return Unreachable(f"{where} cannot be reached: {of_network(error) or said}. Nothing was sent.")
    return DriverError(f"{where} failed: {said or type(error).__name__}. Nothing was sent.")
