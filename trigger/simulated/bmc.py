"""The simulated BMC: pyghmi's `ipmi.bmc.Bmc` on an asyncio datagram socket, with privilege, counting and faults.

pyghmi's own I/O thread is not used: its server now and then misses a wake-up and answers only after the next
packet (measured at 1 % of logins), which a test cannot tell from a lost datagram.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import socket
import struct
import uuid
from collections.abc import Callable
from typing import Any

from pyghmi.ipmi.bmc import Bmc

from trigger.simulated.bmc_session import (
    INSUFFICIENT_RESOURCES,
    INVALID_AUTHENTICATION_ALGORITHM,
    OK,
    SUITES,
    UNAUTHORIZED_ROLE,
    BmcSession,
)
from trigger.simulated.switches import PRIVILEGES, Switches

CHASSIS_CONTROL = {0: "power_off", 1: "power_on", 2: "power_cycle", 3: "reset", 4: "nmi", 5: "soft_shutdown"}
"""Chassis Control's first byte (IPMI 2.0, section 28.3), under the name it is counted by."""

INVALID_DATA_FIELD = 0xCC
INSUFFICIENT_PRIVILEGE = 0xD4
NOT_IN_THIS_STATE = 0xD5
MOST_SESSIONS = 64  # the oldest is forgotten beyond, so that lost Close Sessions do not eat memory


class Wire:
    """What pyghmi takes for its socket: sends at once, or after `hold` seconds for the next datagram only."""

    def __init__(self, udp: socket.socket) -> None:
        self.socket = udp
        self.hold = 0.0

    def setblocking(self, _blocking: bool) -> None:
        """Do nothing: the socket never blocks."""

    def sendto(self, packet: bytes, client: Any) -> None:
        """Send one datagram to `client`."""
        hold, self.hold = self.hold, 0.0
        if hold:
            asyncio.get_running_loop().call_later(hold, self._send, bytes(packet), client)
        else:
            self._send(bytes(packet), client)

    def _send(self, packet: bytes, client: Any) -> None:
        with contextlib.suppress(OSError):  # closed meanwhile, or nobody listens there any more
            self.socket.sendto(packet, client)


class SimulatedBmc(Bmc):  # type: ignore[misc]
    """One BMC. `on_nmi` is called for each NMI that reaches the host; `counters` is what the BMC received.

    Counted: `datagrams`, `open_session`, `rakp1`, `rakp3`, `login_failed`, `set_privilege`, `close_session`,
    `chassis_status`, `chassis_control` (all), each kind of it (`nmi`, `power_off`, ...) whatever was answered,
    `delivered` (NMIs that reached the host), `other` requests, and `datagrams_before_nmi` (those of the client,
    up to the first NMI, itself not counted).
    """

    def __init__(self, switches: Switches, wire: Wire, on_nmi: Callable[[], None]) -> None:
        # IpmiServer.__init__ would open a socket and start pyghmi's I/O thread: its fields are set here instead
        self.revision = self.deviceid = self.firmwareminor = self.additionaldevices = 0
        self.mfgid = self.prodid = 0
        self.firmwaremajor, self.ipmiversion = 1, 2
        self.pktqueue: collections.deque[Any] = collections.deque()
        self.authcap = struct.pack("9B", 0, 1, 0x80, 0x04, 0x02, 0, 0, 0, 0)  # RMCP+ only, channel 1
        self.kg = None
        self.serversocket = wire
        self.port = wire.socket.getsockname()[1]
        self.on_nmi = on_nmi
        self.counters: collections.Counter[str] = collections.Counter()
        self.sessions: dict[int, BmcSession] = {}
        self.use(switches)

    def use(self, switches: Switches) -> None:
        """Behave by `switches` from now on."""
        self.switches = switches
        self.uuid = uuid.UUID(switches.reported_guid or switches.guid)
        self.authdata = {switches.user: switches.password}

    # What sessions ask their BMC

    def choose_suite(self, asked: tuple[int, int, int]) -> tuple[int, int]:
        """Return (cipher suite, status) for the algorithms of an Open Session Request; a status is a refusal."""
        if self.counters["open_session"] <= self.switches.busy_open_sessions:
            return 0, INSUFFICIENT_RESOURCES
        if self.switches.forced_suite:
            return self.switches.forced_suite, OK
        for suite in self.switches.cipher_suites:
            if SUITES[suite] == asked:
                return suite, OK
        return 0, INVALID_AUTHENTICATION_ALGORITHM

    def guid_bytes(self) -> bytes:
        """Return the managed-system GUID as RAKP message 2 carries it."""
        return self.uuid.bytes if self.switches.guid_order == "big" else self.uuid.bytes_le

    def limit(self) -> int:
        """Return the account's privilege limit."""
        return PRIVILEGES[self.switches.privilege]

    def _is_too_high(self, role: int) -> bool:
        return role > self.limit() or role in {PRIVILEGES[name] for name in self.switches.refused_roles}

    def refuses_role(self, role: int) -> int:
        """Return the status for the role that RAKP message 1 asks for."""
        too_high = self.switches.role_check == "login" and self._is_too_high(role)
        return UNAUTHORIZED_ROLE if too_high else OK

    def refuses_privilege(self, level: int) -> bool:
        """Return whether Set Session Privilege Level to `level` is refused."""
        return self.switches.role_check != "command" and self._is_too_high(level)

    def forget(self, session: BmcSession) -> None:
        """Drop a closed session."""
        self.sessions.pop(int.from_bytes(session.managedsessionid, "little"), None)

    # Datagrams

    def received(self, data: bytes, client: Any) -> None:
        """Take one datagram from `client` to the session that it names. Never raises."""
        self.counters["datagrams"] += 1
        if len(data) < 16 or data[0] != 6 or data[2:4] != b"\xff\x07":
            return
        payload_type = data[5] & 0x3F
        if data[4] != 6 or (payload_type == 0 and not data[5] & 0x40):
            self.sessionless_data(data, client)  # Get Channel Authentication Capabilities and the like
        elif payload_type == 0x10:
            self._open_session(data, client)
        else:
            self._to_session(data, client, payload_type)

    def _open_session(self, data: bytes, client: Any) -> None:
        if len(data) < 48:
            return
        self.counters["open_session"] += 1
        session = BmcSession(self, data[16:], client)
        if session.suite:
            self.sessions[int.from_bytes(session.managedsessionid, "little")] = session
        while len(self.sessions) > MOST_SESSIONS:
            del self.sessions[next(iter(self.sessions))]

    def _to_session(self, data: bytes, client: Any, payload_type: int) -> None:
        handshake = payload_type in (0x12, 0x14)
        if len(data) < (44 if handshake else 32):
            return
        number = int.from_bytes(data[20:24] if handshake else data[6:10], "little")
        session = self.sessions.get(number)
        if session is None or session.sockaddr != client or (not handshake and session.is_repeated(data)):
            return
        session._handle_ipmi2_packet(bytearray(data))

    def send_auth_cap(self, *arguments: Any) -> None:
        """Count and answer Get Channel Authentication Capabilities (section 22.13)."""
        self.counters["auth_capabilities"] += 1
        super().send_auth_cap(*arguments)

    # Requests

    def get_system_guid(self) -> uuid.UUID:
        """Return the GUID for Get System GUID (section 22.14)."""
        return self.uuid

    def get_power_state(self) -> str:
        """Return "on" or "off" for Get Chassis Status (section 28.2)."""
        self.counters["chassis_status"] += 1
        return self.switches.power

    def control_chassis(self, request: dict[str, Any], session: BmcSession) -> None:
        """Answer Chassis Control (section 28.3): count it, refuse it, or act and then answer."""
        kind = CHASSIS_CONTROL.get(request["data"][0] & 0x0F if request["data"] else -1, "other")
        if kind == "nmi" and not self.counters["nmi"]:
            self.counters["datagrams_before_nmi"] = self.counters["datagrams"] - 1
        self.counters["chassis_control"] += 1
        self.counters[kind] += 1
        level = session.clientpriv
        if level < PRIVILEGES[self.switches.nmi_privilege] or self._is_too_high(level):
            session.send_ipmi_response(code=INSUFFICIENT_PRIVILEGE)
            return
        of_nmis = self.switches.refuse_first
        if self.switches.refuse and (kind != "nmi" or not of_nmis or self.counters["nmi"] <= of_nmis):
            session.send_ipmi_response(code=self.switches.refuse)
            return
        if kind != "nmi":
            session.send_ipmi_response(code=INVALID_DATA_FIELD)  # counted, and that is all: nobody may cut the power
            return
        if self.switches.power == "off":
            session.send_ipmi_response(code=NOT_IN_THIS_STATE)
            return
        self.serversocket.hold = self.switches.nmi_answer_delay
        if self.switches.nmi == "deliver" and self.counters["nmi"] > self.switches.ignore_first:
            self.counters["delivered"] += 1
            self.on_nmi()
        session.send_ipmi_response()

    # Its socket

    def serve(self) -> None:
        """Read from the socket on the running event loop until `close`."""
        asyncio.get_running_loop().add_reader(self.serversocket.socket, self._readable)

    def _readable(self) -> None:
        with contextlib.suppress(OSError):  # nothing there after all, or a client's port is closed
            self.received(*self.serversocket.socket.recvfrom(4096))

    def close(self) -> None:
        """Stop reading and close the socket."""
        asyncio.get_running_loop().remove_reader(self.serversocket.socket)
        self.serversocket.socket.close()
