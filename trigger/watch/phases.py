"""How far a crash has come, by what its witnesses say: a pure state machine. Nothing here ends a run.

fired -> panicked -> crash-kernel -> saving -> saved -> rebooting -> back; any may be skipped (a panic by NMI may print
nothing). `ignored` and `denied`: it had no effect. `failed`: no dump will come of it, it is said. A later sign of life
overrules a failure: a saver falls back to another way, and a "Rebooting in" may be anybody's text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from trigger.watch.console_text import Sighting

PHASES = (
    "fired", "ignored", "denied", "panicked", "crash-kernel", "saving", "saved", "failed", "rebooting", "back",
)  # fmt: skip

# Why there is no dump, by what was said: the causes that a watch can tell, numbered as in the survey of why NMI and
# SysRq give no dump (memory, target, network, keys, watchdog, storage).
CAUSES: Mapping[str, str] = {
    "out-of-memory": "the crash kernel has too little memory: its reservation (crashkernel=) is too small",
    "no-root": "the crash kernel cannot mount its root: its initramfs is stale, or a storage driver is missing",
    "disk-full": "the dump target is full",
    "network-failed": "the network did not come up in the crash kernel, or the dump server does not answer",
    "network-wait": "the network did not come up in the crash kernel",
    "ssh-refused": "the dump server refuses the SSH key, or its host key is not known in the crash kernel",
    "nfs-refused": "the NFS server refuses the mount",
    "mount-failed": "the dump target could not be mounted in the crash kernel",
    "makedumpfile-failed": "makedumpfile failed",
    "dmesg-failed": "the saver failed",
    "shell": "the crash kernel stopped at a shell and waits for a person",
}
_NOT_STARTED = "kdump did not start: no crash kernel was loaded, or its reservation (crashkernel=) failed"
_CRASHED_AGAIN = "the crash kernel itself panicked"
_RESET = "the machine was reset before the dump was complete: a watchdog, a cluster's fencing, or a person"
_NO_JUMP = "the machine was reset after the panic, before a crash kernel began: kdump was not loaded, or a watchdog bit"

_HINTS = frozenset(CAUSES) - {"dmesg-failed"}
# What a sighting means, where that does not depend on what was seen before.
_MEANS: Mapping[str, str] = {
    "nmi-ignored": "ignored",
    "sysrq-denied": "denied",
    "hpwdt": "panicked",
    "sysrq-crash": "panicked",
    "old-crash": "panicked",
    "jump": "crash-kernel",
    "crash-kernel": "crash-kernel",
    "saver": "crash-kernel",
    "network-wait": "crash-kernel",
    "saving-to": "saving",
    "saving": "saving",
    "dmesg": "saving",
    "dmesg-failed": "saving",
    "preparing": "saving",
    "progress": "saving",
    "raw-progress": "saving",
    "fallback": "saving",
    "saved": "saved",
    "network-failed": "failed",
    "save-failed": "failed",
    "mount-failed": "failed",
    "makedumpfile-failed": "failed",
    "failure-action": "failed",
    "shell": "failed",
    "final-action": "rebooting",
    "restart": "rebooting",
}
_ORDER = {phase: at for at, phase in enumerate(("fired", "panicked", "crash-kernel", "saving", "saved"))}
_DUMPING = ("crash-kernel", "saving", "saved")
# What a lesser witness says comes late and in any order: it takes none of these back.
_AFTERWARDS = ("failed", "rebooting", "back")

# linux-crash-path 6.3: how long a phase may last before it is odd. A warning on the screen, never the end of a run.
PATIENCE_S: Mapping[str, float] = {
    "fired": 10.0, "panicked": 60.0, "crash-kernel": 180.0, "saving": 600.0, "saved": 120.0, "rebooting": 900.0,
}  # fmt: skip
NETWORK_PATIENCE_S = 600.0
_ODD: Mapping[str, str] = {
    "fired": "no panic text for {0:.0f} s: that proves nothing, a working kdump may be silent",
    "panicked": "no crash kernel for {0:.0f} s after the panic: it may hang on its way there, or be silent",
    "crash-kernel": "the crash kernel has said nothing of a dump for {0:.0f} s",
    "saving": "no progress of the dump for {0:.0f} s",
    "saved": "no reboot {0:.0f} s after the dump was saved",
    "rebooting": "the host is not back after {0:.0f} s",
}


class Story(NamedTuple):
    """What is known of the crash. Times are seconds on the clock that `after` is given.

    `since` is when the phase began, `moved` when anything of it was last seen; `cause` is why it failed, in words;
    `hints` are patterns that explain a failure that has not come yet. `percent`, `rate` (percent a second) and
    `eta_s` are makedumpfile's; `where` is what the saver says that it writes to; `last` is the last line that counted.
    """

    phase: str = "fired"
    since: float = 0.0
    moved: float = 0.0
    crash_kernel: bool = False
    panic: str = ""
    cause: str = ""
    hints: tuple[str, ...] = ()
    percent: float | None = None
    rate: float = 0.0
    eta_s: float | None = None
    where: str = ""
    last: str = ""
    progress_at: float = 0.0


def after(story: Story, seen: Sighting, at: float) -> Story:
    """Return the story with one more sighting, made `at` seconds."""
    if story.phase == "back":
        return story
    story = _details(story, seen, at)
    return _go(story, _phase(story, seen), seen, at)


def witnessed(story: Story, phase: str, at: float, *, lesser: bool = False) -> Story:
    """Return the story after another witness than the console (the host, the target, a packet) has seen `phase`.

    `lesser` is one that only adds to the others, such as a packet, which a crash kernel sends at a shell as well.
    """
    if phase == story.phase or story.phase == "back" or (lesser and story.phase in _AFTERWARDS):
        return story
    if phase in _ORDER and story.phase in _ORDER and _ORDER[phase] < _ORDER[story.phase]:
        return story
    crash_kernel = story.crash_kernel or phase in _DUMPING
    cause = "" if phase in _DUMPING else story.cause  # it goes on, whatever was said
    return story._replace(phase=phase, since=at, moved=at, crash_kernel=crash_kernel, cause=cause)


def warning(story: Story, now: float, *, console: bool) -> str:
    """Return what is odd about how long this takes, "" while nothing is. `console`: whether one is open."""
    limit = PATIENCE_S.get(story.phase)
    if limit is None or (story.phase == "fired" and not console):
        return ""
    if "network-wait" in story.hints and story.phase == "crash-kernel":
        limit += NETWORK_PATIENCE_S
    waited = now - story.moved
    return _ODD[story.phase].format(waited) if waited > limit else ""


def _details(story: Story, seen: Sighting, at: float) -> Story:
    """Take over what a sighting says besides the phase."""
    if seen.pattern == "progress":
        return _progress(story, float(seen.values[0]), _seconds(seen.values[1]), at)
    if seen.pattern == "raw-progress" and float(seen.values[1]):
        return _progress(story, 100.0 * float(seen.values[0]) / float(seen.values[1]), None, at)
    if seen.pattern == "saving-to":
        return story._replace(where=seen.values[0])
    if seen.pattern == "panic" and not story.crash_kernel:
        return story._replace(panic=story.panic or seen.values[0])
    if seen.pattern in _HINTS and seen.pattern not in story.hints and (story.crash_kernel or seen.pattern == "no-root"):
        return story._replace(hints=(*story.hints, seen.pattern))
    return story


def _phase(story: Story, seen: Sighting) -> str:
    """Return the phase after a sighting, "" when it tells nothing of it."""
    if seen.pattern in ("panic", "rebooting-in", "end-panic"):
        if story.phase in ("saved", "rebooting") and story.crash_kernel:
            return ""  # the crash kernel on its way out, or the boot after it: the dump is none the worse
        if story.crash_kernel:
            return "failed"
        return "panicked" if seen.pattern == "panic" else "failed"
    if seen.pattern == "boot":
        return "rebooting" if story.phase in ("saved", "rebooting", "fired", "ignored", "denied") else "failed"
    if seen.pattern == "network-failed" and story.phase in ("fired", "ignored", "denied"):
        return ""  # a host that hangs says such things of its own disks and peers
    if seen.pattern == "login":
        return "rebooting" if story.phase in ("saved", "failed") else ""
    return _MEANS.get(seen.pattern, "")


def _go(story: Story, phase: str, seen: Sighting, at: float) -> Story:
    """Return the story in `phase`, unless that would be a step back."""
    if not phase:
        return story
    if phase in ("ignored", "denied") and story.phase not in ("fired", "ignored", "denied"):
        return story  # a second NMI that the crash kernel ignores says nothing of the first
    if phase in _ORDER and _ORDER.get(story.phase, -1) > _ORDER[phase]:
        return story._replace(moved=at)
    if phase == "panicked" and story.phase in ("failed", "rebooting"):
        return story
    crash_kernel = story.crash_kernel or phase in _DUMPING
    cause = _cause(story, seen) if phase == "failed" else (story.cause if phase == "rebooting" else "")
    since = story.since if phase == story.phase else at
    return story._replace(
        phase=phase, since=since, moved=at, crash_kernel=crash_kernel, cause=cause, last=seen.line or story.last
    )


def _cause(story: Story, seen: Sighting) -> str:
    """Return why it failed: what was said before tells more than the last words."""
    if story.cause and seen.pattern in ("rebooting-in", "end-panic", "failure-action", "boot"):
        return story.cause
    hint = next((CAUSES[name] for name in CAUSES if name in story.hints), "")
    if seen.pattern in ("rebooting-in", "end-panic", "panic"):
        if not story.crash_kernel:
            return _NOT_STARTED
        return f"{_CRASHED_AGAIN}{f': {hint}' if hint else ''}"
    if seen.pattern == "boot":
        return hint or (_RESET if story.crash_kernel else _NO_JUMP)
    return hint or CAUSES.get(seen.pattern, "the saver says that it could not save the dump")


def _progress(story: Story, percent: float, eta_s: float | None, at: float) -> Story:
    rate, elapsed = story.rate, at - story.progress_at
    if story.percent is not None and percent > story.percent and elapsed > 0:
        rate = (percent - story.percent) / elapsed
    if eta_s is None and rate > 0:
        eta_s = (100.0 - percent) / rate
    return story._replace(percent=min(percent, 100.0), rate=rate, eta_s=eta_s, progress_at=at)


def _seconds(eta: str) -> float | None:
    """Return makedumpfile's eta (12s, 3m4s, 1h2m, 2d3h) in seconds; None when it has none, or ">100day"."""
    total, number = 0.0, ""
    for char in eta:
        if char.isdigit():
            number += char
        elif char in "smhd" and number:
            total += float(number) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[char]
            number = ""
        else:
            return None
    return total if eta and not number else None
