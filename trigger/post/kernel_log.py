"""The kernel's log out of the dump itself, without symbols: VMCOREINFO names every field that is needed.

The ring buffer of Linux 5.10 and later (kernel/printk/printk_ringbuffer.h; read as scripts/gdb/linux/dmesg.py
does), and the records of Linux 3.5 to 5.9 (struct printk_log).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from trigger.post import vmcoreinfo
from trigger.post.facts import DumpFacts
from trigger.post.memory import Virtual, open_physical
from trigger.post.reader import Malformed, Metered, Reader, TooMuch
from trigger.post.unpack import Unreadable

_MAX_BYTES = 64 * 1024 * 1024
_LOCAL_RECORDS, _REMOTE_RECORDS = 300_000, 4096
_COMMITTED, _FINALIZED = 1, 2
_STATE_SHIFT = 62
_ID_MASK = (1 << _STATE_SHIFT) - 1

logger = logging.getLogger(__name__)


def of_dump(reader: Reader, facts: DumpFacts, *, local: bool) -> str:
    """Return the log in a dump whose facts are known, "" when it cannot be had; raises what the reader raises.

    Reads about as much as the log and its indexes have, a few MB; through a network a flattened dump of more
    than 256 MB is left alone, as each of its records would cost a round trip.
    """
    if facts.wrapper or facts.format not in ("kdump", "elf") or not facts.vmcoreinfo:
        return ""
    try:
        physical = open_physical(Metered(reader), records=_LOCAL_RECORDS if local else _REMOTE_RECORDS)
        return read(Virtual(physical, facts.vmcoreinfo), facts.vmcoreinfo)
    except (Unreadable, Malformed, TooMuch) as why:
        logger.info("no kernel log out of %s: %s", facts.name, why)
        return ""


def read(memory: Virtual, info: Mapping[str, str]) -> str:
    """Return the log as dmesg prints it; raises Unreadable or Malformed when it cannot be had."""
    fields = _Fields(info)
    records = _ring_buffer(memory, fields) if "SYMBOL(prb)" in info else _old_records(memory, fields)
    lines = []
    for nanoseconds, text in records:
        stamp = f"[{nanoseconds // 10**9:5d}.{nanoseconds // 1000 % 10**6:06d}] "
        lines += [stamp + line for line in text.decode("utf-8", "replace").split("\n")]
    if not lines:
        raise Unreadable("its log is empty")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class _Fields:
    """Offsets, sizes and symbols of VMCOREINFO; a missing one makes the log unreadable."""

    info: Mapping[str, str]

    def size(self, name: str) -> int:
        return self._number(f"SIZE({name})", 10, 1 << 20)

    def offset(self, name: str) -> int:
        return self._number(f"OFFSET({name})", 10, 1 << 20)

    def symbol(self, name: str) -> int:
        return self._number(f"SYMBOL({name})", 16, 1 << 64)

    def _number(self, key: str, base: int, limit: int) -> int:
        value = vmcoreinfo.number(self.info, key, base)
        if value is None or not 0 <= value < limit:
            raise Unreadable(f"its VMCOREINFO has no {key}")
        return value


def _ring_buffer(memory: Virtual, fields: _Fields) -> Iterator[tuple[int, bytes]]:
    """Yield (nanoseconds since boot, text) of each record, oldest first."""
    buffer = memory.number(fields.symbol("prb"), 8)
    ring = buffer + fields.offset("printk_ringbuffer.desc_ring")
    count = _power(memory.number(ring + fields.offset("prb_desc_ring.count_bits"), 4))
    desc_size, info_size = fields.size("prb_desc"), fields.size("printk_info")
    if count * (desc_size + info_size) > _MAX_BYTES:
        raise Unreadable("its log says that it is too large")
    descs = memory.read(memory.number(ring + fields.offset("prb_desc_ring.descs"), 8), count * desc_size)
    infos = memory.read(memory.number(ring + fields.offset("prb_desc_ring.infos"), 8), count * info_size)
    counter = fields.offset("atomic_long_t.counter")
    tail = memory.number(ring + fields.offset("prb_desc_ring.tail_id") + counter, 8) & _ID_MASK
    head = memory.number(ring + fields.offset("prb_desc_ring.head_id") + counter, 8) & _ID_MASK
    text = _Text(memory, fields, buffer)
    state_at = fields.offset("prb_desc.state_var") + counter
    block_at = fields.offset("prb_desc.text_blk_lpos")
    begin_at = block_at + fields.offset("prb_data_blk_lpos.begin")
    next_at = block_at + fields.offset("prb_data_blk_lpos.next")
    time_at, length_at = fields.offset("printk_info.ts_nsec"), fields.offset("printk_info.text_len")
    for number in range(tail, tail + min(((head - tail) & _ID_MASK) + 1, count)):
        at = (number % count) * desc_size
        state = _u64(descs, at + state_at)
        if state >> _STATE_SHIFT not in (_COMMITTED, _FINALIZED) or state & _ID_MASK != number & _ID_MASK:
            continue
        about = (number % count) * info_size
        length = int.from_bytes(infos[about + length_at : about + length_at + 2], "little")
        yield (
            _u64(infos, about + time_at),
            text.of(_u64(descs, at + begin_at), _u64(descs, at + next_at), length),
        )


class _Text:
    """The text ring: blocks of an id and the text; one that does not fit at the end starts over at 0."""

    def __init__(self, memory: Virtual, fields: _Fields, buffer: int) -> None:
        ring = buffer + fields.offset("printk_ringbuffer.text_data_ring")
        self._size = _power(memory.number(ring + fields.offset("prb_data_ring.size_bits"), 4))
        if self._size > _MAX_BYTES:
            raise Unreadable("its log says that it is too large")
        self._data = memory.read(memory.number(ring + fields.offset("prb_data_ring.data"), 8), self._size)

    def of(self, begin: int, end: int, length: int) -> bytes:
        if begin & 1:  # a record without text
            return b""
        start, stop = begin % self._size, end % self._size
        if start > stop:
            start = 0
        start += 8
        return self._data[start : min(start + length, stop)]


def _old_records(memory: Virtual, fields: _Fields) -> Iterator[tuple[int, bytes]]:
    """Yield the records of kernels before 5.10; the structure was `log` before 3.11, `printk_log` since."""
    name = "printk_log" if "SIZE(printk_log)" in fields.info else "log"
    size = memory.number(fields.symbol("log_buf_len"), 4)
    if size > _MAX_BYTES:
        raise Unreadable("its log says that it is too large")
    data = memory.read(memory.number(fields.symbol("log_buf"), 8), size)
    position = memory.number(fields.symbol("log_first_idx"), 4)
    end = memory.number(fields.symbol("log_next_idx"), 4)
    header = fields.size(name)
    for _ in range(size // max(header, 1) + 2):
        if position == end or position + header > size:
            return
        length = _u16(data, position + fields.offset(f"{name}.len"))
        if length == 0:  # the rest of the buffer was too short: go on at its start
            position = 0
            continue
        text = position + header
        stop = text + _u16(data, position + fields.offset(f"{name}.text_len"))
        yield _u64(data, position + fields.offset(f"{name}.ts_nsec")), data[text:stop]
        position += length


def _power(bits: int) -> int:
    if bits > 40:
        raise Unreadable("its log says that it is too large")
    return 1 << bits


def _u64(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")
