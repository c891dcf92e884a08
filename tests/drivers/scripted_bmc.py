"""A small RMCP+ server of our own, for what real simulators never do: refuse, lie, stumble and be slow on demand.

It counts what it receives. The handshake is IPMI 2.0 section 13.17 to 13.24, the cryptography python-ipmi's.
"""

from __future__ import annotations

import hmac
import os
import socket
import struct
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic, sleep
from types import TracebackType
from typing import Self

from pyipmi.interfaces.ipmb import IpmbHeaderReq, IpmbHeaderRsp, encode_ipmb_msg
from pyipmi.interfaces.rmcp import IpmiMsg, RmcpMsg
from pyipmi.interfaces.rmcpplus import (
    AUTH_ALGORITHMS,
    CIPHER_SUITES,
    SessionKeys,
    pack_rmcpplus,
    unpack_rmcpplus,
)

GUID = bytes.fromhex("00112233445566778899aabbccddeeff")
COMMANDS = {
    (6, 0x38): "capabilities",
    (6, 0x3B): "privilege",
    (6, 0x3C): "close",
    (0, 0x01): "chassis status",
    (0, 0x02): "chassis control",
}


@dataclass
class Script:
    """How this BMC behaves; the mappings go by received message: "open", "rakp1", "rakp3" and names of COMMANDS."""

    user: str = "crash"
    password: str = "made-up-Secret"
    guid: bytes = GUID
    kg: bytes = b""
    suites: tuple[int, ...] = (3, 17)
    insists_on: int = 0
    # Status or completion codes to answer with, one for each message of that kind; afterwards 0.
    codes: Mapping[str, list[int]] = field(default_factory=dict)
    # Refusals for as long as the session asks for this privilege level (3 operator, 4 administrator).
    refused_levels: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    silent: frozenset[str] = frozenset()
    loses: Mapping[str, int] = field(default_factory=dict)  # so many answers of that kind are never sent
    delay: float = 0.0
    copies: int = 1
    power: int = 0x21


@dataclass
class Peer:
    """One session in the making, or made."""

    console_id: int
    suite: int
    level: int
    keys: SessionKeys | None = None
    rm: bytes = b""
    rc: bytes = b""
    role: bytes = b""
    sequence: int = 0


class ScriptedBmc:
    """Serves on 127.0.0.1 until its `with` ends; `received` counts messages, `suites_asked` lists Open Sessions."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Script()
        self.received: Counter[str] = Counter()
        self.times: dict[str, list[float]] = defaultdict(list)
        self.suites_asked: list[tuple[int, int, int]] = []
        self._lost: Counter[str] = Counter()
        self._peers: dict[int, Peer] = {}
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        self._sock.settimeout(0.05)
        self.port: int = self._sock.getsockname()[1]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._sock.close()

    def _serve(self) -> None:
        while True:
            try:
                data, client = self._sock.recvfrom(4096)
            except TimeoutError:
                if self._stop.is_set():
                    return  # and nothing is left that could be counted
                continue
            name, answer = self._answer(data)
            if self._lost[name] < self.script.loses.get(name, 0):
                self._lost[name] += 1
            elif answer and name not in self.script.silent:
                sleep(self.script.delay)
                for _ in range(self.script.copies):
                    self._sock.sendto(RmcpMsg(7).pack(answer, 0xFF), client)

    def _answer(self, data: bytes) -> tuple[str, bytes]:
        pdu = data[4:]
        if pdu[0] != 6:
            return self._command(pdu[10:], None)
        kind, session_id = pdu[1] & 0x3F, struct.unpack_from("<I", pdu, 2)[0]
        peer = self._peers.get(session_id)
        if kind == 0 and peer is not None and peer.keys is not None:
            return self._command(unpack_rmcpplus(pdu, peer.keys)[3], peer)
        payload = pdu[12:]
        name = {0x10: "open", 0x12: "rakp1", 0x14: "rakp3"}.get(kind, "strange")
        self._count(name)
        if name == "open":
            return name, pack_rmcpplus(0x11, self._open(payload))
        peer = self._peers.get(struct.unpack_from("<I", payload, 4)[0]) if len(payload) >= 8 else None
        if peer is None or name == "strange" or (name == "rakp3" and payload[1] != 0):
            return name, b""
        handled = self._rakp1(payload, peer) if name == "rakp1" else self._rakp3(payload, peer)
        return name, pack_rmcpplus(kind + 1, handled) if handled else b""

    def _count(self, name: str) -> None:
        self.received[name] += 1
        self.times[name].append(monotonic())

    def _code(self, name: str, level: int) -> int:
        waiting = self.script.codes.get(name, [])
        return waiting.pop(0) if waiting else self.script.refused_levels.get(name, {}).get(level, 0)

    def _open(self, payload: bytes) -> bytes:
        tag, level, console_id = payload[0], payload[1], struct.unpack_from("<I", payload, 4)[0]
        asked = (payload[12], payload[20], payload[28])
        self.suites_asked.append(asked)
        offered = {
            (CIPHER_SUITES[s].authentication, CIPHER_SUITES[s].integrity, CIPHER_SUITES[s].confidentiality): s
            for s in self.script.suites
        }
        code = self._code("open", level) or (0 if asked in offered or self.script.insists_on else 0x11)
        if code:
            return struct.pack("<BBBxI", tag, code, 0, console_id)
        suite = CIPHER_SUITES[self.script.insists_on or offered[asked]]
        managed_id = struct.unpack("<I", os.urandom(4))[0] or 1
        self._peers[managed_id] = Peer(console_id, suite.id, level)
        answer = struct.pack("<BBBxII", tag, 0, level, console_id, managed_id)
        for number, algorithm in enumerate((suite.authentication, suite.integrity, suite.confidentiality)):
            answer += struct.pack("<BxxBBxxx", number, 8, algorithm)
        return answer

    def _rakp1(self, payload: bytes, peer: Peer) -> bytes:
        tag, managed_id = payload[0], payload[4:8]
        peer.rm, peer.rc, peer.role = payload[8:24], os.urandom(16), payload[24:25] + payload[27:]
        code = self._code("rakp1", payload[24] & 0x0F)
        if not code and payload[28:] != self.script.user.encode():
            code = 0x0D
        if code:
            return struct.pack("<BBxxI", tag, code, peer.console_id)
        console_id = struct.pack("<I", peer.console_id)
        digest = AUTH_ALGORITHMS[CIPHER_SUITES[peer.suite].authentication][0]
        signed = console_id + managed_id + peer.rm + peer.rc + self.script.guid + peer.role
        signature = hmac.new(self.script.password.encode(), signed, digest).digest()
        return struct.pack("<BBxxI", tag, 0, peer.console_id) + peer.rc + self.script.guid + signature

    def _rakp3(self, payload: bytes, peer: Peer) -> bytes:
        suite = CIPHER_SUITES[peer.suite]
        digest, length = AUTH_ALGORITHMS[suite.authentication]
        code = self._code("rakp3", peer.level)
        secret, console_id = self.script.password.encode(), struct.pack("<I", peer.console_id)
        expected = hmac.new(secret, peer.rc + console_id + peer.role, digest).digest()
        if not code and payload[8:] != expected:
            code = 0x0F
        if code:
            return struct.pack("<BBxxI", payload[0], code, peer.console_id)
        sik = hmac.new(self.script.kg or secret, peer.rm + peer.rc + peer.role, digest).digest()
        peer.keys = SessionKeys(suite, sik)
        # python-ipmi's constants are wrong with SHA-256; ipmitool's are what a BMC has (see test_ipmi_login.py).
        peer.keys.k1, peer.keys.k2 = (hmac.new(sik, bytes((n,)) * 20, digest).digest() for n in (1, 2))
        check = hmac.new(sik, peer.rm + payload[4:8] + self.script.guid, digest).digest()[:length]
        return struct.pack("<BBxxI", payload[0], 0, peer.console_id) + check

    def _command(self, message: bytes, peer: Peer | None) -> tuple[str, bytes]:
        request = IpmbHeaderReq(message)
        name = COMMANDS.get((request.netfn, request.cmdid), "strange")
        self._count(name)
        data = message[6:-1]
        code = self._code(name, data[0] & 0x0F if data else 0)
        body = {
            "capabilities": bytes((1, 0x80, 0x04, 0x02, 0, 0, 0, 0)),
            "privilege": data[:1],
            "chassis status": bytes((self.script.power, 0, 0)),
        }.get(name, b"")
        header = IpmbHeaderRsp()
        header.from_req_header(request)
        reply = encode_ipmb_msg(header, bytes((code,)) + (b"" if code else body))
        if peer is None:
            return name, IpmiMsg().pack(reply)
        peer.sequence += 1
        return name, pack_rmcpplus(0, reply, peer.console_id, peer.sequence, peer.keys)
