"""pyghmi's Console with what drivers/ipmi_sol.py needs otherwise. Imported by its thread only: 43 ms.

Never pyghmi.ipmi.command: 102 ms. Private names are used, hence the upper bound on pyghmi in pyproject.toml.
Source: pyghmi 1.6.19, pyghmi/ipmi/console.py; IPMI 2.0 section 15.9 (the SOL packet).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from pyghmi.exceptions import IpmiException
from pyghmi.ipmi.console import Console
from pyghmi.ipmi.private import session as pyghmi_session

from trigger.errors import Refused
from trigger.host import Controller

PORT = 623
_OPERATION = 3  # byte 4 of a SOL packet: operation (to the BMC) or status (from it)
_BREAK, _NACK, _DEACTIVATED = 0x10, 0x40, 0x10
_ACTIVATE = 0x48  # Activate Payload
_NAMED_PORT = 8  # bytes 8 and 9 of the answer to Activate Payload (IPMI 2.0 table 24-2), in either order
# RAKP message 2 (IPMI 2.0 table 13-15): both say that the account may not have the role that was asked for.
_INVALID_ROLE, _UNAUTHORIZED_ROLE = 0x09, 0x0A
_ACKNOWLEDGED_S = 3.0  # a BMC answers in milliseconds; a slow one in a second


class Sol(Console):  # type: ignore[misc]
    """A console whose BREAK leaves once, whose refused BREAK is noticed, and which logs out."""

    awaitingack: bool
    myseq: int
    port: int

    def __init__(self, controller: Controller, password: str, said: Callable[[object], None], *, force: bool) -> None:
        self._break_sent: bytearray | None = None
        self._break_refused = False
        self.named_port = 0  # what the BMC says that serial-over-LAN wants, where that is not the port we dialled
        # As bytes: pyghmi files a session by name and password as given, and deletes it by their bytes. A session that
        # is never deleted is taken for the next console to the same BMC, which then waits for ever.
        name, word, port = controller.user.encode(), password.encode(), controller.port or PORT
        super().__init__(controller.address, name, word, said, port=port, force=force)
        self._session_to_leave = self.ipmi_session  # pyghmi forgets it when the console breaks
        if self.ipmi_session is not None:
            _accept_operator(self.ipmi_session)

    def turn(self, seconds: float) -> None:
        """Let pyghmi receive, for `seconds` at most."""
        self.wait_for_rsp(seconds)

    def type(self, data: bytes) -> None:
        """Send characters; raises IpmiException when the console is lost."""
        self.send_data(data)
        if self.broken:
            raise IpmiException("the console was lost")

    def send_one_break(self) -> None:
        """Send one packet with the BREAK bit and wait for its acknowledgement.

        Raises Refused when the BMC refused it (NACK), IpmiException when it did not answer or the line was not free.
        """
        if self.awaitingack or self.pendingoutput:
            raise IpmiException("what was typed before was not acknowledged, so no BREAK was sent")
        self._break_sent, self._break_refused = None, False
        self._sendoutput(b"", sendbreak=True)
        if self._break_refused:
            raise Refused("the BMC refused the BREAK (NACK)")
        if self.broken:
            raise IpmiException("the console was lost")
        if self.awaitingack:
            self.awaitingack = False
            raise IpmiException("the BMC did not acknowledge the BREAK; it may have been sent")

    def leave(self) -> None:
        """Deactivate the payload if it is ours, and log out; raises nothing."""
        session = self._session_to_leave
        with contextlib.suppress(Exception):
            self.close()
        if session is None:
            return
        with contextlib.suppress(Exception):
            session.sol_handler = None  # or logging out deactivates a second time
            session.logout()

    def _sendoutput(self, output: Any, sendbreak: bool = False) -> None:
        """Send one SOL packet. A BREAK is sent here, once; characters are pyghmi's business."""
        if not sendbreak:
            super()._sendoutput(output)
            return
        self.myseq = self.myseq % 15 + 1
        packet = bytearray((self.myseq, 0, 0, _BREAK))
        self.lasttextsize = 0
        self.awaitingack = True
        self.lastpayload = self._break_sent = packet
        Console.send_payload(self, packet, retry=False, needskeepalive=True)
        end = monotonic() + _ACKNOWLEDGED_S
        while self.awaitingack and not self.broken and monotonic() < end:
            self.wait_for_rsp(min(0.5, end - monotonic()))

    def send_payload(
        self, payload: Any, payload_type: int = 1, retry: bool = True, needskeepalive: bool = False
    ) -> None:
        """Send anything but a BREAK that has left: pyghmi repeats its last packet after a stray acknowledgement."""
        if payload is not None and payload is self._break_sent:
            return
        super().send_payload(payload, payload_type=payload_type, retry=retry, needskeepalive=needskeepalive)

    def _got_session(self, response: Any) -> None:
        """Activate the payload, and go on over the port that was dialled, whatever port the BMC names.

        pyghmi gives up otherwise. Behind a port-forward the BMC names its own port and means this one, and some BMCs
        name a wrong one (FreeIPMI: workaround "solport").
        """
        session = self.ipmi_session
        if session is None or "raw_command" in vars(session):  # the second: within itself, after a steal
            super()._got_session(response)
            return
        ask = session.raw_command
        session.raw_command = lambda **request: self._over_the_dialled_port(request, ask(**request))
        try:
            super()._got_session(response)
        finally:
            del session.raw_command

    def _over_the_dialled_port(self, request: Mapping[str, Any], answer: Any) -> Any:
        """Return the answer to Activate Payload with our port in it; of other requests as it is."""
        data = answer.get("data", ())
        if request.get("command") != _ACTIVATE or answer.get("code") or len(data) < _NAMED_PORT + 2:
            return answer
        low, high = data[_NAMED_PORT : _NAMED_PORT + 2]
        if self.port in (low | high << 8, high | low << 8):
            return answer
        self.named_port = low | high << 8
        return {**answer, "data": [*data[:_NAMED_PORT], self.port & 0xFF, self.port >> 8, *data[_NAMED_PORT + 2 :]]}

    def _got_sol_payload(self, payload: Any) -> None:
        """Notice a refused BREAK, which pyghmi would take for refused characters and forget."""
        ours = (
            not isinstance(payload, dict)
            and self.awaitingack
            and self.lastpayload is self._break_sent
            and payload[1] & 0x0F == self.myseq
        )
        if ours and payload[_OPERATION] & _NACK and not payload[_OPERATION] & _DEACTIVATED:
            self._break_refused = True
            payload = bytearray(payload)
            payload[_OPERATION] &= ~_NACK
        super()._got_sol_payload(payload)


def knock() -> None:
    """End the turn that the owning thread is in, from another thread: pyghmi's own packet to itself does it.

    Without effect when no turn is under way.
    """
    with contextlib.suppress(OSError, IndexError):
        own = pyghmi_session.iosockets[0]
        own.sendto(b"\x01", (pyghmi_session.myself, own.getsockname()[1]))


def _accept_operator(session: Any) -> None:
    """Let `session`, whose login has just begun, ask for operator whichever way the BMC refuses administrator.

    pyghmi does after status 0x09 only. It looks at RAKP message 2 several round trips from now.
    """
    judge = getattr(session, "_got_rakp2", None)
    if judge is None:
        return

    def got_rakp2(data: Any) -> Any:
        if len(data) > 1 and data[1] == _UNAUTHORIZED_ROLE:
            data = bytearray(data)
            data[1] = _INVALID_ROLE
        return judge(data)

    session._got_rakp2 = got_rakp2
