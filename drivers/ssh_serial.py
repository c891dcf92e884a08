"""A host's serial console behind a controller's SSH service: the dialogue, the same for every family.

What differs is data (`Way`): what is typed to get there and to leave, what an occupied console says, how it is taken
over, and what a BREAK is. Rows are in drivers/ssh_console.py, drivers/ilo.py and drivers/drac.py.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drivers.ssh_cli import CONTROL, pinned_host_key
from trigger.clock import Deadline
from trigger.driver import Console, DriverOptions
from trigger.errors import ConsoleBusy, DriverError, Unreachable
from trigger.host import Controller
from trigger.text import harmless

if TYPE_CHECKING:
    from trigger.ssh.shell import Shell

_MOST = 256 * 1024  # bytes before the console is reached; more is no command line
_QUIET_S = 0.7  # a console without words of its own is taken for opened after so long without a refusal
_LEAVE_S = 0.6  # for the prompt after leaving; with the logout it stays below two seconds
# What BMCs and console servers say of a console that somebody has (rows may have words of their own).
_IN_USE = r"in use|busy|already (?:active|open|connected)|another (?:session|user|client)"


@dataclass(frozen=True, slots=True)
class Way:
    """How a console is reached, used and left over SSH. Patterns are searched without regard to case.

    `prompt` "" means that the SSH session is the console itself. `connected` is what says that the console is open;
    "" where nothing does. `break_keys` b"" means a BREAK request of SSH itself (RFC 4335). `steal` is typed at the
    prompt to take the console from whoever has it; () where there is no such command.
    """

    name: str
    what: str
    source: str
    port: int = 22
    prompt: str = ""
    enter: Sequence[str] = ()
    connected: str = ""
    busy: str = _IN_USE
    steal: Sequence[str] = ()
    leave: bytes = b""
    break_keys: bytes = b""


def open_serial(
    way: Way, controller: Controller, options: DriverOptions, port: int, deadline: Deadline, *, steal: bool
) -> Console:
    """Log in, go to the console and return it; with `steal` an occupied one is taken over first.

    Raises ConsoleBusy, Untrusted, LoginFailed, Unreachable or DriverError before `deadline`; whatever was opened is
    closed again. Nothing was sent to the host then.
    """
    from trigger.ssh.shell import ShellPeer, open_shell

    peer = ShellPeer(
        name=controller.name,
        address=controller.address,
        port=port,
        user=controller.user,
        password=options.secrets.password,
        host_key=pinned_host_key(controller, options),
        accept_new=options.accept_new,
        legacy=controller.options.get("legacy_ssh") is True,
    )
    where = f"{controller.name}: ssh://{controller.address}:{port}"
    console = SshConsole(open_shell(peer, deadline), way, where)
    try:
        console.enter(deadline, steal)
    except BaseException:
        console.close()
        raise
    return console


class SshConsole:
    """One console over SSH. See trigger.driver.Console; one thread reads, one writes."""

    def __init__(self, shell: Shell, way: Way, where: str) -> None:
        self._shell, self._way, self._where = shell, way, where
        self._early = b""
        self._inside = False
        self._closed = False

    def enter(self, deadline: Deadline, steal: bool) -> None:
        """Go from the login to the console; raises ConsoleBusy, Unreachable or DriverError."""
        if self._way.prompt:
            self._until(deadline, self._way.prompt)
        refusal = self._try_to_enter(deadline)
        if refusal and steal and self._way.steal:
            for command in self._way.steal:
                self._type(command)
                self._until(deadline, self._way.prompt)
            refusal = self._try_to_enter(deadline)
        if refusal:
            raise self._refused(refusal)

    def read(self, deadline: Deadline) -> bytes:
        """See Console.read."""
        early, self._early = self._early, b""
        if early:
            return early
        try:
            return self._shell.read(deadline)
        except EOFError:
            raise EOFError(f"{self._where}: the SSH session of the console has ended") from None
        except OSError as error:
            raise EOFError(f"{self._where}: {error.strerror or type(error).__name__}") from None

    def write(self, data: bytes) -> None:
        """See Console.write."""
        try:
            self._shell.write(data)
        except (EOFError, OSError):
            raise DriverError(f"{self._where}: the console was lost") from None

    def send_break(self) -> None:
        """Send one BREAK, as keys or as a request of SSH. Neither is acknowledged."""
        if self._way.break_keys:
            self.write(self._way.break_keys)
            return
        try:
            self._shell.send_break()
        except (EOFError, OSError):
            raise DriverError(f"{self._where}: the console was lost, and no BREAK was sent") from None

    def close(self) -> None:
        """Leave the console, wait for the prompt and log out: some BMCs keep their only session otherwise."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._inside and self._way.leave:
                self._shell.write(self._way.leave)
                if self._way.prompt:
                    self._until(Deadline(_LEAVE_S), self._way.prompt)
        except (DriverError, EOFError, OSError):
            pass
        finally:
            self._shell.close()

    def _try_to_enter(self, deadline: Deadline) -> str:
        """Type what leads to the console; return "" when it is open, else what was answered."""
        way = self._way
        for command in way.enter[:-1]:
            self._type(command)
            self._until(deadline, way.prompt)
        if way.enter:
            self._type(way.enter[-1])
        self._inside = True
        said, opened = self._hear(deadline, way.enter[-1] if way.enter else "")
        if opened:
            return ""
        self._inside = False
        if opened is None:
            raise Unreachable(
                f"{self._where}: the console was not opened in time{_quoted(said)}. Nothing was sent to the host."
            )
        return said.strip() or "nothing"

    def _hear(self, deadline: Deadline, echo: str) -> tuple[str, bool | None]:
        """Read what follows the echo, and whether the console is open: by its word, where there is none by quiet.

        It is not when the prompt comes back, and None when nothing is clear. What the host said is kept for `read`.
        """
        way, raw, text = self._way, bytearray(), ""
        wait = deadline if way.connected else deadline.at_most(_QUIET_S)
        while not wait.passed() and len(raw) < _MOST:
            try:
                raw += self._shell.read(wait)
            except EOFError:
                raise self._ended(_text(raw)) from None
            text = _text(raw).partition(echo)[2] if echo else _text(raw)
            found = re.search(way.connected, text, re.IGNORECASE) if way.connected else None
            if found:
                self._early = text[found.end() :].encode()
                return text, True
            if way.prompt and re.search(way.prompt + r"\s*\Z", text, re.IGNORECASE):
                return text, False
        self._early = text.lstrip("\r\n").encode() if echo else bytes(raw)
        return text, None if way.connected else True

    def _until(self, deadline: Deadline, prompt: str) -> None:
        raw = bytearray()
        while not deadline.passed():
            try:
                raw += self._shell.read(deadline)
            except EOFError:
                raise self._ended(_text(raw)) from None
            if re.search(prompt + r"\s*\Z", _text(raw[-400:]), re.IGNORECASE):
                return
            if len(raw) > _MOST:
                break
        raise Unreachable(
            f"{self._where}: no prompt came{_quoted(_text(raw))}. Nothing was sent to the host.",
            next_step=f"Log in by hand: is this {self._way.what}?",
        )

    def _type(self, command: str) -> None:
        self.write(command.encode() + b"\r")

    def _ended(self, said: str) -> DriverError:
        if re.search(self._way.busy, said, re.IGNORECASE):
            return self._refused(said)
        return DriverError(f"{self._where}: the other side hung up{_quoted(said)}. Nothing was sent to the host.")

    def _refused(self, said: str) -> DriverError:
        if not re.search(self._way.busy, said, re.IGNORECASE):
            return DriverError(
                f"{self._where}: the console was not opened{_quoted(said)}. Nothing was sent to the host."
            )
        how = ", or take it from them: --steal types " + ", ".join(f"`{command}`" for command in self._way.steal)
        return ConsoleBusy(
            f"{self._where}: somebody else has the serial console{_quoted(said)}. They were not disturbed.",
            next_step=f"Ask them to leave{how if self._way.steal else '; it cannot be taken over from here'}.",
        )


def _text(raw: bytes | bytearray) -> str:
    return CONTROL.sub("", bytes(raw).decode("utf-8", "replace"))


def _quoted(said: str) -> str:
    shown = harmless(" ".join(said.split()), limit=200)
    return f", saying: {shown}" if shown else ""
