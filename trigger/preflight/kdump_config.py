"""kdump's configuration in the three grammars that distributions use, understood without running any of it.

/etc/kdump.conf            RHEL, Fedora      key, space, rest of the line     (kdump-utils 63f248c)
/etc/sysconfig/kdump       SUSE              shell variables, a target URL    (openSUSE kdump 2.1.9,
1.0.3) /etc/default/kdump-tools   Debian, Ubuntu    shell variables                  (kdump-tools 1.8.1)
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

_RHEL_FILESYSTEMS = ("ext2", "ext3", "ext4", "xfs", "btrfs", "minix")
_RHEL_TARGETS = (*_RHEL_FILESYSTEMS, "raw", "nfs", "virtiofs", "ssh")
_RHEL_OTHERS = frozenset(
    {
        "path", "core_collector", "sshkey", "failure_action", "default", "final_action", "kdump_pre", "kdump_post",
        "kdump_emergency", "extra_bins", "extra_modules", "force_rebuild", "force_no_rebuild", "dracut_args",
        "fence_kdump_args", "fence_kdump_nodes", "auto_reset_crashkernel",
    }
)  # fmt: skip
_RHEL_ACTIONS = ("reboot", "halt", "poweroff", "shell", "dump_to_rootfs")


@dataclass(frozen=True, slots=True)
class Target:
    """One place that dumps go to. `kind`: local, nfs, ssh, ftp, cifs, virtiofs, raw or unknown.

    `written` is the host's own word for it, without passwords. `server` is HOST or HOST:PORT, `user` the
    account; `source` what is mounted there (device, UUID=, HOST:/EXPORT), "" for the host's own tree;
    `directory` the folder in it.
    """

    kind: str
    written: str
    directory: str = ""
    source: str = ""
    server: str = ""
    user: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class KdumpSettings:
    """What the configuration says. `problems` are clauses for which kdump refuses to work; `doubts` only
    warn.

    `ending` says what the crash kernel does after the dump, or after a failure, where that is not a reboot.
    """

    file: str
    targets: tuple[Target, ...] = ()
    problems: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    enabled: bool = True
    dump_level: int | None = 31
    saves_core: bool = True
    min_free_bytes: int = 0
    endings: tuple[str, ...] = ()
    kernel_version: str = ""
    fencing: bool = False


def read_settings(distribution: str, text: str) -> KdumpSettings:
    """Return what `text` says in the grammar of `distribution` (rhel, suse-new, suse-old, debian)."""
    if distribution == "rhel":
        return _rhel(text)
    if distribution.startswith("suse"):
        return _suse(text, old=distribution == "suse-old")
    return _debian(text)


def _rhel(text: str) -> KdumpSettings:
    values: dict[str, str] = {}
    problems = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key, _, rest = line.strip().partition(" ") if " " in line.strip() else line.strip().partition("\t")
        value = rest.split("#", 1)[0].strip()
        value = value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
        if key not in _RHEL_TARGETS and key not in _RHEL_OTHERS:
            problems.append(f"the key {key.split('=')[0][:60]!r} is unknown, so that the service fails")
        elif key in values and key in (*_RHEL_TARGETS, "path", "core_collector", "sshkey"):
            problems.append(f"{key} is given twice")
        values[key] = value
    chosen = [key for key in _RHEL_TARGETS if key in values]
    if len(chosen) > 1:
        problems.append(f"more than one dump target is given: {', '.join(chosen)}")
    endings = _rhel_endings(values, problems)
    target = _rhel_target(chosen[0] if chosen else "", values, problems)
    return KdumpSettings(
        "/etc/kdump.conf",
        (target,),
        tuple(problems),
        dump_level=_dump_level(values.get("core_collector", "makedumpfile -d 31")),
        endings=endings,
        fencing="fence_kdump_nodes" in values or "fence_kdump_args" in values,
    )


def _rhel_endings(values: Mapping[str, str], problems: list[str]) -> tuple[str, ...]:
    endings = []
    for key in ("final_action", "failure_action", "default"):
        action = values.get(key, "reboot")
        if action not in _RHEL_ACTIONS:
            problems.append(f"{key} is {action[:40]!r}, which is none of {', '.join(_RHEL_ACTIONS)}")
        elif action in ("halt", "poweroff", "shell"):
            endings.append(f"{key} is {action}")
    return tuple(endings)


def _rhel_target(kind: str, values: Mapping[str, str], problems: list[str]) -> Target:
    path = "/" + values.get("path", "/var/crash").strip("/")
    mounted = re.search(r'--mount\s+"?(\S+)\s+(\S+)\s+(\S+)', values.get("dracut_args", ""))
    if not kind and mounted:
        return Target("nfs" if mounted[3].startswith("nfs") else "local", mounted[0], path, mounted[1])
    if not kind:
        return Target("local", path, path)
    value = values[kind]
    if not value:
        problems.append(f"{kind} names nothing")
    if kind in _RHEL_FILESYSTEMS:
        return Target("local", f"{kind} {value}", path, value)
    if kind == "nfs":
        server, _, export = value.rpartition(":/") if value.startswith("[") else value.partition(":/")
        if not export and ":/" not in value:
            problems.append(f"nfs {value[:80]!r} is not HOST:/EXPORT")
        return Target("nfs", f"nfs {value}", path, value, server)
    if kind == "ssh":
        user, at, server = value.rpartition("@")
        if not at or not user or not server:
            problems.append(f"ssh {value[:80]!r} is not USER@HOST")
        key = values.get("sshkey", "/root/.ssh/kdump_id_rsa")
        return Target("ssh", f"ssh {value}", path, "", server, user, key)
    return Target(kind, f"{kind} {value}", path if kind == "virtiofs" else "", value)


def _suse(text: str, *, old: bool) -> KdumpSettings:
    values, problems = shell_variables(text)
    written = values.get("KDUMP_SAVEDIR", "/var/crash")
    targets = []
    for url in written.split() if old else [written]:
        target = _suse_target(url, values, problems)
        targets.append(target)
    endings = []
    if _no(values.get("KDUMP_IMMEDIATE_REBOOT", "yes")):
        endings.append("KDUMP_IMMEDIATE_REBOOT is false: a shell on the console, no reboot")
    if _no(values.get("KDUMP_CONTINUE_ON_ERROR", "yes")):
        endings.append("KDUMP_CONTINUE_ON_ERROR is false: a shell on the console after an error")
    doubts = []
    if values.get("KDUMP_TRANSFER"):
        doubts.append("KDUMP_TRANSFER replaces the saving by a command of its own; nobody can say where the dump goes")
    free = values.get("KDUMP_FREE_DISK_SIZE", "64")
    return KdumpSettings(
        "/etc/sysconfig/kdump",
        tuple(targets),
        tuple(problems),
        tuple(doubts),
        dump_level=_number(values.get("KDUMP_DUMPLEVEL", "31"), "KDUMP_DUMPLEVEL", problems),
        saves_core=values.get("KDUMP_DUMPFORMAT", "compressed").casefold() != "none",
        min_free_bytes=(_number(free, "KDUMP_FREE_DISK_SIZE", problems) or 0) << 20,
        endings=tuple(endings),
        kernel_version=values.get("KDUMP_KERNELVER", ""),
    )


_SUSE_KINDS = {
    "file": "local", "ftp": "ftp", "nfs": "nfs", "cifs": "cifs", "smb": "cifs",
    "sftp": "ssh", "scp": "ssh", "ssh": "ssh",
}  # fmt: skip


def _suse_target(url: str, values: Mapping[str, str], problems: list[str]) -> Target:
    if url.startswith("/"):
        return Target("local", url, url.rstrip("/") or "/")
    try:
        parts = urlsplit(url)
        server = parts.hostname or ""
        server += f":{parts.port}" if parts.port else ""
    except ValueError:
        problems.append("KDUMP_SAVEDIR is no URL")
        return Target("unknown", "KDUMP_SAVEDIR")
    kind = _SUSE_KINDS.get(parts.scheme.lower(), "unknown")
    if kind == "unknown":
        problems.append(f"KDUMP_SAVEDIR has the scheme {parts.scheme[:20]!r}, which kdump does not know")
        return Target(kind, "KDUMP_SAVEDIR")
    path = unquote(parts.path) or "/"
    if kind == "local":
        return Target(kind, f"file://{path}", path.rstrip("/") or "/")
    if not server:
        problems.append("KDUMP_SAVEDIR names no server")
    user = parts.username or ""
    written = f"{parts.scheme.lower()}://{user + '@' if user else ''}{server}{path}"
    source = f"{server}:{path}" if kind == "nfs" else ""
    directory = "/" if kind == "nfs" else path
    key = values.get("KDUMP_SSH_IDENTITY", "").split(" ")[0] if kind == "ssh" else ""
    return Target(kind, written, directory, source, server, user, key)


def _debian(text: str) -> KdumpSettings:
    values, problems = shell_variables(text)
    directory = values.get("KDUMP_COREDIR") or "/var/crash"
    targets = []
    if values.get("FTP"):
        server, _, path = values["FTP"].partition(":")
        targets.append(Target("ftp", f"FTP={values['FTP']}", path or "/", "", server, values.get("FTP_USER", "")))
    if values.get("SSH"):
        user, at, server = values["SSH"].rpartition("@")
        if not at:
            problems.append(f"SSH={values['SSH'][:80]!r} is not USER@HOST")
        key = values.get("SSH_KEY") or "/root/.ssh/kdump_id_rsa"
        targets.append(Target("ssh", f"SSH={values['SSH']}", directory, "", server, user, key))
    if values.get("NFS"):
        server, colon, _ = values["NFS"].partition(":/")
        if not colon:
            problems.append(f"NFS={values['NFS'][:80]!r} is not HOST:/EXPORT")
        targets.append(Target("nfs", f"NFS={values['NFS']}", "/", values["NFS"], server))
    elif not targets:
        targets.append(Target("local", f"KDUMP_COREDIR={directory}", directory.rstrip("/") or "/"))
    use = values.get("USE_KDUMP", "0").strip()
    fail_command = values.get("KDUMP_FAIL_CMD", "")
    shell = "reboot" not in fail_command and bool(fail_command)
    return KdumpSettings(
        "/etc/default/kdump-tools",
        tuple(targets),
        tuple(problems),
        enabled=use == "1",
        dump_level=_dump_level("makedumpfile " + (values.get("MAKEDUMP_ARGS") or "-c -d 31")),
        endings=("KDUMP_FAIL_CMD runs after a failure instead of a reboot",) if shell else (),
    )


def shell_variables(text: str) -> tuple[dict[str, str], list[str]]:
    """Return the assignments of a file of shell variables, the last of each name, and what is not
    understood.
    """
    values: dict[str, str] = {}
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        found = re.match(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)", line)
        if found is None:
            if line.strip() and not line.lstrip().startswith("#"):
                problems.append(f"line {number} is no assignment")
            continue
        try:
            words = shlex.split(found[2], comments=True)
        except ValueError:
            problems.append(f"line {number} has an open quote")
            continue
        values[found[1]] = words[0] if words else ""
    return values, problems


def _dump_level(collector: str) -> int | None:
    """Return makedumpfile's -d, 0 when it excludes nothing, None when the core is saved by something else."""
    words = collector.split()
    if not words or not words[0].endswith("makedumpfile"):
        return None
    found = re.search(r"(?:^|\s)-[A-Za-z]*d\s*(\d{1,2})", " ".join(words[1:]))
    return int(found[1]) if found else 0


def _number(text: str, name: str, problems: list[str]) -> int | None:
    if re.fullmatch(r"\d{1,12}", text.strip()):
        return int(text)
    problems.append(f"{name} is {text[:40]!r}, which is no number")
    return None


def _no(text: str) -> bool:
    return text.strip().casefold() in ("no", "false", "0", "off")
