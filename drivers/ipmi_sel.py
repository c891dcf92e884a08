"""The System Event Log of a BMC: its newest entries, and what they mean (IPMI 2.0 sections 31, 32 and 42)."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable

from trigger.driver import EventLogEntry
from trigger.errors import DriverError

Ask = Callable[[int, int, bytes], bytes]

NETFN_STORAGE, GET_SEL_INFO, GET_SEL_ENTRY = 0x0A, 0x40, 0x43
FIRST, LAST = 0x0000, 0xFFFF
NOT_PRESENT = 0xCB

# Sensor types whose events are evidence of a diagnostic interrupt or of a crash, with their names and offsets
# (IPMI 2.0 table 42-3, event type 0x6f). Everything else is shown as numbers.
EVENTS: dict[int, tuple[str, dict[int, str]]] = {
    0x13: (
        "Critical Interrupt",
        {
            0x00: "Front Panel NMI / Diagnostic Interrupt",
            0x01: "Bus Timeout",
            0x02: "I/O channel check NMI",
            0x03: "Software NMI",
            0x04: "PCI PERR",
            0x05: "PCI SERR",
            0x06: "EISA Fail Safe Timeout",
            0x07: "Bus Correctable Error",
            0x08: "Bus Uncorrectable Error",
            0x09: "Fatal NMI",
            0x0A: "Bus Fatal Error",
            0x0B: "Bus Degraded",
        },
    ),
    0x20: (
        "OS Stop",
        {
            0x00: "Critical stop during OS load",
            0x01: "Run-time critical stop (panic)",  # what Linux' ipmi_msghandler logs with CONFIG_IPMI_PANIC_EVENT
            0x02: "OS graceful stop",
            0x03: "OS graceful shutdown",
        },
    ),
    0x23: (
        "Watchdog",
        {
            0x00: "Timer expired",
            0x01: "Hard reset",
            0x02: "Power down",
            0x03: "Power cycle",
            0x08: "Timer interrupt",
        },
    ),
}


def read_log(ask: Ask, newest: int) -> tuple[EventLogEntry, ...]:
    """Return the `newest` entries, oldest first. `ask` sends netfn, command and data; DriverError passes through.

    The log is a list linked forwards only. Record ids mostly count up, so the reading starts `newest` records
    before the last one if there is such a record, and at the first one otherwise.
    """
    info = _answer(ask(NETFN_STORAGE, GET_SEL_INFO, b""))
    if len(info) < 3:
        raise DriverError("the controller's event log tells nothing of its size")
    (count,) = struct.unpack_from("<H", info, 1)
    if count == 0 or newest <= 0:
        return ()
    start = FIRST
    if count > newest:
        last = _entry(ask, LAST)
        candidate = struct.unpack_from("<H", last[1])[0] - newest + 1 if last else FIRST
        if candidate > FIRST and _entry(ask, candidate):
            start = candidate
    records: deque[bytes] = deque(maxlen=newest)
    for _ in range(count + newest):  # entries may be added meanwhile, but a circle must end
        found = _entry(ask, start)
        if not found:
            break
        start, record = found
        records.append(record)
        if start == LAST:
            break
    return tuple(decode(record) for record in records)


def _answer(reply: bytes) -> bytes:
    if reply[0] != 0:
        raise DriverError(f"the controller's event log cannot be read (completion code {reply[0]:#04x})")
    return reply[1:]


def _entry(ask: Ask, record_id: int) -> tuple[int, bytes] | None:
    """Return the next record's id and the 16 bytes of record `record_id`, or None if there is none."""
    reply = ask(NETFN_STORAGE, GET_SEL_ENTRY, struct.pack("<HHBB", 0, record_id, 0, 0xFF))
    if reply[0] == NOT_PRESENT:
        return None
    answer = _answer(reply)
    if len(answer) < 18:
        raise DriverError("the controller's event log has a broken entry")
    return struct.unpack_from("<H", answer)[0], answer[2:18]


def decode(record: bytes) -> EventLogEntry:
    """Return a SEL record of 16 bytes as an entry (IPMI 2.0 section 32); hostile text is left as it is."""
    record_id, kind, seconds = struct.unpack_from("<HBI", record)
    key = f"{record_id:#06x}"
    # Below 0x20000000 the clock counts from the BMC's start; all ones is "unspecified" (IPMI 2.0 section 37).
    time = float(seconds) if 0x20000000 <= seconds < 0xFFFFFFFF else None
    if kind >= 0xE0:  # OEM, without a time
        return EventLogEntry(None, "", _oem_text(kind, record), key)
    if kind != 0x02:
        return EventLogEntry(time, "", f"record type {kind:#04x}: {record[7:].hex(' ')}", key)
    sensor_type, sensor, direction, data = record[10], record[11], record[12], record[13:16]
    name, offsets = EVENTS.get(sensor_type, ("", {}))
    meaning = offsets.get(data[0] & 0x0F, "") if direction & 0x7F == 0x6F else ""
    if not meaning:
        text = f"sensor type {sensor_type:#04x}, sensor {sensor:#04x}, event {direction:#04x}: {data.hex(' ')}"
        return EventLogEntry(time, "", text, key)
    gone = ", gone" if direction & 0x80 else ""
    return EventLogEntry(time, "critical", f"{name}: {meaning}{gone} (sensor {sensor:#04x})", key)


def _oem_text(kind: int, record: bytes) -> str:
    """Return an OEM record in words; 0xF0 is how Linux logs its panic message in pieces of 11 characters."""
    if kind == 0xF0:
        return f"panic text {record[4]}: {record[5:16].rstrip(bytes(1)).decode('latin-1')}"
    return f"record type {kind:#04x}: {record[3:].hex(' ')}"
