"""The simulated dump is a well-formed one: by its own offsets, and by makedumpfile."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from trigger.simulated import dmesg, vmcore
from trigger.simulated.crashed_memory import IMAGE_AT, Boot, Crash

TIME = 1_795_000_000.25


def crash(seed: str = "boot one", log_time: float = 5000.0) -> Crash:
    boot = Boot("6.1.0-32-amd64", seed)
    return Crash("server42", boot, TIME, dmesg.records(boot.release, "server42", log_time))


def plain(of: Crash, path: Path, **options: int) -> bytes:
    with path.open("wb") as file:
        for record in vmcore.records(of, memory_pages=8192, dump_pages=200, **options):
            vmcore.write_plain(file, record)
    return path.read_bytes()


def reassembled(flat: bytes) -> bytes:
    """Undo the flattened form: each record to its offset, up to the end marker."""
    assert flat[:12] == b"makedumpfile" and struct.unpack_from(">qq", flat, 16) == (1, 1)
    out, at = bytearray(), 4096
    while (record := struct.unpack_from(">qq", flat, at)) != (-1, -1):
        offset, size = record
        out.extend(bytes(max(0, offset + size - len(out))))
        out[offset : offset + size] = flat[at + 16 : at + 16 + size]
        at += 16 + size
    assert at + 16 == len(flat)
    return bytes(out)


def test_headers_say_who_when_and_which_kernel(tmp_path: Path) -> None:
    data = plain(crash(), tmp_path / "vmcore")
    assert data[:8] == b"KDUMP   "
    assert struct.unpack_from("<i", data, 8) == (6,)
    fields = [data[12 + 65 * n : 12 + 65 * (n + 1)].rstrip(b"\0").decode() for n in range(6)]
    assert (fields[1], fields[2], fields[4]) == ("server42", "6.1.0-32-amd64", "x86_64")
    assert struct.unpack_from("<qq", data, 408) == (int(TIME), 250_000)
    status, block, _sub, bitmap_blocks, _pages = struct.unpack_from("<IiiII", data, 424)
    assert (status, block, bitmap_blocks) == (1, 4096, 2)
    at, size = struct.unpack_from("<QQ", data, 4096 + 32)
    info = data[at : at + size].decode()
    assert "OSRELEASE=6.1.0-32-amd64\n" in info and f"CRASHTIME={int(TIME)}\n" in info
    for key in ("BUILD-ID", "PAGESIZE", r"SYMBOL\(_stext\)", "KERNELOFFSET", r"NUMBER\(phys_base\)"):
        assert re.search(rf"^{key}=", info, re.M), key
    assert struct.unpack_from("<Q", data, 4096 + 96) == (8192,)


def test_every_page_that_the_bitmap_names_is_there(tmp_path: Path) -> None:
    data = plain(crash(), tmp_path / "vmcore")
    sub_blocks, bitmap_blocks = struct.unpack_from("<iI", data, 432)
    half = bitmap_blocks * 4096 // 2
    bitmaps = (1 + sub_blocks) * 4096
    count = sum(byte.bit_count() for byte in data[bitmaps + half : bitmaps + 2 * half])
    assert count == 200
    descriptors = bitmaps + 2 * half
    end = 0
    for number in range(count):
        offset, size, flags, _ = struct.unpack_from("<qIIQ", data, descriptors + 24 * number)
        assert flags == 1 and len(zlib.decompress(data[offset : offset + size])) == 4096
        end = max(end, offset + size)
    assert end == len(data)


def test_the_flattened_form_is_the_same_dump(tmp_path: Path) -> None:
    records = list(vmcore.records(crash(), memory_pages=8192, dump_pages=200))
    flat = b"".join(vmcore.flattened(records))
    assert flat[4096 + 16 : 4096 + 24] == b"KDUMP   "
    assert flat[-16:] == b"\xff" * 16
    assert reassembled(flat) == plain(crash(), tmp_path / "vmcore")


def test_two_boots_differ_and_one_does_not(tmp_path: Path) -> None:
    assert crash("a").boot.stext != crash("b").boot.stext
    assert crash("a").boot.stext == crash("a").boot.stext
    assert crash("a").boot.build_id == crash("b").boot.build_id


def test_enospc_marks_the_header(tmp_path: Path) -> None:
    data = plain(crash(), tmp_path / "vmcore", status=vmcore.INCOMPLETE)
    assert struct.unpack_from("<I", data, 424) == (1 | 8,)


def test_the_image_is_where_the_page_tables_say(tmp_path: Path) -> None:
    boot = crash().boot
    assert boot.stext - 0xFFFF_FFFF_8000_0000 + boot.phys_base == IMAGE_AT


def test_a_dump_too_small_for_the_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="too small"):
        list(vmcore.records(crash(), memory_pages=8192, dump_pages=5))


@pytest.mark.lab
def test_makedumpfile_reads_it(tmp_path: Path) -> None:
    tool = shutil.which("makedumpfile") or "/usr/sbin/makedumpfile"
    plain(crash(), tmp_path / "vmcore")
    records = vmcore.records(crash(), memory_pages=8192, dump_pages=200)
    (tmp_path / "flat").write_bytes(b"".join(vmcore.flattened(records)))
    with (tmp_path / "flat").open("rb") as flat:
        subprocess.run([tool, "-R", tmp_path / "again"], stdin=flat, check=True, capture_output=True, timeout=60)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "vmcore").read_bytes()
    command = [tool, "--dump-dmesg", str(tmp_path / "vmcore"), str(tmp_path / "dmesg")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert (tmp_path / "dmesg").read_text() == dmesg.text(crash().log)
