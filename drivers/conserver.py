"""The serial console at a conserver (conserver.com), by its own client `console`, which knows its protocol and its TLS.

The client runs on a pseudo-terminal of ours. What we say to it begins with ^Ec; a ^E of the data is sent by its code.
Words and escapes: conserver 8.2.7, console(1) and what the server prints ("[no, bob@jump is attached]").
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shutil
import subprocess
from collections.abc import Mapping
from typing import ClassVar

from trigger.clock import Deadline
from trigger.driver import Console, Driver, DriverOptions, Probe
from trigger.errors import ConfigError, ConsoleBusy, DriverError, LoginFailed, Unreachable
from trigger.host import Controller
from trigger.secrets import clean_environment
from trigger.text import harmless

PORT = 3109  # the client's own default, conserver's registered port is 782
_ESCAPE = b"\x05c"
_BREAK = _ESCAPE + b"l0"  # the first of the server's break sequences: one BREAK, unless its owner changed it
_LEAVE = _ESCAPE + b"."
_ATTACHED = re.compile(rb"\[Enter `\^Ec\?' for help\]\r?\n")
_BUSY = re.compile(rb"\[no, (\S+) is attached\]")
_PASSWORD = re.compile(rb"password: ?$", re.IGNORECASE)
_REFUSED = (b"not found", b"ccess denied", b"down", b"read-only", b"rejected")
_STATUS_S = 0.5  # for what the server says right after the greeting
_CLOSE_S = 1.5
_BLOCK = 65536


class ConserverDriver(Driver):
    """A console that conserver at ADDRESS:PORT knows as `system`. Option `unencrypted: true` for one without TLS."""

    OPTIONS: ClassVar[Mapping[str, type]] = {"unencrypted": bool}

    def __init__(self, controller: Controller, options: DriverOptions) -> None:
        super().__init__(controller, options)
        if not controller.system or controller.system.startswith("-"):
            raise ConfigError(
                f"{controller.name}: no `system:`, its name of the console ({controller.where}). Nothing was sent.",
                next_step='Write it as `system: "{host}"`, or whatever conserver calls it.',
            )

    def probe(self, deadline: Deadline) -> Probe:
        """Return an empty Probe: conserver knows a name, not the machine behind it."""
        return Probe(warnings=(f"{self.controller.name}: conserver does not say which machine is behind a console",))

    def open_console(self, deadline: Deadline, *, steal: bool = False) -> Console:
        """See HasConsole.open_console. With `steal` whoever has it is made to watch, and gets it back afterwards."""
        controller = self.controller
        where = f"{controller.name}: {controller.system} at conserver {controller.address}:{controller.port or PORT}"
        console = ConserverConsole(_start(self._command(steal), where), where)
        try:
            console.attach(deadline, self.options.secrets.password if controller.password else None)
        except BaseException:
            console.close()
            raise
        return console

    def _command(self, steal: bool) -> list[str]:
        controller = self.controller
        # Where it asks for a password is its controlling terminal, which must be ours and not the operator's: --ctty.
        words = [
            "setsid",
            "--ctty",
            "console",
            "-n",
            "-C",
            "/dev/null",
            "-M",
            controller.address,
            "-p",
            str(controller.port or PORT),
        ]
        words += ["-U"] if controller.options.get("unencrypted") is True else []
        words += ["-l", controller.user] if controller.user else []
        return [*words, "-e", "^Ec", "-f" if steal else "-a", controller.system]


class _Client:
    """The client's process and the terminal it runs on."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int) -> None:
        self.process, self.terminal = process, terminal


def _start(command: list[str], where: str) -> _Client:
    if shutil.which("console", path=clean_environment()["PATH"]) is None:
        raise ConfigError(
            f"{where}: conserver's client `console` is not installed. Nothing was sent.",
            next_step="Install it (Debian: conserver-client).",
        )
    ours, its = pty.openpty()
    try:
        process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=clean_environment())
    except OSError as error:
        os.close(ours)
        raise ConfigError(f"{where}: setsid cannot be started: {error.strerror}. Nothing was sent.") from None
    finally:
        os.close(its)
    return _Client(process, ours)


class ConserverConsole:
    """One attached console. See trigger.driver.Console; one thread reads, one writes."""

    def __init__(self, client: _Client, where: str) -> None:
        self._client, self._where = client, where
        self._early = b""
        self._closed = False

    def attach(self, deadline: Deadline, password: object = None) -> None:
        """Wait until the server has let us in; raises ConsoleBusy, LoginFailed, Unreachable or DriverError."""
        said, given = b"", False
        while not (found := _ATTACHED.search(said)):
            try:
                more = self.read(deadline)
            except EOFError:
                raise self._not_attached(said) from None
            if not more:
                raise Unreachable(f"{self._where}: no answer in time{_quoted(said)}. Nothing was sent to the host.")
            said += more
            if _PASSWORD.search(said):
                if given or not callable(password):
                    raise LoginFailed(
                        f"{self._where}: the login was {'rejected' if given else 'asked for a password'}."
                        " Nothing was sent to the host.",
                        rejected=given,
                        next_step="Check `user:` and `password:` of this controller.",
                    )
                given, said = True, b""
                self._write(str(password()).encode() + b"\r")
        rest = said[found.end() :]
        status = deadline.at_most(_STATUS_S)
        while not status.passed() and not _BUSY.search(rest):
            try:
                rest += self.read(status)
            except EOFError:
                raise self._not_attached(rest) from None
        self._check(rest)
        self._early = rest

    def read(self, deadline: Deadline) -> bytes:
        """See Console.read."""
        early, self._early = self._early, b""
        if early or self._closed:
            return early
        if not select.select([self._client.terminal], [], [], deadline.left())[0]:
            return b""
        try:
            said = os.read(self._client.terminal, _BLOCK)
        except OSError:  # EIO: the client has ended
            said = b""
        if not said:
            raise EOFError(f"{self._where}: conserver's client has ended")
        return said

    def write(self, data: bytes) -> None:
        """See Console.write."""
        self._write(data.replace(b"\x05", _ESCAPE + rb"\005"))

    def send_break(self) -> None:
        """Ask conserver for one BREAK. It says "[halt sent]" on the console; that is no acknowledgement of the port."""
        self._write(_BREAK)

    def close(self) -> None:
        """Detach, so that the next in line gets the console; the client is ended if it does not end by itself."""
        if self._closed:
            return
        with contextlib.suppress(DriverError):
            self._write(_LEAVE)
        self._closed = True
        process = self._client.process
        try:
            process.wait(_CLOSE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with contextlib.suppress(OSError):
            os.close(self._client.terminal)

    def _write(self, data: bytes) -> None:
        if self._closed:
            raise DriverError(f"{self._where}: the console is closed")
        while data:
            try:
                data = data[os.write(self._client.terminal, data) :]
            except OSError as error:
                raise DriverError(f"{self._where}: the console was lost: {error.strerror}") from None

    def _check(self, said: bytes) -> None:
        """Raise when the server let us in to look only, or when its line to the host is down."""
        busy = _BUSY.search(said)
        if busy:
            who = harmless(busy[1].decode("utf-8", "replace"), limit=100)
            raise ConsoleBusy(
                f"{self._where}: {who} has the console. They were not disturbed.",
                next_step=f"Ask {who} to leave, or take it from them: --steal; they get it back afterwards.",
            )
        for line in said.splitlines():
            if line.startswith(b"[") and any(word in line for word in _REFUSED):
                raise DriverError(f"{self._where}: cannot be used{_quoted(line)}. Nothing was sent to the host.")

    def _not_attached(self, said: bytes) -> DriverError:
        if b"Unable to connect" in said:
            return Unreachable(f"{self._where}: cannot be reached{_quoted(said)}. Nothing was sent to the host.")
        return DriverError(f"{self._where}: conserver did not let us in{_quoted(said)}. Nothing was sent to the host.")


def _quoted(said: bytes) -> str:
    text = harmless(" ".join(said.decode("utf-8", "replace").split()), limit=200)
    return f", saying: {text}" if text else ""
