"""SOL packets as a BMC answers them: a BREAK is one packet, and a refused or unanswered one is noticed.

IPMI 2.0 section 15.9: sequence number, acknowledged number, accepted characters, operation or status.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from pyghmi.exceptions import IpmiException
from pyghmi.ipmi.console import Console

from drivers import ipmi_sol_pyghmi
from drivers.ipmi_sol_pyghmi import Sol
from trigger.errors import Refused
from trigger.host import Controller

Reply = Callable[[bytearray], list[bytes]]


class Bmc:
    """The session below a console: keeps the SOL packets that were sent and hands over the replies."""

    logged = 1
    sol_handler = None

    def __init__(self, reply: Reply) -> None:
        self.sent: list[bytes] = []
        self.waiting: list[bytes] = []
        self._reply = reply

    def send_payload(self, payload: Any, payload_type: int, retry: bool, needskeepalive: bool) -> None:
        assert (payload_type, retry) == (1, False)
        self.sent.append(bytes(payload))
        if payload[0]:  # an acknowledgement alone has number 0 and is not answered
            self.waiting += self._reply(payload)

    def unregister_keepalive(self, number: int | None) -> None:
        """A session without keepalives."""


def console(monkeypatch: pytest.MonkeyPatch, reply: Reply) -> tuple[Sol, Bmc, list[object]]:
    """Return an activated console without a network below it, and what it passed on."""
    bmc, heard = Bmc(reply), list[object]()
    monkeypatch.setattr(Console, "__init__", lambda self, *words, **more: _activated(self, bmc, heard))
    monkeypatch.setattr(ipmi_sol_pyghmi, "_ACKNOWLEDGED_S", 0.2)
    sol = Sol(Controller("ipmi", "ipmi", "127.0.0.1"), "", heard.append, force=False)

    def wait_for_rsp(timeout: float) -> None:
        if bmc.waiting:
            sol._got_sol_payload(bytearray(bmc.waiting.pop(0)))

    monkeypatch.setattr(sol, "wait_for_rsp", wait_for_rsp)
    return sol, bmc, heard


def _activated(sol: Any, bmc: Bmc, heard: list[object]) -> None:
    sol.outputlock, sol.ipmi_session, sol.out_handler = threading.RLock(), bmc, heard.append
    sol.keepaliveid = None
    sol.connected, sol.broken, sol.activated = True, False, True
    sol.remseq = sol.myseq = sol.lastsize = 0
    sol.maxoutcount, sol.pendingoutput, sol.awaitingack = 64, [], False


def acknowledge(payload: bytearray) -> list[bytes]:
    return [bytes((0, payload[0], 0, 0))]


def breaks(bmc: Bmc) -> int:
    return sum(bool(packet[3] & 0x10) for packet in bmc.sent)


def test_a_break_is_one_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    sol, bmc, _ = console(monkeypatch, acknowledge)
    for number in range(1, 40):
        sol.send_one_break()
        assert bmc.sent[-1] == bytes(((number - 1) % 15 + 1, 0, 0, 0x10))
    assert breaks(bmc) == 39


def test_a_refused_break_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """pyghmi would queue "no characters" again and forget the BREAK."""
    sol, bmc, _ = console(monkeypatch, lambda payload: [bytes((0, payload[0], 0, 0x40 if payload[3] else 0))])
    with pytest.raises(Refused, match="NACK"):
        sol.send_one_break()
    assert len(bmc.sent) == 1
    sol.type(b"h")
    assert [packet[3:] for packet in bmc.sent] == [b"\x10", b"\x00h"]


def test_a_break_without_an_answer_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    sol, bmc, _ = console(monkeypatch, lambda payload: [])
    with pytest.raises(IpmiException, match="did not acknowledge"):
        sol.send_one_break()
    assert breaks(bmc) == 1


def test_a_stray_acknowledgement_does_not_repeat_a_break(monkeypatch: pytest.MonkeyPatch) -> None:
    """pyghmi sends its last packet again when another number is acknowledged."""
    sol, bmc, _ = console(monkeypatch, lambda payload: [bytes((0, 9, 0, 0)), *acknowledge(payload)])
    sol.send_one_break()
    assert breaks(bmc) == 1


def test_what_the_host_says_meanwhile_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    sol, bmc, heard = console(monkeypatch, lambda payload: [b"\x01\x00\x00\x00boot", *acknowledge(payload)])
    sol.send_one_break()
    assert heard == [b"boot"]
    assert bmc.sent[-1] == bytes((0, 1, 4, 0))


def test_a_deactivated_console_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    sol, _, heard = console(monkeypatch, lambda payload: [bytes((0, payload[0], 0, 0x50))])
    with pytest.raises(IpmiException, match="lost"):
        sol.send_one_break()
    assert sol.broken
    assert {"error": "Remote IPMI console disconnected"} in heard
