"""NMI by a controller's own command line over SSH, and the choice between that and Redfish.

A dialect is data: prompts, commands, what the answers mean, with sources. The dialogue is always the same: wait for
the prompt, ask who the machine is, send the one command, wait for the prompt again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from trigger.clock import Deadline
from trigger.driver import Accepted, Console, Driver, DriverOptions, EventLogEntry, Identity, Power, Probe, Settings
from trigger.errors import ConfigError, DriverError, OutcomeUnknown, Refused, Unreachable
from trigger.host import Controller
from trigger.text import harmless

if TYPE_CHECKING:
    from drivers.ssh_serial import Way
    from trigger.ssh.shell import Shell, ShellPeer

_MAX_OUTPUT = 256 * 1024
# Terminal control sequences (ECMA-48 CSI, and the two-character ones): iLO colours its prompt.
CONTROL = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])|\r")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one family's command line is spoken to. Patterns are searched in output without echo and prompt.

    `prompts` maps a prompt (regular expression, at the end of the output) to what a command begins with there.
    """

    name: str
    prompts: tuple[tuple[str, str], ...]
    nmi: str
    identify: str
    parse_identity: Callable[[str], tuple[Identity, Power]]
    accepted: str
    refused: str
    source: str


class CliDriver(Driver):
    """A controller's command line. Options: `host_key` (SHA256:...), `legacy_ssh`."""

    def __init__(self, controller: Controller, options: DriverOptions, dialect: Dialect) -> None:
        super().__init__(controller, options)
        self._dialect = dialect
        self._where = f"{controller.name}: ssh://{controller.address}:{controller.port or 22}"
        self._shell: Shell | None = None
        self._prefix: str | None = None
        self._fired = False

    def probe(self, deadline: Deadline) -> Probe:
        """Log in, wait for the prompt, and ask who the machine is. See Driver.probe."""
        from trigger.ssh.shell import open_shell

        self._shell = open_shell(self._peer(), deadline)
        try:
            self._until_prompt(deadline)
            said = self._ask(self._dialect.identify, deadline)
        except _Lost as error:
            raise Unreachable(
                f"{self._where}: {error}. Nothing was sent.",
                next_step=f"Log in by hand: is this {self._dialect.name}, and is a session free?",
            ) from None
        identity, power = self._dialect.parse_identity(said)
        key = self._shell.host_key
        return Probe(
            identity=Identity(
                serial=identity.serial,
                hostname=identity.hostname,
                vendor=identity.vendor,
                model=identity.model,
                fingerprint=key,
            ),
            power=power,
            nmi_allowed=None,
            learned={"fingerprint": key, "serial": identity.serial, "transport": "ssh"},
            warnings=self._warnings(power),
        )

    def send_nmi(self, deadline: Deadline) -> Accepted:
        """Type the command once. See SendsNmi.send_nmi; what counts as refused is in the dialect."""
        if self._prefix is None or self._fired:
            why = "has sent its one NMI" if self._fired else "types on the connection that probe opens"
            raise RuntimeError(f"{self._where}: this driver {why}; nothing was sent now")
        self._fired = True
        try:
            said = self._ask(self._dialect.nmi, deadline)
        except _Lost as error:
            raise OutcomeUnknown(f"{self._where}: {error}; `{self._dialect.nmi}` may have arrived") from error
        text = harmless(" ".join(said.split()), limit=300)
        refused = re.search(self._dialect.refused, said, re.IGNORECASE)
        accepted = re.search(self._dialect.accepted, said, re.IGNORECASE)
        if accepted and not refused:
            return Accepted(text)
        if refused and not accepted:
            raise Refused(f"{self._where} refused `{self._dialect.nmi}`: {text}")
        raise OutcomeUnknown(
            f"{self._where} answered `{self._dialect.nmi}` with something unknown: {text or 'nothing'}"
        )

    def power(self, deadline: Deadline) -> Power:
        """Return the power state now. See ReportsPower.power."""
        try:
            return self._dialect.parse_identity(self._ask(self._dialect.identify, deadline))[1]
        except _Lost as error:
            raise Unreachable(f"{self._where}: {error}. Nothing was sent.") from None

    def close(self) -> None:
        """End the SSH connection. See Driver.close."""
        shell, self._shell = self._shell, None
        if shell is not None:
            shell.close()

    def describe_nmi(self) -> str:
        """Return the command line that would be typed. See Driver.describe_nmi."""
        return f"{self._where}: {self._dialect.nmi}"

    def _peer(self) -> ShellPeer:
        from trigger.ssh.shell import ShellPeer

        controller = self.controller
        return ShellPeer(
            name=controller.name,
            address=controller.address,
            port=controller.port or 22,
            user=controller.user,
            password=self.options.secrets.password,
            host_key=pinned_host_key(controller, self.options),
            accept_new=self.options.accept_new,
            legacy=controller.options.get("legacy_ssh") is True,
        )

    def _warnings(self, power: Power) -> tuple[str, ...]:
        new = self._shell is not None and self._shell.host_key != pinned_host_key(self.controller, self.options)
        return (
            *((f"the host key is new; accepted as asked, {self._shell.host_key}",) if self._shell and new else ()),
            *(("the power state is not given",) if power is Power.UNKNOWN else ()),
        )

    def _ask(self, command: str, deadline: Deadline) -> str:
        """Type `command` once and return what is printed before the next prompt, without the echo."""
        if self._shell is None:
            raise _Lost("it is closed")
        line = f"{self._prefix or ''}{command}"
        try:
            self._shell.write(line.encode() + b"\r")
        except EOFError:
            raise _Lost("the connection was lost") from None
        said = self._until_prompt(deadline, echo=line)
        return said.partition(line)[2] or said

    def _until_prompt(self, deadline: Deadline, echo: str = "") -> str:
        """Return what comes before the next prompt, and remember what commands begin with there; raises _Lost."""
        assert self._shell is not None
        raw, text = bytearray(), ""
        while not deadline.passed():
            try:
                raw += self._shell.read(deadline)
            except EOFError:
                raise _Lost("the connection was lost") from None
            if len(raw) > _MAX_OUTPUT:
                raise _Lost(f"more than {_MAX_OUTPUT // 1024} kB came, and no prompt")
            text = CONTROL.sub("", raw.decode("utf-8", "replace"))
            for pattern, prefix in self._dialect.prompts:
                found = re.search(pattern + r"\s*$", text[-200:])
                if found and (not echo or echo in text):
                    self._prefix = prefix
                    return text[: len(text) - len(found[0])]
        raise _Lost(f"no prompt came in time{f' after {harmless(text[-80:])!r}' if text.strip() else ''}")


def pinned_host_key(controller: Controller, options: DriverOptions) -> str:
    """Return the host key of the configuration, else of the record (a TLS fingerprint there is none), else ""."""
    recorded = str(options.known.get("fingerprint", ""))
    configured = str(controller.options.get("host_key", ""))
    return configured or (recorded if recorded.startswith("SHA256:") else "")


class _Lost(Exception):
    """No prompt came. Where a command had been typed it may have arrived."""


class RedfishOrCli(Driver):
    """A family that has both. Option `transport`: redfish (default) or ssh; never one after the other."""

    OPTIONS: ClassVar[Mapping[str, type]] = {
        "transport": str, "host_key": str, "legacy_ssh": bool, "ssh_port": int,
        "login": str, "legacy_tls": bool, "scheme": str,
    }  # fmt: skip

    dialect: Dialect

    def __init__(self, controller: Controller, options: DriverOptions) -> None:
        super().__init__(controller, options)
        transport = controller.options.get("transport", "redfish")
        if transport not in ("redfish", "ssh"):
            raise ConfigError(
                f"{controller.name}: transport is {transport!r}; it can be redfish or ssh ({controller.where})."
                " Nothing was sent."
            )
        if not str(controller.options.get("ssh_port", "22")).isdigit():
            raise ConfigError(
                f"{controller.name}: ssh_port is not a number ({controller.where}). Nothing was sent.",
                next_step="Leave it out for 22.",
            )
        if "/" in controller.address or not controller.address:
            raise ConfigError(
                f"{controller.name}: {controller.address!r} is not an address ({controller.where}). Nothing was sent.",
                next_step="Write a host name or an IP address.",
            )
        self.way = CliDriver(controller, options, self.dialect) if transport == "ssh" else self.redfish()

    def redfish(self) -> Driver:
        """Return the Redfish driver of this family."""
        raise NotImplementedError

    def probe(self, deadline: Deadline) -> Probe:
        """See Driver.probe."""
        return self.way.probe(deadline)

    def send_nmi(self, deadline: Deadline) -> Accepted:
        """See SendsNmi.send_nmi."""
        accepted: Accepted = self.way.send_nmi(deadline)  # type: ignore[attr-defined]
        return accepted

    def power(self, deadline: Deadline) -> Power:
        """See ReportsPower.power."""
        state: Power = self.way.power(deadline)  # type: ignore[attr-defined]
        return state

    def event_log(self, deadline: Deadline, newest: int = 50) -> tuple[EventLogEntry, ...]:
        """See HasEventLog.event_log; over SSH there is none."""
        read = getattr(self.way, "event_log", None)
        if read is None:
            raise DriverError(f"{self.controller.name}: the event log is read over Redfish only. Nothing was sent.")
        entries: tuple[EventLogEntry, ...] = read(deadline, newest)
        return entries

    def settings(self, deadline: Deadline) -> Settings:
        """See ReportsSettings.settings; over SSH nothing is known."""
        read = getattr(self.way, "settings", None)
        found: Settings = read(deadline) if read is not None else Settings()
        return found

    def open_console(self, deadline: Deadline, *, steal: bool = False) -> Console:
        """Open the serial console in an SSH session of its own. See HasConsole.open_console.

        Its port is `ssh_port` of the options, else 22: `port` is Redfish's, unless `transport` is ssh.
        """
        from drivers.ssh_serial import open_serial

        controller = self.controller
        over_ssh = controller.options.get("transport") == "ssh"
        port = int(str(controller.options.get("ssh_port") or (controller.port if over_ssh else 0) or 22))
        return open_serial(self.serial(), controller, self.options, port, deadline, steal=steal)

    def serial(self) -> Way:
        """Return how this family's serial console is reached."""
        raise NotImplementedError

    def close(self) -> None:
        """See Driver.close."""
        self.way.close()

    def describe_nmi(self) -> str:
        """See Driver.describe_nmi."""
        return self.way.describe_nmi()
