"""SysRq -> panic: may BREAK and `c` on the serial console crash this kernel, and may root do it over SSH?

Source: Linux 6.1 and 6.12 drivers/tty/sysrq.c, include/linux/serial_core.h.
"""

from __future__ import annotations

from trigger.preflight.check import Check, Judgement, Route, Stage, fail, good, unknown, warn
from trigger.preflight.facts import Facts
from trigger.preflight.nmi import setting_after_boot
from trigger.preflight.remedies import set_kernel_option, set_sysctls

SOL = (Route.SYSRQ_SOL,)
DUMP = 8  # SYSRQ_ENABLE_DUMP: c, l, m, p, t, w, z
_GROUPS = {2: "0-9", 4: "k r", 8: "c l m p t w z", 16: "s", 32: "u", 64: "e f i j", 128: "b o", 256: "n"}


def allowed_keys(mask: int) -> str:
    """Return the keys that `mask` allows, in words."""
    if mask == 1:
        return "all keys"
    return " ".join(keys for bit, keys in _GROUPS.items() if mask & bit) or "no keys"


def judge_mask(facts: Facts) -> Judgement | None:
    """Judge kernel.sysrq against the key c."""
    if "sysrq_always_enabled" in facts.words:
        return good("sysrq_always_enabled is on the kernel's command line")
    mask = facts.number("sysctl.sysrq")
    if mask is None:
        return unknown("kernel.sysrq could not be read; this kernel may have no SysRq")
    if mask == 1 or mask & DUMP:
        return good(f"kernel.sysrq is {mask}: {allowed_keys(mask)}")
    wanted = "1" if mask == 0 else str(mask | DUMP)
    return fail(
        f"kernel.sysrq is {mask} ({allowed_keys(mask)}): BREAK and c is refused; writing to /proc/sysrq-trigger, which"
        " ignores the mask, would have hidden that",
        *set_sysctls({"kernel.sysrq": wanted}),
    )


def judge_persistence(facts: Facts) -> Judgement | None:
    """Judge whether the mask survives a reboot."""
    mask = facts.number("sysctl.sysrq")
    if mask is None or not (mask == 1 or mask & DUMP) or "sysrq_always_enabled" in facts.words:
        return None
    later = setting_after_boot(facts, "sysrq")
    if later is None:
        default = _built_in_mask(facts)
        if default is None or default == 1 or default & DUMP:
            return None
        later = str(default)
    if later.isdecimal() and (int(later) == 1 or int(later) & DUMP):
        return good("set in files as well")
    return warn(
        f"kernel.sysrq is {mask} now, but the next boot sets it to {later}",
        *set_sysctls({"kernel.sysrq": str(mask)}),
    )


def _built_in_mask(facts: Facts) -> int | None:
    value = kernel_config(facts, "CONFIG_MAGIC_SYSRQ_DEFAULT_ENABLE")
    try:
        return int(value, 0)
    except ValueError:
        return None


def kernel_config(facts: Facts, name: str) -> str:
    """Return the value of a kernel configuration option, "" where it is not set or not known."""
    for line in facts.text("kernel-config").splitlines():
        if line.startswith(name + "="):
            return line.split("=", 1)[1].strip('"')
    return ""


def judge_serial(facts: Facts) -> Judgement | None:
    """Judge whether the kernel listens for SysRq on serial ports at all."""
    if not facts.text("kernel-config"):
        return None
    if kernel_config(facts, "CONFIG_MAGIC_SYSRQ") != "y":
        return fail("the kernel was built without CONFIG_MAGIC_SYSRQ", "# install a kernel of the distribution")
    if kernel_config(facts, "CONFIG_MAGIC_SYSRQ_SERIAL") != "y":
        return fail(
            "the kernel was built without CONFIG_MAGIC_SYSRQ_SERIAL: a BREAK does nothing",
            "# use the NMI, or install a kernel that has it",
        )
    return good("CONFIG_MAGIC_SYSRQ_SERIAL=y")


def judge_root(facts: Facts) -> Judgement | None:
    """Judge whether the crash can be asked for over SSH, on a host that still lets one in."""
    if facts.exists("sysrq-trigger"):
        return good("/proc/sysrq-trigger can be written")
    if not facts.is_root:
        return fail("the SSH user cannot write /proc/sysrq-trigger", "# let it use `sudo -n`, or log in as root")
    return fail("/proc/sysrq-trigger cannot be written", *set_kernel_option(facts, "sysrq_always_enabled=1"))


CHECKS = (
    Check(
        "sysrq-mask", Stage.PANIC, SOL,
        "kernel.sysrq says which keys the console may send; as shipped by RHEL (16), Debian (438) and Ubuntu (176) c"
        " is not among them.",
        "Linux drivers/tty/sysrq.c; Documentation/admin-guide/sysrq.rst", judge_mask,
    ),
    Check(
        "sysrq-serial", Stage.PANIC, SOL, "Without CONFIG_MAGIC_SYSRQ_SERIAL a BREAK on the console does nothing.",
        "Linux lib/Kconfig.debug", judge_serial,
    ),
    Check(
        "sysrq-persistence", Stage.PANIC, SOL, "A setting that only holds until the next boot is gone when it matters.",
        "sysctl.d(5)", judge_persistence, decides=False,
    ),
    Check(
        "sysrq-root", Stage.TRIGGER, (Route.SYSRQ_SSH,), "Only root may write /proc/sysrq-trigger.",
        "Linux drivers/tty/sysrq.c", judge_root, needs=("uid",),
    ),
)  # fmt: skip
