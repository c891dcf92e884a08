"""How a BMC is set up, for preflight: its clock, firmware, serial-over-LAN, and the accounts that it has.

All of it is read in the session that `probe` opened (IPMI 2.0 sections 20.1, 22.27, 22.29, 26.3, 31.10 and 31.11).
A BMC that does not know a command, or keeps it from this account, leaves that value out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from trigger.driver import Settings
from trigger.errors import DriverError
from trigger.text import harmless

Ask = Callable[[int, int, bytes], bytes]

NETFN_APP, NETFN_STORAGE, NETFN_TRANSPORT = 0x06, 0x0A, 0x0C
GET_DEVICE_ID, GET_USER_ACCESS, GET_USER_NAME = 0x01, 0x44, 0x46
GET_SEL_TIME, GET_SEL_TIME_OFFSET = 0x48, 0x5C
GET_SOL_PARAMETER, SOL_ENABLE, SOL_BAUD_STORED, SOL_BAUD_NOW = 0x22, 0x01, 0x05, 0x06
THIS_CHANNEL = 0x0E
_BAUDS = {6: 9600, 7: 19200, 8: 38400, 9: 57600, 10: 115200}
_OFFSET_UNKNOWN = 0x07FF  # 31.11: "unspecified"
_FIRST_REAL_TIME = 0x20000000  # 37.1: smaller ones count from the BMC's own start
_MOST_USERS = 16  # slots that are looked at; no BMC in the field uses more
_MAY_SEND, _USER = 0x10, 0x02


class Account(NamedTuple):
    """An account that may log in on this channel: slot, name, privilege limit (2 user, 3 operator, 4 administrator)."""

    slot: int
    name: str
    privilege: int


def read_settings(ask: Ask) -> tuple[Settings, tuple[Account, ...]]:
    """Return the settings without the exposures, and the accounts.

    Some firmware drops what it does not know: the first question that is not answered at all is the last one.
    """
    time, firmware = None, ""
    sol: tuple[bool | None, int | None] = (None, None)
    users: tuple[Account, ...] = ()
    try:
        firmware = read_firmware(ask)
        time = read_time(ask)
        sol = read_sol(ask)
        users = read_accounts(ask)
    except DriverError:
        pass
    return Settings(time, firmware, *sol), users


def read_time(ask: Ask) -> float | None:
    """Return the clock of the event log in seconds since the epoch, None where it was never set."""
    data = _data(ask(NETFN_STORAGE, GET_SEL_TIME, b""), 4)
    if data is None:
        return None
    (seconds,) = struct.unpack_from("<I", data)
    if not _FIRST_REAL_TIME <= seconds < 0xFFFFFFFF:
        return None
    offset = _data(ask(NETFN_STORAGE, GET_SEL_TIME_OFFSET, b""), 2)
    minutes = struct.unpack_from("<h", offset)[0] if offset else _OFFSET_UNKNOWN
    return float(seconds - (60 * minutes if abs(minutes) <= 1440 else 0))


def read_firmware(ask: Ask) -> str:
    """Return the firmware's revision as ipmitool shows it ("9.08"), "" where it does not say."""
    data = _data(ask(NETFN_APP, GET_DEVICE_ID, b""), 4)
    return f"{data[2] & 0x7F}.{data[3] >> 4}{data[3] & 0x0F}" if data else ""


def read_sol(ask: Ask) -> tuple[bool | None, int | None]:
    """Return whether serial-over-LAN is on, and its speed in baud; the volatile setting is the one in force."""
    enabled = _sol(ask, SOL_ENABLE)
    rates = (_sol(ask, parameter) for parameter in (SOL_BAUD_NOW, SOL_BAUD_STORED))
    # 0 leaves the speed to the serial channel's own setting, which most BMCs do not tell.
    baud = next((_BAUDS.get(rate & 0x0F) for rate in rates if rate), None)
    return (None if enabled is None else bool(enabled & 0x01)), baud


def read_accounts(ask: Ask) -> tuple[Account, ...]:
    """Return the enabled accounts, of the first 16 slots; empty where this account may not see them."""
    found: list[Account] = []
    slots = 1
    slot = 1
    while slot <= min(slots, _MOST_USERS):
        access = _data(ask(NETFN_APP, GET_USER_ACCESS, bytes((THIS_CHANNEL, slot))), 4)
        if access is None:
            break
        slots, enabled = access[0] & 0x3F, access[1] & 0x3F
        limit = access[3] & 0x0F
        # Bits 7:6 of byte 2: 10b is disabled, 01b enabled, 00b an older BMC that does not say.
        if access[1] >> 6 != 2 and access[3] & _MAY_SEND and _USER <= limit <= 5:
            name = _data(ask(NETFN_APP, GET_USER_NAME, bytes((slot,))), 0) or b""
            found.append(Account(slot, harmless(name.split(b"\0")[0].decode("latin-1").strip()), limit))
        if len(found) >= enabled:
            break
        slot += 1
    return tuple(found)


def _sol(ask: Ask, parameter: int) -> int | None:
    data = _data(ask(NETFN_TRANSPORT, GET_SOL_PARAMETER, bytes((THIS_CHANNEL, parameter, 0, 0))), 2)
    return data[1] if data else None


def _data(reply: bytes, least: int) -> bytes | None:
    """Return what follows the completion code; None when it is no 0x00 or less than `least` bytes follow."""
    return reply[1:] if reply and reply[0] == 0 and len(reply) > least else None
