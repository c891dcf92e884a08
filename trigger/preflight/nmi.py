"""NMI -> panic: does this kernel turn the controller's diagnostic interrupt into a crash?

x86 asks port 0x61 for the reason and has a setting for each of three answers; all are 0 as shipped. Other
architectures need no setting. Source: Linux 6.1 and 6.12 arch/x86/kernel/nmi.c, drivers/watchdog/hpwdt.c.
"""

from __future__ import annotations

import re

from trigger.preflight.check import Check, Judgement, Route, Stage, fail, good, unknown, warn
from trigger.preflight.facts import Facts
from trigger.preflight.remedies import drop_kernel_option, set_sysctls

NMI = (Route.NMI,)
SETTINGS = {
    "unknown_nmi_panic": "an NMI of unknown reason",
    "panic_on_io_nmi": "an IOCK NMI (many servers' dump button)",
    "panic_on_unrecovered_nmi": "an SERR NMI",
}


def judge_settings(facts: Facts) -> Judgement | None:
    """Judge the three sysctls of x86, one per reason path."""
    if not facts.is_x86:
        return None
    values = {key: facts.number(f"sysctl.{key}") for key in SETTINGS}
    if all(value is None for value in values.values()):
        return unknown("none of the three NMI settings could be read")
    off = [key for key, value in values.items() if value != 1]
    if not off:
        return good("all three are 1")
    remedy = (*_stray_remark(facts), *set_sysctls({f"kernel.{key}": "1" for key in off}))
    if "hpwdt" in facts.modules and _hpwdt_bound(facts):
        return warn(f"{_not_one(off)}; hpwdt panics on an iLO NMI all the same", *remedy)
    if {"unknown_nmi_panic", "panic_on_unrecovered_nmi"} <= set(off):
        return fail(f'{_not_one(off)}: the kernel ignores an NMI of unknown reason ("Dazed and confused")', *remedy)
    uncovered = [what for key, what in SETTINGS.items() if key in off and key != "unknown_nmi_panic"]
    if not uncovered:
        return warn(f"{_not_one(off)}; panic_on_unrecovered_nmi covers for it, except on Hyper-V", *remedy)
    return warn(f"{_not_one(off)}: no panic on {' or '.join(uncovered)}", *remedy)


def _not_one(keys: list[str]) -> str:
    return f"{', '.join(keys)} {'is' if len(keys) == 1 else 'are'} not 1"


def _hpwdt_bound(facts: Facts) -> bool:
    return any("iLO" in dog.identity for dog in facts.watchdogs)


def _stray_remark(facts: Facts) -> tuple[str, ...]:
    """Return what a person should know first: with these settings a stray NMI panics the host."""
    count = facts.number("stray-nmis")
    if count:
        return (
            f"# caution: {count} lines about stray NMIs are in this boot's log; with these settings each would"
            " have been a crash. Find their cause first.",
        )
    if count is None or (not facts.is_root and facts.number("sysctl.dmesg_restrict") != 0):
        return ('# a stray NMI will then panic this host; look first: dmesg | grep -E "Uhhuh|Dazed"',)
    return ("# a stray NMI will then panic this host; this boot's log shows none",)


def judge_stray(facts: Facts) -> Judgement | None:
    """Warn where the log shows NMIs that nobody sent."""
    count = facts.number("stray-nmis")
    if not facts.is_x86 or not count:
        return None
    return warn(
        f"this boot's log has {count} lines about NMIs that nobody claimed; each is a crash once the settings are 1"
    )


def judge_extnmi(facts: Facts) -> Judgement | None:
    """Judge apic_extnmi=, which says which CPUs hear an external NMI."""
    value = facts.kernel_option("apic_extnmi")
    if not facts.is_x86 or value is None:
        return None
    if value == "none":
        return fail("apic_extnmi=none: no CPU hears an NMI", *drop_kernel_option(facts, "apic_extnmi=none"))
    return good(f"apic_extnmi={value}")


def judge_persistence(facts: Facts) -> Judgement | None:
    """Judge whether the settings survive a reboot: the last file that sets one wins."""
    keys = [key for key in SETTINGS if facts.number(f"sysctl.{key}") == 1]
    if not facts.is_x86 or not keys or not facts.exists("sysctl-files"):
        return None
    lost = [key for key in keys if setting_after_boot(facts, key) != "1" and key not in facts.words]
    if not lost:
        return good("set in files as well")
    return warn(
        f"{', '.join(lost)} {'is' if len(lost) == 1 else 'are'} 1 now, but nothing sets that at the next boot",
        *set_sysctls({f"kernel.{key}": "1" for key in lost}),
    )


def setting_after_boot(facts: Facts, key: str) -> str | None:
    """Return what the sysctl files set `kernel.KEY` to: files by name, /etc before /run before /usr/lib."""
    best: dict[str, tuple[int, str]] = {}
    for line in facts.text("sysctl-files").splitlines():
        found = re.match(rf"(/[^:]+):\s*-?\s*kernel[./]{key}\s*=\s*(\S+)", line)
        if found is None:
            continue
        folder, _, name = found[1].rpartition("/")
        name = "~~" if folder == "/etc" else name  # sysctl --system reads /etc/sysctl.conf last
        rank = 0 if folder.startswith("/etc") else 1 if folder.startswith("/run") else 2
        if name not in best or rank <= best[name][0]:
            best[name] = (rank, found[2])
    return best[max(best)][1] if best else None


def judge_hpwdt(facts: Facts) -> Judgement | None:
    """Judge whether HPE's watchdog is left running while the dump is written."""
    if "hpwdt" not in facts.modules:
        return None
    seconds = facts.number("hpwdt.kdumptimeout")
    if seconds is None or seconds < 0:
        return good("hpwdt stops its watchdog on an NMI (kdumptimeout -1)")
    if seconds == 0:
        return warn(
            "hpwdt.kdumptimeout is 0: the watchdog runs on and may reset the host in the middle of the dump",
            "echo 'options hpwdt kdumptimeout=-1' >/etc/modprobe.d/99-trigger-hpwdt.conf",
            "modprobe -r hpwdt && modprobe hpwdt",
        )
    return good(f"hpwdt gives the dump {seconds} s")


def judge_ipmi_watchdog(facts: Facts) -> Judgement | None:
    """Judge whether ipmi_watchdog takes a diagnostic interrupt for its own and swallows it."""
    if not facts.is_x86 or facts.word("ipmi_watchdog.preaction") != "pre_nmi":
        return None
    preop = facts.word("ipmi_watchdog.preop")
    if preop == "preop_panic":
        return good("ipmi_watchdog panics on its NMI")
    return warn(
        f"ipmi_watchdog has preaction pre_nmi and {preop or 'no preop'}: while armed it swallows the controller's NMI",
        "echo 'options ipmi_watchdog preop=preop_panic' >/etc/modprobe.d/99-trigger-ipmi-watchdog.conf",
        "echo preop_panic >/sys/module/ipmi_watchdog/parameters/preop",
    )


def judge_architecture(facts: Facts) -> Judgement | None:
    """Judge how other architectures take a diagnostic interrupt."""
    if facts.is_x86 or not facts.arch:
        return None
    if facts.arch.startswith("ppc64"):
        return good("a system reset is a request to dump on this architecture")
    if facts.arch == "s390x":
        return good("a PSW restart starts kdump on this architecture")
    if facts.arch == "aarch64":
        return _judge_arm64(facts)
    return unknown(f"nobody wrote down how {facts.arch} takes a diagnostic interrupt")


def _judge_arm64(facts: Facts) -> Judgement:
    if not facts.exists("agdi"):
        return fail(
            "the firmware has no AGDI table: Linux has no way to hear the controller's diagnostic interrupt",
            "# use SysRq over the serial console instead, or ask the maker for firmware with AGDI",
        )
    if re.search(r"agdi.*(fail|not supported)", facts.text("dmesg"), re.IGNORECASE):
        return fail(
            "the kernel could not use the firmware's AGDI table",
            "dmesg | grep -iE 'agdi|sdei'",
            "# until that is mended, use SysRq over the serial console instead",
        )
    version = re.match(r"(\d+)\.(\d+)", facts.release)
    if version and (int(version[1]), int(version[2])) < (6, 6):
        return warn(
            "AGDI panics, but before kernel 6.6 the crash kernel may hang in the unfinished SDEI event; prefer SysRq"
        )
    return good("the firmware has an AGDI table")


def judge_second_nmi(facts: Facts) -> Judgement | None:
    """Say what a second NMI would do to the dump."""
    if not facts.is_x86:
        return None
    family = facts.distribution.split("-")[0]
    as_word = "unknown_nmi_panic" in facts.words
    if family == "debian" and (as_word or setting_after_boot(facts, "unknown_nmi_panic") == "1"):
        return good("a second NMI would panic the crash kernel too and lose the dump: never send two")
    if family == "rhel" and as_word:
        return good("a second NMI would panic the crash kernel too (unknown_nmi_panic on its command line)")
    if "hpwdt" in facts.modules:
        return good("a second iLO NMI may panic the crash kernel, if hpwdt is in its initrd")
    return good("a second NMI is harmless once the crash kernel runs, and dangerous before")


def judge_watchdog(facts: Facts) -> Judgement | None:
    """Say what the kernel's own watchdog does with a CPU that hangs with its interrupts off."""
    if not facts.is_x86 or facts.number("sysctl.nmi_watchdog") is None:
        return None
    if facts.number("sysctl.nmi_watchdog") != 1:
        return good("nmi_watchdog is off: a CPU that hangs with its interrupts off is found by nobody but you")
    if facts.number("sysctl.hardlockup_panic") == 1:
        return good(
            "nmi_watchdog and hardlockup_panic are 1: a CPU that hangs with its interrupts off panics by itself"
        )
    return good("nmi_watchdog only logs a CPU that hangs with its interrupts off: hardlockup_panic is not 1")


_SOURCE = "Linux arch/x86/kernel/nmi.c; Documentation/admin-guide/sysctl/kernel.rst"

CHECKS = (
    Check(
        "nmi-settings", Stage.PANIC, NMI,
        "An x86 kernel ignores an NMI unless the setting for its reason says panic, and which reason a server's"
        " dump button gives differs.",
        _SOURCE, judge_settings,
    ),
    Check(
        "nmi-extnmi", Stage.PANIC, NMI, "With apic_extnmi=none no CPU hears an external NMI.",
        "Linux Documentation/admin-guide/kernel-parameters.txt", judge_extnmi,
    ),
    Check(
        "nmi-architecture", Stage.PANIC, NMI, "Each architecture hears a diagnostic interrupt in its own way.",
        "Linux drivers/acpi/arm64/agdi.c, arch/powerpc/kernel/traps.c, arch/s390/kernel/ipl.c", judge_architecture,
    ),
    Check(
        "nmi-ipmi-watchdog", Stage.PANIC, NMI, "Another NMI handler may take the NMI for its own.",
        "Linux drivers/char/ipmi/ipmi_watchdog.c", judge_ipmi_watchdog, decides=False,
    ),
    Check(
        "nmi-persistence", Stage.PANIC, NMI, "A setting that only holds until the next boot is gone when it matters.",
        "sysctl.d(5)", judge_persistence, decides=False,
    ),
    Check(
        "nmi-watchdog", Stage.REMARK, NMI, "The kernel's own watchdog may panic before anybody presses the button.",
        "Linux Documentation/admin-guide/lockup-watchdogs.rst", judge_watchdog, decides=False,
    ),
    Check(
        "nmi-stray", Stage.REMARK, NMI, "With the settings on, an NMI that nobody sent crashes the host.",
        _SOURCE, judge_stray, decides=False,
    ),
    Check(
        "nmi-hpwdt", Stage.CAPTURE, NMI, "A watchdog that runs on resets the host in the middle of the dump.",
        "Linux drivers/watchdog/hpwdt.c, Documentation/watchdog/hpwdt.rst", judge_hpwdt, decides=False,
    ),
    Check(
        "nmi-second", Stage.REMARK, NMI, "A second NMI can destroy the dump that the first one started.",
        "Linux arch/x86/kernel/nmi.c; kdump-utils, kdump (SUSE) and kdump-tools on what the crash kernel inherits",
        judge_second_nmi, decides=False,
    ),
)  # fmt: skip
