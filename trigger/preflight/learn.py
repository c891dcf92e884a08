"""From a preflight to the record: what the emergency needs, taken from what was read. Pure."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TypeVar

from trigger.host import Host
from trigger.preflight import target as dump_target
from trigger.preflight.check import ALL_ROUTES, Finding
from trigger.preflight.clock import clock_offset
from trigger.preflight.console import serial_consoles, speed
from trigger.preflight.controllers import Asked
from trigger.preflight.facts import Entry, Facts, Folder
from trigger.preflight.identity import host_identity, refused_controllers
from trigger.preflight.kdump_config import Target
from trigger.preflight.rehearse import rehearsed
from trigger.preflight.verdict import READY_ROUTES, Matrix, is_ready, reasons, route_passes, worst
from trigger.record import ConsoleProof, DumpTarget, Listed, Record, Rehearsed, config_hash
from trigger.text import harmless

T = TypeVar("T")

MAX_BASELINE = 500
_X86_64_TEXT = 0xFFFFFFFF81000000  # where _text is linked (CONFIG_PHYSICAL_START 0x1000000); KASLR moves it


def make_record(
    host: Host,
    now: float,
    facts: Facts | None,
    asked: Sequence[Asked],
    findings: Sequence[Finding],
    table: Matrix,
    old: Record | None,
    dump_stores: Mapping[str, str],
) -> Record:
    """Return the record that this preflight leaves.

    What could not be looked at today keeps what is known of it: a host that did not answer keeps its facts,
    and a controller that did not answer, or was refused for its identity, keeps its route.
    """
    kept = old or Record(host.name, now)
    ready = is_ready(table)
    refused = refused_controllers(findings)
    answered = {a.controller.name: a.probe for a in asked if a.probe and a.controller.name not in refused}
    record = replace(
        kept,
        written_at=now,
        written_by=f"{_user()} on {socket.gethostname()}",
        config_hash=config_hash(host),
        ready=ready,
        not_ready_reasons=() if ready else _harmless(_all_reasons(findings, table)),
        route_reasons={route.value: _harmless(reasons(findings, table, route)) for route in ALL_ROUTES},
        route_verdicts={route.value: worst(table[route].values()).value for route in ALL_ROUTES},
        verdicts={finding_key(finding): finding.verdict.value for finding in findings},
        routes=_still_there(kept.routes, host) | {name: probe.learned for name, probe in answered.items()},
        controllers=_still_there(kept.controllers, host) | {name: probe.identity for name, probe in answered.items()},
        rejected_logins=_rejected(asked, host, kept),
        rehearsals=_still_there(kept.rehearsals, host) | _rehearsals(asked, facts, now),
    )
    return record if facts is None else _with_host(record, facts, asked, now, dump_stores)


def _with_host(
    record: Record, facts: Facts, asked: Sequence[Asked], now: float, dump_stores: Mapping[str, str]
) -> Record:
    consoles = serial_consoles(facts)
    console = ConsoleProof(consoles[0], speed(facts, consoles[0])) if consoles else ConsoleProof()
    proved = [
        answer.controller.name
        for answer in asked
        if answer.rehearsal and answer.rehearsal.proved and answer.rehearsal.sent
    ]
    if proved and consoles:
        console = replace(console, controller=proved[0], proved_at=now)
    elif record.console.device == console.device and record.console.proved_at:
        console = record.console
    address = re.match(r"([0-9a-f]{8,16}) ", facts.text("stext"))
    stext = int(address[1], 16) if address and int(address[1], 16) else None
    clock = facts.word("clock").split()
    return replace(
        record,
        identity=host_identity(facts),
        host_seen_at=now,
        boot_id=facts.word("boot_id"),
        kernel_release=facts.release,
        build_id=build_id(facts.text("notes")),
        stext=stext,
        kerneloffset=stext - _X86_64_TEXT if stext is not None and facts.arch == "x86_64" else None,
        mem_bytes=facts.mem_bytes,
        timezone=" ".join([facts.word("zone").rpartition("zoneinfo/")[2], *clock[1:]]).strip(),
        clock_offset_s=clock_offset(facts),
        distribution=facts.distribution,
        os_name=facts.os_release.get("PRETTY_NAME", ""),
        dump_targets=dump_targets(facts, dump_stores),
        sysrq_mask=facts.number("sysctl.sysrq"),
        console=console,
    )


def build_id(dump: str) -> str:
    """Return the GNU build id (hex) in an `od -tx1` dump of /sys/kernel/notes, "" when there is none.

    The notes are {name size, type, in 32-bit words of the machine's order} name, description; each padded
    to 4.
    """
    try:
        notes = bytes.fromhex("".join(dump.split()))
    except ValueError:
        return ""
    found = re.search(rb"(?=....(?:\x03\0\0\0|\0\0\0\x03)GNU\0)(....)", notes, re.DOTALL)
    if found is None:
        return ""
    order = "little" if notes[found.start() + 4] == 3 else "big"
    size = int.from_bytes(found[1], "little" if order == "little" else "big")
    start = found.start() + 12
    return notes[start : start + size].hex() if 8 <= size <= 64 else ""


def dump_targets(facts: Facts, dump_stores: Mapping[str, str]) -> tuple[DumpTarget, ...]:
    """Return where the host's kdump writes, and how that is read from here."""
    return tuple(_target(target, facts, dump_stores) for target in _targets(facts))


def _targets(facts: Facts) -> Sequence[Target]:
    if facts.settings is not None and not facts.settings.problems:
        return facts.settings.targets
    return ()


def _target(target: Target, facts: Facts, dump_stores: Mapping[str, str]) -> DumpTarget:
    folder = dump_target.folder_of(target, facts)
    if folder is not None and folder.error:
        folder = None
    return DumpTarget(
        target.kind,
        harmless(target.written),
        target.directory,
        folder.path if folder else "",
        _how_to_read(target, folder, dump_stores),
        folder.free if folder else None,
        _baseline(folder.entries if folder else dump_target.remote_entries(facts, target)),
    )


def _how_to_read(target: Target, folder: Folder | None, dump_stores: Mapping[str, str]) -> str:
    """Return how the operator reads a target: `host:/PATH` over the host's own SSH, or a URL."""
    own = f"host:{folder.path}" if folder else ""
    if target.kind == "local":
        return own or f"host:{target.directory}"
    if target.kind == "ssh":
        return f"sftp://{target.user}@{target.server}{target.directory}"
    if target.kind == "nfs":
        export = target.source.removeprefix(target.server).removeprefix(":").rstrip("/")
        url = f"nfs://{target.server}{export}{target.directory}".rstrip("/")
        return url if any(url.startswith(prefix.rstrip("/")) for prefix in dump_stores) or not own else own
    if target.kind in ("ftp", "cifs"):
        return f"{target.kind}://{target.server}{target.directory}"
    return own


def _baseline(entries: Sequence[Entry]) -> tuple[Listed, ...]:
    top = [Listed(entry.name, entry.size, entry.mtime) for entry in entries if "/" not in entry.name]
    return tuple(top[:MAX_BASELINE])


def _all_reasons(findings: Sequence[Finding], table: Matrix) -> tuple[str, ...]:
    """Return why no route gives a dump; empty where one of them is only unknown."""
    if any(route_passes(table[route]) or not reasons(findings, table, route) for route in READY_ROUTES):
        return ()
    return tuple(dict.fromkeys(text for route in READY_ROUTES for text in reasons(findings, table, route)))


def _harmless(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(harmless(text) for text in texts)


def _still_there(known: Mapping[str, T], host: Host) -> dict[str, T]:
    """Return what is known of the controllers that are still configured."""
    names = _names(host)
    return {name: value for name, value in known.items() if name in names}


def _names(host: Host) -> set[str]:
    return {controller.name for controller in host.controllers}


def _rehearsals(asked: Sequence[Asked], facts: Facts | None, now: float) -> dict[str, Rehearsed]:
    made = [(answer.controller.name, answer.rehearsal) for answer in asked if answer.rehearsal]
    return {name: rehearsed(made_now, facts, now) for name, made_now in made if facts and made_now.sent}


def _rejected(asked: Sequence[Asked], host: Host, old: Record) -> dict[str, str]:
    rejected = _still_there(old.rejected_logins, host)
    for answer in asked:
        if answer.probe is not None:
            rejected.pop(answer.controller.name, None)
        elif getattr(answer.error, "rejected", False):
            rejected[answer.controller.name] = config_hash(host)
    return rejected


def finding_key(finding: Finding) -> str:
    """Return the name under which a record keeps a finding's verdict."""
    return f"{finding.controller}: {finding.check}" if finding.controller else finding.check


@cache
def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
