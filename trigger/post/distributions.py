"""What each distribution's kdump writes at its target, as data: folder names, temporary and final names.

Read in kdump-utils 63f248c (RHEL, Fedora), openSUSE kdump 2.1.9 and 1.0.3, and Debian kdump-tools 1.8.1. The
time in a folder's name is the crash kernel's local time, so it says nothing of what is new; a baseline does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from re import Pattern

# RHEL's `kdumpctl test` really crashes; what it leaves is a rehearsal.
IGNORED = re.compile(r"kdump-test-")

_COMPRESSED = r"(?:\.(?:bz2|gz|lz4|xz))?"


@dataclass(frozen=True, slots=True)
class Rule:
    """How one distribution saves a dump. Patterns match whole names.

    `entry` is a new folder at the target, or with `flat` the dump file itself; its group `host` is an IP
    address or name that need not be the inventory's. `partial` is a core under its temporary name and `final`
    under its last; `last` is what the saver leaves when it is over, done or not. `readme` says that
    README.txt and no name tells the end. `stable` is for how many seconds the size must not change (no final
    name).
    """

    name: str
    entry: Pattern[str]
    final: Pattern[str]
    dmesg: Pattern[str]
    partial: Pattern[str] | None = None
    last: Pattern[str] | None = None
    readme: bool = False
    flat: bool = False
    stable: float = 0.0


RHEL = Rule(
    "RHEL/Fedora",
    entry=re.compile(r"(?P<host>.+)-\d{4}[-.]\d{2}[-.]\d{2}-\d{2}:\d{2}:\d{2}"),
    partial=re.compile(r"vmcore-incomplete"),
    final=re.compile(r"vmcore(?:\.flat)?"),
    dmesg=re.compile(r"vmcore-dmesg\.txt"),
    last=re.compile(r"kexec-dmesg\.log"),
)
SUSE = Rule(
    "SUSE",
    entry=re.compile(r"(?:(?P<host>.+)-)?\d{4}-\d{2}-\d{2}-\d{2}[-:]\d{2}"),
    final=re.compile(r"vmcore\d*"),
    dmesg=re.compile(r"dmesg(?:\.txt)?"),
    readme=True,
)
DEBIAN = Rule(
    "Debian/Ubuntu",
    entry=re.compile(r"(?:(?P<host>.+)-)?\d{12}"),
    partial=re.compile(rf"(?:dump|vmcore)-incomplete{_COMPRESSED}"),
    final=re.compile(rf"(?:dump|vmcore)\.\d{{12}}{_COMPRESSED}"),
    dmesg=re.compile(r"dmesg\.\d{12}"),
)
DEBIAN_FTP = Rule(
    "Debian/Ubuntu (FTP)",
    entry=re.compile(rf"(?P<host>.+)-(?:dump|vmcore)\.\d{{12}}{_COMPRESSED}"),
    final=re.compile(rf".+-(?:dump|vmcore)\.\d{{12}}{_COMPRESSED}"),
    dmesg=re.compile(r".+-dmesg\.\d{12}"),
    flat=True,
    stable=60.0,
)
# `save_raw` of kdumpctl puts a raw partition's dump here when the service starts again. Its folder looks like
# old SUSE's on a local disk; it holds a vmcore alone, written in place, while SUSE writes its dmesg.txt
# first.
RHEL_RAW = Rule(
    "RHEL/Fedora (raw)",
    entry=re.compile(r"\d{4}-\d{2}-\d{2}-\d{2}:\d{2}"),
    final=re.compile(r"vmcore"),
    dmesg=re.compile(r"vmcore-dmesg\.txt"),
    stable=4.0,
)
RULES = (RHEL, SUSE, DEBIAN, DEBIAN_FTP)
