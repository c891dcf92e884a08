"""The proof of a dump: what a whole one says, and that no part of one ever passes for whole."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from tests.unit.post import vmcores
from trigger.post.facts import Complete, DumpFacts
from trigger.post.formats import inspect
from trigger.post.reader import BytesReader

PAGES = vmcores.memory()


def of(data: bytes, name: str = "vmcore", **options: bool) -> DumpFacts:
    return inspect(BytesReader(data), name, **options)


@pytest.mark.parametrize(
    ("status", "compression"),
    [(1, "zlib"), (2, "lzo"), (4, "snappy"), (0x20, "zstd"), (0x21, "unknown compression"), (0, "")],
)
def test_a_whole_kdump_says_what_it_is(status: int, compression: str) -> None:
    facts = of(vmcores.plain(vmcores.kdump_writes(PAGES, status=status)))
    assert facts.complete is Complete.YES, facts.reason
    assert (facts.format, facts.flattened, facts.compression) == ("kdump", False, compression)
    assert (facts.nodename, facts.release, facts.machine) == ("server42", vmcores.RELEASE, "x86_64")
    assert facts.crash_time == vmcores.CRASH_TIME
    assert facts.vmcoreinfo["BUILD-ID"] == vmcores.BUILD_ID
    assert (facts.pages, facts.page_size, facts.dump_level) == (len(PAGES), 4096, 31)
    assert facts.producer == "makedumpfile"


@pytest.mark.parametrize("cycles", [1, 2, 5])
def test_a_kdump_killed_between_any_two_writes_is_never_complete(cycles: int) -> None:
    writes = vmcores.kdump_writes(PAGES, cycles=cycles)
    whole = vmcores.plain(writes)
    for count in range(len(writes)):
        part = vmcores.plain(writes[:count])
        verdict = of(part).complete
        assert (verdict is Complete.YES) <= (part == whole), f"killed after write {count} of {len(writes)}"
    assert of(whole).complete is Complete.YES


@pytest.mark.parametrize("status", [vmcores.ZLIB, 0])
def test_a_kdump_cut_at_any_length_is_never_complete(status: int) -> None:
    whole = vmcores.plain(vmcores.kdump_writes(vmcores.memory(40), status=status))
    for length in [*range(0, len(whole), 97), *range(len(whole) - 50, len(whole))]:
        assert of(whole[:length]).complete is not Complete.YES, length


def test_faults_have_names() -> None:
    writes = vmcores.kdump_writes(PAGES)
    whole = vmcores.plain(writes)
    assert of(whole[:-1]).fault == "truncated"
    assert of(vmcores.plain(writes[:-2]) + bytes(len(whole))).fault == "cut"
    flagged = vmcores.plain(vmcores.kdump_writes(PAGES, status=vmcores.ZLIB | vmcores.INCOMPLETE))
    assert of(flagged).fault == "flag"
    assert "INCOMPLETE" in of(flagged).reason
    assert of(b"KDUMP   " + b"\xff" * 5000).fault == "malformed"
    assert of(vmcores.flattened(writes, end=False)).fault == "marker"


def test_blocks_that_were_allocated_but_never_written_are_not_complete() -> None:
    writes = vmcores.kdump_writes({0: b"a" * 4096, 1: b"trigger " * 512}, cycles=1)
    offset, data = writes[-1]
    holes = [*writes[:-1], (offset, bytes(len(data)))]
    assert of(vmcores.plain(writes)).complete is Complete.YES
    assert of(vmcores.plain(holes)).fault == "cut"


def test_a_trailing_zero_page_shares_the_first_data() -> None:
    pages = {0: b"x" * 4096, **{n: bytes(4096) for n in range(1, 9000)}}
    writes = vmcores.kdump_writes(pages)
    assert of(vmcores.plain(writes)).complete is Complete.YES
    assert of(vmcores.plain(writes)[:-1]).complete is Complete.NO


def test_a_flattened_dump_needs_its_end_marker_and_its_whole_chain() -> None:
    writes = vmcores.kdump_writes(PAGES)
    whole = vmcores.flattened(writes)
    for local in (True, False):
        facts = of(whole, local=local)
        assert facts.complete is Complete.YES, facts.reason
        assert (facts.flattened, facts.nodename, facts.crash_time) == (True, "server42", vmcores.CRASH_TIME)
    for length in [*range(0, len(whole) - 1, 501), len(whole) - 1]:
        assert of(whole[:length], local=True).complete is not Complete.YES


def test_a_flattened_dump_cut_inside_a_page_of_ff_is_not_complete() -> None:
    whole = vmcores.flattened([*vmcores.kdump_writes(PAGES, status=0), (10**9, b"\xff" * 4096)])
    cut = whole[: -16 - 100]
    assert cut.endswith(b"\xff" * 17)
    assert of(cut, local=False).complete is Complete.NO
    assert of(whole, local=False).complete is Complete.YES


def test_makedumpfile_reassembles_what_the_writer_flattened(tmp_path: Path) -> None:
    writes = vmcores.kdump_writes(PAGES)
    (tmp_path / "flat").write_bytes(vmcores.flattened(writes))
    with (tmp_path / "flat").open("rb") as flat:
        subprocess.run(
            ["makedumpfile", "-R", str(tmp_path / "plain")],
            stdin=flat,
            check=True,
            timeout=30,
            capture_output=True,
        )
    assert (tmp_path / "plain").read_bytes() == vmcores.plain(writes)


def test_an_elf_core_names_its_host_out_of_its_memory() -> None:
    facts = of(vmcores.plain(vmcores.elf_writes(PAGES)))
    assert facts.complete is Complete.YES, facts.reason
    assert (facts.format, facts.nodename, facts.release) == ("elf", "server42", vmcores.RELEASE)
    assert (facts.crash_time, facts.cpus, facts.machine) == (vmcores.CRASH_TIME, 1, "x86_64")
    assert facts.pages == len(PAGES) + 1


def test_an_elf_core_killed_or_cut_is_never_complete() -> None:
    writes = vmcores.elf_writes(vmcores.memory(30))
    whole = vmcores.plain(writes)
    for count in range(len(writes)):
        assert of(vmcores.plain(writes[:count])).complete is not Complete.YES, count
    for length in range(0, len(whole), 37):
        assert of(whole[:length]).complete is not Complete.YES, length
    assert of(vmcores.plain(vmcores.elf_writes(PAGES, flags=1))).fault == "flag"


def test_an_elf_core_of_more_than_65534_segments() -> None:
    count = 70_000
    section_at = 64 + 56 * count
    header = b"\x7fELF\2\1\1".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, section_at, 0, 64, 56, 0xFFFF, 64, 1, 0
    )
    section = struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 0, 0, count, 0, 0)
    data = header + struct.pack("<IIQQQQQQ", 1, 7, 64, 0, 0, 16, 16, 0) * count + section
    assert of(data).complete is Complete.YES
    assert "all 70000 segments" in of(data).reason
    assert of(data[:-1]).complete is Complete.NO


def test_a_flattened_elf() -> None:
    facts = of(vmcores.flattened(vmcores.elf_writes(PAGES)))
    assert facts.complete is Complete.YES
    assert facts.described() == "elf, flattened"
    assert facts.release == vmcores.RELEASE


@pytest.mark.parametrize(
    ("head", "name", "expected"),
    [
        (b"LibvirtQemudSave" + bytes(100), "guest.save", "libvirt-save"),
        (b"LibvirtQemudPart" + bytes(100), "guest.save", "libvirt-save"),
        (b"\xd2\xbe\xd2\xbe" + bytes(100), "guest.vmss", "vmware-state"),
        (b"anything at all!", "guest.vmem", "vmware-memory"),
        (b"EMiL" + bytes(100), "mem.lime", "lime"),
        (b"\xa8\x19\x01\x73\x61\x8f\x23\xfd" + bytes(100), "dump", "s390"),
        (b"", "vmcore", "unknown"),
        (bytes(5000), "vmcore", "unknown"),
        (b"#!/bin/sh\necho hello\n", "vmcore", "unknown"),
    ],
)
def test_what_is_no_kdump_is_named_and_never_complete(head: bytes, name: str, expected: str) -> None:
    facts = of(head, name)
    assert facts.format == expected
    assert facts.complete is not Complete.YES
    assert facts.reason


def test_the_older_diskdump_format() -> None:
    whole = vmcores.main_header(signature=b"DISKDUMP", status=0).ljust(8192, b"\0")
    assert (of(whole).format, of(whole).complete, of(whole).nodename) == (
        "diskdump",
        Complete.UNKNOWN,
        "server42",
    )
    flagged = vmcores.main_header(signature=b"DISKDUMP", status=1).ljust(8192, b"\0")
    assert of(flagged).complete is Complete.NO


def test_a_split_dump_is_complete_only_with_all_its_parts() -> None:
    from trigger.post.split import combine

    ranges = [(0, 400), (400, 900), (900, max(PAGES) + 1)]
    parts = [of(vmcores.plain(vmcores.kdump_writes(PAGES, split=r)), f"vmcore{n}") for n, r in enumerate(ranges)]
    assert [part.complete for part in parts] == [Complete.YES] * 3
    assert sum(part.pages or 0 for part in parts) == len(PAGES)
    assert combine(parts).complete is Complete.YES
    assert combine(parts[:2]).complete is Complete.NO
    assert combine([parts[0], parts[2]]).complete is Complete.NO
    assert combine(parts[:1]).complete is Complete.UNKNOWN


def test_headers_alone_give_identity_but_no_verdict() -> None:
    for data in (vmcores.plain(vmcores.kdump_writes(PAGES)), vmcores.flattened(vmcores.kdump_writes(PAGES))):
        facts = of(data[:20_000], prove=False)
        assert (facts.nodename, facts.complete) == ("server42", Complete.UNKNOWN)
