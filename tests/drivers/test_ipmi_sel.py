"""The System Event Log: what is read of it, and what its entries mean."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from time import monotonic

import pytest

from drivers.ipmi import IpmiDriver
from drivers.ipmi_sel import decode, read_log
from tests.drivers.ipmi_bmcs import RealBmc, controller, ipmi_sim, options
from tests.drivers.scripted_bmc import ScriptedBmc
from trigger.clock import Deadline
from trigger.errors import DriverError

WHEN = 1_700_000_000
KNOWN = {"cipher_suite": 3}


def event(sensor_type: int, offset: int, *, direction: int = 0x6F, seconds: int = WHEN, record_id: int = 7) -> bytes:
    """A system event record (IPMI 2.0 table 32-1)."""
    return struct.pack(
        "<HBIHBBBB3s",
        record_id,
        2,
        seconds,
        0x20,
        4,
        sensor_type,
        0x2D,
        direction,
        bytes((offset, 0xFF, 0xFF)),
    )


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (event(0x13, 0x00), "Critical Interrupt: Front Panel NMI / Diagnostic Interrupt (sensor 0x2d)"),
        (event(0x13, 0x03), "Critical Interrupt: Software NMI (sensor 0x2d)"),
        (event(0x13, 0xA0), "Critical Interrupt: Front Panel NMI / Diagnostic Interrupt (sensor 0x2d)"),
        (
            event(0x13, 0x00, direction=0xEF),
            "Critical Interrupt: Front Panel NMI / Diagnostic Interrupt, gone (sensor 0x2d)",
        ),
        (event(0x20, 0xA1), "OS Stop: Run-time critical stop (panic) (sensor 0x2d)"),
        (event(0x23, 0x01), "Watchdog: Hard reset (sensor 0x2d)"),
    ],
)
def test_evidence_in_words(record: bytes, text: str) -> None:
    entry = decode(record)
    assert (entry.text, entry.severity, entry.time, entry.key) == (text, "critical", float(WHEN), "0x0007")


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (event(0x04, 0x50, direction=0x01), "sensor type 0x04, sensor 0x2d, event 0x01: 50 ff ff"),
        (event(0x13, 0x0E), "sensor type 0x13, sensor 0x2d, event 0x6f: 0e ff ff"),
        (event(0x13, 0x00, direction=0x03), "sensor type 0x13, sensor 0x2d, event 0x03: 00 ff ff"),
        (
            struct.pack("<HBI9s", 7, 0xC1, WHEN, bytes(range(9))),
            "record type 0xc1: 00 01 02 03 04 05 06 07 08",
        ),
        (struct.pack("<HB13s", 7, 0xE5, bytes(13)), "record type 0xe5: " + " ".join(["00"] * 13)),
    ],
)
def test_everything_else_as_numbers(record: bytes, text: str) -> None:
    entry = decode(record)
    assert (entry.text, entry.severity) == (text, "")


def test_the_panic_message_of_linux_is_legible() -> None:
    """drivers/char/ipmi/ipmi_msghandler.c, send_panic_events: record type 0xF0, address, piece, 11 characters."""
    assert decode(struct.pack("<HBBB11s", 9, 0xF0, 0x20, 1, b"Fatal excep")).text == "panic text 1: Fatal excep"
    assert decode(struct.pack("<HBBB11s", 9, 0xF0, 0x20, 2, b"tion")).text == "panic text 2: tion"


@pytest.mark.parametrize("seconds", [0, 0x1FFFFFFF, 0xFFFFFFFF])
def test_a_clock_that_was_never_set_tells_no_time(seconds: int) -> None:
    assert decode(event(0x13, 0, seconds=seconds)).time is None


def log_of(ids: list[int]) -> tuple[list[int], object]:
    """A SEL with these record ids, as `read_log` asks for it; and the list of the records that were read."""
    read: list[int] = []

    def ask(netfn: int, command: int, data: bytes) -> bytes:
        assert netfn == 0x0A
        if command == 0x40:
            return struct.pack("<BBHHIIB", 0, 0x51, len(ids), 100, 0, 0, 0)
        wanted = struct.unpack_from("<H", data, 2)[0]
        wanted = {0: ids[0], 0xFFFF: ids[-1]}.get(wanted, wanted) if ids else wanted
        if wanted not in ids:
            return b"\xcb"
        read.append(wanted)
        at = ids.index(wanted)
        following = ids[at + 1] if at + 1 < len(ids) else 0xFFFF
        return struct.pack("<BH", 0, following) + event(0x13, 0, record_id=wanted)

    return read, ask


def keys(ask: object, newest: int) -> list[int]:
    return [int(entry.key, 16) for entry in read_log(ask, newest)]  # type: ignore[arg-type]


def test_the_newest_entries_oldest_first() -> None:
    read, ask = log_of(list(range(1, 1001)))
    assert keys(ask, 5) == [996, 997, 998, 999, 1000]
    assert len(read) <= 7, "without reading the thousand"


def test_all_entries_when_there_are_few() -> None:
    assert keys(log_of([3, 4, 9])[1], 50) == [3, 4, 9]
    assert keys(log_of([])[1], 50) == []
    assert keys(log_of([3])[1], 0) == []


def test_record_ids_that_jump() -> None:
    assert keys(log_of([10, 20, 30, 40])[1], 2) == [30, 40]


def test_record_ids_that_have_wrapped_around() -> None:
    assert keys(log_of([65533, 65534, 1, 2])[1], 3) == [65534, 1, 2]


def test_a_log_that_is_a_circle_comes_to_an_end() -> None:
    def ask(netfn: int, command: int, data: bytes) -> bytes:
        if command == 0x40:
            return struct.pack("<BBHHIIB", 0, 0x51, 4, 100, 0, 0, 0)
        return struct.pack("<BH", 0, 1) + event(0x13, 0, record_id=1)

    assert len(read_log(ask, 4)) == 4


@pytest.mark.parametrize(
    ("info", "entry"),
    [
        (b"\xc1", b""),
        (b"\x00\x51", b""),
        (struct.pack("<BBHHIIB", 0, 0x51, 1, 9, 0, 0, 0), b"\x00\xff\xff\x01"),
    ],
)
def test_a_log_that_cannot_be_read(info: bytes, entry: bytes) -> None:
    with pytest.raises(DriverError, match="event log"):
        read_log(lambda netfn, command, data: info if command == 0x40 else entry, 5)


@pytest.fixture(scope="module")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealBmc]:
    with ipmi_sim(tmp_path_factory.mktemp("ipmi_sim")) as bmc:
        yield bmc


def test_from_a_real_bmc(sim: RealBmc) -> None:
    with IpmiDriver(controller(sim.port), options(KNOWN)) as driver:
        assert driver.event_log(Deadline(5)) == ()
        session = driver._session
        assert session is not None
        for sensor_type, offset in ((0x04, 0x01), (0x13, 0x00), (0x20, 0x01)):
            assert session.ask(0x0A, 0x44, event(sensor_type, offset), monotonic() + 5)[0] == 0  # Add SEL Entry
        assert len(driver.event_log(Deadline(5))) == 3
        newest = driver.event_log(Deadline(5), newest=2)
    assert [entry.text.split(":")[0] for entry in newest] == ["Critical Interrupt", "OS Stop"]


def test_a_controller_without_a_log_is_an_error_in_words() -> None:
    with (
        ScriptedBmc() as bmc,
        IpmiDriver(controller(bmc.port), options({"cipher_suite": 17})) as driver,
        pytest.raises(DriverError, match="event log"),
    ):
        driver.event_log(Deadline(5))
