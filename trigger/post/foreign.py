"""Memory images that are no kdump: recognised by their first bytes, and named."""

from __future__ import annotations

from dataclasses import replace

from trigger.post.facts import DumpFacts
from trigger.post.reader import Malformed

_SIGNATURES: tuple[tuple[bytes, str, str, str], ...] = (
    (
        b"LibvirtQemudSave",
        "libvirt-save",
        "libvirt",
        "it is a saved guest of `virsh save` or `virsh dump`, not a vmcore: dump with --memory-only",
    ),
    (
        b"LibvirtQemudPart",
        "libvirt-save",
        "libvirt",
        "it is a guest that `virsh save` or `virsh dump` was still saving: incomplete, and not a vmcore",
    ),
    (b"EMiL", "lime", "LiME", "LiME images have no mark that proves their end"),
    (b"LiME", "lime", "LiME", "LiME images have no mark that proves their end"),
    (b"AVML", "avml", "AVML", "AVML images have no mark that proves their end"),
    (b"LMVA", "avml", "AVML", "AVML images have no mark that proves their end"),
    (
        b"\xa8\x19\x01\x73\x61\x8f\x23\xfd",
        "s390",
        "s390 dump tools",
        "convert it with zgetdump and inspect that",
    ),
)
# First 32-bit word of .vmss (suspend) and .vmsn (snapshot) files, little-endian
_VMWARE = (0xBED2BED0, 0xBAD1BAD1, 0xBED2BED2, 0xBED3BED3)


def recognise(head: bytes, facts: DumpFacts) -> DumpFacts:
    """Name a foreign image; "unknown" when nothing matches. Raises Malformed for what is no file at all."""
    if len(head) < 16:
        raise Malformed(f"it has only {len(head)} bytes" if head else "it is empty", "truncated")
    for signature, kind, producer, reason in _SIGNATURES:
        if head.startswith(signature):
            return replace(facts, format=kind, producer=producer, reason=reason)
    if len(head) >= 4 and int.from_bytes(head[:4], "little") in _VMWARE:
        return replace(
            facts,
            format="vmware-state",
            producer="VMware",
            reason="it is a VMware suspend or snapshot state; the memory is inside or in the .vmem file "
            "beside it, and vmss2core makes a core of both",
        )
    if facts.name.lower().endswith(".vmem"):
        return replace(
            facts,
            format="vmware-memory",
            producer="VMware",
            reason="it is VMware guest memory; vmss2core makes a core of it and its .vmss or .vmsn file",
        )
    if not any(head):
        raise Malformed("it begins with zeros: its header was never written", "cut")
    return replace(facts, reason="its first bytes belong to no known dump format")
