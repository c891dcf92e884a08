"""The BMC's side of one RMCP+ session: pyghmi's server session with the refusals it lacks.

pyghmi frames, signs and encrypts; this file adds what its server leaves out: cipher suite 17 beside 3, status
codes instead of silence (IPMI 2.0, table 13-15), roles and privilege limits, protection against repeated
datagrams, and Close Session. Sections named here are those of the IPMI 2.0 specification, revision 1.1.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import TYPE_CHECKING, Any

from pyghmi.ipmi.private import constants
from pyghmi.ipmi.private.serversession import ServerSession
from pyghmi.ipmi.private.session import Session

from trigger.simulated.switches import PRIVILEGES

if TYPE_CHECKING:
    from trigger.simulated.bmc import SimulatedBmc

# Table 13-15: status codes of Open Session and RAKP messages
OK = 0x00
INSUFFICIENT_RESOURCES = 0x01
INVALID_AUTHENTICATION_ALGORITHM = 0x04
UNAUTHORIZED_ROLE = 0x0A
UNAUTHORIZED_NAME = 0x0D
INVALID_INTEGRITY_CHECK = 0x0F

# Tables 13-17 to 13-19: (authentication, integrity, confidentiality) of the suites, and their hash
SUITES = {3: (1, 1, 1), 17: (3, 4, 1)}
_HASHES = {3: (hashlib.sha1, 12), 17: (hashlib.sha256, 16)}  # and bytes of the integrity code

# Section 13.32 leaves the length of the constants open for SHA-256. ipmitool, FreeIPMI, pyghmi and OpenBMC all use
# 20 bytes with either hash (the first three were tried against this BMC); 32 would lock every one of them out.
KEY_CONSTANT_BYTES = 20

APP = 6
SET_SESSION_PRIVILEGE = 0x3B
CLOSE_SESSION = 0x3C


class BmcSession(ServerSession):  # type: ignore[misc]
    """One session, from Open Session to Close Session. Raises nothing; what it does not like it refuses or drops."""

    def __init__(self, bmc: SimulatedBmc, request: bytes, client: Any) -> None:
        self.k1: bytes | None = None
        self.remseqnumber: int | None = None
        self.sol_handler = None
        self.suite = 0
        self.role = 0
        self.established = False
        super().__init__(bmc.authdata, bmc.kg, client, bmc.serversocket, request, bmc.uuid, bmc)
        # pyghmi files sessions by the client's address in a table of the process; ours are filed by session id
        Session.bmc_handlers.pop(client, None)

    def __new__(cls, *arguments: Any) -> BmcSession:
        """Make a plain object: pyghmi's clients share sessions, a server does not."""
        return object.__new__(cls)

    def create_open_session_response(self, request: bytearray) -> bytearray:
        """Return the Open Session Response (section 13.18) to `request`, a refusal with a status if need be."""
        tag, self.clientsessionid = request[0], request[4:8]
        asked = (request[12], request[20], request[28])
        self.managedsessionid = bytearray(os.urandom(4))
        suite, status = self.bmc.choose_suite(asked)
        if status:
            return bytearray([tag, status, 0, 0]) + self.clientsessionid
        self.suite = suite
        self.currhashlib, self.currhashlen = _HASHES[suite]
        answer = bytearray([tag, OK, PRIVILEGES["administrator"], 0])
        answer += self.clientsessionid + self.managedsessionid
        for payload, algorithm in enumerate(SUITES[suite]):
            answer += bytearray([payload, 0, 0, 8, algorithm, 0, 0, 0])
        return answer

    def _hmac(self, key: bytes, *parts: bytes | bytearray) -> bytes:
        return hmac.new(key, b"".join(bytes(part) for part in parts), self.currhashlib).digest()

    def _got_rakp1(self, data: bytearray) -> None:
        """Answer RAKP message 1 (section 13.20) with RAKP message 2, or with a refusal.

        As at real BMCs, a repeated message 1 gets another random number, and the answer before it is void.
        """
        self.bmc.counters["rakp1"] += 1
        if self.established:
            return
        tag, self.Rm, self.rolem = data[0], data[8:24], data[24]
        self.role = self.rolem & 0x0F
        self.username = bytes(data[28 : 28 + data[27]])
        password = self.bmc.authdata.get(self.username.decode("utf-8", "replace"))
        status = UNAUTHORIZED_NAME if password is None else self.bmc.refuses_role(self.role)
        if status:
            refusal = bytearray([tag, status, 0, 0]) + self.clientsessionid
            self.send_payload(refusal, constants.payload_types["rakp2"], retry=False)
            return
        self.kuid = password.encode()
        self.uuiddata = self.bmc.guid_bytes()
        self.Rc = bytearray(os.urandom(16))
        name = bytes([self.rolem, len(self.username)]) + self.username
        code = self._hmac(self.kuid, self.clientsessionid, self.managedsessionid, self.Rm, self.Rc, self.uuiddata, name)
        message = bytearray([tag, OK, 0, 0]) + self.clientsessionid + self.Rc + self.uuiddata + code
        self.send_payload(message, constants.payload_types["rakp2"], retry=False)

    def _got_rakp3(self, data: bytearray) -> None:
        """Answer RAKP message 3 (section 13.22) once; like real BMCs, not again when it is repeated."""
        self.bmc.counters["rakp3"] += 1
        if self.established or not hasattr(self, "Rc"):
            return
        if data[1] != OK:  # the client did not like RAKP message 2: a wrong password, mostly
            self.bmc.counters["login_failed"] += 1
            return
        name = bytes([self.rolem, len(self.username)]) + self.username
        if not hmac.compare_digest(self._hmac(self.kuid, self.Rc, self.clientsessionid, name), bytes(data[8:])):
            self.bmc.counters["login_failed"] += 1
            refusal = bytearray([data[0], INVALID_INTEGRITY_CHECK, 0, 0]) + self.clientsessionid
            self.send_payload(refusal, constants.payload_types["rakp4"], retry=False)
            return
        self._establish(name)
        self._send_rakp4(data[0], OK)

    def _establish(self, name: bytes) -> None:
        """Derive the session's keys (sections 13.31 and 13.32)."""
        self.sik = self._hmac(self.kuid, self.Rm, self.Rc, name)
        self.k1 = self._hmac(self.sik, b"\x01" * KEY_CONSTANT_BYTES)
        self.k2 = self._hmac(self.sik, b"\x02" * KEY_CONSTANT_BYTES)
        self.aeskey = self.k2[:16]
        self.localsid = int.from_bytes(self.managedsessionid, "little")
        self.clientpriv = min(self.role or 4, self.bmc.limit(), PRIVILEGES["user"])
        self.ipmicallback = self.handle_client_request
        self.established = True

    def _send_rakp4(self, tag: int, status: int) -> None:
        """Send RAKP message 4 (section 13.23); from here on everything is signed and encrypted."""
        code = self._hmac(self.sik, self.Rm, self.managedsessionid, self.uuiddata)[: self.currhashlen]
        message = bytearray([tag, status, 0, 0]) + self.clientsessionid + code
        self.send_payload(message, constants.payload_types["rakp4"], retry=False)
        self.confalgo = "aes"
        self.integrityalgo = "sha256" if self.suite == 17 else "sha1"
        self.sequencenumber = 1
        self.sessionid = int.from_bytes(self.clientsessionid, "little")

    def is_repeated(self, data: bytes) -> bool:
        """Return whether this datagram's session sequence number was seen (section 6.12.13: then it is dropped)."""
        return self.remseqnumber is not None and int.from_bytes(data[10:14], "little") <= self.remseqnumber

    def handle_client_request(self, request: dict[str, Any]) -> None:
        """Carry out one request of an established session."""
        if (request["netfn"], request["command"]) == (APP, SET_SESSION_PRIVILEGE):
            self._set_privilege(request["data"][0] & 0x0F)
        elif (request["netfn"], request["command"]) == (APP, CLOSE_SESSION):
            self.bmc.counters["close_session"] += 1
            self.send_ipmi_response()
            self.bmc.forget(self)
        else:
            self.bmc.handle_raw_request(request, self)

    def _set_privilege(self, level: int) -> None:
        """Answer Set Session Privilege Level (section 22.18): 0x81 is "exceeds the user's limit"."""
        self.bmc.counters["set_privilege"] += 1
        if self.bmc.refuses_privilege(level) or level > (self.role or 4):
            self.send_ipmi_response(code=0x81)
            return
        if level:
            self.clientpriv = level
        self.send_ipmi_response(data=[self.clientpriv])
