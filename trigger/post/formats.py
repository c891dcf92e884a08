"""What is this file, and is it all there? The proof of a dump, by seeking.

`inspect` answers for any bytes whatsoever: it raises only what the Reader raises (OSError, DriverError). At
most 64 MB are read, and the one bitmap of a kdump file, which grows with the memory of the crashed host.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from trigger.post import compressed, elf, flattened, foreign, kdump
from trigger.post.facts import Complete, DumpFacts
from trigger.post.reader import READ_LIMIT, BytesReader, Malformed, Metered, Reader, TooMuch

__all__ = ["Complete", "DumpFacts", "inspect"]


def inspect(
    reader: Reader, name: str, *, local: bool = False, prove: bool = True, limit: int = READ_LIMIT
) -> DumpFacts:
    """Return what the dump says of itself and whether it is complete.

    `local` says that a read costs microseconds: then the chain of a flattened dump is walked to its end.
    `prove=False` reads the headers only (the identity of a dump that is still being written): `complete` is
    then unknown. `limit` bounds the bytes that are read, the bitmap apart; only a gzipped dump needs more.
    """
    facts = DumpFacts(name, 0)
    data: Metered | None = None
    try:
        data = Metered(reader, limit)
        facts = replace(facts, size=data.size)
        for more in _learn(data, facts, local=local, prove=prove):
            facts = more
    except Malformed as bad:
        facts = replace(facts, complete=Complete.NO, fault=bad.fault, reason=bad.reason)
    except TooMuch as much:
        facts = replace(facts, complete=Complete.UNKNOWN, fault="limit", reason=str(much))
    if not prove and facts.complete is not Complete.NO:
        facts = replace(facts, reason=facts.reason or "only its headers were read")
    return replace(facts, read=data.spent if data else 0)


def _learn(data: Metered, facts: DumpFacts, *, local: bool, prove: bool) -> Iterator[DumpFacts]:
    """Yield what is known of the dump, more each time; Malformed or TooMuch says why there is no more."""
    wrapper = compressed.recognise(data.head)
    if wrapper:
        yield from _learn_wrapped(data, replace(facts, wrapper=wrapper), prove=prove)
    elif data.head.startswith(flattened.SIGNATURE):
        yield from _learn_flattened(data, replace(facts, flattened=True), walk=local, prove=prove)
    elif data.head.startswith(kdump.SIGNATURE):
        yield replace(facts, format="kdump")
        kdump_header, facts = kdump.facts_of(data, facts)
        yield facts
        if prove:
            yield kdump.prove(data, kdump_header, facts)
    elif data.head.startswith(elf.SIGNATURE):
        yield replace(facts, format="elf")
        elf_header, facts = elf.facts_of(data, facts)
        yield facts
        if prove:
            yield elf.prove(data, elf_header, facts)
    elif data.head.startswith(kdump.DISKDUMP_SIGNATURE):
        yield replace(facts, format="diskdump")
        yield kdump.diskdump_facts(data, facts)
    else:
        yield foreign.recognise(data.head, facts)


def _learn_flattened(data: Metered, facts: DumpFacts, *, walk: bool, prove: bool) -> Iterator[DumpFacts]:
    """A flattened dump: the file inside for identity, the marker at its end for completeness."""
    yield facts
    flaw: Malformed | None = None
    try:
        facts = _inner_facts(flattened.FlattenedView(data), facts)
        yield facts
    except Malformed as bad:
        flaw = bad
    if prove:
        proved = flattened.prove(data, facts, walk=walk)  # a missing marker says more than a flaw in the head
        if flaw is None:
            yield proved
    if flaw is not None:
        raise flaw


def _inner_facts(view: flattened.FlattenedView, facts: DumpFacts) -> DumpFacts:
    """Identity of the file inside a flattened one."""
    signature = view.exactly(0, 8)
    if signature == kdump.SIGNATURE:
        header, facts = kdump.facts_of(view, facts)
        if fault := kdump.flag_fault(header):
            raise Malformed(fault, "flag")
        return facts
    if signature.startswith(elf.SIGNATURE):
        view.take_last(*elf.program_headers(view))
        elf_header, facts = elf.facts_of(view, facts)
        if fault := elf.flag_fault(elf_header):
            raise Malformed(fault, "flag")
        return facts
    raise Malformed("the file inside it is neither kdump nor ELF")


def _learn_wrapped(data: Metered, facts: DumpFacts, *, prove: bool) -> Iterator[DumpFacts]:
    """A dump inside gzip, bzip2, lz4 or xz, as Debian's KDUMP_COMPRESSION writes it.

    The compressor ends its file properly even when makedumpfile died before it (there is no pipefail), so the
    compressor's own trailer proves nothing: the last bytes inside must be the flattened end marker.
    """
    yield facts
    inner = inspect(BytesReader(compressed.head(data, facts.wrapper)), facts.name, prove=False)
    facts = replace(
        inner, size=facts.size, wrapper=facts.wrapper, complete=Complete.UNKNOWN, fault="",
        reason=f"only the start was decompressed: {inner.format} inside",
    )  # fmt: skip
    yield facts
    if not prove:
        return
    tail = compressed.tail(data, facts.wrapper)
    if not facts.flattened:
        yield replace(
            facts,
            reason=f"the {facts.wrapper} file is whole, but what is inside has no end marker to prove it",
        )
    elif tail == flattened.END:
        yield replace(
            facts,
            complete=Complete.YES,
            reason=f"the end marker is the last thing inside the {facts.wrapper} file",
        )
    else:
        raise Malformed(
            f"the {facts.wrapper} file is whole, but no end marker is in it: makedumpfile stopped", "marker"
        )
