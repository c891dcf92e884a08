"""The contract between `trigger` and a controller: what a driver must do, and may never do.

A driver is a class with the constructor `(controller: Controller, options: DriverOptions)`. The constructor
opens nothing. Abilities are methods: a driver that has `send_nmi` can send an NMI, and there is no second list.

The law of a method that sends: it sends at most one request that acts, once; it raises `Refused` only when the
controller *answered* that it did nothing; anything else it raises after the request may have left means
"outcome unknown". Logging in may be retried inside `probe`; a method that sends never logs in, never retries,
never follows a redirect and never falls back to another way.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol, Self, runtime_checkable

from trigger.clock import Clock, Deadline, SystemClock

if TYPE_CHECKING:
    from trigger.host import Controller


class Power(enum.Enum):
    """The power state of the system behind a controller."""

    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"


class Identity(NamedTuple):
    """Who a machine says it is. Empty strings mean "does not say"; nothing is normalised here.

    `uuid` is as the controller prints it (trigger/identity.py compares both byte orders), `serial` is the
    system's serial number, `fingerprint` the SHA-256 of the TLS certificate or SSH host key, in hex.
    """

    uuid: str = ""
    serial: str = ""
    hostname: str = ""
    vendor: str = ""
    model: str = ""
    firmware: str = ""
    fingerprint: str = ""


class Probe(NamedTuple):
    """What a controller said before the fire, on the connection that will fire.

    `nmi_allowed` is None when this controller does not say. `learned` is what the record should keep so that
    the next fire need not ask again (cipher suite, reset URI, login kind); plain JSON values, no secrets.
    `warnings` are sentences for people.
    """

    identity: Identity = Identity()
    power: Power = Power.UNKNOWN
    nmi_allowed: bool | None = None
    not_ready: str = ""
    learned: Mapping[str, object] = MappingProxyType({})
    warnings: tuple[str, ...] = ()


class Accepted(NamedTuple):
    """The controller answered yes. It proves nothing about the host."""

    answer: str


class EventLogEntry(NamedTuple):
    """One entry of the controller's event log; `time` is in seconds since the epoch on the controller's clock."""

    time: float | None
    severity: str
    text: str
    key: str = ""


class Exposure(NamedTuple):
    """A way into a controller that should not be there. `kind` is cipher-0, no-authentication, anonymous, ipmi-1.5 or
    default-account; `says` a clause for people; `remedy` how it is closed, "" where nobody wrote it down.
    """

    kind: str
    says: str
    remedy: str = ""


class Settings(NamedTuple):
    """How a controller is set up, as far as it says; None and "" mean "does not say".

    `time` is the controller's clock in seconds since the epoch, `sol_baud` the serial-over-LAN speed in baud,
    `too_weak` what the account lacks for a reset, in words ("the role ReadOnly, which ...").
    """

    time: float | None = None
    firmware: str = ""
    sol_enabled: bool | None = None
    sol_baud: int | None = None
    exposures: tuple[Exposure, ...] = ()
    too_weak: str = ""


class Answers(Protocol):
    """How a driver gets the password: called as late as possible, never stored longer than the login needs."""

    def password(self) -> str:
        """Return the controller's password, or raise ConfigError with the reason."""
        ...


class DriverOptions(NamedTuple):
    """What a driver is given besides its controller's configuration.

    `known` is what the record says of this controller (`Probe.learned` of the last preflight; empty without one).
    `accept_new` allows an unknown or changed certificate or host key (`--trust-new`, `--override tls-changed`).
    """

    secrets: Answers
    known: Mapping[str, object] = MappingProxyType({})
    expected: Identity = Identity()
    accept_new: bool = False
    clock: Clock = SystemClock()


class Driver:
    """The one small base: a driver is opened by `probe`, closed by `close`, and is a context manager.

    `OPTIONS` is what it takes under `options:`, with the type of each value: `trigger hosts --check` finds what is
    misspelled. None is a driver that does not say.
    """

    OPTIONS: ClassVar[Mapping[str, type] | None] = None

    def __init__(self, controller: Controller, options: DriverOptions) -> None:
        self.controller = controller
        self.options = options

    def probe(self, deadline: Deadline) -> Probe:
        """Log in and read identity, power and what is allowed. Sends nothing that acts.

        Raises Unreachable, LoginFailed or DriverError, always before `deadline`.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Log out and free the connection; best effort, bounded to a second, raises nothing."""

    def describe_nmi(self) -> str:
        """Return the exact request that `send_nmi` would send, in words for the plan."""
        return "diagnostic interrupt"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@runtime_checkable
class SendsNmi(Protocol):
    """The ability to send a diagnostic interrupt."""

    def send_nmi(self, deadline: Deadline) -> Accepted:
        """Send exactly one diagnostic interrupt on the connection that `probe` opened.

        Returns Accepted when the controller answered yes; raises Refused only when it answered that it did
        nothing (docs/drivers.md has the allow-list); anything else raised means "unknown". Never past `deadline`.
        """
        ...


@runtime_checkable
class ReportsPower(Protocol):
    """The ability to say whether the system is powered."""

    def power(self, deadline: Deadline) -> Power:
        """Return the power state now; raises DriverError when it cannot be read."""
        ...


@runtime_checkable
class HasEventLog(Protocol):
    """The ability to read the controller's event log."""

    def event_log(self, deadline: Deadline, newest: int = 50) -> tuple[EventLogEntry, ...]:
        """Return the `newest` entries, oldest first, hostile text unfiltered; raises DriverError."""
        ...


@runtime_checkable
class ReportsSettings(Protocol):
    """The ability to say how the controller is set up. For preflight; no fire asks."""

    def settings(self, deadline: Deadline) -> Settings:
        """Read the settings on the connection that `probe` opened; raises DriverError when they cannot be read.

        Changes nothing, tries no password, and nothing that a controller could count as a failed login.
        """
        ...


class Console(Protocol):
    """A serial console that was opened for us. Bytes are as the host sent them."""

    def read(self, deadline: Deadline) -> bytes:
        """Return what has come, waiting for something; b"" when `deadline` passes; EOFError when it is lost."""
        ...

    def write(self, data: bytes) -> None:
        """Send `data` as typed; raises DriverError when the console is lost."""
        ...

    def send_break(self) -> None:
        """Send exactly one BREAK; returns when the controller acknowledged it.

        Raises Refused when the controller answered that it did not send it, DriverError when it did not answer.
        """
        ...

    def close(self) -> None:
        """Give the console back properly; bounded to two seconds, raises nothing."""
        ...


@runtime_checkable
class HasConsole(Protocol):
    """The ability to open the host's serial console."""

    def open_console(self, deadline: Deadline, *, steal: bool = False) -> Console:
        """Open the console; raises ConsoleBusy (naming the holder where the controller tells) or DriverError."""
        ...
