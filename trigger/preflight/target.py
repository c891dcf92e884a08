"""The dump target: is it understood, there, writable, large enough, and closed to everybody else?

Source: kdump-utils dracut-kdump.sh and mkdumprd, openSUSE kdump save_dump, Debian kdump-config;
makedumpfile(8).
"""

from __future__ import annotations

import re

from trigger.preflight.check import ALL_ROUTES, Check, Judgement, Stage, command, fail, good, unknown, warn
from trigger.preflight.facts import Entry, Facts, Folder, entries
from trigger.preflight.kdump_config import Target
from trigger.preflight.remedies import start_kdump

GIB = 1 << 30
_LEAST = 64 << 20  # bytes; no kernel's dump is smaller
_COMPRESSED = 0.3  # what zlib or lzo leave of kernel pages at best; at worst nothing is gained
_GONE_AFTER_A_BOOT = ("/tmp/", "/run/", "/dev/", "/proc/", "/sys/", "/var/run/")  # noqa: S108  none is written to


def judge_settings(facts: Facts) -> Judgement | None:
    """Judge whether kdump's configuration is there and understood."""
    if facts.distribution == "unknown":
        return unknown(
            "no kdump configuration of RHEL, SUSE or Debian was found",
            "# configure `dump_target:` for this host",
        )
    settings = facts.settings
    if settings is None:
        return _no_settings(facts)
    if settings.problems:
        return fail(f"{settings.file}: {'; '.join(settings.problems[:4])}", f"# correct {settings.file}")
    if settings.doubts:
        return warn(f"{settings.file}: {'; '.join(settings.doubts)}", f"# review {settings.file}")
    if not settings.saves_core:
        return fail("KDUMP_DUMPFORMAT is none: only the kernel's log is saved, no dump", f"# correct {settings.file}")
    return good(f"dumps go to {', '.join(target.written for target in settings.targets)}")


def _no_settings(facts: Facts) -> Judgement:
    names = {"rhel": "kdump.conf", "debian": "kdump-tools"}
    name = names.get(facts.distribution.split("-")[0], "sysconfig-kdump")
    if facts.exists(name):
        return unknown(f"kdump's configuration could not be read ({facts.why_not(name)})")
    return fail("kdump's configuration is not there: kdump is not installed", *start_kdump(facts))


def folder_of(target: Target, facts: Facts) -> Folder | None:
    """Return the folder on the running host in which `target`'s dumps appear, where the script could look."""
    for folder in facts.folders:
        if target.source:
            if folder.error or (target.source.startswith("/dev/") and folder.device != target.source):
                continue
            if target.kind == "nfs" and folder.device != target.source:
                continue
            if folder.path.endswith(target.directory):
                return folder
        elif target.kind == "local" and folder.path.rstrip("/") == target.directory.rstrip("/"):
            return folder
    return None


def judge_reachable(facts: Facts) -> Judgement | None:
    """Judge whether the crash kernel could write to the target, as far as the running host can tell."""
    if facts.settings is None or facts.settings.problems:
        return None
    judgements = [_reachable(target, facts) for target in facts.settings.targets]
    if not judgements:
        return None
    # Debian writes to every target that is set; one good one is enough for a dump
    return min(judgements, key=lambda judgement: ("pass", "warn", "unknown", "fail").index(judgement.verdict.value))


def _reachable(target: Target, facts: Facts) -> Judgement:
    if target.kind in ("local", "nfs"):
        folder = folder_of(target, facts)
        if folder is not None:
            return _writable(folder, facts)
        return _local_missing(target, facts) if target.kind == "local" else _server(target, facts)
    if target.kind == "ssh":
        return _ssh(target, facts)
    if target.kind in ("ftp", "cifs"):
        return _server(target, facts)
    if target.kind == "raw":
        return warn(f"raw {target.source}: the dump is on the bare device until kdump starts again and saves it")
    return unknown(f"nobody can tell from here whether {target.written} can be written")


def _local_missing(target: Target, facts: Facts) -> Judgement:
    if not facts.complete:
        return unknown(f"{target.directory} could not be looked at")
    if target.source:
        return warn(
            f"{target.source} is not mounted now, so nothing about it can be seen; the crash kernel mounts it itself",
            command("blkid --match-token {source} || ls -l {source}", source=target.source),
        )
    return unknown(f"{target.directory} could not be looked at")


def _writable(folder: Folder, facts: Facts) -> Judgement:
    if folder.error:
        remedy = command("mkdir -p -m 0700 {path}", path=folder.path)
        return fail(f"{folder.path}: {folder.error}", remedy)
    if "ro" in folder.options or (folder.writable is False and facts.is_root):
        how = "is mounted read-only" if "ro" in folder.options else "cannot be written"
        return fail(f"{folder.path} {how}", command("mount -o remount,rw {mount}", mount=folder.mount))
    if folder.probed not in ("", "ok"):
        return fail(
            f"a file could not be written to {folder.path}: {folder.probed}",
            command("ls -ld {path} && df {path}", path=folder.path),
        )
    if folder.fstype in ("tmpfs", "ramfs") or (folder.path + "/").startswith(_GONE_AFTER_A_BOOT):
        return fail(
            f"{folder.path} is on {folder.fstype or 'memory'}: what is written there is gone after the reboot",
            "# let kdump write to a disk",
        )
    if "crypt" in folder.layers:
        return warn(
            f"{folder.path} is on an encrypted disk: the crash kernel must be able to open it without a passphrase"
        )
    tried = "can be written" if facts.is_root else "is mounted read-write"
    tried = "a file was written there and removed" if folder.probed else tried
    return good(f"{folder.path} is on {folder.device} ({folder.fstype or 'file system unknown'}); {tried}")


def _server(target: Target, facts: Facts) -> Judgement:
    host = target.server.partition(":")[0]
    asked = [reading for reading in facts.starting_with("server ") if host and host in reading.name]
    if not asked:
        return unknown(f"{target.written}: not mounted, and this host has no `nc` to ask the server with")
    if asked[0].status == "0":
        return good(f"{target.written}: the server answers; whether it lets root write is not tried")
    return fail(
        f"{target.written}: {asked[0].name.removeprefix('server ')} does not answer from this host",
        command("nc -z -w 5 {host} 2049", host=host) if target.kind == "nfs" else "# check the network and the server",
    )


def _ssh(target: Target, facts: Facts) -> Judgement:
    asked = facts.starting_with("remote ")
    if not asked:
        return unknown(f"{target.written}: the log-in was not tried")
    if asked[0].status == "denied":
        return unknown(f"{target.written}: only root can try the log-in that the crash kernel will do")
    if re.search(r"^writable$", asked[0].text, re.MULTILINE):
        return good(f"{target.written}: root's key logs in and {target.directory} can be written")
    said = (asked[0].text.strip().splitlines() or ["no answer in time"])[-1][:160]
    return fail(
        f"{target.written}: the log-in fails, as it will for the crash kernel: {said}",
        *_ssh_remedy(target, said),
    )


def _ssh_remedy(target: Target, said: str) -> tuple[str, ...]:
    who = f"{target.user}@{target.server}"
    if "verification failed" in said:
        host = target.server
        return (
            command("ssh-keyscan {host} | ssh-keygen -lf -", host=host),
            "# compare with the server's own, then:",
            command("ssh-keyscan {host} >>/root/.ssh/known_hosts", host=host),
        )
    if "Permission denied" in said or "No such file" in said:
        return (command("ssh-copy-id -i {key} {who}", key=target.key or "/root/.ssh/kdump_id_rsa", who=who),)
    return (command("ssh -i {key} {who} true", key=target.key or "/root/.ssh/kdump_id_rsa", who=who),)


def dump_estimate(facts: Facts) -> tuple[int, int] | None:
    """Return the least and the most bytes that a dump may need, None without /proc/meminfo.

    With -d 31 free, cache and user pages are left out; what stays is the kernel's own, compressed by nobody
    knows how much.
    """
    memory = facts.memory
    total = memory.get("MemTotal")
    if not total:
        return None
    level = facts.settings.dump_level if facts.settings else 31
    if level is None or level < 16:
        return int(total * _COMPRESSED), total
    left_out = sum(memory.get(key, 0) for key in ("MemFree", "Buffers", "Cached", "SwapCached"))
    left_out -= memory.get("Shmem", 0)  # is counted in Cached, yet is user data as well
    left_out += memory.get("Shmem", 0) + memory.get("AnonPages", 0) if level & 8 else 0
    kernel = max(_LEAST, total - left_out)
    return max(_LEAST, int(kernel * _COMPRESSED)), kernel


def judge_space(facts: Facts) -> Judgement | None:
    """Judge the free space against what a dump needs."""
    needed = dump_estimate(facts)
    rooms = _rooms(facts)
    if needed is None or not rooms:
        return None
    path, free, least_free = min(rooms, key=lambda room: room[1])
    least, most = needed
    says = f"{path} has {_gib(free)} free; a dump here needs {_gib(least)} to {_gib(most)}"
    remedy = _make_room(path, facts)
    if free < max(least + least_free, _LEAST):
        return fail(says, *remedy)
    if least_free and free < most + least_free:
        return warn(f"{says}; KDUMP_FREE_DISK_SIZE deletes a dump that leaves less than {_gib(least_free)}", *remedy)
    if free < most:
        return warn(says, *remedy)
    return good(says)


def _make_room(path: str, facts: Facts) -> tuple[str, ...]:
    """Return what takes the room at `path`: nobody but a person decides what may go, so the commands are remarks."""
    sizes: dict[str, int] = {}
    for entry in (entry for folder in facts.folders if folder.path == path for entry in folder.entries):
        top = entry.name.split("/")[0]
        sizes[top] = sizes.get(top, 0) + (0 if entry.is_folder else entry.size)
    largest = sorted(sizes, key=lambda name: -sizes[name])[:3]
    named = [name for name in largest if sizes[name] >= _LEAST]
    return (
        command("du -xsk {path}/* | sort -n", path=path),
        "# move what is no longer needed elsewhere, or enlarge the file system; what is largest there:",
        *(f"# {_gib(sizes[name])}: {command('rm -r -- {entry}', entry=f'{path}/{name}')}" for name in named),
    )


def _rooms(facts: Facts) -> list[tuple[str, int, int]]:
    """Return (path, free bytes, bytes that must stay free) of each target that could be measured."""
    settings = facts.settings
    if settings is None:
        return []
    rooms = []
    for target in settings.targets:
        folder = folder_of(target, facts)
        if folder is not None and not folder.error:
            rooms.append((folder.path, folder.free, settings.min_free_bytes))
    for reading in facts.starting_with("remote "):
        found = re.search(r"^\S.*?\s+\d+\s+\d+\s+(\d{1,15})\s+\S+\s+(/.*)$", reading.text, re.MULTILINE)
        if found:
            rooms.append((reading.name.removeprefix("remote "), int(found[1]) * 1024, 0))
    return rooms


def judge_private(facts: Facts) -> Judgement | None:
    """Judge whether others can read the dumps: a dump holds everything that was in memory."""
    open_ones: list[str] = []
    seen = 0
    for folder in facts.folders:
        for entry in folder.entries:
            seen += 1
            if _is_core(entry) and entry.mode & 0o044 and _way_is_open(entry, folder):
                open_ones.append(f"{folder.path}/{entry.name}")
    if open_ones:
        more = f" and {len(open_ones) - 1} more" if len(open_ones) > 1 else ""
        first = open_ones[0].rsplit("/", 1)[0]
        return warn(f"{open_ones[0]}{more} can be read by others", command("chmod -R go-rwx {folder}", folder=first))
    return good("no dump here can be read by others") if seen else None


def _is_core(entry: Entry) -> bool:
    name = entry.name.rsplit("/", 1)[-1]
    return not entry.is_folder and bool(re.match(r"(vmcore|dump\.|dump-incomplete)", name)) and "dmesg" not in name


def _way_is_open(entry: Entry, folder: Folder) -> bool:
    parent = entry.name.rpartition("/")[0]
    return all(e.mode & 0o011 for e in folder.entries if e.is_folder and e.name == parent)


def judge_last(facts: Facts) -> Judgement | None:
    """Judge whether a dump was ever seen to work on this host."""
    if facts.proved_dump:
        return good(f"trigger has proved a dump of this host on {facts.proved_dump.day}: {facts.proved_dump.path}")
    test = facts.word("last-test")
    if test.startswith("success"):
        return good("`kdumpctl test` succeeded here")
    if test.startswith("fail"):
        return warn("the last `kdumpctl test` on this host failed", "# in a maintenance window: kdumpctl test")
    cores = [(entry.mtime, f"{folder.path}/{entry.name}") for folder in facts.folders for entry in folder.entries
             if _is_core(entry) and "incomplete" not in entry.name]  # fmt: skip
    halves = [entry.name for folder in facts.folders for entry in folder.entries if "incomplete" in entry.name]
    if halves and not cores:
        return warn(f"the only dump here is incomplete: {halves[0]}")
    if cores:
        return good(f"a dump was written here before: {max(cores)[1]}")
    return warn(
        "no dump was ever seen from this host",
        "# in a maintenance window: crash it once on purpose, trigger nmi",
    )


def remote_entries(facts: Facts, target: Target) -> tuple[Entry, ...]:
    """Return what lies in the folder of an SSH target."""
    for reading in facts.starting_with("remote "):
        return entries(reading.text, target.directory)
    return ()


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size >> 20} MiB"


CHECKS = (
    Check(
        "target-settings", Stage.TARGET, ALL_ROUTES,
        "A configuration that kdump does not understand stops the service or the dump.",
        "kdump.conf(5), kdump(5), kdump-tools(5)", judge_settings,
    ),
    Check(
        "target-reachable", Stage.TARGET, ALL_ROUTES,
        "The crash kernel can only write where it gets to: mounted read-write, or logged in without a question.",
        "kdump-utils dracut-kdump.sh; mkdumprd; kdump-config(8)", judge_reachable,
    ),
    Check(
        "target-space", Stage.TARGET, ALL_ROUTES, "A full target ends the dump in the middle.",
        "makedumpfile(8); mkdumprd (check_size)", judge_space,
    ),
    Check(
        "target-private", Stage.REMARK, ALL_ROUTES, "A dump holds every password and key that was in memory.",
        "crash(8); CWE-528", judge_private, decides=False,
    ),
    Check(
        "target-tried", Stage.TARGET, ALL_ROUTES,
        "Disks, adapters and IOMMUs that the crash kernel cannot reset are found by a real dump only.",
        "kdump-utils kdumpctl (test)", judge_last, decides=False,
    ),
)  # fmt: skip
