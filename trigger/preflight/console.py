"""The serial console: is the port that a BREAK reaches a console of the kernel, and is its receiver awake?

A port's receiver sleeps until somebody opens it once. The kernel itself opens the preferred console
(/dev/console) at boot, and a console that was opened is never put to sleep again: tty_port_shutdown()
leaves consoles alone. Tried on Linux 6.1 under QEMU: never opened, no RTS in /proc/tty/driver/serial and
BREAK is not heard; opened and closed again, RTS stays and BREAK works, getty or not.

Source: Linux drivers/tty/tty_port.c, include/linux/serial_core.h (uart_handle_break), drivers/tty/serial/8250
(interrupts are enabled in startup), init/main.c (console_on_rootfs).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from trigger.preflight.check import ALL_ROUTES, Check, Judgement, Route, Stage, command, fail, good, unknown, warn
from trigger.preflight.facts import Facts
from trigger.preflight.kdump_config import shell_variables
from trigger.preflight.remedies import set_kernel_option

SOL = (Route.SYSRQ_SOL,)
_SERIAL = re.compile(r"(ttyS|ttyAMA|ttyPS|ttymxc|ttyLP|ttyUL|ttySAC|hvc|hvsi|sclp_line|ttysclp|ttyTHS|ttyMSM)\d*$")


@dataclass(frozen=True, slots=True)
class Uart:
    """One line of /proc/tty/driver/serial.

    `breaks` counts BREAKs received; `awake` says whether the port was opened since boot, None when it
    cannot tell.
    """

    device: str
    breaks: int | None
    awake: bool | None


def serial_consoles(facts: Facts) -> list[str]:
    """Return the enabled serial consoles of the kernel, the preferred one first."""
    return [c.device for c in facts.consoles if c.enabled and _SERIAL.match(c.device)]


def uarts(facts: Facts) -> dict[str, Uart]:
    """Return the serial ports that the drivers describe, by device."""
    found = {}
    for driver, device in (("serial", "ttyS"), ("ttyAMA", "ttyAMA"), ("ttySAC", "ttySAC")):
        for line in facts.text(f"uart.{driver}").splitlines():
            parts = re.match(r"(\d+): uart:(\S+)(.*)", line)
            if parts is None or parts[2] == "unknown":
                continue
            breaks = re.search(r"\bbrk:(\d{1,12})", parts[3])
            signals = re.search(r" ([A-Z|]*(?:RTS|CTS|DTR|DSR|CD|RI)[A-Z|]*)\s*$", parts[3])
            # the driver raises RTS when the port is first opened
            awake = "RTS" in signals[1].split("|") if signals else (None if "tx:" not in parts[3] else False)
            name = f"{device}{parts[1]}"
            found[name] = Uart(name, int(breaks[1]) if breaks else 0, awake)
    return found


def speed(facts: Facts, device: str) -> int | None:
    """Return the speed in baud that console=DEVICE,SPEED names; None where it does not."""
    for word in facts.words:
        found = re.match(rf"console={re.escape(device)},(\d{{1,7}})", word)
        if found:
            return int(found[1])
    return None


def judge_registered(facts: Facts) -> Judgement | None:
    """Judge whether the kernel has a serial console."""
    consoles = serial_consoles(facts)
    if consoles:
        return good(f"the kernel's console is on {', '.join(consoles)}")
    if not facts.was_read("consoles"):
        return unknown("/proc/consoles could not be read")
    ports = [name for name in uarts(facts) if name.startswith("ttyS")]
    word = f"console={ports[0]},115200" if ports else "console=ttyS0,115200"
    return fail(
        "the kernel has no serial console: a BREAK is no SysRq there, and nothing of the crash can be seen",
        "# the port that SOL is wired to; ttyS1 on many servers",
        *set_kernel_option(facts, word),
    )


def judge_awake(facts: Facts) -> Judgement | None:
    """Judge whether a serial console was opened since boot, and whether it would be after the next one."""
    consoles = serial_consoles(facts)
    if not consoles:
        return None
    states = {device: _awake(facts, device) for device in consoles}
    awake = [device for device in consoles if states[device]]
    if awake:
        getty = facts.services.get(f"serial-getty@{awake[0]}", {}).get("ActiveState", "active")
        if getty not in ("active", "activating"):
            return warn(
                f"the receiver of {awake[0]} is awake, but no getty runs there ({getty})", *_getty(facts, awake[0])
            )
        if _nobody_there(facts, awake[0]):
            return warn(
                f"the receiver of {awake[0]} is awake, but nothing holds the port open: no getty runs there",
                *_getty(facts, awake[0]),
            )
        return good(f"the receiver of {', '.join(awake)} is awake")
    if any(state is None for state in states.values()):
        return unknown(f"nobody can tell whether {', '.join(consoles)} was ever opened", *_getty(facts, consoles[0]))
    return fail(
        f"{', '.join(consoles)} was not opened since boot (no getty): its receiver is asleep and a BREAK is not heard",
        *_getty(facts, consoles[0]),
    )


def _awake(facts: Facts, device: str) -> bool | None:
    """Return whether the port was opened since boot; None when nobody can tell."""
    preferred = any(console.device == device and console.preferred for console in facts.consoles)
    if preferred or facts.services.get(f"serial-getty@{device}", {}).get("ActiveState") == "active":
        return True
    port = uarts(facts).get(device)
    return port.awake if port else None


def _nobody_there(facts: Facts, device: str) -> bool:
    """Return whether root saw that no process has this terminal (tty_nr of proc(5): minor 19..8 and 7..0, major)."""
    number = next((console.number for console in facts.consoles if console.device == device), None)
    if number is None or not facts.is_root or not facts.was_read("terminals"):
        return False
    major, minor = number
    tty_nr = (minor & 0xFF) | major << 8 | (minor >> 8) << 20
    return not any(line.split(" ")[0] == str(tty_nr) for line in facts.text("terminals").splitlines())


def _getty(facts: Facts, device: str) -> tuple[str, ...]:
    if facts.has_systemd:
        return (command("systemctl enable --now serial-getty@{device}.service", device=device),)
    baud = str(speed(facts, device) or 115200)
    line = command("{device}::respawn:/sbin/getty -L {baud} {device} vt100", device=device, baud=baud)
    if line.startswith("#"):
        return (line,)
    return (f"grep -qxF '{line}' /etc/inittab || echo '{line}' >>/etc/inittab", "kill -HUP 1")


def judge_breaks(facts: Facts) -> Judgement | None:
    """Say how many BREAKs have ever arrived; the counter is the cheapest proof of the way."""
    ports = uarts(facts)
    known = [ports[device] for device in serial_consoles(facts) if device in ports]
    if not known:
        return None
    counts = ", ".join(f"{uart.device} {uart.breaks}" for uart in known)
    if any(uart.breaks for uart in known):
        return good(f"BREAKs seen since boot: {counts}")
    return good(f"no BREAK was seen since boot ({counts}); --rehearse proves the way")


def judge_speed(facts: Facts) -> Judgement | None:
    """Warn of a console so slow that a long panic message delays the dump."""
    for device in serial_consoles(facts):
        baud = speed(facts, device)
        if baud is not None and baud < 38400:
            return warn(
                f"the console on {device} runs at {baud} baud: a long panic message takes minutes with interrupts off",
                *set_kernel_option(facts, f"console={device},115200"),
            )
    return None


# What kdump's configuration may put in place of, or take from, the command line that the crash kernel inherits.
_CAPTURE_WORDS = {
    "rhel": ("sysconfig-kdump", "KDUMP_COMMANDLINE", "KDUMP_COMMANDLINE_REMOVE"),
    "suse": ("sysconfig-kdump", "KDUMP_COMMANDLINE", ""),
    "debian": ("kdump-tools", "KDUMP_CMDLINE", ""),
}


def judge_capture(facts: Facts) -> Judgement | None:
    """Say whether the crash kernel will be seen on the serial console: silence there would otherwise worry somebody."""
    names = _CAPTURE_WORDS.get(facts.distribution.split("-")[0])
    if names is None or not serial_consoles(facts) or not facts.text(names[0]):
        return None
    values, _ = shell_variables(facts.text(names[0]))
    instead, without = values.get(names[1], ""), values.get(names[2], "") if names[2] else ""
    if instead and "console=" not in instead:
        return warn(f"{names[1]} has no console=: the crash kernel says nothing on the serial console")
    if "console" in without.split():
        return warn(f"{names[2]} takes console= away: the crash kernel says nothing on the serial console")
    return good("the crash kernel inherits console=, so its progress is seen on the serial console")


CHECKS = (
    Check(
        "console-registered", Stage.PANIC, SOL,
        "Only a port that is a console of the kernel takes BREAK for SysRq; one port per driver can be.",
        "Linux include/linux/serial_core.h, kernel/printk/printk.c", judge_registered,
    ),
    Check(
        "console-awake", Stage.PANIC, SOL, "The receiver of a serial port sleeps until somebody opens it once.",
        "Linux drivers/tty/tty_port.c (tty_port_shutdown), drivers/tty/serial/8250/8250_port.c", judge_awake,
    ),
    Check(
        "console-speed", Stage.REMARK, SOL, "The panic message is printed with interrupts off before the dump starts.",
        "Linux kernel/panic.c", judge_speed, decides=False,
    ),
    Check(
        "console-capture", Stage.REMARK, ALL_ROUTES,
        "A crash kernel that writes its dump in silence looks like one that hangs.",
        "kdump-utils kdump-lib.sh (prepare_cmdline); kdump(5); kdump-tools(5)", judge_capture, decides=False,
    ),
    Check(
        "console-breaks", Stage.REMARK, SOL, "The driver counts the BREAKs that arrive: proof that one gets through.",
        "Linux drivers/tty/serial/serial_core.c (uart_line_info)", judge_breaks, decides=False,
    ),
)  # fmt: skip
