"""kdump itself: is a crash kernel loaded, is it this kernel with this configuration, and would it be loaded
again?

Source: Linux Documentation/ABI/testing/sysfs-kernel-kexec-kdump, -fadump; kdump-utils kdumpctl; openSUSE
kdump load.sh; Debian kdump-config.
"""

from __future__ import annotations

import re

from trigger.preflight.check import ALL_ROUTES, Check, Judgement, Stage, command, fail, good, unknown, warn
from trigger.preflight.facts import Facts
from trigger.preflight.remedies import reload_kdump, start_kdump

_UNITS = {
    "rhel": ("kdump",),
    "suse-new": ("kdump", "kdump-early"),
    "suse-old": ("kdump",),
    "debian": ("kdump-tools",),
}


def judge_loaded(facts: Facts) -> Judgement | None:
    """Judge whether a crash kernel is loaded, by the old or the new path, or fadump is registered."""
    if facts.word("fadump/enabled") == "1":
        if facts.word("fadump/registered") == "1":
            return good("firmware-assisted dump is registered; the dump is saved during the next boot")
        return fail("firmware-assisted dump is enabled but not registered", *start_kdump(facts))
    loaded = facts.number("kexec/crash_loaded", "kexec_crash_loaded")
    if loaded is None:
        if facts.exists("kexec/crash_loaded") or facts.exists("kexec_crash_loaded") or not facts.complete:
            return unknown("nobody can tell whether a crash kernel is loaded")
        return fail(
            "this kernel cannot load a crash kernel (built without CONFIG_CRASH_DUMP)",
            "# install one that can",
        )
    if loaded == 1 and facts.settings is not None and not facts.settings.enabled:
        return fail(
            "a crash kernel is loaded, but USE_KDUMP is not 1: Debian's crash kernel reads that and saves nothing",
            *start_kdump(facts),
        )
    if loaded == 1:
        return good("a crash kernel is loaded")
    return fail(f"no crash kernel is loaded{_why_not_loaded(facts)}", *_load_remedy(facts))


def _why_not_loaded(facts: Facts) -> str:
    if facts.settings is not None and not facts.settings.enabled:
        return ": USE_KDUMP is not 1"
    if facts.number("sysctl.kexec_load_disabled") == 1:
        return ": kexec_load_disabled is 1"
    for name in _UNITS.get(facts.distribution, ()):
        unit = facts.services.get(name)
        if unit is None and facts.has_systemd:
            return f": {name} is not installed"
        if unit is not None and unit.get("Result") not in ("success", None):
            return f": {name} failed ({unit['Result']}, status {unit.get('ExecMainStatus', '?')}){_last_words(facts)}"
        if unit is not None and unit.get("ActiveState") != "active":
            return f": {name} is {unit.get('ActiveState')} ({unit.get('UnitFileState') or 'no unit file state'})"
    if facts.word("efi.SecureBoot").endswith(" 1") or facts.word("efi.SecureBoot").endswith("1"):
        return "; secure boot is on, so only a signed kernel can be (kexec -s)"
    return ""


def _last_words(facts: Facts) -> str:
    """Return what the service's log ends with, systemd's own lines apart."""
    systemd = re.compile(r"\S+\.service: |(?:Failed to start|Start(?:ing|ed)|Stopp(?:ing|ed)|Finished|Deactivated) ")
    said = [line.strip() for line in facts.text("service-log").splitlines() if not systemd.match(line)]
    return f"; its log ends: {said[-1][:160]}" if said and said[-1] else ""


def _load_remedy(facts: Facts) -> tuple[str, ...]:
    if facts.number("sysctl.kexec_load_disabled") == 1:
        return (
            "# kexec_load_disabled stays 1 until a reboot: load the crash kernel before it is set",
            *start_kdump(facts),
        )
    return start_kdump(facts)


def judge_service(facts: Facts) -> Judgement | None:
    """Judge whether the crash kernel would be loaded again after a reboot."""
    names = _UNITS.get(facts.distribution, ())
    if not facts.was_read("services") or not names:
        return None
    unit = facts.services.get(names[0])
    if unit is None:
        return warn(
            f"{names[0]}.service is not installed: after a reboot no crash kernel is loaded",
            *start_kdump(facts),
        )
    state, enabled = unit.get("ActiveState", "?"), unit.get("UnitFileState", "?")
    if enabled not in ("enabled", "enabled-runtime", "static", "generated", "alias", "indirect"):
        return warn(f"{names[0]}.service is {enabled}: after a reboot no crash kernel is loaded", *start_kdump(facts))
    if state != "active":
        return warn(
            f"{names[0]}.service is {state} ({unit.get('Result', '?')}, status {unit.get('ExecMainStatus', '?')})",
            command("journalctl -b -u {unit} --no-pager", unit=names[0]),
            *start_kdump(facts),
        )
    return good(f"{names[0]}.service is active and {enabled}")


def judge_stale(facts: Facts) -> Judgement | None:
    """Judge whether what is loaded is older than the configuration it was made from."""
    if facts.distribution == "debian" or facts.settings is None:
        return None  # Debian's crash kernel reads the real root's configuration when it crashes
    changed = facts.files.get(facts.settings.file)
    made = _initrd(facts)
    if changed is None:
        return None
    fstab = facts.files.get("/etc/fstab") if facts.distribution == "rhel" else None
    if made is not None and fstab is not None and fstab[0] > made[1] and changed[0] <= made[1]:
        return warn(f"/etc/fstab is newer than {made[0]}: a target that moved is not in there", *reload_kdump(facts))
    if made is not None and changed[0] > made[1]:
        return warn(
            f"{facts.settings.file} is newer than {made[0]}: what it says now is not in force",
            *reload_kdump(facts),
        )
    started = _started(facts)
    if started is not None and changed[0] > started:
        return warn(f"{facts.settings.file} was changed after kdump started: not in force", *reload_kdump(facts))
    if made is None and started is None:
        return None
    return good(f"{facts.settings.file} is older than what is loaded")


def _initrd(facts: Facts) -> tuple[str, float] | None:
    names = (
        f"/boot/initramfs-{facts.release}kdump.img",
        "/var/lib/kdump/initrd",
        f"/boot/initrd-{facts.release}-kdump",
    )
    return next(((name, facts.files[name][0]) for name in names if name in facts.files), None)


def _started(facts: Facts) -> float | None:
    """Return when kdump's service became active, in seconds since the epoch on the host's clock."""
    for name in _UNITS.get(facts.distribution, ()):
        micros = facts.services.get(name, {}).get("ActiveEnterTimestampMonotonic", "")
        if re.fullmatch(r"[1-9]\d{0,18}", micros) and facts.boot_time is not None:
            return facts.boot_time + int(micros) / 1e6
    return None


def judge_kernel(facts: Facts) -> Judgement | None:
    """Judge whether the crash kernel that would be loaded is the running one, and is there."""
    family = facts.distribution.split("-")[0]
    if family == "debian":
        return _debian_kernel(facts)
    if family == "suse" and facts.word("suse-kernel-version"):
        version = facts.word("suse-kernel-version")
        if version != facts.release:
            return warn(f"kdump's kernel is {version}, the running one {facts.release}", *reload_kdump(facts))
        return good("kdump's kernel is the running one")
    pinned = facts.settings.kernel_version if facts.settings else ""
    if pinned and pinned != facts.release:
        return warn(f"KDUMP_KERNELVER pins {pinned}, the running kernel is {facts.release}")
    return None


def _debian_kernel(facts: Facts) -> Judgement | None:
    link = facts.word("link.vmlinuz")
    if not link:
        return None
    if link.endswith(facts.release):
        return good("kdump's kernel is the running one")
    return warn(f"kdump's kernel is {link}, the running one {facts.release}", *start_kdump(facts))


def judge_forbidden(facts: Facts) -> Judgement | None:
    """Judge kexec_load_disabled, secure boot and lockdown: they forbid loading, not crashing."""
    disabled = facts.number("sysctl.kexec_load_disabled") == 1
    lockdown = re.search(r"\[(\w+)\]", facts.text("lockdown"))
    notes = []
    if disabled:
        notes.append("kexec_load_disabled is 1: a crash kernel cannot be loaded again before a reboot")
    if lockdown and lockdown[1] != "none":
        notes.append(f"lockdown is {lockdown[1]}: only a signed crash kernel can be loaded")
    return good("; ".join(notes)) if notes else None


def judge_notifiers(facts: Facts) -> Judgement | None:
    """Judge crash_kexec_post_notifiers, which runs every panic notifier before the crash kernel."""
    if facts.word("crash_kexec_post_notifiers") != "Y":
        return None
    if "microsoft" in facts.text("dmi.sys_vendor").casefold() or facts.word("fadump/enabled") == "1":
        return good("crash_kexec_post_notifiers is on, as this platform wants it")
    return warn(
        "crash_kexec_post_notifiers is on: a panic notifier that hangs prevents the dump",
        "echo N >/sys/module/kernel/parameters/crash_kexec_post_notifiers",
        "# and take crash_kexec_post_notifiers off the kernel's command line",
    )


def judge_panic(facts: Facts) -> Judgement | None:
    """Say what happens when there is no crash kernel to jump to."""
    seconds = facts.number("sysctl.panic")
    if seconds is None:
        return None
    if seconds == 0:
        return good("kernel.panic is 0: if kdump does not start, the host stays stopped")
    return good(f"kernel.panic is {seconds}: if kdump does not start, the host reboots and the evidence is gone")


def judge_hotplug(facts: Facts) -> Judgement | None:
    """Say whether the kernel keeps the loaded crash kernel's view of CPUs and memory up to date."""
    values = [facts.number(f"{part}/crash_hotplug") for part in ("cpu", "memory")]
    if all(value is None for value in values):
        return None
    if all(value == 1 for value in values if value is not None):
        return good("the kernel itself keeps the crash kernel's list of CPUs and memory")
    return good("after adding memory or CPUs the crash kernel has to be loaded again")


def judge_built(facts: Facts) -> Judgement | None:
    """Judge whether the tools that load and save are installed."""
    wanted = ["makedumpfile"]
    if facts.distribution != "unknown" and facts.word("kexec_crash_loaded") != "1":
        wanted.append("kexec")
    missing = [tool for tool in wanted if not facts.exists(f"tool.{tool}")]
    if not missing or not facts.complete:
        return None
    says = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed"
    return warn(says, *_install(facts, missing))


def _install(facts: Facts, tools: list[str]) -> tuple[str, ...]:
    family = facts.distribution.split("-")[0]
    packages = sorted({"kexec": "kexec-tools"}.get(tool, tool) for tool in tools)
    if family == "debian":
        return (f"apt-get install {' '.join(packages)}",)
    if family == "suse":
        return (f"zypper install {' '.join(packages)}",)
    # makedumpfile is a package of its own since Fedora 41 and RHEL 10, and was part of kexec-tools before
    return (f"dnf install {' '.join(packages)} || dnf install kexec-tools",)


_DOC = "Linux Documentation/admin-guide/kdump/kdump.rst"

CHECKS = (
    Check(
        "kdump-loaded", Stage.CAPTURE, ALL_ROUTES,
        "On a panic the kernel jumps into the loaded crash kernel, or nowhere.",
        "Linux Documentation/ABI/testing/sysfs-kernel-kexec-kdump", judge_loaded,
    ),
    Check(
        "kdump-service", Stage.CAPTURE, ALL_ROUTES, "What was loaded by hand is gone after the next boot.",
        "systemctl(1); kdump.service, kdump-tools.service", judge_service, decides=False,
    ),
    Check(
        "kdump-stale", Stage.CAPTURE, ALL_ROUTES,
        "The crash kernel works with the configuration that was packed into its initrd when it was built.",
        "kdump-utils kdumpctl (check_files_modified); openSUSE kdump", judge_stale, decides=False,
    ),
    Check(
        "kdump-kernel", Stage.CAPTURE, ALL_ROUTES,
        "A crash kernel of another version may not know this hardware or dump.",
        "kdump-config(8); kdump(7)", judge_kernel, decides=False,
    ),
    Check(
        "kdump-tools", Stage.CAPTURE, ALL_ROUTES,
        "makedumpfile writes the dump; without it a whole memory image is copied.",
        "makedumpfile(8)", judge_built, decides=False,
    ),
    Check(
        "kdump-forbidden", Stage.REMARK, ALL_ROUTES, "Secure boot, lockdown and kexec_load_disabled forbid loading.",
        "Linux Documentation/admin-guide/sysctl/kernel.rst; kernel_lockdown(7)", judge_forbidden, decides=False,
    ),
    Check(
        "kdump-notifiers", Stage.PANIC, ALL_ROUTES, "What runs between the panic and the crash kernel can hang.",
        "Linux kernel/panic.c", judge_notifiers, decides=False,
    ),
    Check(
        "kdump-hotplug", Stage.REMARK, ALL_ROUTES, "Memory that was added after loading is missing in the dump.",
        "Linux Documentation/core-api/cpu_hotplug.rst", judge_hotplug, decides=False,
    ),
    Check(
        "kernel-panic", Stage.REMARK, ALL_ROUTES, "What the host does when the crash kernel does not start.",
        _DOC, judge_panic, decides=False,
    ),
)  # fmt: skip
