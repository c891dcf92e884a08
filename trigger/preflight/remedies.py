"""Remedies that several checks share: lines of shell for this distribution, for a person to review and
run.
"""

from __future__ import annotations

from trigger.preflight.check import command
from trigger.preflight.facts import Facts

SYSCTL_FILE = "/etc/sysctl.d/99-trigger.conf"


def set_sysctls(values: dict[str, str]) -> tuple[str, ...]:
    """Return lines that set kernel settings now and after the next boot; keys and values are ours."""
    now = " ".join(f"{key}={value}" for key, value in values.items())
    lines = [f"sysctl -w {now}", "mkdir -p /etc/sysctl.d"]
    for key, value in values.items():
        line = f"{key} = {value}"
        lines.append(f"grep -qsxF '{line}' {SYSCTL_FILE} || echo '{line}' >>{SYSCTL_FILE}")
    return tuple(lines)


def start_kdump(facts: Facts) -> tuple[str, ...]:
    """Return lines that load the crash kernel, now and at every boot."""
    family = facts.distribution.split("-")[0]
    if family == "debian":
        switch = "sed -i 's/^#*USE_KDUMP=.*/USE_KDUMP=1/' /etc/default/kdump-tools"
        if not facts.exists("kdump-tools"):
            return ("apt-get install kdump-tools", switch, "systemctl enable --now kdump-tools")
        return (switch, "systemctl enable kdump-tools", "systemctl restart kdump-tools")
    if family == "suse":
        return ("systemctl enable kdump", "systemctl restart kdump")
    if facts.has_systemd:
        install = () if facts.exists("kdump.conf") else ("dnf install kdump-utils || dnf install kexec-tools",)
        return (*install, "systemctl enable kdump", "systemctl restart kdump")
    if facts.exists("tool.kdumpctl"):
        return ("kdumpctl restart",)
    return ("# load the crash kernel with this system's own means (kexec -p KERNEL --initrd=... --append=...)",)


def reload_kdump(facts: Facts) -> tuple[str, ...]:
    """Return lines that make kdump take up its configuration as it is now."""
    family = facts.distribution.split("-")[0]
    if family == "debian":
        return ("kdump-config reload",)
    if family == "suse":
        return ("mkdumprd -f", "systemctl restart kdump")
    return ("kdumpctl restart",) if facts.exists("tool.kdumpctl") else ("systemctl restart kdump",)


def set_kernel_option(facts: Facts, word: str) -> tuple[str, ...]:
    """Return lines that put `word` (ours) on the kernel's command line; it holds from the next boot on."""
    family = facts.distribution.split("-")[0]
    if family == "debian":
        key = word.split("=")[0]
        where = f"/etc/default/grub.d/99-trigger-{key.replace('_', '-')}.cfg"
        text = f'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT {word}"'
        return (f"echo '{text}' >{where}", "update-grub", "# then reboot")
    if family == "suse" and not word.startswith("crashkernel="):
        return (f"pbl --add-option '{word}' && pbl --config", "# then reboot")
    if facts.arch == "s390x":
        return (f"grubby --update-kernel=ALL --args='{word}'", "zipl", "# then reboot")
    return (f"grubby --update-kernel=ALL --args='{word}'", "# then reboot")


def drop_kernel_option(facts: Facts, word: str) -> tuple[str, ...]:
    """Return lines that take `word` (said by the host) off the kernel's command line."""
    family = facts.distribution.split("-")[0]
    if family == "rhel":
        return (command("grubby --update-kernel=ALL --remove-args={word}", word=word), "# then reboot")
    if family == "suse":
        return (command("pbl --del-option {word} && pbl --config", word=word), "# then reboot")
    find = command("grep -n {word} /etc/default/grub /etc/default/grub.d/*", word=word)
    return (find, "# remove it there", "update-grub", "# then reboot")
