"""A host as the script read it: typed values over the readings. Everything in here was said by the host."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from trigger.preflight.kdump_config import KdumpSettings, read_settings
from trigger.preflight.proved import ProvedDump
from trigger.preflight.readings import Reading

_RELEASE_FAMILIES = {
    "rhel": ("rhel", "fedora", "centos", "rocky", "almalinux", "ol", "amzn", "azurelinux"),
    "suse": (
        "suse",
        "sles",
        "opensuse",
        "sles_sap",
        "opensuse-leap",
        "opensuse-tumbleweed",
        "sle-micro",
        "sl-micro",
    ),
    "debian": ("debian", "ubuntu"),
}


@dataclass(frozen=True, slots=True)
class Folder:
    """A dump folder on the host. Sizes in bytes; `error` is what df said when it failed, "" otherwise.

    `probed` is what --probe-target came to: "", ok, or what the system said.
    `entries` are (name, size, mtime, mode, is a folder, user id) one and two levels below.
    """

    path: str
    error: str = ""
    device: str = ""
    total: int = 0
    free: int = 0
    mount: str = ""
    fstype: str = ""
    options: tuple[str, ...] = ()
    writable: bool | None = None
    probed: str = ""
    layers: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or folder, its name relative to the dump folder. `mtime` in seconds since the epoch."""

    name: str
    size: int
    mtime: float
    mode: int
    is_folder: bool
    uid: int


@dataclass(frozen=True, slots=True)
class KernelConsole:
    """A line of /proc/consoles: the device, whether it is enabled (E), whether it is /dev/console (C), its number."""

    device: str
    enabled: bool
    preferred: bool = False
    number: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Watchdog:
    """One /sys/class/watchdog/watchdogN; `timeout` in seconds."""

    name: str
    identity: str
    active: bool
    timeout: int | None


class Facts:
    """Everything read from one host; `asked_at` and `answered_at` frame the reading on the operator's clock.

    `proved_dump` is the newest dump of this host that trigger itself has proved complete.
    """

    def __init__(
        self,
        readings: tuple[Reading, ...],
        *,
        asked_at: float | None = None,
        answered_at: float | None = None,
        proved_dump: ProvedDump | None = None,
    ) -> None:
        self.readings = readings
        self.proved_dump = proved_dump
        self.asked_at = asked_at
        self.answered_at = answered_at
        self._by_name: dict[str, Reading] = {}
        for reading in readings:
            kept = self._by_name.get(reading.name)
            if kept is None or (kept.status != "0" and reading.status == "0"):
                self._by_name[reading.name] = reading

    def was_read(self, name: str) -> bool:
        """Return whether `name` is there and could be read."""
        reading = self._by_name.get(name)
        return reading is not None and reading.status == "0"

    def exists(self, name: str) -> bool:
        """Return whether the host has `name`, readable or not."""
        return name in self._by_name

    def why_not(self, name: str) -> str:
        """Return why `name` was not read, as a clause."""
        reading = self._by_name.get(name)
        if reading is None:
            return "not there" if self.complete else "the script did not get that far"
        if reading.status == "denied":
            return "permission denied"
        return reading.text.splitlines()[-1][:120] if reading.text.strip() else f"status {reading.status}"

    def text(self, name: str) -> str:
        """Return what was read as `name`, "" when it was not."""
        reading = self._by_name.get(name)
        return reading.text if reading is not None and reading.status == "0" else ""

    def word(self, name: str) -> str:
        """Return the reading without surrounding space."""
        return self.text(name).strip()

    def number(self, *names: str) -> int | None:
        """Return the first of `names` that holds a decimal number."""
        for name in names:
            if re.fullmatch(r"-?\d{1,20}", self.word(name)):
                return int(self.word(name))
        return None

    @cached_property
    def complete(self) -> bool:
        """Whether the script ran to its end."""
        return self.was_read("last")

    @cached_property
    def is_root(self) -> bool:
        """Whether the script ran as root."""
        return self.word("uid") == "0"

    @cached_property
    def _uname(self) -> list[str]:
        return [*self.word("uname").split(), "", "", "", ""]

    @property
    def nodename(self) -> str:
        """The host's name for itself."""
        return self._uname[1]

    @property
    def release(self) -> str:
        """The running kernel's release."""
        return self._uname[2]

    @property
    def arch(self) -> str:
        """The machine, as uname prints it: x86_64, aarch64, ppc64le, s390x."""
        return self._uname[3]

    @property
    def is_x86(self) -> bool:
        """Whether it is a PC, where an NMI needs the sysctls."""
        return self.arch in ("x86_64", "i686", "i586", "i386")

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words of the kernel's command line."""
        return tuple(self.text("cmdline").split())

    def kernel_option(self, name: str) -> str | None:
        """Return the last value of NAME=value on the kernel command line, None where it is not there."""
        found = [word.split("=", 1)[1] for word in self.words if word.startswith(name + "=")]
        return found[-1] if found else None

    @cached_property
    def memory(self) -> Mapping[str, int]:
        """The lines of /proc/meminfo, in bytes."""
        pairs = re.findall(r"^(\w+):\s+(\d{1,15}) kB", self.text("meminfo"), re.MULTILINE)
        return {name: int(value) * 1024 for name, value in pairs}

    @property
    def mem_bytes(self) -> int | None:
        """MemTotal in bytes: the memory less what the kernel and the crash kernel reserved."""
        return self.memory.get("MemTotal")

    @cached_property
    def os_release(self) -> Mapping[str, str]:
        """The variables of /etc/os-release, unquoted."""
        found = re.findall(r"^([A-Z_]+)=[\"']?(.*?)[\"']?\s*$", self.text("os-release"), re.MULTILINE)
        return dict(found)

    @cached_property
    def distribution(self) -> str:
        """Whose kdump it is: rhel, suse-new, suse-old, debian, or unknown; by its files, then by its name."""
        family = self._family()
        if family != "suse":
            return family
        return "suse-new" if self.exists("suse-new") else "suse-old"

    def _family(self) -> str:
        if self.exists("kdump.conf"):
            return "rhel"
        if "KDUMP_SAVEDIR" in self.text("sysconfig-kdump"):
            return "suse"
        if self.exists("kdump-tools"):
            return "debian"
        names = [self.os_release.get("ID", ""), *self.os_release.get("ID_LIKE", "").split()]
        for name in names:
            for family, members in _RELEASE_FAMILIES.items():
                if name in members:
                    return family
        return "unknown"

    @cached_property
    def settings(self) -> KdumpSettings | None:
        """kdump's configuration as understood; None where there is none or it cannot be read."""
        for family, name in (("rhel", "kdump.conf"), ("suse", "sysconfig-kdump"), ("debian", "kdump-tools")):
            if self.distribution.startswith(family) and self.was_read(name):
                return read_settings(self.distribution, self.text(name))
        return None

    @cached_property
    def services(self) -> Mapping[str, Mapping[str, str]]:
        """systemctl show, by unit; units that are not installed are left out."""
        units: dict[str, Mapping[str, str]] = {}
        for block in re.split(r"\n\s*\n", self.text("services")):
            pairs = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
            if pairs.get("LoadState") not in (None, "not-found"):
                units[pairs.get("Id", "").removesuffix(".service")] = pairs
        return units

    @property
    def has_systemd(self) -> bool:
        """Whether systemctl answered."""
        return self.exists("services")

    @cached_property
    def consoles(self) -> tuple[KernelConsole, ...]:
        """The kernel's registered consoles (/proc/consoles), the preferred one first."""
        pattern = r"^(\S+)\s+\S+\s+\(([^)]*)\)(?:[ \t]+(\d{1,5}):(\d{1,7}))?"
        return tuple(
            KernelConsole(device, "E" in flags, "C" in flags, (int(major), int(minor)) if major else None)
            for device, flags, major, minor in re.findall(pattern, self.text("consoles"), re.MULTILINE)
        )

    @cached_property
    def watchdogs(self) -> tuple[Watchdog, ...]:
        """Every watchdog device."""
        found = (re.match(r"watchdog\.(watchdog\d+)/", reading.name) for reading in self.readings)
        names = sorted({match[1] for match in found if match})
        return tuple(
            Watchdog(
                name,
                self.word(f"watchdog.{name}/identity"),
                self.word(f"watchdog.{name}/state") == "active",
                self.number(f"watchdog.{name}/timeout"),
            )
            for name in names
        )

    @cached_property
    def modules(self) -> frozenset[str]:
        """Loaded modules, of those that matter here."""
        return frozenset(line.split()[0] for line in self.text("modules").splitlines() if line.split())

    @cached_property
    def files(self) -> Mapping[str, tuple[float, int]]:
        """Of kdump's files on the host: path -> (mtime in seconds since the epoch, mode)."""
        reading = self._by_name.get("files")
        found = re.findall(r"^(\d{1,12}) \d+ ([0-7]{1,4}) \d+ (/.*)$", reading.text if reading else "", re.MULTILINE)
        return {path: (float(mtime), int(mode, 8)) for mtime, mode, path in found}

    @cached_property
    def folders(self) -> tuple[Folder, ...]:
        """The dump folders that the script looked at, in the order of the configuration."""
        groups: list[list[Reading]] = []
        for reading in self.readings:
            if reading.name.startswith("folder "):
                groups.append([reading])
            elif groups and reading.name in ("df", "writable", "probe", "filesystem", "layers", "listing"):
                groups[-1].append(reading)
        return tuple(_folder(group) for group in groups)

    def starting_with(self, prefix: str) -> list[Reading]:
        """Return the readings whose name starts with `prefix`."""
        return [reading for reading in self.readings if reading.name.startswith(prefix)]

    @cached_property
    def boot_time(self) -> float | None:
        """When the host booted, in seconds since the epoch on the host's clock."""
        found = re.search(r"btime (\d{1,12})", self.text("btime"))
        return float(found.group(1)) if found else None


def _folder(group: list[Reading]) -> Folder:
    parts = {reading.name: reading for reading in reversed(group)}
    path = group[0].text
    df = parts.get("df")
    if df is None or df.status != "0":
        said = df.text.splitlines()[-1] if df and df.text.strip() else "did not answer in time"
        return Folder(path, error=said[:200])
    numbers = re.search(r"^(\S.*?)\s+(\d+)\s+\d+\s+(-?\d+)\s+\S+\s+(/.*)$", df.text, re.MULTILINE)
    if numbers is None:
        return Folder(path, error="df's answer was not understood")
    mount = (parts["filesystem"].text.split() if "filesystem" in parts else []) + [""] * 4
    writable = parts["writable"].text.strip() if "writable" in parts else ""
    return Folder(
        path,
        device=numbers.group(1),
        total=int(numbers.group(2)) * 1024,
        free=max(0, int(numbers.group(3))) * 1024,
        mount=numbers.group(4),
        fstype=mount[2],
        options=tuple(mount[3].split(",")),
        writable={"yes": True, "no": False}.get(writable),
        probed=_probed(parts.get("probe")),
        layers=tuple(parts["layers"].text.split()) if "layers" in parts else (),
        entries=entries(parts["listing"].text, path) if "listing" in parts else (),
    )


def _probed(reading: Reading | None) -> str:
    if reading is None:
        return ""
    if reading.status == "0":
        return "ok"
    return (reading.text.strip().splitlines() or ["no answer in time"])[-1][:200]


def entries(listing: str, path: str) -> tuple[Entry, ...]:
    """Return the entries of a `stat` listing (mtime, size, mode, user id, raw mode, name) below `path`."""
    found = []
    prefix = path.rstrip("/") + "/"
    for line in listing.splitlines():
        parts = line.split(" ", 5)
        if len(parts) == 6 and parts[5].startswith(prefix) and not parts[5].endswith("*"):
            with_numbers = re.fullmatch(
                r"(\d{1,12}) (\d{1,18}) ([0-7]{1,4}) (\d{1,10}) ([0-9a-f]{1,8})", " ".join(parts[:5])
            )
            if with_numbers:
                mtime, size, mode, uid, raw = with_numbers.groups()
                is_folder = int(raw, 16) & 0o170000 == 0o040000
                name = parts[5][len(prefix) :]
                found.append(Entry(name, int(size), float(mtime), int(mode, 8), is_folder, int(uid)))
    return tuple(found)
