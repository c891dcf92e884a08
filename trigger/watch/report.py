"""What a lesser witness says: the controller's log, or packets of the crash kernel."""

from __future__ import annotations

from typing import NamedTuple


class Report(NamedTuple):
    """`source` is fence_kdump or controller, `grade` strong or weak. `phase` is "" when it tells of none."""

    source: str
    grade: str
    text: str
    phase: str = ""
