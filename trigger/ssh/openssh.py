"""The system's own `ssh` instead of asyncssh, for sites whose login only it can do (`ssh: {engine: openssh}`).

Everything that could ask, forward or run something else is switched off on the command line, which outweighs
~/.ssh/config; what else that file says (ProxyJump, keys, GSSAPI) holds.
"""

from __future__ import annotations

import os
import subprocess
import tempfile

from trigger.clock import Deadline
from trigger.errors import ConfigError, DriverError, LoginFailed, Unreachable
from trigger.host import Ssh
from trigger.secrets import clean_environment
from trigger.ssh.connection import MAX_OUTPUT, CommandFailed, HostKeyNotTrusted
from trigger.text import harmless

_OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "ClearAllForwardings": "yes",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "GSSAPIDelegateCredentials": "no",
    "PermitLocalCommand": "no",
    "RemoteCommand": "none",
    "RequestTTY": "no",
    "UpdateHostKeys": "no",
    "ConnectTimeout": "20",
}


def argv(ssh: Ssh, command: str) -> list[str]:
    """Return the command line; `--` keeps a host's name from being taken for an option."""
    words = ["ssh"]
    for name, value in _OPTIONS.items():
        words += ["-o", f"{name}={value}"]
    words += ["-p", str(ssh.port)] if ssh.port != 22 else []
    words += ["-l", ssh.user] if ssh.user else []
    words += ["-i", ssh.key] if ssh.key else []
    words += ["-o", f"UserKnownHostsFile={ssh.known_hosts}"] if ssh.known_hosts else []
    return [*words, "--", ssh.host, command]


def _environment() -> dict[str, str]:
    """Return what ssh itself needs to log in (its agent, Kerberos tickets), and none of our secrets.

    A ProxyCommand, an `Include` or a `Match exec` of ~/.ssh/config runs other programs with it.
    """
    needed = {name: os.environ[name] for name in ("SSH_AUTH_SOCK", "KRB5CCNAME") if name in os.environ}
    return clean_environment() | needed


def run(ssh: Ssh, command: str, deadline: Deadline, *, stdin: str = "", limit: int = MAX_OUTPUT) -> str:
    """Run one command on the host and return what it printed; the same errors as `trigger.ssh.connection.run`."""
    with tempfile.TemporaryFile() as typed, tempfile.TemporaryFile() as errors:
        typed.write(stdin.encode())
        typed.seek(0)
        try:
            process = subprocess.Popen(
                argv(ssh, command), stdin=typed, stdout=subprocess.PIPE, stderr=errors, env=_environment()
            )
        except OSError as error:
            raise ConfigError(
                f"ssh cannot be started: {error.strerror}.", next_step="Install OpenSSH's client."
            ) from None
        try:
            out = _read(process, ssh, deadline, limit)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        errors.seek(0)
        said = harmless(errors.read(4096).decode("utf-8", "replace").strip())
    if process.returncode == 255:
        raise _explained(ssh, said)
    if process.returncode != 0:
        raise CommandFailed(
            f"A command on {ssh.host} ended with status {process.returncode}: {said}", process.returncode
        )
    return out.decode("utf-8", "replace")


class OpenProcess:
    """A command on the host whose input stays open; as trigger.ssh.shell.Shell, without a BREAK."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def read(self, deadline: Deadline) -> bytes:
        """Return what has come, waiting for something; b"" when `deadline` passes; EOFError when ssh has ended."""
        import select

        assert self._process.stdout is not None
        if self._process.stdout.closed:
            raise EOFError
        if not select.select([self._process.stdout], [], [], deadline.left())[0]:
            return b""
        data = os.read(self._process.stdout.fileno(), 65536)
        if not data:
            raise EOFError
        return data

    def write(self, data: bytes) -> None:
        """Send `data`, once; raises EOFError when ssh has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
        except (OSError, ValueError):
            raise EOFError from None

    def close(self) -> None:
        """End ssh; raises nothing."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def open_process(ssh: Ssh, command: str, deadline: Deadline) -> OpenProcess:
    """Start one command on the host, its input kept open. What ssh has to say comes as output, then it ends."""
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(
            argv(ssh, command), stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, bufsize=0, env=_environment()
        )
    except OSError as error:
        raise ConfigError(f"ssh cannot be started: {error.strerror}.", next_step="Install OpenSSH's client.") from None
    return OpenProcess(process)


def _read(process: subprocess.Popen[bytes], ssh: Ssh, deadline: Deadline, limit: int) -> bytes:
    import selectors

    assert process.stdout is not None
    kept = bytearray()
    with selectors.DefaultSelector() as ready:
        ready.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not ready.select(deadline.left()):
                raise Unreachable(f"{ssh.host} did not answer over SSH in time.")
            data = os.read(process.stdout.fileno(), 65536)
            if not data:
                break
            kept += data
            if len(kept) > limit:
                raise DriverError(f"{ssh.host} printed more than {limit} bytes.")
    try:
        process.wait(deadline.left() + 1)
    except subprocess.TimeoutExpired:
        raise Unreachable(f"{ssh.host} did not end the connection in time.") from None
    return bytes(kept)


def _explained(ssh: Ssh, said: str) -> DriverError:
    """Return what ssh's own failure (status 255) means."""
    last = said.split("\\x0a")[-1][-300:]
    if "Host key verification failed" in said or "No ED25519 host key is known" in said:
        return HostKeyNotTrusted(
            f"The SSH host key of {ssh.host} is not trusted.", next_step=f"Log in once by hand: ssh {ssh.host}"
        )
    if "Permission denied" in said:
        return LoginFailed(f"{ssh.host} did not let {ssh.user or 'us'} in over SSH: {last}", rejected=True)
    return Unreachable(f"{ssh.host} cannot be reached over SSH: {last}")
