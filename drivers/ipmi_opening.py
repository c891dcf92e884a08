"""The first datagram of an RMCP+ login, sent before python-ipmi is imported.

The import takes 30 to 50 ms of processor time, and the answer to Open Session travels meanwhile. So this file
holds what that one datagram needs, imports nothing heavy, and makes the import that follows lighter.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import struct
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from trigger.errors import Unreachable

Address = tuple[socket.AddressFamily, Any]

# Authentication, integrity and confidentiality algorithm of a cipher suite (IPMI 2.0 table 22-20).
ALGORITHMS = {3: (1, 1, 1), 17: (3, 4, 1)}
PRIVILEGE_LEVELS = {"operator": 3, "administrator": 4}


@dataclass(frozen=True, slots=True)
class Opening:
    """An Open Session Request that has left: its socket, its payload, and when it left (monotonic seconds)."""

    sock: socket.socket
    request: bytes
    sent_at: float


def send_opening(addresses: Sequence[Address], suite: int, privilege: str) -> Opening | None:
    """Send an Open Session Request (IPMI 2.0 section 13.17) to the first address; None if that is not possible.

    Whatever prevents it is left for the session to meet again and to put into words.
    """
    if suite not in ALGORITHMS:
        return None
    session_id = struct.unpack("<I", os.urandom(4))[0] or 1
    request = struct.pack("<BBxxI", 0, PRIVILEGE_LEVELS[privilege], session_id)
    for kind, algorithm in enumerate(ALGORITHMS[suite]):
        request += struct.pack("<BxxBBxxx", kind, 8, algorithm)
    # RMCP: version 1.0, no acknowledgement, class IPMI. RMCP+: no session yet, payload type 0x10.
    header = struct.pack("<BxBBBBIIH", 0x06, 0xFF, 0x07, 0x06, 0x10, 0, 0, len(request))
    sock = None
    with contextlib.suppress(OSError):
        sock = connect(addresses[0])
        sock.send(header + request)
        return Opening(sock, request, monotonic())
    if sock is not None:
        sock.close()
    return None


def connect(address: Address) -> socket.socket:
    """Return a UDP socket connected to `address`, so that the kernel drops datagrams from anybody else."""
    family, where = address
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.connect(where)
    except OSError:
        sock.close()
        raise
    return sock


def resolve(name: str, port: int, end: float) -> list[Address]:
    """Return the socket addresses of a name or number before `end` (monotonic seconds); raises Unreachable.

    The system's resolver knows no deadline, and the outage at hand may well be the name server's.
    """
    found: list[Address] = []
    failed: list[str] = []

    def look_up(flags: int = 0) -> None:
        try:
            answers = socket.getaddrinfo(name, port, type=socket.SOCK_DGRAM, flags=flags)
            found.extend((family, where) for family, _, _, _, where in answers)
        except OSError as error:
            failed.append(error.strerror or str(error))

    look_up(socket.AI_NUMERICHOST)
    if not found:
        failed.clear()
        thread = threading.Thread(target=look_up, name=f"resolve {name}", daemon=True)
        thread.start()
        thread.join(max(0.0, end - monotonic()))
    if not found:
        why = failed[0] if failed else "the name servers do not answer"
        raise Unreachable(
            f"{name} (IPMI): the address cannot be found: {why}; nothing was sent",
            next_step="check `address:`, or write the controller's number there",
        )
    return list(found)


def defer_other_interfaces() -> None:
    """Keep `pyipmi.interfaces` from importing its seven other interfaces until somebody asks for one.

    They bring subprocess, ctypes, json and serial adapters along: 10 to 15 ms of processor time that a fire would
    wait for. The package itself stays whole: its own `__init__` runs at the first name that it lacks.
    """
    name = "pyipmi.interfaces"
    spec = importlib.util.find_spec(name)
    if name in sys.modules or spec is None or spec.loader is None:
        return
    package, loader = importlib.util.module_from_spec(spec), spec.loader

    def load_the_rest(missing: str) -> Any:
        del package.__dict__["__getattr__"]
        loader.exec_module(package)
        return getattr(package, missing)

    package.__dict__["__getattr__"] = load_the_rest
    sys.modules[name] = package
    vars(sys.modules["pyipmi"])["interfaces"] = package
