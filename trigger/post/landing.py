"""Has the dump landed? Pure judgement of what lies at a target, by the rules of distributions.py.

A listing says how far the writer came; it never says that the dump is whole (Debian renames what a dead
makedumpfile left) or ours (a shared server holds everybody's). formats.py and verify.py say that.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from trigger.post.distributions import DEBIAN, IGNORED, RHEL_RAW, RULES, SUSE, Rule

STALLED_SECONDS = 15 * 60


class State(enum.Enum):
    """How far the dump is. landing.py gives the first five; poller.py the rest as well."""

    WAITING = "waiting"
    WRITING = "writing"
    LANDED = "landed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    VERIFIED = "verified"
    UNREADABLE = "unreadable"
    TIMED_OUT = "timed out"


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a listing. `size` in bytes, `mtime` in seconds since the epoch on the target's clock."""

    name: str
    size: int = 0
    mtime: float = 0.0
    is_dir: bool = False


Listing = Mapping[str, Entry]


@dataclass(frozen=True, slots=True)
class Baseline:
    """What lay at the target before the fire; `entries` is None when nobody could look."""

    path: str
    entries: Listing | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One new entry at the target and what is in it; `readme` is the text of SUSE's README.txt."""

    name: str
    rule: Rule
    files: Listing = field(default_factory=dict)
    readme: str = ""


@dataclass(frozen=True, slots=True)
class Landing:
    """How far one candidate is.

    `cores` are paths relative to the target (several for a split dump), `dmesg` the kernel log beside them or
    "". `final` says that nothing will change any more; `stable` for how many seconds the size must stand
    still before a landed file is believed. `cause` is a sentence about a failure.
    """

    state: State
    name: str = ""
    distribution: str = ""
    cores: tuple[str, ...] = ()
    dmesg: str = ""
    bytes: int = 0
    cause: str = ""
    final: bool = False
    stable: float = 0.0


def new_entries(baseline: Baseline, listing: Listing) -> list[tuple[Entry, Rule]]:
    """Return what was not in the baseline and looks like a dump of some distribution."""
    known = baseline.entries or {}
    found = []
    for name, entry in sorted(listing.items()):
        if name in known or IGNORED.match(name):
            continue
        for rule in RULES:
            if entry.is_dir != rule.flat and rule.entry.fullmatch(name):
                found.append((entry, rule))
                break
    return found


def folder_host(name: str) -> str:
    """Return the host or address in the name of an entry; "" when it has none, as on a local disk."""
    for rule in RULES:
        if found := rule.entry.fullmatch(name):
            return found["host"] or ""
    return ""


def flat_candidate(entry: Entry, rule: Rule, listing: Listing) -> Candidate:
    """Return the candidate of a flat target (FTP): the dump and the dmesg of the same host and minute."""
    dmesg = re.sub(r"-(?:dump|vmcore)\.(\d{12}).*", r"-dmesg.\1", entry.name)
    files = {name: listing[name] for name in (entry.name, dmesg) if name in listing}
    return Candidate(entry.name, rule, files)


def judge(candidate: Candidate, *, unchanged: float = 0.0, host_back: bool = False) -> Landing:
    """Say how far one candidate is.

    `unchanged` is for how many seconds nothing in it has changed; `host_back` that the host has booted anew
    since, so its crash kernel writes no more.
    """
    files, rule = candidate.files, candidate.rule
    if rule is SUSE and set(files) == {"vmcore"} and RHEL_RAW.entry.fullmatch(candidate.name):
        rule = RHEL_RAW
    prefix = "" if rule.flat else candidate.name + "/"
    finals = _matching(files, rule.final)
    partials = _matching(files, rule.partial) if rule.partial else []
    landing = Landing(
        State.WRITING,
        candidate.name,
        rule.name,
        cores=tuple(prefix + name for name in finals or partials),
        dmesg="".join(prefix + name for name in _matching(files, rule.dmesg)[:1]),
        bytes=sum(files[name].size for name in finals or partials),
        stable=0.0 if host_back else rule.stable,  # a crash kernel that is gone writes no more
    )
    if rule.readme:
        return _by_readme(candidate, landing, unchanged, host_back)
    if finals and (not partials or _is_copy_beside(rule, finals)):
        return _with(landing, State.LANDED)
    if host_back:
        return _with(landing, State.INCOMPLETE, _left_behind(partials, "the host has booted again"), final=True)
    if rule.last and _matching(files, rule.last):
        return _with(landing, State.FAILED, _left_behind(partials, "the crash kernel gave up saving"), final=True)
    return _stalled(landing, unchanged)


def _by_readme(candidate: Candidate, landing: Landing, unchanged: float, host_back: bool) -> Landing:
    """SUSE: the core has its final name from the first byte, and README.txt tells how it went."""
    status = re.search(r"^vmcore status: *(.*)$", candidate.readme, re.MULTILINE)
    if status and candidate.readme.startswith("Kernel crashdump"):  # kdump 1.9 and later
        said = status[1].strip()
        if said == "saved successfully" and landing.cores:
            return _with(landing, State.LANDED)
        if said == "skipped":
            said = "skipped (KDUMP_DUMPFORMAT=none): only the kernel log was to be saved"
        elif said == "saved successfully":
            said = "saved successfully, but there is no vmcore"
        return _with(landing, State.FAILED, f"README.txt says of the vmcore: {said}", final=True)
    if re.search(r"^Crash time *:", candidate.readme, re.MULTILINE):  # up to 1.0.x: written once, at the end
        if landing.cores:
            return _with(landing, State.LANDED)
        return _with(landing, State.FAILED, "README.txt is there, but no vmcore", final=True)
    if host_back:
        cause = "the host has booted again, and README.txt does not say that the dump was saved"
        return _with(landing, State.INCOMPLETE, cause, final=True)
    return _stalled(landing, unchanged)


def _is_copy_beside(rule: Rule, finals: Iterable[str]) -> bool:
    """Debian: when makedumpfile fails, its dump-incomplete stays, and cp makes a vmcore.<stamp> beside it."""
    return rule is DEBIAN and any(name.startswith("vmcore.") for name in finals)


def _left_behind(partials: list[str], what: str) -> str:
    if partials:
        return f"{what}, and the dump still has its temporary name {partials[0]}"
    return f"{what}, and there is no dump, only what lies beside it"


def _stalled(landing: Landing, unchanged: float) -> Landing:
    if unchanged < STALLED_SECONDS:
        return landing
    return _with(landing, State.INCOMPLETE, f"nothing has been written for {unchanged / 60:.0f} minutes")


def _with(landing: Landing, state: State, cause: str = "", *, final: bool = False) -> Landing:
    return replace(landing, state=state, cause=cause, final=final)


def _matching(files: Listing, pattern: re.Pattern[str]) -> list[str]:
    return sorted(name for name, entry in files.items() if not entry.is_dir and pattern.fullmatch(name))
