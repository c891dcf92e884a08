"""The host's clock, and whether everything could be read at all."""

from __future__ import annotations

import re

from trigger.preflight.check import ALL_ROUTES, Check, Judgement, Stage, good, warn
from trigger.preflight.facts import Facts

_SKEW_S = 120.0


def clock_offset(facts: Facts) -> float | None:
    """Return the host's clock minus the operator's in seconds; 0 where the difference is within the
    measurement.
    """
    found = re.match(r"(\d{1,12}) ", facts.text("clock"))
    if found is None or facts.asked_at is None or facts.answered_at is None:
        return None
    there = float(found[1])
    if facts.asked_at - 1 <= there <= facts.answered_at + 1:
        return 0.0
    return there - (facts.asked_at + facts.answered_at) / 2


def judge_clock(facts: Facts) -> Judgement | None:
    """Judge the host's clock against ours: a dump is dated by it."""
    offset = clock_offset(facts)
    if offset is None:
        return None
    if abs(offset) > _SKEW_S:
        way = "ahead" if offset > 0 else "behind"
        return warn(f"its clock is {abs(offset):.0f} s {way}", "timedatectl set-ntp true || chronyc makestep")
    return good(f"its clock is within {max(2, abs(offset)):.0f} s of ours")


def judge_whole(facts: Facts) -> Judgement | None:
    """Say what could not be read because the script was cut off, or ran without root."""
    if not facts.complete:
        return warn("the script was cut off before its end: the host is slow, or hung while it ran")
    if not facts.is_root:
        return warn(
            "the script ran without root; what only root may read is unknown",
            "# let the preflight's user run it as root: `sudo -n` must work without a password",
        )
    return good("everything was read as root")


CHECKS = (
    Check(
        "host-clock", Stage.REMARK, ALL_ROUTES, "A dump is told from older ones by the time of its crash.",
        "makedumpfile(8), CRASHTIME in VMCOREINFO", judge_clock, decides=False,
    ),
    Check(
        "host-script", Stage.REMARK, ALL_ROUTES, "What could not be read is unknown, not good.",
        "trigger/preflight/read_host.sh", judge_whole, decides=False,
    ),
)  # fmt: skip
