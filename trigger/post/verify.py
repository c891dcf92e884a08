"""Is this dump of this host, and of this crash? A dump of another host or an older crash is no success."""

from __future__ import annotations

import datetime
import enum
import math
from dataclasses import dataclass

from trigger.post import vmcoreinfo
from trigger.post.facts import DumpFacts
from trigger.text import harmless

CLOCK_TOLERANCE = 120.0  # seconds, when nobody has measured the host's clock
ROUNDING = 2.0  # seconds: CRASHTIME is cut to whole ones, and the answer to the shot takes a moment
_SURELY_LONGER = 5.0  # a guest's clock ran 3.7 times too fast: its TSC was calibrated on a busy machine
RECORDED_TOLERANCE = 15.0  # seconds of drift since the record measured it, and of rounding in CRASHTIME


class Identity(enum.Enum):
    """Whose dump it is."""

    OURS = "verified"
    ANOTHER_HOST = "another host"
    OLDER_CRASH = "older crash"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What we know of the host whose dump we wait for.

    `host` is the inventory's name, `nodename` what `uname -n` said at the last preflight ("" without a
    record). `clock_offset` is the host's clock minus ours in seconds, None when unknown. `build_id` (hex), `stext`
    and `kernel_offset` (addresses; None when unknown) are those of the boot that the record was made in. They say
    something only when that is the boot that was shot: `same_boot`, or as `of_recorded_boot` finds out from
    `recorded_at` (seconds since the epoch on our clock).
    """

    host: str
    nodename: str = ""
    clock_offset: float | None = None
    same_boot: bool = False
    build_id: str = ""
    stext: int | None = None
    kernel_offset: int | None = None
    recorded_at: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whose dump it is, and why, as a clause for people."""

    identity: Identity
    reason: str


def of_recorded_boot(facts: DumpFacts, expectation: Expectation, uptime: float | None) -> bool:
    """Return whether the record was made in the boot that crashed, which had been up for `uptime` seconds.

    A kernel that was up already when the record was made is the one that was recorded. Its own word for how long it
    was up may be too long (docs/decisions/0009), so the record must be of the last fifth of that time.
    """
    recorded, crash, offset = expectation.recorded_at, facts.crash_time, expectation.clock_offset
    if recorded is None or crash is None or offset is None or uptime is None:
        return False
    age = crash - offset - recorded
    return age > -CLOCK_TOLERANCE and uptime > _SURELY_LONGER * max(age, 0.0) + CLOCK_TOLERANCE


def verify(
    facts: DumpFacts, expectation: Expectation, fire_time: float, *, new: bool | None, uptime: float | None = None
) -> Verdict:
    """Compare a dump with what is expected.

    `fire_time` is seconds since the epoch on our clock; `new` says whether the dump was missing from the
    baseline, None when there is no baseline. `uptime` is for how many seconds the crashed kernel had run, by its log.
    """
    if new is False:
        return Verdict(Identity.OLDER_CRASH, "it was there before the fire")
    name = _compare_name(facts.nodename, expectation)
    if name.identity is Identity.ANOTHER_HOST:
        return name
    same_boot = expectation.same_boot or of_recorded_boot(facts, expectation, uptime)
    if same_boot and (difference := _other_boot(facts, expectation)):
        return Verdict(Identity.ANOTHER_HOST, difference)
    time = _compare_time(facts.crash_time, expectation.clock_offset, fire_time, new=new)
    if time.identity is not Identity.OURS:
        return time
    if name.identity is not Identity.OURS:
        return name
    return Verdict(Identity.OURS, f"{name.reason}, and {time.reason}")


def _compare_name(nodename: str, expectation: Expectation) -> Verdict:
    """Compare host names; a short name and a fully qualified one of the same host agree."""
    expected = expectation.nodename or expectation.host
    if not nodename or nodename in ("(none)", "localhost", "localhost.localdomain"):
        if nodename and nodename == expectation.nodename:
            return Verdict(Identity.CANNOT_TELL, f"the host calls itself {nodename}, as many do")
        return Verdict(Identity.CANNOT_TELL, "it does not say of which host it is")
    ours, theirs = expected.lower().rstrip("."), nodename.lower().rstrip(".")
    same = ours == theirs or (ours.split(".")[0] == theirs.split(".")[0] and ("." not in ours or "." not in theirs))
    if same:
        return Verdict(Identity.OURS, f"it is of {harmless(nodename)}")
    return Verdict(Identity.ANOTHER_HOST, f"it is of {harmless(nodename)}, not of {expected}")


def _compare_time(crash: float | None, offset: float | None, fire: float, *, new: bool | None) -> Verdict:
    """Require the crash to be after the fire, as the host's own clock has it."""
    if crash is None or not math.isfinite(crash):
        return Verdict(Identity.CANNOT_TELL, "it does not say when the host crashed")
    tolerance = CLOCK_TOLERANCE if offset is None else RECORDED_TOLERANCE
    late = crash - (fire + (offset or 0.0))
    if late < -tolerance:
        reason = f"it crashed at {_utc(crash)} by its own clock, {-late:.0f} s before the fire"
        if offset is None and new:
            reason += "; if that clock is wrong, it may still be the right one"
        return Verdict(Identity.OLDER_CRASH, reason)
    if late < -ROUNDING and new is None and offset is None:
        reason = f"it crashed {-late:.0f} s before the fire by a clock that nobody has compared, and nobody knows"
        return Verdict(Identity.CANNOT_TELL, reason + " what was there before")
    return Verdict(Identity.OURS, f"it crashed at {_utc(crash)}")


def _other_boot(facts: DumpFacts, expectation: Expectation) -> str:
    """Return what disproves that the dump is of the recorded boot, or ""."""
    info = facts.vmcoreinfo
    build = info.get("BUILD-ID", "").lower()
    if build and expectation.build_id and build != expectation.build_id.lower():
        return f"its kernel has the build id {harmless(build)[:40]}, that of the host {expectation.build_id}"
    for key, expected in (("SYMBOL(_stext)", expectation.stext), ("KERNELOFFSET", expectation.kernel_offset)):
        found = vmcoreinfo.number(info, key, 16)
        if found is not None and expected is not None and found != expected:
            return f"its {key} is {found:x}, that of the boot that was shot is {expected:x}"
    return ""


def _utc(seconds: float) -> str:
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{seconds:.0f} s since the epoch"
