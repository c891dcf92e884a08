"""How a controller is set up: who else it lets in, its clock, its serial-over-LAN. Judged from `Driver.settings`.

Read-only, and without a password that is not the configured one (trigger/driver.py, ReportsSettings).
"""

from __future__ import annotations

import re

from trigger.clock import Clock
from trigger.driver import Exposure, Probe, Settings
from trigger.host import Controller
from trigger.preflight.check import Check, Judgement, Route, Stage, fail, good, warn
from trigger.preflight.console import serial_consoles, speed
from trigger.preflight.facts import Facts

_SKEW_S = 120.0
_HOUR_S = 3600.0
_DEFAULT_BAUD = 9600  # of the kernel's serial drivers, where console= names none
_NO_PASSWORD = ("cipher-0", "no-authentication", "anonymous")


def clock_offset(settings: Settings | None, now: float) -> float | None:
    """Return the controller's clock minus ours, in seconds; None where it does not say."""
    return None if settings is None or settings.time is None else settings.time - now


def judge_clock(settings: Settings, clock: Clock) -> Judgement | None:
    """Judge the controller's clock: its event log is read by it."""
    offset = clock_offset(settings, clock.time())
    if offset is None:
        return None
    if abs(offset) <= _SKEW_S:
        return good(f"its clock is within {max(2, abs(offset)):.0f} s of ours")
    way = "ahead" if offset > 0 else "behind"
    hours = round(offset / _HOUR_S)
    zone = " (local time, it seems)" if hours and abs(offset - hours * _HOUR_S) < _SKEW_S and abs(hours) < 15 else ""
    return warn(
        f"its clock is {abs(offset):.0f} s {way}{zone}: entries of its event log are dated so",
        "# let the controller take its time from NTP; on the host: ipmitool sel time set now",
    )


def judge_privilege(settings: Settings) -> Judgement | None:
    """Judge whether the account may do what a fire asks for."""
    if not settings.too_weak:
        return None
    return fail(
        f"the account may not reset the system: it has {settings.too_weak}",
        "# give it the controller's operator role",
    )


def judge_access(controller: Controller, probe: Probe, settings: Settings | None) -> Judgement | None:
    """Judge how safe the access itself is, and who else would be let in."""
    found = list(settings.exposures) if settings is not None else []
    if probe.learned.get("cipher_suite") in (2, 3, 15, 16):
        text = f"IPMI cipher suite {probe.learned['cipher_suite']}: SHA-1, or no encryption; suite 17 is the good one"
        found.append(Exposure("suite", text, "enable cipher suite 17 only"))
    if controller.options.get("scheme") == "http":
        found.append(Exposure("http", "HTTP without TLS: the password goes over the wire in the clear", "use https"))
    if not found:
        return None if settings is None else good("no way in without a password was found")
    found.sort(key=lambda exposure: exposure.kind not in _NO_PASSWORD)
    return warn(
        "; ".join(exposure.says for exposure in found),
        *(f"# {exposure.remedy}" for exposure in found if exposure.remedy),
    )


def judge_sol(settings: Settings, facts: Facts | None) -> Judgement | None:
    """Judge whether serial-over-LAN is on, and as fast as the console that the kernel writes to."""
    if settings.sol_enabled is False:
        return fail("serial-over-LAN is switched off", "# on the host: ipmitool sol set enabled true 1")
    consoles = serial_consoles(facts) if facts is not None else []
    wanted = kernel_speed(facts, consoles[0]) if facts is not None and consoles else None
    if settings.sol_baud is None or wanted is None:
        return good("serial-over-LAN is on") if settings.sol_enabled else None
    if settings.sol_baud == wanted:
        return good(f"serial-over-LAN is on, at {wanted} baud like {consoles[0]}")
    rate = f"{wanted / 1000:g}"
    return warn(
        f"serial-over-LAN runs at {settings.sol_baud} baud and the kernel's {consoles[0]} at {wanted}: what is typed"
        " may arrive as garbage",
        f"# on the host: ipmitool sol set volatile-bit-rate {rate} 1",
        f"# and ipmitool sol set non-volatile-bit-rate {rate} 1",
        "# then see whether a BREAK arrives: trigger preflight HOST --rehearse",
    )


def kernel_speed(facts: Facts, device: str) -> int | None:
    """Return the baud rate of a kernel console: as console= says, 9600 where that names the device without one."""
    named = speed(facts, device)
    if named is not None or not device.startswith("ttyS"):
        return named
    bare = any(re.fullmatch(rf"console={re.escape(device)}", word) for word in facts.words)
    return _DEFAULT_BAUD if bare else None


_ROUTES = (Route.NMI, Route.SYSRQ_SOL)
ACCESS = Check(
    "controller-access", Stage.TRIGGER, _ROUTES, "Whoever can log in here can crash the host.",
    "IPMI 2.0, 13.17, 22.13, 22.15.2; CVE-2013-4782, CVE-2013-4786", lambda facts: None, decides=False,
)  # fmt: skip
PRIVILEGE = Check(
    "controller-privilege", Stage.TRIGGER, _ROUTES, "A login that may only look cannot press the button.",
    "DSP0266, privilege model; DSP8011", lambda facts: None,
)  # fmt: skip
CLOCK = Check(
    "controller-clock", Stage.REMARK, _ROUTES, "The event log of the controller is evidence only with its time.",
    "IPMI 2.0, 31.10, 31.11; DSP0268 Manager.DateTime", lambda facts: None, decides=False,
)  # fmt: skip
SOL = Check(
    "console-sol", Stage.TRIGGER, (Route.SYSRQ_SOL,), "A BREAK needs serial-over-LAN, and the key after it its speed.",
    "IPMI 2.0, 26.3", lambda facts: None,
)  # fmt: skip
CHECKS = (PRIVILEGE, ACCESS, CLOCK, SOL)
