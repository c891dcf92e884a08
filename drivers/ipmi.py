"""The IPMI driver: a diagnostic interrupt by Chassis Control over RMCP+ (IPMI 2.0 sections 13 and 28.3).

python-ipmi is imported when the first controller is probed, not before: `--help`, `--dry-run` and hosts with
other controllers do not pay for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, ClassVar

from drivers.ipmi_opening import defer_other_interfaces, resolve, send_opening
from trigger.clock import Deadline
from trigger.driver import Accepted, Console, Driver, EventLogEntry, Identity, Power, Probe, Settings
from trigger.errors import ConfigError, DriverError, OutcomeUnknown, Refused

if TYPE_CHECKING:
    from drivers.ipmi_session import IpmiSession

PORT = 623
NETFN_CHASSIS, GET_CHASSIS_STATUS, CHASSIS_CONTROL = 0x00, 0x01, 0x02
DIAGNOSTIC_INTERRUPT = b"\x04"

# Offered in this order when nothing is known. 0 (no authentication) is never used, nor are 1 and 15, which leave
# replies unsigned: anybody could forge the answer to a diagnostic interrupt.
OFFERED_SUITES = (17, 3)
SIGNED_SUITES = (2, 3, 16, 17)
PRIVILEGES = ("operator", "administrator")

# The completion codes that prove that a command was not carried out (IPMI 2.0 table 5-2, docs/drivers.md). Every
# other code than 0x00 leaves the outcome unknown: 0xC3 "timeout" or 0xFF "unspecified" may come after the fact.
REFUSALS = {
    0xC0: "it is busy",
    0xC1: "it does not know the command",
    0xC2: "it does not know the command for this LUN",
    0xC6: "it found the request cut short",
    0xC7: "it found the request's length wrong",
    0xC8: "it found the request too long",
    0xC9: "it has no diagnostic interrupt (parameter out of range)",
    0xCC: "it has no diagnostic interrupt (invalid data field)",
    0xD4: "the account's privilege is not enough",
    0xD5: "it cannot in the system's present state (is the power on?)",
    0xD6: "the command is disabled there",
}


class IpmiDriver(Driver):
    """One BMC over RMCP+. Identity is the managed-system GUID of RAKP message 2, as 32 hex digits in wire order.

    One object fires at most once and belongs to one thread.
    """

    OPTIONS: ClassVar[Mapping[str, type]] = {}

    _session: IpmiSession | None = None
    _fired = False

    def probe(self, deadline: Deadline) -> Probe:
        """Log in, and read the power state with one Get Chassis Status; see `Driver.probe`."""
        end = monotonic() + deadline.left()
        while True:
            session = self._logged_in(end)
            try:
                power, warning = self._read_power(session, end)
                break
            except DriverError as error:
                # The session is dead; nothing has been fired on it, so a new login is safe.
                self.close()
                if monotonic() >= end:
                    raise DriverError(f"{error.message}; nothing was sent", next_step="try again") from None
        warnings = [warning] if warning else []
        known = self.options.known.get("cipher_suite")
        if known != session.suite and known in SIGNED_SUITES:
            warnings.append(
                f"{self._label} is used with the configured cipher suite {session.suite}, although {known} was recorded"
            )
        return Probe(
            identity=Identity(uuid=session.guid.hex()),
            power=power,
            learned={"cipher_suite": session.suite, "privilege": session.privilege},
            warnings=tuple(warnings),
        )

    def close(self) -> None:
        """Send Close Session without awaiting its answer; raises nothing."""
        if self._session is not None:
            self._session.leave()
            self._session = None

    def describe_nmi(self) -> str:
        """Return the request in words."""
        return (
            f"IPMI Chassis Control, diagnostic interrupt (netfn 0x00 command 0x02 data 0x04), to {self._label} "
            f"as user {self.controller.user!r}"
        )

    def send_nmi(self, deadline: Deadline) -> Accepted:
        """Send Chassis Control, diagnostic interrupt, in one datagram; see `SendsNmi.send_nmi`."""
        if self._fired:
            raise RuntimeError("this driver has sent its one diagnostic interrupt; nothing was sent now")
        if self._session is None:
            raise RuntimeError("send_nmi needs the session that probe opens; nothing was sent")
        self._fired = True
        seconds = deadline.left()
        try:
            reply = self._session.send_once(NETFN_CHASSIS, CHASSIS_CONTROL, DIAGNOSTIC_INTERRUPT, monotonic() + seconds)
        except OSError as error:
            raise OutcomeUnknown(
                f"{self._label}: this machine's network failed while the diagnostic interrupt was sent "
                f"({error.strerror}); it may have left"
            ) from error
        if reply is None:
            raise OutcomeUnknown(
                f"{self._label}: the diagnostic interrupt was sent once, and no answer came within {seconds:.1f} s"
            )
        return self._judge(reply[0])

    def power(self, deadline: Deadline) -> Power:
        """Return the power state by one Get Chassis Status; logs in if need be."""
        end = monotonic() + deadline.left()
        session = self._logged_in(end)
        try:
            return self._read_power(session, end)[0]
        except DriverError:
            self.close()  # so that the next call logs in again
            raise

    def event_log(self, deadline: Deadline, newest: int = 50) -> tuple[EventLogEntry, ...]:
        """Return the `newest` entries of the System Event Log; logs in if need be."""
        from drivers.ipmi_sel import read_log

        end = monotonic() + deadline.left()
        session = self._logged_in(end)
        try:
            return read_log(lambda netfn, command, data: session.ask(netfn, command, data, end), newest)
        except DriverError:
            self.close()
            raise

    def settings(self, deadline: Deadline) -> Settings:
        """Return how the BMC is set up, and who else it would let in; see `ReportsSettings.settings`."""
        from drivers.ipmi_exposure import accounts, ask_outside
        from drivers.ipmi_settings import read_settings

        end = monotonic() + deadline.left()
        session = self._logged_in(end)
        found, users = read_settings(lambda netfn, command, data: session.ask(netfn, command, data, end))
        addresses = resolve(self.controller.address, self.controller.port or PORT, end)
        return found._replace(exposures=(*ask_outside(addresses, end), *accounts(users, self.controller.user)))

    @property
    def _label(self) -> str:
        return f"{self.controller.address} (IPMI, UDP port {self.controller.port or PORT})"

    def _logged_in(self, end: float) -> IpmiSession:
        if self._session is None:
            suites, privileges = self._suites(), self._privileges()
            addresses = resolve(self.controller.address, self.controller.port or PORT, end)
            # With one suite to offer, Open Session leaves now, and is answered while python-ipmi is imported.
            opening = send_opening(addresses, suites[0], privileges[0]) if len(suites) == 1 else None
            defer_other_interfaces()
            from drivers.ipmi_login import log_in
            from drivers.ipmi_session import IpmiSession

            session = IpmiSession(self._label, addresses, opening)
            try:
                log_in(session, self.controller.user, self.options.secrets, suites, privileges, end)
            except BaseException:
                session.leave()
                raise
            self._session = session
        return self._session

    def _suites(self) -> tuple[int, ...]:
        """Return the suites to offer: the configured one, else the recorded one and none below it, else all."""
        configured = self.controller.cipher_suite
        if configured is not None and configured not in SIGNED_SUITES:
            raise ConfigError(
                f"{self.controller.where or self._label}: cipher suite {configured} is not supported, "
                f"only {', '.join(map(str, SIGNED_SUITES))}; nothing was sent",
                next_step="set `cipher_suite: 17` or `cipher_suite: 3`, or leave it out",
            )
        for suite in (configured, self.options.known.get("cipher_suite")):
            if isinstance(suite, int) and suite in SIGNED_SUITES:
                return (suite,)
        return OFFERED_SUITES

    def _privileges(self) -> tuple[str, ...]:
        """Return the privilege levels to log in with, the lowest that suffices first."""
        configured = self.controller.privilege.lower()
        if configured and configured not in PRIVILEGES:
            raise ConfigError(
                f"{self.controller.where or self._label}: privilege {self.controller.privilege!r} cannot send a "
                "diagnostic interrupt; nothing was sent",
                next_step="set `privilege: operator` or `privilege: administrator`, or leave it out",
            )
        if configured:
            return (configured,)
        return PRIVILEGES[1:] if self.options.known.get("privilege") == "administrator" else PRIVILEGES

    def _read_power(self, session: IpmiSession, end: float) -> tuple[Power, str]:
        """Return the power state (IPMI 2.0 section 28.2, byte 2 bit 0), and a warning if it was not to be had."""
        reply = session.ask(NETFN_CHASSIS, GET_CHASSIS_STATUS, b"", end)
        if reply[0] != 0 or len(reply) < 2:
            return (
                Power.UNKNOWN,
                f"{self._label} does not tell its power state (completion code {reply[0]:#04x})",
            )
        return (Power.ON if reply[1] & 0x01 else Power.OFF), ""

    def open_console(self, deadline: Deadline, *, steal: bool = False) -> Console:
        """Open serial-over-LAN in an RMCP+ session of its own; see `HasConsole.open_console`."""
        from drivers.ipmi_sol import open_sol

        return open_sol(self.controller, self.options.secrets, deadline, steal=steal)

    def _judge(self, code: int) -> Accepted:
        """Return or raise what a completion code of the diagnostic interrupt means."""
        if code == 0:
            return Accepted("completion code 0x00")
        if code == 0xD4 and self._session is not None and self._session.privilege == "operator":
            raise Refused(
                f"{self._label} refused the diagnostic interrupt (completion code 0xd4): "
                "needs ADMINISTRATOR: set `privilege: administrator`",
                next_step="set `privilege: administrator` on this controller",
            )
        if code in REFUSALS:
            raise Refused(
                f"{self._label} refused the diagnostic interrupt: {REFUSALS[code]} (completion code {code:#04x})"
            )
        raise OutcomeUnknown(
            f"{self._label} answered the diagnostic interrupt with completion code {code:#04x}, "
            "which does not prove that nothing happened"
        )
