"""A split dump (makedumpfile --split): several files, each a kdump of its own range of page frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trigger.post.facts import Complete, DumpFacts


def combine(parts: Sequence[DumpFacts]) -> DumpFacts:
    """Return the facts of the whole: complete when each part is, and their ranges leave nothing out."""
    first = parts[0]
    if len(parts) == 1:
        if first.split is None or first.complete is not Complete.YES:
            return first
        if first.split[0] == 0 and first.split[1] >= (first.max_pfn or 0):
            return first
        return replace(
            first,
            complete=Complete.UNKNOWN,
            reason=f"{first.reason}; but it is one part of a split dump, and the others were not looked at",
        )
    whole = replace(
        first,
        name=f"{first.name} and {len(parts) - 1} more",
        size=sum(part.size for part in parts),
        pages=sum(part.pages or 0 for part in parts),
        read=sum(part.read for part in parts),
    )
    for part in parts:
        if part.complete is not Complete.YES:
            return replace(whole, complete=part.complete, fault=part.fault, reason=f"{part.name}: {part.reason}")
    expected = 0
    for start, end in sorted(part.split or (-1, -1) for part in parts):
        if start != expected:
            reason = f"no part holds the page frames from {expected} on" if start > expected else "parts overlap"
            return replace(whole, complete=Complete.NO, fault="cut", reason=reason)
        expected = end
    if expected < (first.max_pfn or 0):
        reason = f"no part holds the page frames from {expected} on"
        return replace(whole, complete=Complete.NO, fault="cut", reason=reason)
    return replace(whole, split=None, reason=f"all {len(parts)} parts are complete and leave nothing out")
