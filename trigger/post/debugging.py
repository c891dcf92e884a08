"""How to go on with a dump: the debuginfo of exactly that kernel, and the command lines of `crash` and `drgn`.

Package names and paths are each distribution's own documentation; which distribution it is, the kernel's
release and version say. Every command is a constant with a validated release and a quoted path.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from re import Pattern

from trigger.post.facts import DumpFacts


@dataclass(frozen=True, slots=True)
class Debuginfo:
    """One distribution: how its kernels are recognised, its debuginfo package, and where that puts vmlinux."""

    distribution: str
    release: Pattern[str]
    version: Pattern[str]
    install: str
    vmlinux: str


_ANY = re.compile("")
_TABLE = (
    Debuginfo(
        "RHEL, CentOS, Alma, Rocky or Oracle",
        re.compile(r"\.el\d+"),
        _ANY,
        "dnf --enablerepo='*debug*' install kernel-debuginfo-{release}",
        "/usr/lib/debug/lib/modules/{release}/vmlinux",
    ),
    Debuginfo(
        "Fedora",
        re.compile(r"\.fc\d+"),
        _ANY,
        "dnf debuginfo-install kernel-{release}",
        "/usr/lib/debug/lib/modules/{release}/vmlinux",
    ),
    Debuginfo(
        "Ubuntu",
        _ANY,
        re.compile(r"-Ubuntu\b"),
        "apt-get install linux-image-unsigned-{release}-dbgsym",
        "/usr/lib/debug/boot/vmlinux-{release}",
    ),
    Debuginfo(
        "Debian",
        _ANY,
        re.compile(r"\bDebian\b"),
        "apt-get install linux-image-{release}-dbg",
        "/usr/lib/debug/boot/vmlinux-{release}",
    ),
    Debuginfo(
        "SUSE",
        re.compile(r"-(?:default|azure|rt|64kb|kvmsmall)$"),
        _ANY,
        "zypper install 'kernel-{flavour}-debuginfo={number}'",
        "/usr/lib/debug/usr/lib/modules/{release}/vmlinux.debug",
    ),
)


@dataclass(frozen=True, slots=True)
class GoOn:
    """What to type next; empty strings where the dump does not say enough."""

    distribution: str = ""
    install: str = ""
    crash: str = ""
    drgn: str = ""


def go_on(facts: DumpFacts, path: str) -> GoOn:
    """Return the next commands for the dump at `path`."""
    release = facts.release
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,63}", release) or facts.format not in (
        "kdump",
        "elf",
    ):
        return GoOn()
    for entry in _TABLE:
        if entry.release.search(release) and entry.version.search(facts.version):
            break
    else:
        return GoOn(crash=f"crash VMLINUX {shlex.quote(path)}", drgn=f"drgn -c {shlex.quote(path)} -s VMLINUX")
    number, _, flavour = release.rpartition("-")
    vmlinux = entry.vmlinux.format(release=release)
    return GoOn(
        entry.distribution,
        entry.install.format(release=release, number=number, flavour=flavour),
        f"crash {vmlinux} {shlex.quote(path)}",
        f"drgn -c {shlex.quote(path)} -s {vmlinux}",
    )
