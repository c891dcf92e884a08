"""What a lesser witness says: the controller's log, packets of the crash kernel, or one of several targets."""

from __future__ import annotations

from typing import NamedTuple


class Report(NamedTuple):
    """`source` is fence_kdump, controller or target, `grade` strong or weak. `phase` is "" when it tells of none."""

    source: str
    grade: str
    text: str
    phase: str = ""
