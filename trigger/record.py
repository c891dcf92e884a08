"""What preflight learned of a host while it was healthy: everything the emergency needs, and no secret.

    hosts/NAME/record.json      in the state folder, mode 0600, replaced atomically
    DIR/hosts/NAME/record.json  in a folder of `record_dirs:` (another jump host, an export)

A record's age only warns; its content decides. Unknown keys are ignored, so that an older `trigger` reads a
newer record of the same version `v`; a file that cannot be understood is an error that names it, never a
crash.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trigger.driver import Identity
from trigger.errors import ConfigError, GuardRefused
from trigger.host import Host
from trigger.json_values import Wrong, address, clauses, list_of, mapping, number, section, text, texts, whole
from trigger.state import RECORD, StateFolder

VERSION = 1
FILE_NAME = RECORD
_LIMIT = 4 * 1024 * 1024  # bytes; a record with a baseline of 2,000 entries is 200 KB
_STALE_S = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of a dump folder before the fire; `size` in bytes, `mtime` in seconds since the epoch."""

    name: str
    size: int
    mtime: float


@dataclass(frozen=True, slots=True)
class DumpTarget:
    """Where the host's kdump writes.

    `kind` is local, nfs, ssh, ftp, cifs, virtiofs, raw or unknown. `written` is the target in the host's
    own words, passwords removed; `directory` the folder on the target in which every dump makes its own;
    `mount` where the running host has that folder now ("" when it has not); `read` is how trigger reads it:
    `host:/PATH` (over the host's own SSH), or a URL. `baseline` is what was there.
    """

    kind: str
    written: str
    directory: str = ""
    mount: str = ""
    read: str = ""
    free_bytes: int | None = None
    baseline: tuple[Listed, ...] = ()


@dataclass(frozen=True, slots=True)
class ConsoleProof:
    """The console of the host's kernel, and whether BREAK was seen to arrive there (`--rehearse`).

    `device` is the kernel's name (ttyS1), `speed` in baud, `proved_at` in seconds since the epoch.
    """

    device: str = ""
    speed: int | None = None
    controller: str = ""
    proved_at: float | None = None


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What BREAK and h on a controller's console came to, and in which boot: it is done once per boot.

    `result` is proved, lost, prompt (a login got the h), mask-0 or garbage; `says` a clause; `at` in seconds since
    the epoch.
    """

    result: str
    says: str = ""
    boot_id: str = ""
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One preflight of one host. Times are seconds since the epoch on the operator's clock.

    `not_ready_reasons` holds only what means that no dump would result, as clauses. `routes` maps a
    controller's name to what its probe learned; `controllers` to who it said it was; `identity` is the
    host's own DMI. `clock_offset_s` is the host's clock minus the operator's. `distribution` is rhel,
    suse-new, suse-old, debian or unknown: whose landing rules hold. `verdicts` maps a check's name to its
    verdict, for --since-last; `route_verdicts` a route (nmi, sysrq-sol, sysrq-ssh) to its verdict.
    `rejected_logins` maps a controller's name to the `config_hash` with which its account was rejected.
    `host_seen_at` is None when only controllers answered. `rehearsals` maps a controller's name to its --rehearse;
    `uuid_shared` says that a UUID in here stands in another host's record, too, and so proves nothing.
    """

    host: str
    written_at: float
    written_by: str = ""
    config_hash: str = ""
    ready: bool = False
    not_ready_reasons: tuple[str, ...] = ()
    route_verdicts: Mapping[str, str] = field(default_factory=dict)
    route_reasons: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    verdicts: Mapping[str, str] = field(default_factory=dict)
    routes: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    controllers: Mapping[str, Identity] = field(default_factory=dict)
    identity: Identity = field(default_factory=Identity)
    host_seen_at: float | None = None
    boot_id: str = ""
    kernel_release: str = ""
    build_id: str = ""
    stext: int | None = None
    kerneloffset: int | None = None
    mem_bytes: int | None = None
    timezone: str = ""
    clock_offset_s: float | None = None
    distribution: str = ""
    os_name: str = ""
    dump_targets: tuple[DumpTarget, ...] = ()
    sysrq_mask: int | None = None
    console: ConsoleProof = field(default_factory=ConsoleProof)
    rejected_logins: Mapping[str, str] = field(default_factory=dict)
    rehearsals: Mapping[str, Rehearsed] = field(default_factory=dict)
    uuid_shared: bool = False
    v: int = VERSION

    def age(self, now: float) -> str:
        """Return how old the record is, in words: "3 days old"."""
        return age_text(now - self.written_at)

    def is_stale(self, now: float) -> bool:
        """Return whether the record is older than a week; it only warns."""
        return now - self.written_at > _STALE_S


def age_text(seconds: float) -> str:
    """Return an age in words with one unit, "3 days old"; a negative one is a clock that went back."""
    if seconds < -60:
        return "from the future (one of two clocks is wrong)"
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        count = int(seconds // length)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''} old"
    return "less than a minute old"


def config_hash(host: Host) -> str:
    """Return the SHA-256 (hex) of what the configuration says of `host`; where it says it does not count."""
    controllers = tuple(
        c._replace(where="", password=c.password and c.password._replace(where="")) for c in host.controllers
    )
    plain = json.dumps(host._replace(where="", controllers=controllers), sort_keys=True, default=dict)
    return hashlib.sha256(plain.encode()).hexdigest()


def find_record(state: StateFolder, host: str, more: Iterable[str] = ()) -> Record | None:
    """Return the newest record of `host` in the state folder and the folders `more` (`record_dirs:`).

    Raises ConfigError when a record is there and cannot be understood, GuardRefused (rule `state`) when the
    state folder cannot be used.
    """
    found = []
    with contextlib.suppress(FileNotFoundError), state.host(host, create=False) as folder:
        found.append(read_record(folder, host, str(state.host_folder(host))))
    for place in more:
        path = Path(place).expanduser() / "hosts" / host
        found.append(read_record(path, host))
    return max((record for record in found if record), key=lambda record: record.written_at, default=None)


def read_record(folder: int | Path, host: str, shown: str = "") -> Record | None:
    """Return the record in `folder` (a descriptor or a path), None when there is none.

    `shown` names the folder in messages. Raises ConfigError when the file cannot be read or understood.
    """
    name = f"{shown or folder}/{FILE_NAME}"
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        if isinstance(folder, int):
            handle = os.open(FILE_NAME, flags, dir_fd=folder)
        else:
            handle = os.open(folder / FILE_NAME, flags)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unusable(name, host, f"cannot be opened: {error.strerror}") from None
    try:
        data = _content(handle)
    except OSError as error:
        raise _unusable(name, host, f"cannot be read: {error.strerror}") from None
    finally:
        os.close(handle)
    if len(data) > _LIMIT:
        raise _unusable(name, host, "is larger than any record")
    return _parse(data, name, host)


def _content(handle: int) -> bytes:
    """Return at most one byte more than a record may have."""
    data = bytearray()
    while len(data) <= _LIMIT and (piece := os.read(handle, _LIMIT + 1 - len(data))):
        data += piece
    return bytes(data)


def write_record(state: StateFolder, record: Record) -> None:
    """Replace the record of `record.host`: temporary file, fsync, rename, fsync of the folder; mode 0600.

    Raises GuardRefused (rule `state`) when it cannot be written; the old one is then untouched.
    """
    with state.host(record.host) as folder:
        _write(folder, record, str(state.host_folder(record.host)))


def export_record(directory: Path, record: Record) -> None:
    """Write the record below `directory` as `record_dirs:` expects it. Raises GuardRefused as
    `write_record` does.
    """
    path = directory / "hosts" / record.host
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _unwritable(str(path), error) from None
    try:
        _write(folder, record, str(path))
    finally:
        os.close(folder)


def _write(folder: int, record: Record, shown: str) -> None:
    data = json.dumps(as_plain(record), sort_keys=True).encode() + b"\n"
    temporary = f".{FILE_NAME}.{os.urandom(6).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=folder), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, FILE_NAME, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise _unwritable(shown, error) from None


def as_plain(record: Record) -> dict[str, object]:
    """Return the record as plain JSON, as its file has it."""
    plain = dataclasses.asdict(record)
    plain["identity"] = record.identity._asdict()
    plain["controllers"] = {name: who._asdict() for name, who in record.controllers.items()}
    for key in ("stext", "kerneloffset"):  # as /proc/kallsyms and VMCOREINFO print them
        plain[key] = None if plain[key] is None else f"{plain[key]:x}"
    return plain


def _parse(data: bytes, name: str, host: str) -> Record:
    try:
        plain = json.loads(data)
    except (ValueError, RecursionError):
        raise _unusable(name, host, "is not JSON: damaged, or written by something else") from None
    try:
        return _record(mapping(plain, "the file"), host)
    except Wrong as error:
        raise _unusable(name, host, str(error)) from None


def _record(plain: Mapping[str, object], host: str) -> Record:
    version = whole(plain, "v")
    if version is None or version > VERSION:
        raise Wrong(f"has version {version}, this trigger reads {VERSION}: written by a newer one")
    if text(plain, "host") != host:
        raise Wrong(f"is the record of {text(plain, 'host')!r}, not of {host!r}")
    written_at = number(plain, "written_at")
    if written_at is None:
        raise Wrong("does not say when it was written")
    if not isinstance(plain.get("ready", False), bool):
        raise Wrong("has no yes or no in `ready`")
    plain_texts = (
        "written_by", "config_hash", "boot_id", "kernel_release", "build_id", "timezone", "distribution", "os_name",
    )  # fmt: skip
    return Record(
        host=host,
        written_at=written_at,
        **{key: text(plain, key) for key in plain_texts},
        ready=plain.get("ready") is True,
        not_ready_reasons=clauses(plain, "not_ready_reasons"),
        route_reasons={k: clauses(section(plain, "route_reasons"), k) for k in section(plain, "route_reasons")},
        route_verdicts=texts(plain, "route_verdicts"),
        verdicts=texts(plain, "verdicts"),
        routes={k: mapping(v, k) for k, v in section(plain, "routes").items()},
        controllers={k: _identity(mapping(v, k)) for k, v in section(plain, "controllers").items()},
        identity=_identity(section(plain, "identity")),
        host_seen_at=number(plain, "host_seen_at"),
        stext=address(plain, "stext"),
        kerneloffset=address(plain, "kerneloffset"),
        mem_bytes=whole(plain, "mem_bytes"),
        clock_offset_s=number(plain, "clock_offset_s"),
        dump_targets=tuple(_target(mapping(x, "dump_targets")) for x in list_of(plain, "dump_targets")),
        sysrq_mask=whole(plain, "sysrq_mask"),
        console=_console(section(plain, "console")),
        rejected_logins=texts(plain, "rejected_logins"),
        rehearsals={k: _rehearsed(mapping(v, k)) for k, v in section(plain, "rehearsals").items()},
        uuid_shared=plain.get("uuid_shared") is True,
        v=version,
    )


def _identity(plain: Mapping[str, object]) -> Identity:
    return Identity(**{name: text(plain, name) for name in Identity._fields})


def _console(plain: Mapping[str, object]) -> ConsoleProof:
    return ConsoleProof(
        text(plain, "device"),
        whole(plain, "speed"),
        text(plain, "controller"),
        number(plain, "proved_at"),
    )


def _rehearsed(plain: Mapping[str, object]) -> Rehearsed:
    return Rehearsed(text(plain, "result"), text(plain, "says"), text(plain, "boot_id"), number(plain, "at"))


def _target(plain: Mapping[str, object]) -> DumpTarget:
    words = ("kind", "written", "directory", "mount", "read")
    entries = (mapping(x, "baseline") for x in list_of(plain, "baseline"))
    return DumpTarget(
        **{key: text(plain, key) for key in words},
        free_bytes=whole(plain, "free_bytes"),
        baseline=tuple(Listed(text(x, "name"), whole(x, "size") or 0, number(x, "mtime") or 0.0) for x in entries),
    )


def _unusable(name: str, host: str, why: str) -> ConfigError:
    return ConfigError(
        f"{host}: the record {name} {why}. Nothing was sent.",
        next_step=f"Write a new one while it is healthy: trigger preflight {host}. If it hangs now, move the"
        " file away; the rule `no-record` then speaks.",
    )


def _unwritable(shown: str, error: OSError) -> GuardRefused:
    return GuardRefused(
        f"The record cannot be written in {shown}: {error.strerror}. The old one, if any, is untouched.",
        rule="state",
        next_step=f"Mend {shown}, or name another folder with `state_dir:` in the configuration.",
    )
