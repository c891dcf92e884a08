"""The RMCP+ session of the IPMI driver: python-ipmi's, made to survive a bad network and to fire only once.

python-ipmi 0.6.1 has the handshake and the cryptography (IPMI 2.0, sections 13.17 to 13.32) and sends nothing
again by itself. As shipped, one duplicated reply ends a login, garbage raises struct.error or renews a timer, a
lost RAKP message 4 is never recovered from, and the managed-system GUID is thrown away. This subclass overrides
private methods to cure that, which is why pyproject.toml pins the library below 0.7.

Times are real seconds (`time.monotonic`), whatever clock the rest of a simulated run uses: a datagram takes as
long as it takes. One object belongs to one thread.
"""

from __future__ import annotations

import contextlib
import hmac
import socket
import struct
from collections.abc import Callable, Sequence
from time import monotonic

from pyipmi.errors import AuthenticationError, CompletionCodeError, DecodingError, MessageStatusCodeError
from pyipmi.interfaces.ipmb import IpmbHeaderReq, encode_ipmb_msg, rx_filter
from pyipmi.interfaces.rmcpplus import (
    AUTH_ALGORITHMS,
    CIPHER_SUITES,
    PAYLOAD_TYPE_OPEN_SESSION_RESPONSE,
    PAYLOAD_TYPE_RAKP_2,
    PAYLOAD_TYPE_RAKP_3,
    PAYLOAD_TYPE_RAKP_4,
    CipherSuite,
    RmcpPlus,
    SessionKeys,
    aes_available,
)
from pyipmi.session import Session

from drivers.ipmi_opening import Address, Opening, connect
from drivers.ipmi_refusal import OPEN_SESSION, RAKP_3, SET_PRIVILEGE, STAGES, Step, meaning
from trigger.errors import DriverError

Accept = Callable[[], bytes | None]  # receives one message; None if it is not the one awaited

FIRST_WAIT = 0.5  # seconds for the first answer, when nothing is known of this controller's speed
SHORTEST_WAIT, LONGEST_WAIT = 0.3, 2.0
RESENDS = 3
LINGER = 0.2  # seconds that a second answer is waited for, once messages were seen to be repeated
# A BMC that got RAKP message 3 has its session and does not answer the same message twice (seen: ipmi_sim, pyghmi).
RAKP_3_RESENDS = 1
# Get Channel Authentication Capabilities is a courtesy: without it, login goes on all the same.
CAPABILITIES_RESENDS = 1

# What undecodable bytes make python-ipmi and cryptography raise.
BROKEN = (AuthenticationError, DecodingError, struct.error, IndexError, ValueError)

NETFN_APP, SET_SESSION_PRIVILEGE_LEVEL, CLOSE_SESSION = 0x06, 0x3B, 0x3C


class Keys(SessionKeys):
    """The keys K1 and K2, from constants of 20 bytes with either hash (IPMI 2.0 section 13.32).

    python-ipmi takes 32 bytes with SHA-256; ipmitool, FreeIPMI, pyghmi and OpenBMC take 20, and so do BMCs: with 32 the
    login passes RAKP message 4, and then no packet verifies (docs/decisions/0004).
    """

    def __init__(self, suite: CipherSuite, sik: bytes) -> None:
        super().__init__(suite, sik)
        digest = AUTH_ALGORITHMS[suite.authentication][0]
        self.k1 = hmac.new(sik, b"\x01" * 20, digest).digest()
        self.k2 = hmac.new(sik, b"\x02" * 20, digest).digest()


class _Account(Session):
    """python-ipmi's session data without its habit of printing the password (its debug log does)."""

    def __str__(self) -> str:
        return "RMCP+ session"

    __repr__ = __str__


class IpmiSession(RmcpPlus):
    """An RMCP+ session with one BMC: `attempt` logs in, `ask` reads, `send_once` acts, `leave` logs out.

    After a login, `guid` is the managed-system GUID of RAKP message 2 as its 16 bytes came, `suite` the cipher
    suite, `privilege` "operator" or "administrator". `heard` says whether any datagram ever came, `understood`
    whether one made sense, `stage` how far the login got.
    """

    def __init__(self, label: str, addresses: Sequence[Address], opening: Opening | None = None) -> None:
        """Open nothing.

        `label` names the controller in sentences; `addresses` are tried in turn; `opening` is an Open Session
        Request that has left already, to the first of them, for the suite and privilege of the first attempt.
        """
        super().__init__(keep_alive_interval=0, max_retries=0)
        self.label = label
        self.guid, self.suite, self.privilege = b"", 0, ""
        self.stage = OPEN_SESSION
        self.speaks_rmcpplus = True
        self.heard = self.understood = False
        self.ways = len(addresses)
        self._addresses = list(addresses)
        self._opening = opening
        if opening is not None:
            self._sock = opening.sock
        self._account = _Account()
        self._suite: CipherSuite = CIPHER_SUITES[17]
        self._end = self._until = 0.0
        self._wait_time, self._speed_known = FIRST_WAIT, False
        self._unclean = self._repeated = False
        self._doubts = 0

    # -- datagrams ---------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect a fresh UDP socket, IPv4 or IPv6; raises OSError.

        Every attempt to log in has a socket of its own: answers to an earlier attempt cannot reach it, and a
        BMC that tells sessions apart by the client's port (pyghmi's) starts afresh as well.
        """
        self._keys = None
        if self._opening is None:
            self.close()
            self._sock = connect(self._addresses[0])

    def try_next_address(self) -> None:
        """Let the next attempt go to the next address of the controller's name."""
        self._addresses.append(self._addresses.pop(0))

    def _receive_rmcp_msg(self) -> tuple[int | None, int | None, bytes]:
        left = self._until - monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        message = super()._receive_rmcp_msg()
        self.heard = True
        return message

    def _await(self, accept: Accept, until: float) -> bytes | None:
        """Return the first answer that `accept` takes before `until`, or None; nothing renews the time."""
        self._until = min(until, self._end)
        while True:
            try:
                answer = accept()
            except TimeoutError:
                return None
            except BROKEN:
                self.heard = True
                continue
            if answer is not None:
                self.understood = True
                return answer

    def _send_until_answered(
        self,
        send: Callable[[], None],
        accept: Accept,
        resends: int,
        sent_at: float | None = None,
    ) -> bytes:
        """Send, unless that was done at `sent_at`; wait, and send again at most `resends` times.

        Raises TimeoutError. Never for a message that acts.
        """
        begun = last = sent_at or monotonic()
        wait = self._wait_time
        for sent in range(resends + 1):
            if sent:
                self._unclean = True
            if sent or sent_at is None:
                last = monotonic()
                send()
            answer = self._await(accept, monotonic() + wait)
            if answer is not None:
                self._learn_speed(monotonic() - begun, monotonic() - last, sent + 1)
                return answer
            if monotonic() >= self._end:
                break
            wait = min(wait * 1.5, LONGEST_WAIT)
        raise TimeoutError

    def _learn_speed(self, since_first: float, since_last: float, copies: int) -> None:
        """Set how long the next answer is waited for, by how long one took (seconds) and how many copies were sent.

        After several copies nobody knows which one was answered (Karn). An answer right after the last of them
        means that the others were lost; a later one, that this controller is slow and is still busy with the rest.
        """
        if copies > 1 and self._speed_known:
            return
        self._speed_known = copies == 1
        took = since_last if since_last < 0.15 else since_first * copies
        self._wait_time = min(LONGEST_WAIT, max(SHORTEST_WAIT, 1.5 * took + 0.15))

    # -- requests within the session ---------------------------------------------------------------------------

    def _request(self, lun: int, netfn: int, command: int, data: bytes) -> tuple[IpmbHeaderReq, bytes]:
        self._inc_sequence_number()
        header = IpmbHeaderReq()
        header.netfn, header.cmdid = netfn, command
        header.rs_sa, header.rs_lun = 0x20, lun
        header.rq_sa, header.rq_lun = self.slave_address, 0
        header.rq_seq = self.next_sequence_number
        return header, encode_ipmb_msg(header, data)

    def _reply_to(self, header: IpmbHeaderReq) -> bytes | None:
        """Receive one message; its data from the completion code on, or None if it is not the reply to `header`."""
        message = self._receive_ipmi_msg()
        if not rx_filter(header, message) or len(message) < 8:
            return None
        return message[6:-1]

    def _send_and_receive(self, target: object, lun: int, netfn: int, cmdid: int, payload: bytes) -> bytes:
        header, message = self._request(lun, netfn, cmdid, payload)
        resends = RESENDS if self._keys is not None else CAPABILITIES_RESENDS
        return self._send_until_answered(lambda: self._send_ipmi_msg(message), lambda: self._reply_to(header), resends)

    def ask(self, netfn: int, command: int, data: bytes, end: float) -> bytes:
        """Send a request that only reads, again if need be, and return its reply from the completion code on.

        Raises DriverError when nothing came before `end` (monotonic seconds) or the connection is gone.
        """
        self._end = end
        try:
            return self._send_and_receive(None, 0, netfn, command, data)
        except OSError:
            raise DriverError(
                f"{self.label} did not answer request {netfn:#04x}/{command:#04x} in the session"
            ) from None

    def send_once(self, netfn: int, command: int, data: bytes, end: float) -> bytes | None:
        """Send a request that acts, exactly once; its reply from the completion code on, None without one.

        Raises OSError when the operating system would not send it.
        """
        self._end = end
        header, message = self._request(0, netfn, command, data)
        # An ICMP error left over from an earlier datagram would be raised by send() in place of sending.
        self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._send_ipmi_msg(message)  # the only line that sends it, and it is in no loop
        while True:
            try:
                return self._await(lambda: self._reply_to(header), end)
            except ConnectionRefusedError:
                continue  # an ICMP error proves nothing of what the BMC did before; the deadline still holds

    def leave(self) -> None:
        """Send Close Session if there is a session, await no answer, and free the socket; raises nothing."""
        with contextlib.suppress(OSError):
            if self._keys is not None:
                _, message = self._request(0, NETFN_APP, CLOSE_SESSION, struct.pack("<I", self._account.sid))
                self._send_ipmi_msg(message)
        self._keys = self._session = None
        self.close()

    # -- login -------------------------------------------------------------------------------------------------

    def ask_capabilities(self, end: float) -> None:
        """Send Get Channel Authentication Capabilities, and learn from it whether anything is there.

        What it says is not believed: several boards report it wrongly (FreeIPMI's workaround `authcap`), and
        Open Session tells the truth. Raises nothing: a controller that does not answer this may answer that.
        """
        self._end = end
        with contextlib.suppress(OSError, CompletionCodeError, *BROKEN):
            self.open()
            self.speaks_rmcpplus = self._get_channel_auth_cap(self._account).ipmi_2_0

    def attempt(
        self, user: str, password: Callable[[], str], suite_id: int, privilege: str, end: float
    ) -> tuple[Step, str]:
        """Try once to log in, Open Session to Set Session Privilege Level; what came of it, and a detail.

        `password` is called when the BMC has answered, and only once. Raises only what `password` raises.
        """
        self._end, self._unclean = end, False
        self._suite, self._account.activated = CIPHER_SUITES[suite_id], False
        self._account.set_priv_level(privilege)
        try:
            self.open()
            managed_id = self._open_session(self._account, self._suite)
            if self._account.auth_password is None:
                self._account.set_auth_type_user(user, password())
            self._account.sid, self._account.sequence_number = managed_id, 0
            self._keys = Keys(self._suite, self._rakp(self._account, self._suite, managed_id))
            self._session, self.stage = self._account, SET_PRIVILEGE
            self._set_privilege(self._account.priv_level)
        except TimeoutError:
            return Step.SILENT, ""
        except OSError as error:
            return Step.NO_WAY, error.strerror or str(error)
        except (MessageStatusCodeError, CompletionCodeError, AuthenticationError, DecodingError) as error:
            step, detail = meaning(self.stage, error)
            return self._doubted(step), detail
        self.suite, self.privilege = suite_id, privilege
        self._account.set_auth_type_user(user, "")
        return Step.IN, ""

    def _set_privilege(self, level: int) -> None:
        # Not python-ipmi's: that wants the level in the answer, which says no more than the completion code.
        code = self._send_and_receive(None, 0, NETFN_APP, SET_SESSION_PRIVILEGE_LEVEL, bytes((level,)))[0]
        if code != 0:
            raise CompletionCodeError(code, SET_SESSION_PRIVILEGE_LEVEL, NETFN_APP)

    def _doubted(self, step: Step) -> Step:
        """Return what "wrong password" really means.

        A BMC that receives Open Session or RAKP message 1 twice may start over with new numbers, and then its
        code does not fit the first answer. And a BMC that says 0x0F to RAKP message 3 contradicts its own RAKP
        message 2, which was right. One more attempt decides; never a third, which could lock the account.
        """
        if step is not Step.PASSWORD or not (self._unclean or self.stage == RAKP_3):
            return step
        self._doubts += 1
        return Step.ANEW if self._doubts == 1 else Step.CONFUSED

    def _handshake(self, request_type: int, request: bytes, response_type: int) -> bytes:
        self.stage = STAGES[request_type]
        opening, self._opening = self._opening, None
        if opening is not None:
            request = opening.request
            (self._console_session_id,) = struct.unpack_from("<I", request, 4)

        def accept() -> bytes | None:
            return self._setup_answer(response_type, request[:1])

        payload = self._send_until_answered(
            lambda: self._send_setup(request_type, request),
            accept,
            RAKP_3_RESENDS if request_type == PAYLOAD_TYPE_RAKP_3 else RESENDS,
            opening.sent_at if opening else None,
        )
        if (self._repeated or self._doubts) and request_type != PAYLOAD_TYPE_RAKP_3:
            # Messages are repeated on this way: of several answers the last one counts, for a BMC that starts over.
            until = monotonic() + LINGER
            while (later := self._await(accept, until)) is not None:
                payload = later
        if payload[1] != 0:
            raise MessageStatusCodeError(payload[1])
        if response_type == PAYLOAD_TYPE_RAKP_2:
            self.guid = payload[24:40]  # believed once its HMAC is verified, which python-ipmi does next
        return payload

    def _send_setup(self, request_type: int, request: bytes) -> None:
        self._send_payload(request_type, request)
        aes_available()  # imports cryptography (9 ms, once) while the answer is on its way

    def _setup_answer(self, response_type: int, tag: bytes) -> bytes | None:
        """Receive one message; its payload, or None if it is not the answer with `tag` to this very session."""
        payload_type, payload = self._receive_payload()
        if payload_type != response_type or payload[:1] != tag or len(payload) < 2:
            # A second answer to an earlier message: the BMC may have started over (see _doubted).
            self._unclean = self._repeated = True
            return None
        ours = struct.pack("<I", self._console_session_id)
        if payload[1] != 0:
            # Some firmware sends its refusals short, or without our session id.
            return payload if payload[4:8] in (ours, b"", bytes(4)) else None
        digest, check_length = AUTH_ALGORITHMS[self._suite.authentication]
        length = {
            PAYLOAD_TYPE_OPEN_SESSION_RESPONSE: 36,
            PAYLOAD_TYPE_RAKP_2: 40 + digest().digest_size,
            PAYLOAD_TYPE_RAKP_4: 8 + check_length,
        }[response_type]
        return payload[:length] if payload[4:8] == ours and len(payload) >= length else None
