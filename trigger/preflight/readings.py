"""What the script printed, taken apart: frames of a name, a text and a status. Bounded; hostile input is
expected.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

from trigger.errors import DriverError
from trigger.text import harmless

MAX_FRAMES = 2000
MAX_TEXT = 128 * 1024
# How the checks call what lies below these folders; the first that fits counts.
_SHORT = (
    ("/proc/sys/kernel/random/", ""),
    ("/proc/sys/kernel/", "sysctl."),
    ("/proc/", ""),
    ("/sys/class/dmi/id/", "dmi."),
    ("/sys/class/ipmi/ipmi0/device/bmc/", "ipmi0."),
    ("/sys/class/watchdog/", "watchdog."),
    ("/sys/class/tty/console/", "console-"),
    ("/sys/module/kernel/parameters/", ""),
    ("/sys/module/", ""),
    ("/sys/kernel/fadump_", "fadump/"),
    ("/sys/kernel/security/", ""),
    ("/sys/kernel/", ""),
    ("/sys/devices/system/", ""),
)
_START = re.compile(r"^trigger-preflight 1 ([0-9A-Za-z-]{8,64})[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Reading:
    """One thing read: its name, the text without the last newline, and "0", a command's status, or denied."""

    name: str
    text: str
    status: str


@cache
def script() -> str:
    """Return the script that reads a host: POSIX sh, to be fed to `sh -s`."""
    return resources.files("trigger.preflight").joinpath("read_host.sh").read_text(encoding="utf-8")


def parse(output: str) -> tuple[Reading, ...]:
    """Return the readings in `output`; a frame that was not ended has the status "cut off".

    Raises DriverError when the script did not run: the login gave something else.
    """
    start = _START.search(output)
    if start is None:
        raise DriverError(f"The script did not run there; the login printed: {_shown(output)}")
    mark = f"@{start.group(1)} "
    readings: list[Reading] = []
    name: str | None = None
    lines: list[str] = []
    for line in output[start.end() :].split("\n"):
        if not line.startswith(mark):
            lines.append(line)
            continue
        rest = line[len(mark) :].strip()
        if rest.startswith("= ") and name is not None:
            readings.append(_reading(name, lines, rest[2:]))
            name = None
        elif not rest.startswith("= "):
            if name is not None:
                readings.append(_reading(name, lines, "cut off"))
            name = rest
        lines = []
        if len(readings) >= MAX_FRAMES:
            break
    if name is not None:
        readings.append(_reading(name, lines, "cut off"))
    return tuple(short for reading in readings for short in _shortened(reading))


def _shortened(reading: Reading) -> list[Reading]:
    """Return a reading under the name that the checks use; a frame of "path:text" lines becomes one for
    each file.
    """
    if reading.name.startswith("/"):
        return [Reading(short_name(reading.name), reading.text, reading.status)]
    if reading.name != "lines":
        return [reading]
    found: dict[str, str] = {}
    for line in reading.text.splitlines():
        path, colon, text = line.partition(":")
        if colon and path.startswith("/"):
            found.setdefault(path, text)
    return [Reading(short_name(path), text, "0") for path, text in found.items()]


def short_name(path: str) -> str:
    """Return the checks' name of a file in /proc or /sys: `sysctl.sysrq`, `kexec_crash_loaded`."""
    for folder, name in _SHORT:
        if path.startswith(folder):
            return name + path.removeprefix(folder).replace("/parameters/", ".")
    return path


def _reading(name: str, lines: list[str], status: str) -> Reading:
    text = "\n".join(lines).strip("\n")
    return Reading(name[:400], text[:MAX_TEXT].replace("\r", ""), status.strip()[:40])


def _shown(output: str) -> str:
    text = harmless(" ".join(output.split())[:200])
    return repr(text) if text else "nothing"
