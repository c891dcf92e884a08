"""Who else would be let into a BMC? Asked without any name or password, so that no account can be locked.

Two datagrams on a socket of their own: Get Channel Authentication Capabilities (IPMI 2.0 section 22.13), and an Open
Session Request for cipher suite 0 (section 13.17, table 22-20), which no RAKP message follows: a BMC that answers it
with status 0 opens sessions without a password (CVE-2013-4782). What is left of that is forgotten by the BMC.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from time import monotonic

from drivers.ipmi_opening import Address, connect
from drivers.ipmi_settings import Account
from trigger.driver import Exposure

SENDS, WAIT_S = 2, 0.7
# RMCP, no session; Get Channel Authentication Capabilities with IPMI 2.0 data, this channel, level operator.
_CAPABILITIES = bytes.fromhex("0600ff07 00 00000000 00000000 09 2018c8 8104 38 8e03 b2")
_TAG, _SESSION = 0x42, b"t\x01\x02\x03"
_OPEN_SESSION_RESPONSE = 0x11
_LEVELS = {0: "any level", 1: "callback", 2: "user", 3: "operator", 4: "administrator", 5: "OEM"}
# Names that vendors ship with a published or printed password.
DEFAULT_NAMES = frozenset(
    {"admin", "administrator", "root", "userid", "sysadmin", "superuser", "ipmi", "guest", "cdc", "qct.admin", "albert"}
)


def _cipher_0() -> bytes:
    """Return an Open Session Request for suite 0, at the highest level that the BMC would allow (level 0)."""
    request = struct.pack("<BBxx4s", _TAG, 0, _SESSION)
    for kind in range(3):
        request += struct.pack("<BxxBBxxx", kind, 8, 0)
    return struct.pack("<BxBBBBIIH", 0x06, 0xFF, 0x07, 0x06, 0x10, 0, 0, len(request)) + request


def ask_outside(addresses: Sequence[Address], end: float) -> tuple[Exposure, ...]:
    """Return what the BMC offers to everybody; nothing where it does not answer before `end` (monotonic seconds)."""
    found: list[Exposure] = []
    try:
        sock = connect(addresses[0])
    except OSError:
        return ()
    with sock:

        def ask(datagram: bytes, read: Callable[[bytes], Iterable[Exposure] | None]) -> None:
            for _ in range(SENDS):
                sock.send(datagram)
                until = min(end, monotonic() + WAIT_S)
                while (left := until - monotonic()) > 0:
                    sock.settimeout(left)
                    answer = read(sock.recv(512))
                    if answer is not None:
                        found.extend(answer)
                        return

        for datagram, read in ((_CAPABILITIES, capabilities), (_cipher_0(), cipher_0)):
            try:
                ask(datagram, read)
            except TimeoutError:
                continue
            except OSError:
                break
    return tuple(found)


def capabilities(packet: bytes) -> tuple[Exposure, ...] | None:
    """Return what Get Channel Authentication Capabilities tells; None when `packet` is no answer to it.

    Byte 3 after the completion code holds the authentication types, byte 4 the accounts, byte 5 the versions.
    """
    if len(packet) < 25 or packet[4] != 0 or packet[19] != 0x38 or packet[20] != 0:
        return None
    types, accounts, versions = packet[22], packet[23], packet[24]
    found = []
    old = not types & 0x80 or versions & 0x01
    if old and types & 0x01:
        found.append(
            Exposure(
                "no-authentication",
                "IPMI 1.5 sessions without any authentication are enabled",
                "ipmitool lan set 1 auth OPERATOR MD5; ipmitool lan set 1 auth ADMIN MD5",
            )
        )
    elif old and types & 0x36:
        kinds = [name for bit, name in ((0x02, "MD2"), (0x04, "MD5"), (0x10, "a password in the clear")) if types & bit]
        text = f"IPMI 1.5 sessions are enabled ({', '.join(kinds)}), which sign little and encrypt nothing"
        found.append(Exposure("ipmi-1.5", text, "switch IPMI 1.5 off in the BMC's own settings"))
    if accounts & 0x01:
        text = "anonymous login is enabled: an account without a name and without a password"
        found.append(Exposure("anonymous", text, "ipmitool user disable 1"))
    elif accounts & 0x02:
        text = "an account without a name is enabled"
        found.append(Exposure("anonymous", text, "ipmitool user disable 1"))
    return tuple(found)


def cipher_0(packet: bytes) -> tuple[Exposure, ...] | None:
    """Return what the answer to Open Session with suite 0 tells; None when `packet` is no answer to it."""
    payload = packet[16:]
    if len(payload) < 8 or packet[4:6] != bytes((0x06, _OPEN_SESSION_RESPONSE)) or payload[0] != _TAG:
        return None
    if payload[1] != 0 or payload[4:8] != _SESSION or len(payload) < 36:
        return ()
    # A BMC may answer with another suite than the one asked for (seen: pyghmi's); then 0 is not accepted.
    if any(payload[at + 4] & 0x3F for at in (12, 20, 28)):
        return ()
    level = _LEVELS.get(payload[2] & 0x0F, "an unknown level")
    return (
        Exposure(
            "cipher-0",
            f"it opens sessions of cipher suite 0, without any password, at {level} (CVE-2013-4782)",
            "ipmitool lan set 1 cipher_privs XXXaXXXXXXXXXXX  (15 letters, one for each suite: only 3 stays, and 17 if"
            " the BMC has it)",
        ),
    )


def accounts(found: Sequence[Account], own: str) -> tuple[Exposure, ...]:
    """Return what the list of accounts tells: names that everybody knows, our own apart."""
    known = [a.name for a in found if a.name.casefold() in DEFAULT_NAMES and a.name != own]
    if not known:
        return ()
    names = ", ".join(dict.fromkeys(known))
    return (
        Exposure(
            "default-account",
            f"the maker's own account is enabled ({names}); whether its password was changed is not tried",
            "disable it or set its password: ipmitool user list",
        ),
    )
