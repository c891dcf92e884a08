"""NMI over Redfish: one POST of ComputerSystem.Reset with ResetType Nmi, to the right system, once.

Sources: DMTF DSP0266 1.20 and the ComputerSystem schema; per vendor what drivers/quirks.py says.
With a record the fire asks nothing that the record knows: one request where a certificate that no other
controller shares proves who answers, two otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from drivers.redfish_body import known_text, local_path
from drivers.redfish_connection import Lost
from drivers.redfish_outcome import judge
from drivers.redfish_session import NotThere, RedfishSession
from drivers.redfish_system import Reset, System, choose, members, read_system, text, with_action_info
from trigger.clock import Deadline
from trigger.driver import Accepted, Driver, DriverOptions, EventLogEntry, Identity, Power, Probe, Settings
from trigger.errors import ConfigError, DriverError, OutcomeUnknown
from trigger.host import Controller
from trigger.identity import Match, compare_identities

if TYPE_CHECKING:
    from drivers.redfish_console import SerialConsole

_MAX_SYSTEMS = 64


class RedfishDriver(Driver):
    """Any controller that speaks Redfish. Options: `scheme`, `login`, `legacy_tls`; `system` chooses among several."""

    OPTIONS: ClassVar[Mapping[str, type]] = {"login": str, "legacy_tls": bool, "scheme": str}

    systems_uri = "/redfish/v1/Systems"

    def __init__(self, controller: Controller, options: DriverOptions) -> None:
        super().__init__(controller, options)
        self.session = RedfishSession(controller, options)
        self._system_uri = ""
        self._shot: Reset | None = None
        self._fired = False

    def probe(self, deadline: Deadline) -> Probe:
        """Log in, and read what the record does not know already. See Driver.probe."""
        self.session.open(deadline)
        remembered = self._from_record()
        if remembered is not None:
            return remembered
        system, alone = self._find(deadline)
        assert system.reset is not None
        reset, firmware = system.reset, known_text(self.options.known, "firmware")
        extra: tuple[str, ...] = ()
        if reset.action_info:
            reset, extra = self._ask_action_info(reset, deadline)
        elif not firmware:
            firmware, extra = self._firmware(system, deadline)
        system = system._replace(reset=reset, identity=self._identity(system, firmware))
        self._system_uri, self._shot = system.uri, reset
        return Probe(
            identity=system.identity,
            power=system.power,
            nmi_allowed=reset.allowed,
            not_ready=system.not_ready,
            learned=self._learned(system, reset, alone),
            warnings=(*self.session.warnings, *system.warnings, *extra),
        )

    def send_nmi(self, deadline: Deadline) -> Accepted:
        """POST the reset once. See SendsNmi.send_nmi; the allow-list is in drivers/redfish_outcome.py."""
        if self._shot is None or self._fired:
            why = "has sent its one NMI" if self._fired else "sends on the connection that probe opens"
            raise RuntimeError(f"{self.controller.name}: this driver {why}; nothing was sent now")
        self._fired = True
        where = f"{self.controller.name}: {self.session.url}{self._shot.uri}"
        try:
            answer = self.session.request("POST", self._shot.uri, deadline, self._shot.body)
        except Lost as error:
            raise OutcomeUnknown(f"{where}: {error}; the request may have arrived") from error
        return judge(self.session, where, answer, deadline, self.options.clock)

    def power(self, deadline: Deadline) -> Power:
        """Return the power state now. See ReportsPower.power."""
        return read_system(self._system_uri, self.session.get(self._need_system(), deadline)).power

    def event_log(self, deadline: Deadline, newest: int = 50, since: float | None = None) -> tuple[EventLogEntry, ...]:
        """Return the newest entries of all logs of system and manager, oldest first. See HasEventLog.event_log.

        `since` is in seconds since the epoch on the controller's own clock: older entries are left out.
        """
        from drivers.redfish_log import read_logs  # no fire needs it

        system = read_system(self._system_uri, self.session.get(self._need_system(), deadline))
        return read_logs(self.session, system, deadline, newest, since)

    def serial_consoles(self, deadline: Deadline) -> tuple[SerialConsole, ...]:
        """Return what system and manager say of the serial console; raises DriverError when they cannot be read."""
        from drivers.redfish_console import serial_consoles

        body = self.session.get(self._need_system(), deadline)
        return serial_consoles(body, self._manager(read_system(self._system_uri, body), deadline))

    def controller_time(self, deadline: Deadline) -> float | None:
        """Return the controller's own clock, seconds since the epoch, None where it does not say."""
        return self.settings(deadline).time

    def settings(self, deadline: Deadline) -> Settings:
        """Return the manager's clock and firmware, and what our account may not do. See ReportsSettings.settings.

        What it says of serial-over-LAN is left out: a "disabled" of a console that works was seen (drivers/quirks.py).
        """
        from drivers.redfish_account import read_account
        from drivers.redfish_log import parse_time

        system = read_system(self._system_uri, self.session.get(self._need_system(), deadline))
        manager = self._manager(system, deadline)
        account = read_account(lambda path: self.session.get(path, deadline), self.controller.user)
        return Settings(
            time=parse_time(text(manager, "DateTime")),
            firmware=text(manager, "FirmwareVersion"),
            exposures=account.exposures,
            too_weak=account.weak,
        )

    def close(self) -> None:
        """Delete the session, whatever happened before. See Driver.close."""
        self.session.close()

    def describe_nmi(self) -> str:
        """Return the exact request, from the probe or the record. See Driver.describe_nmi."""
        reset = self._shot or _recorded_reset(self.options.known)
        if reset is None:
            return f"POST {self.session.url}<the system's reset action> {{'ResetType': 'Nmi'}}"
        return f"POST {self.session.url}{reset.uri} {dict(reset.body)}"

    def _from_record(self) -> Probe | None:
        """Return a probe without a request, where the pinned certificate alone proves which machine this is.

        Power and state are then unknown: a machine that is off takes no harm from an NMI.
        """
        known = self.options.known
        reset = _recorded_reset(known)
        same = self.session.connection.fingerprint == known_text(known, "fingerprint") != ""
        alone = known.get("only_system") is True and known_text(known, "system") == self.controller.system
        if reset is None or not (same and alone and known.get("fingerprint_unique") is True):
            return None
        self._system_uri, self._shot = known_text(known, "system_uri"), reset
        fields = ("uuid", "serial", "hostname", "vendor", "model", "firmware", "fingerprint")
        return Probe(
            identity=Identity(**{name: known_text(known, name) for name in fields}),
            nmi_allowed=reset.allowed,
            learned=dict(known),
            warnings=(
                *self.session.warnings,
                "the power state was not read: the record and the certificate made one request enough",
            ),
        )

    def _find(self, deadline: Deadline) -> tuple[System, bool]:
        """Return the system that is meant, and whether it is the only one behind this controller."""
        known = self.options.known
        recorded, alone = known_text(known, "system_uri"), known.get("only_system") is True
        if recorded and known_text(known, "system") == self.controller.system:
            try:
                system = read_system(recorded, self.session.get(local_path(recorded), deadline))
            except NotThere:
                return self._discover(deadline)
            match, _ = compare_identities(self.options.expected, system.identity)
            if system.reset and (match is Match.SAME or (alone and match is Match.CANNOT_TELL)):
                return system, alone
        return self._discover(deadline)

    def _discover(self, deadline: Deadline) -> tuple[System, bool]:
        paths = self._list_systems(deadline)
        wanted = self.controller.system.casefold()
        named = [path for path in paths if wanted and path.rstrip("/").rpartition("/")[2].casefold() == wanted]
        systems = [read_system(path, self.session.get(path, deadline)) for path in named or paths]
        found = choose(systems, self.controller.system, self.options.expected)
        if isinstance(found, list):
            raise self._undecided(found, systems)
        self._refuse_other_host(found, len(paths))
        return found, len(paths) == 1

    def _list_systems(self, deadline: Deadline) -> tuple[str, ...]:
        try:
            collection = self.session.get(self.systems_uri, deadline)
        except NotThere as error:
            if error.status not in (301, 302, 307, 308, 404):
                raise
            root = self.session.get("/redfish/v1/", deadline)
            collection = self.session.get(local_path(text(root, "Systems", "@odata.id")), deadline)
        paths = members(collection)
        if len(paths) > _MAX_SYSTEMS:
            raise DriverError(f"{self._where()} lists {len(paths)} systems, which no BMC has. Nothing was sent.")
        return paths

    def _refuse_other_host(self, system: System, count: int) -> None:
        """Refuse a system whose request would reach another host (OpenBMC: always host0)."""
        for quirk in system.quirks:
            if quirk.only_system and count > 1 and system.id != quirk.only_system:
                raise DriverError(
                    f"{self._where()}: {quirk.vendor} {quirk.differs} ({quirk.source}); here it would not reach"
                    f" {system.id}, one of {count} systems. Nothing was sent.",
                    next_step="Use another controller of this host, or its console: trigger sysrq HOST c",
                )

    def _undecided(self, found: list[System], systems: list[System]) -> DriverError | ConfigError:
        if not found:
            what = ", ".join(system.id for system in systems) or "none"
            return DriverError(
                f"{self._where()}: no system behind it can be reset (systems: {what}). Nothing was sent.",
                next_step="Is this the BMC of a server? Check the address, and the privileges of this account.",
            )
        names = "; ".join(f"{s.id} (UUID {s.identity.uuid or '-'}, serial {s.identity.serial or '-'})" for s in found)
        problem = (
            f"`system: {self.controller.system}` is none of them or not one alone"
            if self.controller.system
            else "nothing tells them apart"
        )
        return ConfigError(
            f"{self._where()} has {len(found)} systems and {problem}: {names}. Nothing was sent.",
            next_step=f"Name the one that is meant, e.g. `system: {found[0].id}` ({self.controller.where}).",
        )

    def _ask_action_info(self, reset: Reset, deadline: Deadline) -> tuple[Reset, tuple[str, ...]]:
        try:
            return with_action_info(reset, self.session.get(reset.action_info, deadline)), ()
        except NotThere as error:
            return reset._replace(action_info=""), (f"what the reset allows could not be read: {error.message}",)

    def _manager(self, system: System, deadline: Deadline) -> dict[str, Any]:
        return self.session.get(system.manager, deadline) if system.manager else {}

    def _firmware(self, system: System, deadline: Deadline) -> tuple[str, tuple[str, ...]]:
        if not system.manager:
            return "", ()
        try:
            return text(self.session.get(system.manager, deadline), "FirmwareVersion"), ()
        except NotThere as error:
            return "", (f"the manager could not be read: {error.message}",)

    def _identity(self, system: System, firmware: str) -> Identity:
        return system.identity._replace(firmware=firmware, fingerprint=self.session.connection.fingerprint)

    def _learned(self, system: System, reset: Reset, alone: bool) -> dict[str, object]:
        identity = system.identity
        learned: dict[str, object] = {
            "reset_uri": reset.uri,
            "reset_body": dict(reset.body),
            "nmi_allowed": reset.allowed,
            "system": self.controller.system,
            "system_uri": system.uri,
            "manager_uri": system.manager,
            "only_system": alone,
            "login": self.session.login,
            "sessions_uri": self.session.sessions_uri,
            "uuid": identity.uuid,
            "serial": identity.serial,
            "hostname": identity.hostname,
            "vendor": identity.vendor,
            "model": identity.model,
            "firmware": identity.firmware,
            "fingerprint": identity.fingerprint,
        }
        expires = self.session.expires_at() if identity.fingerprint else float("inf")
        if expires != float("inf"):
            learned["expires_at"] = expires
        if self.session.connection.closes_idle:
            learned["closes_idle"] = True
        unique = self.options.known.get("fingerprint_unique")
        if unique is not None and known_text(self.options.known, "fingerprint") == identity.fingerprint:
            learned["fingerprint_unique"] = unique
        return learned

    def _need_system(self) -> str:
        if not self._system_uri:
            raise DriverError(f"{self.controller.name}: nothing can be read before a probe. Nothing was sent.")
        return self._system_uri

    def _where(self) -> str:
        return f"{self.controller.name}: {self.session.url}"


def _recorded_reset(known: Mapping[str, object]) -> Reset | None:
    """Return the request of the record, or None when it holds none that is whole."""
    body, allowed = known.get("reset_body"), known.get("nmi_allowed")
    if not known_text(known, "reset_uri") or not isinstance(body, Mapping) or not known_text(known, "system_uri"):
        return None
    strings = {str(key): value for key, value in body.items() if isinstance(value, str)}
    return Reset(local_path(known_text(known, "reset_uri")), strings, allowed if isinstance(allowed, bool) else None)
