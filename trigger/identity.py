"""Are two machines the same one? Pure comparison of what they say of themselves.

Used by preflight (the host's DMI against its controller) and by the guard (the record against the
controller that would fire). A wrong "same" crashes a healthy machine, so whatever many machines share
proves nothing.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from trigger.driver import Identity

if TYPE_CHECKING:
    from trigger.host import Host


class Match(enum.Enum):
    """What a comparison proves."""

    SAME = "same"
    DIFFERENT = "different"
    CANNOT_TELL = "cannot tell"


# GUIDs that manufacturers leave in boards by the thousand, in hex without dashes, as seen in dmidecode
# output: AMI's default (both byte orders), counting patterns, and Dell's "LLED" with no service tag.
_SHARED_UUIDS = frozenset(
    {
        "03000200040005000006000700080009",
        "00020003000400050006000700080009",
        "12345678123456781234567812345678",
        "123456781234567890abcddeefaabbcc",
        "00112233445566778899aabbccddeeff",
        "000102030405060708090a0b0c0d0e0f",
        "4c4c454400002010802080c04f202020",
        "4c4c4544002020108020a0c04f202020",
    }
)
# What stands where nobody entered a serial number (dmidecode output of many makers), lower case, spaces
# folded.
_NO_SERIALS = frozenset(
    {
        "to be filled by o.e.m.",
        "default string",
        "not specified",
        "not applicable",
        "not available",
        "system serial number",
        "chassis serial number",
        "base board serial number",
        "none",
        "n/a",
        "na",
        "null",
        "unknown",
        "invalid",
        "empty",
        "oem",
        "o.e.m.",
        "default",
        "undefined",
        "0123456789",
        "1234567890",
        "123456789",
        "12345678",
        "unset",
        "not present",
        "no serial number",
    }
)


def compare_identities(expected: Identity, found: Identity) -> tuple[Match, str]:
    """Return whether `found` is the machine that `expected` describes, and a clause that says why.

    The system UUID decides where both have one that is theirs alone; only else does the serial number.
    """
    by_uuid = compare_uuids(expected.uuid, found.uuid)
    if by_uuid is not Match.CANNOT_TELL:
        word = "is" if by_uuid is Match.SAME else "should be"
        return by_uuid, f"its UUID {found.uuid} {word} {expected.uuid}"
    by_serial = compare_serials(expected.serial, found.serial)
    if by_serial is not Match.CANNOT_TELL:
        word = "is" if by_serial is Match.SAME else "should be"
        return by_serial, f"its serial number {found.serial} {word} {expected.serial}"
    return Match.CANNOT_TELL, "no UUID or serial number of its own is known on both sides"


def compare_uuids(one: str, other: str) -> Match:
    """Compare two UUIDs in every byte order in which firmware prints them.

    SMBIOS 2.6 and later store the first three fields little-endian, IPMI sends all 16 bytes least significant
    first (IPMI 2.0, 20.8), and controllers print either, decoded or not.
    """
    first, second = _own_uuid(one), _own_uuid(other)
    if first is None or second is None:
        return Match.CANNOT_TELL
    return Match.SAME if first in _byte_orders(second) else Match.DIFFERENT


def compare_serials(one: str, other: str) -> Match:
    """Compare two serial numbers, blind to case and spaces."""
    first, second = own_serial(one), own_serial(other)
    if not first or not second:
        return Match.CANNOT_TELL
    return Match.SAME if first == second else Match.DIFFERENT


def own_serial(text: str) -> str:
    """Return the serial number folded for comparison, "" where it is a placeholder that many machines
    share.
    """
    folded = " ".join(text.casefold().split())
    if folded in _NO_SERIALS or len(folded) < 4 or len(set(folded) - set(" .-")) < 2:
        return ""
    return folded.replace(" ", "")


def has_own_identity(identity: Identity) -> bool:
    """Return whether `identity` says anything that no other machine says."""
    return _own_uuid(identity.uuid) is not None or bool(own_serial(identity.serial))


def canonical_uuid(text: str) -> str:
    """Return the same text for one UUID in whatever byte order it is printed; "" where it is nobody's own."""
    raw = _own_uuid(text)
    if raw is None:
        return ""
    known, new = {raw}, {raw}
    while new:
        new = {order for one in new for order in (one[::-1], _smbios(one))} - known
        known |= new
    return min(known).hex()


def _own_uuid(text: str) -> bytes | None:
    """Return the 16 bytes of a UUID as printed, None where it is no UUID or one that many machines share."""
    digits = text.strip().strip("{}").replace("-", "").replace(":", "").casefold().removeprefix("0x")
    if len(digits) != 32 or not digits.isascii():
        return None
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        return None
    if len(set(raw)) < 3 or any(order.hex() in _SHARED_UUIDS for order in _byte_orders(raw)):
        return None
    return raw


def _byte_orders(raw: bytes) -> tuple[bytes, ...]:
    """Return every order in which the same UUID may be printed: as it is, SMBIOS's, IPMI's, and both at
    once.
    """
    backwards = raw[::-1]
    return raw, _smbios(raw), backwards, _smbios(backwards), _smbios(raw)[::-1]


def _smbios(raw: bytes) -> bytes:
    """Turn round the bytes of the first three fields (4, 2 and 2 bytes)."""
    return raw[3::-1] + raw[5:3:-1] + raw[7:5:-1] + raw[8:]


def written_identity(host: Host) -> Identity:
    """Return who the host is by its owner's word: `identity:` in the configuration, empty where nothing is written."""
    return Identity(uuid=host.identity.uuid, serial=host.identity.serial)
