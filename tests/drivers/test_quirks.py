"""Quirks are data: every row has a source, a new row needs no code."""

from __future__ import annotations

import pytest

from drivers import quirks
from drivers.quirks import QUIRKS, Facts, Quirk, When, firmware_within, matching, quirks_table
from drivers.redfish_system import read_system
from tests.drivers.simulators.redfish_trees import machine


def test_every_row_says_who_what_and_where_it_was_read() -> None:
    for driver, vendor, generation, firmware, differs, source in quirks_table():
        assert driver in ("redfish", "ilo", "drac", "ipmi")
        assert vendor and generation and firmware and differs
        assert len(source) > 10, differs


def test_the_vendors_of_the_field_are_there() -> None:
    vendors = {quirk.vendor for quirk in QUIRKS}
    expected = {"HPE", "Dell", "Fujitsu", "Supermicro", "Lenovo", "OpenBMC", "Nvidia", "Ampere", "Intel", "Cisco"}
    assert expected <= vendors


def test_rows_that_do_something_can_be_recognised() -> None:
    for quirk in QUIRKS:
        acts = quirk.body_to_system or quirk.oem_action or quirk.only_system or quirk.serial_property
        assert not (acts and quirk.when == When()), quirk.differs


def test_a_new_row_needs_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Quirk(
        "Acme", "A1", "lists no Nmi, its OEM action does", "made up", when=When(vendor="^acme$"),
        oem_action="#Acme.Interrupt", oem_parameter="Kind", oem_value="Diagnostic",
    )  # fmt: skip
    action = {"Oem": {"#Acme.Interrupt": {"target": "/redfish/v1/Systems/1/Actions/Oem/Acme.Interrupt"}}}
    body = machine(Manufacturer="ACME", Actions=action)["/redfish/v1/Systems/1"]
    assert read_system("/redfish/v1/Systems/1", body).reset is None
    monkeypatch.setattr(quirks, "QUIRKS", (*QUIRKS, row))
    reset = read_system("/redfish/v1/Systems/1", body).reset
    assert reset is not None
    assert (reset.uri.rpartition("/")[2], dict(reset.body), reset.allowed) == (
        "Acme.Interrupt",
        {"Kind": "Diagnostic"},
        True,
    )


def test_a_row_without_anything_to_recognise_it_by_never_matches() -> None:
    assert all(quirk.when != When() for quirk in matching(Facts("HPE", "x", "1.0", ("Hp", "Hpe"), "/Managers/bmc")))


@pytest.mark.parametrize(
    ("version", "span", "within"),
    [
        ("1.74", "<=1.74", True),
        ("1.9", "<=1.74", True),  # 9 is less than 74
        ("1.75", "<=1.74", False),
        ("iLO 4 v2.30", ">=2.30,<2.50", True),
        ("2.50.1", ">=2.30,<2.50", False),
        ("6.00.30.00", "=6.00.30.00", True),
        ("", "<1.0", True),
        ("unknown", "<1.0", True),
        ("9.9", "", True),
    ],
)
def test_firmware_ranges(version: str, span: str, within: bool) -> None:
    assert firmware_within(version, span) is within


def test_a_range_that_cannot_be_read_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="firmware bound"):
        firmware_within("1.0", "about 2")
