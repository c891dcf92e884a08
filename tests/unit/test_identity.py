"""Whether two machines are the same one, in every byte order and with every placeholder seen in the field."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as some

from trigger.driver import Identity
from trigger.identity import Match, compare_identities, compare_serials, compare_uuids, has_own_identity

DMI = "4c4c4544-0042-3510-8053-b4c04f4d3432"
SMBIOS_ORDER = "44454c4c-4200-1035-8053-b4c04f4d3432"
IPMI_ORDER = "32344d4f-c0b4-5380-1035-420044454c4c"


@pytest.mark.parametrize(
    "other",
    [DMI, DMI.upper(), f" {{{DMI}}} ", DMI.replace("-", ""), SMBIOS_ORDER, IPMI_ORDER.replace("-", ""),
     bytes.fromhex(DMI.replace("-", ""))[::-1].hex()],
)  # fmt: skip
def test_byte_orders_of_one_uuid(other: str) -> None:
    assert compare_uuids(DMI, other) is Match.SAME
    assert compare_uuids(other, DMI) is Match.SAME


def test_another_uuid_is_different() -> None:
    assert compare_uuids(DMI, DMI[:-1] + "3") is Match.DIFFERENT


@pytest.mark.parametrize(
    "shared",
    [
        "", "0" * 32, "f" * 32, "00000000-0000-0000-0000-000000000000", "Not Settable", "zz" * 16,
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "03000200-0400-0500-0006-000700080009",
        "00020003-0004-0005-0006-000700080009",
        "To be filled by O.E.M.", DMI[:-2], DMI + "00", "٤" * 32, "20202020-2020-2020-2020-202020202020",
        "4c4c4544-0000-2010-8020-80c04f202020",
    ],
)  # fmt: skip
def test_what_many_machines_share_proves_nothing(shared: str) -> None:
    assert compare_uuids(shared, shared) is Match.CANNOT_TELL
    assert compare_uuids(DMI, shared) is Match.CANNOT_TELL
    assert not has_own_identity(Identity(uuid=shared))


@pytest.mark.parametrize(
    ("one", "other", "match"),
    [
        ("CZJ12345AB", " czj12345ab ", Match.SAME),
        ("CZJ12345AB", "CZJ12345AC", Match.DIFFERENT),
        ("To Be Filled By O.E.M.", "To be filled by O.E.M.", Match.CANNOT_TELL),
        ("Default string", "Default string", Match.CANNOT_TELL),
        ("0123456789", "0123456789", Match.CANNOT_TELL),
        ("........", "........", Match.CANNOT_TELL),
        ("", "CZJ12345AB", Match.CANNOT_TELL),
    ],
)
def test_serial_numbers(one: str, other: str, match: Match) -> None:
    assert compare_serials(one, other) is match


def test_a_uuid_outweighs_a_serial_number() -> None:
    here = Identity(uuid=DMI, serial="CHASSIS7")
    same_chassis = Identity(uuid=DMI[:-1] + "3", serial="CHASSIS7")
    assert compare_identities(here, same_chassis)[0] is Match.DIFFERENT
    assert compare_identities(here, Identity(uuid=SMBIOS_ORDER, serial="BOARD1"))[0] is Match.SAME
    match, why = compare_identities(Identity(serial="CHASSIS7"), here)
    assert match is Match.SAME
    assert "serial number CHASSIS7" in why
    assert compare_identities(here, Identity(hostname="server42"))[0] is Match.CANNOT_TELL


@given(some.text(), some.text())
def test_no_text_breaks_a_comparison(one: str, other: str) -> None:
    for compare in (compare_uuids, compare_serials):
        assert compare(one, other) is compare(other, one)


@given(some.uuids(), some.uuids())
def test_different_uuids_are_never_the_same(one: uuid.UUID, other: uuid.UUID) -> None:
    if sorted(one.bytes) != sorted(other.bytes):
        assert compare_uuids(str(one), str(other)) is not Match.SAME
    assert compare_uuids(str(one), uuid.UUID(bytes_le=one.bytes).hex) is not Match.DIFFERENT
