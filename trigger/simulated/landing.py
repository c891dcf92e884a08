"""How each distribution's kdump lays its files down: names, order, temporary names, and what a failure leaves.

Sources: rhkdump/kdump-utils dracut/99kdumpbase/kdump.sh (RHEL), openSUSE/kdump save_dump.sh (SUSE >= 1.9) and
kdumptool of 1.0 (older SUSE), Debian's kdump-tools /usr/sbin/kdump-config savecore.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from trigger.simulated import dmesg, vmcore
from trigger.simulated.crashed_memory import Crash
from trigger.simulated.switches import Switches


@dataclass(frozen=True, slots=True)
class Style:
    """One distribution's way. Names may hold time stamps for strftime; "" means that there is no such file.

    `unfinished` names are what the dmesg and the core are called while being written; where a final name is the
    same, it is written in place. `last` is the file that ends a dump, `readme` the one SUSE writes.
    """

    release: str
    directory: str
    dmesg: str
    core: str
    unfinished_dmesg: str
    unfinished_core: str
    flattened: bool
    last: str = ""
    readme: str = ""
    readme_first: bool = False
    beside: tuple[str, ...] = ()


_RHEL = Style(
    release="5.14.0-503.11.1.el9_5.x86_64",
    directory="127.0.0.1-%Y-%m-%d-%H:%M:%S",
    dmesg="vmcore-dmesg.txt",
    core="vmcore",
    unfinished_dmesg="vmcore-dmesg-incomplete.txt",
    unfinished_core="vmcore-incomplete",
    flattened=False,
    last="kexec-dmesg.log",
)
_SUSE = Style(
    release="6.4.0-150600.23.42-default",
    directory="%Y-%m-%d-%H-%M",
    dmesg="dmesg",
    core="vmcore",
    unfinished_dmesg="dmesg",
    unfinished_core="vmcore",
    flattened=True,
    readme="README.txt",
    readme_first=True,
)
STYLES = {
    "rhel": _RHEL,
    "rhel-flat": Style(
        release=_RHEL.release,
        directory="192.0.2.42-%Y-%m-%d-%H:%M:%S",  # an ssh target: the host's own address
        dmesg=_RHEL.dmesg,
        core="vmcore.flat",
        unfinished_dmesg=_RHEL.unfinished_dmesg,
        unfinished_core=_RHEL.unfinished_core,
        flattened=True,
        last=_RHEL.last,
    ),
    "suse": _SUSE,
    "suse-old": Style(
        release="5.14.21-150500.55.88-default",
        directory="%Y-%m-%d-%H:%M",
        dmesg="dmesg.txt",
        core="vmcore",
        unfinished_dmesg="dmesg.txt",
        unfinished_core="vmcore",
        flattened=False,
        readme="README.txt",
    ),
    "debian": Style(
        release="6.1.0-32-amd64",
        directory="%Y%m%d%H%M",
        dmesg="dmesg.%Y%m%d%H%M",
        core="dump.%Y%m%d%H%M",
        unfinished_dmesg="dmesg.%Y%m%d%H%M",
        unfinished_core="dump-incomplete",
        flattened=True,
        beside=("kexec_cmd", "kdump_lock"),
    ),
}

_TEMPORARY_README = """\
This file will be overwritten when the dump is finished.
If you see this text the crash dump is likely incomplete.
"""

FAILURES = ("stop", "incomplete", "truncated", "enospc")
"""Values of the switch `crash` at which the core is only half written."""


async def land(crash: Crash, switches: Switches, target: Path) -> Path:
    """Write the dump of `crash` below `target` as `switches.style` does; return its directory.

    Takes `switches.dump_seconds`. With `switches.crash` "stop" or "incomplete" the core keeps its unfinished name
    ("stop": and nothing comes after it); with "truncated" and "enospc" half a core gets the final name.
    """
    style = STYLES[switches.style]
    stamp = time.localtime(crash.time)

    def named(name: str) -> Path:
        return directory / time.strftime(name, stamp)

    directory = target / time.strftime(style.directory, stamp)
    directory.mkdir(parents=True, exist_ok=True)
    for name in style.beside:
        (target / name).write_text("")
    if style.readme_first:
        named(style.readme).write_text(_TEMPORARY_README)
    named(style.unfinished_dmesg).write_text(dmesg.text(crash.log))
    named(style.unfinished_dmesg).rename(named(style.dmesg))
    await _write_core(crash, switches, named(style.unfinished_core))
    if switches.crash == "stop":
        return directory
    if switches.crash != "incomplete":
        named(style.unfinished_core).rename(named(style.core))
        if style.readme:
            named(style.readme).write_text(_readme(style, crash))
    if style.last:
        (target / f".{style.last}").write_text(_CAPTURE_LOG)  # appears whole: it is moved there
        (target / f".{style.last}").rename(named(style.last))
    return directory


async def _write_core(crash: Crash, switches: Switches, path: Path) -> None:
    """Write the core in about twenty steps, so that it can be seen growing."""
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        # Compressing takes a while, and the BMC must go on meanwhile
        parts = await asyncio.to_thread(_records, crash, switches)
        steps = min(20, len(parts))
        done = 0
        for number, _ in enumerate(_pieces(file, parts, switches), 1):
            if number * steps // len(parts) > done:
                done += 1
                file.flush()
                await asyncio.sleep(switches.dump_seconds / steps)


def _records(crash: Crash, switches: Switches) -> list[tuple[int, bytes]]:
    """Return the core in records, only half of them where the dump is to fail."""
    status = vmcore.INCOMPLETE if switches.crash == "enospc" else 0
    pages = {"memory_pages": switches.memory_pages, "dump_pages": switches.dump_pages}
    records = list(vmcore.records(crash, status=status, **pages))
    return records[: len(records) // 2] if switches.crash in FAILURES else records


def _pieces(file: BinaryIO, parts: list[tuple[int, bytes]], switches: Switches) -> Iterator[None]:
    """Write one piece of the core for each step of the iterator."""
    if STYLES[switches.style].flattened:
        pieces = list(vmcore.flattened(parts))
        for data in pieces[:-1] if switches.crash in FAILURES else pieces:  # a failure leaves no end marker
            file.write(data)
            yield
    else:
        for record in parts:
            vmcore.write_plain(file, record)
            yield


def _readme(style: Style, crash: Crash) -> str:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(crash.time))
    if style.readme_first:
        return (
            "Kernel crashdump\n----------------\n\n"
            "dmesg status: saved successfully\nvmcore status: saved successfully\n"
            f"Kernel version: {crash.boot.release}\nCrash time: {moment}\nDump time: {moment}\n"
            f"Host: {crash.hostname}\nDump level: {vmcore.DUMP_LEVEL}\nDump format: compressed\n"
            "Note: vmcore saved in makedumpfile flattened format\n"
        )
    return (
        "Kernel crashdump\n----------------\n\n"
        f"Crash time     : {moment}\nKernel version : {crash.boot.release}\nHost           : {crash.hostname}\n"
        f"Dump level     : {vmcore.DUMP_LEVEL}\nDump format    : compressed\n"
    )


_CAPTURE_LOG = """\
[    0.000000] Command line: elfcorehdr=0x97000000 irqpoll nr_cpus=1 reset_devices panic=10
[    3.201733] systemd[1]: Starting kdump-capture.service - Kdump Vmcore Save Service...
[    3.544120] kdump[561]: saving vmcore-dmesg.txt complete
[    3.561009] kdump[561]: saving vmcore
[    5.008211] kdump[561]: saving vmcore complete
"""
