"""What each distribution's saver does at its target, step by step, so that it can be killed after any step.

A step changes a directory and is named. Sources: linux-crash-path facts of kdump-utils (RHEL), openSUSE kdump
2.1.9 and 1.0.3, Debian kdump-tools 1.8.1. `core` are the pieces in which the dump's bytes arrive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

DMESG = b"[    1.0] Linux version 6.1\n[  100.0] Kernel panic - not syncing: sysrq triggered crash\n"
STAMP = "202611230349"
TEMPORARY = (
    "This file will be overwritten when the dump is finished.\n"
    "If you see this text the crash dump is likely incomplete.\n"
)
FINAL = (
    "Kernel crashdump\n----------------\n\ndmesg status: saved successfully\nvmcore status: saved successfully\n"
    "Kernel version: 6.4.0\nCrash time: 2026-11-23T03:49:11\nDump time: 2026-11-23T03:49:30\nHost: server42\n"
    "Dump level: 31\nDump format: compressed\nNote: vmcore saved in makedumpfile flattened format\n"
)
OLD_FINAL = (
    "Kernel crashdump\n----------------\n\nCrash time     : 2026-11-23 03:49 (+0000)\n"
    "Kernel version : 5.3.18\nHost           : server42\nDump level     : 31\n"
)

Step = Callable[[], object]


@dataclass(frozen=True)
class Saver:
    """One distribution and kind of target. `flattened` says how the core's bytes look there."""

    name: str
    flattened: bool
    steps: Callable[[Path, Sequence[bytes]], Iterator[tuple[str, Step]]]
    landed_by: str  # the step after which the dump has landed


def _append(path: Path, data: bytes) -> Step:
    def step() -> None:
        with path.open("ab") as file:
            file.write(data)

    return step


def _rename(old: Path, new: Path) -> Step:
    return lambda: old.rename(new)


def _core(path: Path, core: Sequence[bytes]) -> Iterator[tuple[str, Step]]:
    for number, piece in enumerate(core):
        yield f"core {number}", _append(path, piece)


def rhel(prefix: str, final: str) -> Callable[[Path, Sequence[bytes]], Iterator[tuple[str, Step]]]:
    def steps(target: Path, core: Sequence[bytes]) -> Iterator[tuple[str, Step]]:
        folder = target / f"{prefix}-2026-11-23-03:49:11"
        yield "mkdir", folder.mkdir
        yield "dmesg begins", _append(folder / "vmcore-dmesg-incomplete.txt", DMESG[:20])
        yield "dmesg", _append(folder / "vmcore-dmesg-incomplete.txt", DMESG[20:])
        yield "dmesg renamed", _rename(folder / "vmcore-dmesg-incomplete.txt", folder / "vmcore-dmesg.txt")
        yield "core begins", (folder / "vmcore-incomplete").touch
        yield from _core(folder / "vmcore-incomplete", core)
        yield "renamed", _rename(folder / "vmcore-incomplete", folder / final)
        yield "log", _append(folder / "kexec-dmesg.log", b"saving vmcore complete\n")

    return steps


def suse_new(folder_name: str) -> Callable[[Path, Sequence[bytes]], Iterator[tuple[str, Step]]]:
    def steps(target: Path, core: Sequence[bytes]) -> Iterator[tuple[str, Step]]:
        folder = target / folder_name
        readme = folder / "README.txt"
        yield "mkdir", folder.mkdir
        yield "temporary README", lambda: readme.write_text(TEMPORARY)
        yield "dmesg", _append(folder / "dmesg", DMESG)
        yield "core begins", (folder / "vmcore").touch
        yield from _core(folder / "vmcore", core)
        yield "README truncated", lambda: readme.write_text("")
        yield "README begins", lambda: readme.write_text(FINAL[:70])
        yield "README", lambda: readme.write_text(FINAL)
        yield "mail", (folder / ".notified").touch

    return steps


def suse_old(folder_name: str) -> Callable[[Path, Sequence[bytes]], Iterator[tuple[str, Step]]]:
    def steps(target: Path, core: Sequence[bytes]) -> Iterator[tuple[str, Step]]:
        folder = target / folder_name
        yield "mkdir", folder.mkdir
        yield "dmesg", _append(folder / "dmesg.txt", DMESG)
        yield "core begins", (folder / "vmcore").touch
        yield from _core(folder / "vmcore", core)
        yield "README", _append(folder / "README.txt", OLD_FINAL.encode())
        yield "kernel", _append(folder / "System.map-5.3.18", b"ffffffff81000000 T _stext\n")

    return steps


def debian(prefix: str, extension: str = "") -> Callable[[Path, Sequence[bytes]], Iterator[tuple[str, Step]]]:
    def steps(target: Path, core: Sequence[bytes]) -> Iterator[tuple[str, Step]]:
        folder = target / f"{prefix}{STAMP}"
        yield "lock", (target / "kdump_lock").touch
        yield "mkdir", folder.mkdir
        yield "dmesg", _append(folder / f"dmesg.{STAMP}", DMESG)
        yield "core begins", (folder / f"dump-incomplete{extension}").touch
        yield from _core(folder / f"dump-incomplete{extension}", core)
        yield "renamed", _rename(folder / f"dump-incomplete{extension}", folder / f"dump.{STAMP}{extension}")

    return steps


def debian_ftp(target: Path, core: Sequence[bytes]) -> Iterator[tuple[str, Step]]:
    yield "dmesg", _append(target / f"10.0.0.7-dmesg.{STAMP}", DMESG)
    yield "core begins", (target / f"10.0.0.7-dump.{STAMP}").touch
    yield from _core(target / f"10.0.0.7-dump.{STAMP}", core)
    yield "closed", lambda: None


def rhel_raw(target: Path, core: Sequence[bytes]) -> Iterator[tuple[str, Step]]:
    """`kdumpctl start` after the reboot: `makedumpfile -R` out of the partition, in place and without a log."""
    folder = target / "2026-11-23-03:49"
    yield "mkdir", folder.mkdir
    yield "core begins", (folder / "vmcore").touch
    yield from _core(folder / "vmcore", core)
    yield "closed", lambda: None


SAVERS = (
    Saver("RHEL raw", False, rhel_raw, "core last"),
    Saver("RHEL local", False, rhel("127.0.0.1", "vmcore"), "renamed"),
    Saver("RHEL nfs", False, rhel("10.0.0.7", "vmcore"), "renamed"),
    Saver("RHEL ssh", True, rhel("10.0.0.7", "vmcore.flat"), "renamed"),
    Saver("RHEL ssh, IPv6", True, rhel("fd00::7", "vmcore.flat"), "renamed"),
    Saver("SUSE new local", True, suse_new("2026-11-23-03-49"), "README"),
    Saver("SUSE new remote", True, suse_new("server42-2026-11-23-03-49"), "README"),
    Saver("SUSE old local", False, suse_old("2026-11-23-03:49"), "README"),
    Saver("SUSE old remote", True, suse_old("10.0.0.7-2026-11-23-03:49"), "README"),
    Saver("Debian local", True, debian(""), "renamed"),
    Saver("Debian nfs and ssh", True, debian("10.0.0.7-"), "renamed"),
    Saver("Debian by host name", True, debian("server42-"), "renamed"),
    Saver("Debian ftp", True, debian_ftp, "core last"),
)
