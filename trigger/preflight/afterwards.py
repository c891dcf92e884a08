"""What could cut the dump short, or keep the host from coming back: watchdogs, fencing, final actions.

Source: Linux Documentation/watchdog; systemd-system.conf(5); fence_kdump(8) and RHEL's
kdump-in-cluster-environment.
"""

from __future__ import annotations

import re

from trigger.preflight.check import ALL_ROUTES, Check, Judgement, Stage, good, warn
from trigger.preflight.facts import Facts
from trigger.preflight.target import dump_estimate

_RATE = 50e6  # bytes a second that a crash kernel with one CPU writes at least (measured in the field: 50 to 300 MB/s)
_BOOT_S = 60.0


def expected_seconds(facts: Facts) -> float | None:
    """Return how long a dump may take here, in seconds, at the low end of what is usual."""
    needed = dump_estimate(facts)
    return None if needed is None else _BOOT_S + needed[1] / _RATE


def judge_watchdogs(facts: Facts) -> Judgement | None:
    """Judge whether a watchdog that is armed now would reset the host before the dump is through."""
    seconds = expected_seconds(facts)
    armed = [
        dog for dog in facts.watchdogs if dog.active and "hpwdt" not in dog.identity and "HPE iLO" not in dog.identity
    ]
    if not armed or seconds is None:
        return None
    short = [dog for dog in armed if dog.timeout is not None and dog.timeout < seconds]
    if not short:
        return good(f"{', '.join(dog.identity for dog in armed)} is armed and waits long enough")
    dog = short[0]
    return warn(
        f"{dog.identity or dog.name} is armed with {dog.timeout} s; a dump may take {seconds / 60:.0f} minutes, and"
        " unless the crash kernel has its driver the host is reset in the middle",
        "# put the watchdog's driver into the crash kernel's initrd (RHEL does), or give it more time:",
        "# systemd: RuntimeWatchdogSec= in /etc/systemd/system.conf",
    )


def judge_fencing(facts: Facts) -> Judgement | None:
    """Judge whether a cluster would power-cycle a node that is writing its dump."""
    active = [
        name for name in ("pacemaker", "corosync", "sbd") if facts.services.get(name, {}).get("ActiveState") == "active"
    ]
    if not active:
        return None
    if facts.settings is not None and facts.settings.fencing:
        return good(f"{', '.join(active)} is active and fence_kdump is configured")
    return warn(
        f"{', '.join(active)} is active without fence_kdump: a peer takes the silent node for dead and power-cycles it",
        "# configure fence_kdump: fence_kdump_nodes in /etc/kdump.conf, and a stonith level of agent fence_kdump",
    )


def judge_endings(facts: Facts) -> Judgement | None:
    """Judge whether the host comes back by itself."""
    if facts.settings is None or not facts.settings.endings:
        return None
    return warn(
        f"{'; '.join(facts.settings.endings)}: the host will not come back by itself",
        f"# review {facts.settings.file}",
    )


def judge_runtime_watchdog(facts: Facts) -> Judgement | None:
    """Say whether systemd holds a hardware watchdog, which resets a host that hangs before anybody can
    press.
    """
    found = re.fullmatch(r"RuntimeWatchdogUSec=(\S+(?: \S+)*)", facts.word("runtime-watchdog"))
    if found is None or found[1] in ("0", "infinity"):
        return None
    return warn(
        f"systemd feeds a hardware watchdog every {found[1]}: a hung host is reset after that, before anybody can"
        " press the button",
        "# RuntimeWatchdogSec= in /etc/systemd/system.conf decides",
    )


CHECKS = (
    Check(
        "watchdogs", Stage.CAPTURE, ALL_ROUTES, "An armed watchdog counts on while the dump is written.",
        "Linux Documentation/watchdog/watchdog-api.rst", judge_watchdogs, decides=False,
    ),
    Check(
        "runtime-watchdog", Stage.REMARK, ALL_ROUTES, "A watchdog may be faster than the engineer on call.",
        "systemd-system.conf(5)", judge_runtime_watchdog, decides=False,
    ),
    Check(
        "fencing", Stage.CAPTURE, ALL_ROUTES, "A peer's fencing cuts the power in the middle of the dump.",
        "fence_kdump(8); kdump-in-cluster-environment.txt", judge_fencing, decides=False,
    ),
    Check(
        "endings", Stage.REMARK, ALL_ROUTES, "After the dump somebody expects the host back.",
        "kdump.conf(5), kdump(5), kdump-tools(5)", judge_endings, decides=False,
    ),
)  # fmt: skip
