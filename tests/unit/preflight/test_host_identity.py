"""Is this BMC this host's? The odd cases: cable, address, configuration, chassis, zero and shared GUIDs, byte order."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.preflight.cases import all_cases, printed
from trigger.driver import Identity
from trigger.host import ExpectedIdentity, Host
from trigger.known import _merged
from trigger.preflight.check import Verdict
from trigger.preflight.facts import Facts
from trigger.preflight.identity import Claim, judge_address, judge_identity, own_bmc_address, own_bmc_guids
from trigger.preflight.readings import parse
from trigger.preflight.uniqueness import Records
from trigger.record import Record, find_record, write_record
from trigger.state import StateFolder

DMI = uuid.UUID("4c4c4544-0042-3510-8053-b4c04f4d3432")  # of tests/checks/x86-server.yaml
OTHER = uuid.UUID("99999999-1234-5678-9abc-def012345678")
ZERO = "00000000-0000-0000-0000-000000000000"
HOST = Host("server42", ())


def facts(*, dmi: str = str(DMI), serial: str = "5BSM42X", guid: str = "", sysfs: str = "", lan: str = "") -> Facts:
    name, case = next((name, case) for name, case in all_cases() if case["name"] == "prepared for good")
    frames = {**case.get("frames", {})}
    if guid:
        frames["bmc.guid"] = f"System GUID  : {guid}\nTimestamp    : 02/24/1996 00:31:15\nGUID Encoding : SMBIOS"
    if lan:
        frames["bmc.lan"] = (
            f"Set in Progress         : Set Complete\nIP Address              : {lan}\nSubnet : 255.0.0.0"
        )
    files = {
        **case.get("files", {}),
        "/sys/class/dmi/id/product_uuid": dmi,
        "/sys/class/dmi/id/product_serial": serial,
        **({"/sys/class/ipmi/ipmi0/device/bmc/guid": sysfs} if sysfs else {}),
    }
    return Facts(parse(printed(name, {**case, "frames": frames, "files": files})))


def verdict(claim: Claim, host_facts: Facts | None, host: Host = HOST, **more: Any) -> tuple[str, str]:
    found = judge_identity(claim, host, host_facts, more.pop("before", None), **more)
    return found.verdict.value, found.says


def ipmi(uuid_text: str, address: str = "10.1.0.7") -> Claim:
    """Return what an IPMI controller says: a GUID, and nothing else."""
    return Claim(Identity(uuid=uuid_text), (address,))


@pytest.mark.parametrize(
    "printed_as",
    [str(DMI), DMI.bytes.hex(), DMI.bytes_le.hex(), DMI.bytes[::-1].hex(), DMI.bytes_le[::-1].hex(), str(DMI).upper()],
)
def test_byte_orders_of_the_hosts_own(printed_as: str) -> None:
    assert verdict(ipmi(printed_as), facts())[0] == "pass"


def test_a_swapped_cable() -> None:
    """server42's cable is in the BMC of another machine: its GUID is neither the host's nor its own BMC's."""
    for seen in (facts(), facts(guid=str(DMI)), facts(sysfs=str(DMI))):
        what, says = verdict(ipmi(str(OTHER)), seen)
        assert what == "fail"
        assert says.startswith("WRONG MACHINE")


def test_a_reused_address() -> None:
    """The address was given to another machine, and nothing but the address tells: zero GUIDs, no serial numbers."""
    nameless = facts(dmi=ZERO, serial="Default string", lan="10.1.0.9")
    what, says = verdict(ipmi(ZERO), nameless)
    assert what == "fail"
    assert "its address is 10.1.0.7, and the host's own BMC has 10.1.0.9" in says
    assert verdict(ipmi(ZERO, "10.1.0.9"), nameless) == (
        "pass",
        "the host's own BMC has the address 10.1.0.9 (by the host itself)",
    )


@pytest.mark.parametrize("lan", ["0.0.0.0", "127.0.0.1", "", "not an address"])
def test_an_address_that_says_nothing(lan: str) -> None:
    nameless = facts(dmi=ZERO, serial="Default string", lan=lan)
    assert own_bmc_address(nameless) == ""
    assert verdict(ipmi(ZERO), nameless)[0] == "warn"


def test_a_wrong_line_in_the_configuration() -> None:
    """Whoever wrote the address of the machine next door may have copied its UUID with it."""
    copied = Host("server42", (), identity=ExpectedIdentity(uuid=str(OTHER)))
    what, says = verdict(ipmi(str(OTHER)), facts(), copied)
    assert what == "fail", "the configuration agrees with itself, and the host does not"
    assert "by the host itself" in says
    what, says = verdict(ipmi(str(DMI)), facts(), copied)
    assert what == "fail"
    assert "by the configuration" in says
    right = Host("server42", (), identity=ExpectedIdentity(serial="5BSM42X"))
    assert verdict(Claim(Identity(serial="5BSM42X")), facts(dmi=ZERO, serial="Default string"), right)[0] == "pass"


def test_two_nodes_of_one_chassis() -> None:
    """Both nodes have the chassis' serial number; only the UUID tells them apart."""
    node_1 = facts(serial="CHASSIS7")
    assert verdict(Claim(Identity(uuid=str(DMI), serial="CHASSIS7")), node_1)[0] == "pass"
    assert verdict(Claim(Identity(uuid=str(OTHER), serial="CHASSIS7")), node_1)[0] == "fail"


def test_a_zero_guid_proves_nothing() -> None:
    assert verdict(ipmi(ZERO), facts()) == ("warn", "the controller does not say who it is")
    assert verdict(Claim(Identity(uuid=ZERO, serial="5BSM42X")), facts())[0] == "pass", "the serial number does"
    assert verdict(ipmi(ZERO), facts(guid=ZERO))[0] == "warn"
    assert verdict(ipmi("ff" * 16), facts(dmi="ff" * 16))[0] == "warn"


def test_a_bmc_with_a_guid_of_its_own_is_known_from_inside() -> None:
    for seen in (facts(guid=str(OTHER)), facts(sysfs=str(uuid.UUID(bytes=OTHER.bytes_le)))):
        assert verdict(ipmi(str(OTHER)), seen) == ("pass", "the host's own BMC has the same GUID (by the host itself)")
    assert own_bmc_guids(facts(guid=str(OTHER), sysfs=str(DMI))) == (str(DMI), str(OTHER))
    # without means inside, a person has to accept it, once
    assert verdict(ipmi(str(OTHER)), facts())[0] == "fail"
    assert verdict(ipmi(str(OTHER)), facts(), accept=True)[0] == "warn"
    assert verdict(ipmi(str(OTHER)), facts(), before=Identity(uuid=str(OTHER)))[0] == "warn"


def test_the_hosts_own_bmc_contradicts() -> None:
    """The host has no UUID of its own, but the BMC inside it has another GUID than the one we reached."""
    what, says = verdict(ipmi(str(OTHER)), facts(dmi=ZERO, serial="Default string", guid=str(DMI)))
    assert what == "fail"
    assert "the host's own BMC has" in says


def test_a_redfish_uuid_of_the_system_beside_a_bmc_with_its_own() -> None:
    """Redfish gives the system's UUID; that the BMC's own GUID is another one is no contradiction."""
    assert verdict(Claim(Identity(uuid=str(DMI))), facts(guid=str(OTHER)))[0] == "pass"


def test_a_guid_that_a_whole_batch_has() -> None:
    def batch(uuid_text: str) -> bool:
        return uuid_text == str(DMI)

    what, says = verdict(ipmi(str(DMI)), facts(serial="Default string"), shared=batch)
    assert what == "warn"
    assert "another host has the same" in says
    assert verdict(ipmi(str(DMI)), facts(guid=str(DMI), serial="Default string"), shared=batch)[0] == "warn"
    # the batch's BMCs share a GUID, and the host has a UUID of its own: no contradiction
    assert verdict(ipmi(str(DMI)), facts(dmi=str(OTHER), serial="Default string"), shared=batch)[0] == "warn"
    assert verdict(Claim(Identity(str(DMI), "5BSM42X")), facts(), shared=batch)[0] == "pass", "the serial number tells"
    assert verdict(Claim(Identity(str(DMI), "OTHER42")), facts(), shared=batch)[0] == "fail"


def test_the_address_is_a_remark() -> None:
    claim = ipmi(str(DMI), "192.0.2.7")
    found = judge_address(claim, facts(lan="10.1.0.7"))
    assert found is not None
    assert found.verdict is Verdict.WARN
    same = judge_address(claim, facts(lan="192.0.2.7"))
    assert same is not None
    assert same.verdict is Verdict.PASS
    assert judge_address(claim, facts()) is None
    assert judge_address(claim, None) is None


# --- a UUID that several records have ------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder.choose(str(tmp_path / "state"))


def test_records_tell_what_is_shared(state: StateFolder) -> None:
    def record(name: str, dmi: uuid.UUID, bmc: str) -> Record:
        return Record(name, 1.0, identity=Identity(uuid=str(dmi)), controllers={"ipmi": Identity(uuid=bmc)})

    write_record(state, record("one", DMI, DMI.bytes_le.hex()))
    write_record(state, record("two", OTHER, DMI.bytes[::-1].hex()))  # the same UUID, as IPMI sends it
    write_record(state, record("three", uuid.UUID(int=7 << 90 | 0xABCDEF), ZERO))
    write_record(state, record("four", uuid.UUID(int=9 << 90 | 0xABCDEF), ZERO))
    records = Records(state)
    assert records.is_shared(str(DMI), "one")
    assert records.is_shared(DMI.bytes_le.hex(), "two")
    assert not records.is_shared(str(OTHER), "two")
    assert records.is_shared(str(OTHER), "one")
    assert not records.is_shared(ZERO, "three"), "nobody takes zeros for an identity anyway"
    assert records.write_marks(["one", "two", "three", "four"]) == ["one", "two"]
    marked = find_record(state, "one")
    assert marked is not None
    assert marked.uuid_shared
    assert marked.identity.uuid == str(DMI), "it stays in the record, so that the next preflight sees it"
    assert _merged(marked, marked.controllers["ipmi"]) == Identity(), "and a fire does not go by it"
    alone = find_record(state, "three")
    assert alone is not None
    assert not alone.uuid_shared
    assert _merged(alone, None).uuid


def test_a_mark_goes_when_the_other_host_has_gone(state: StateFolder) -> None:
    for name in ("one", "two"):
        write_record(state, Record(name, 1.0, identity=Identity(uuid=str(DMI))))
    records = Records(state)
    assert records.write_marks(["one"]) == ["one"]
    write_record(state, Record("two", 2.0, identity=Identity(uuid=str(OTHER))))
    assert records.write_marks(["two"]) == [], "what was just written is read again"
    assert records.write_marks(["one"]) == []
    assert Records(state).write_marks(["one"]) == []
    record = find_record(state, "one")
    assert record is not None
    assert not record.uuid_shared


def test_certificates_that_are_unique(state: StateFolder) -> None:
    for name, mark in (("one", "a"), ("two", "b"), ("three", "b")):
        write_record(state, Record(name, 1.0, routes={"redfish": {"fingerprint": mark * 64}}))
    records = Records(state)
    records.write_marks(["one", "two", "three"])
    unique: Callable[[str], object] = lambda name: find_record(state, name).routes["redfish"]["fingerprint_unique"]  # type: ignore[union-attr]  # noqa: E731
    assert [unique(name) for name in ("one", "two", "three")] == [True, False, False]
