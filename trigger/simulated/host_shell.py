"""The simulated host's shell: the few commands by which others ask a host who it is, over the files below its root."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

_NOT_FOUND, _MISSING = 127, "No such file or directory"


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left: its exit status, and what it wrote."""

    status: int = 0
    output: str = ""
    errors: str = ""


def run(command: str, root: Path, uptime: float) -> Done:
    """Run simple commands joined by `;`, new lines, `&&` and `||`; only `2>/dev/null` is redirected, nothing quoted.

    It knows cat, head -v, ls, test -e, echo, hostname, uname, uptime, true and false; anything else is status 127.
    `uptime` is the host's, in seconds.
    """
    (root / "proc/uptime").write_text(f"{uptime:.2f} {uptime:.2f}\n")
    status, output, errors = 0, "", ""
    parts = re.split(r"(&&|\|\||;|\n)", command)
    for joint, part in zip([";", *parts[1::2]], parts[::2], strict=True):
        if not part.strip() or (joint == "&&" and status) or (joint == "||" and not status):
            continue
        quiet = re.sub(r"2>\s*/dev/null", "", part)
        done = _simple(shlex.split(quiet), root, uptime)
        status, output = done.status, output + done.output
        errors += done.errors if quiet == part else ""
    return Done(status, output, errors)


def _simple(words: list[str], root: Path, uptime: float) -> Done:
    name, operands = words[0].rpartition("/")[2], [word for word in words[1:] if not word.startswith("-")]
    match name:
        case "true" | "false":
            return Done(int(name == "false"))
        case "echo":
            return Done(0, " ".join(words[1:]) + "\n")
        case "hostname":
            return _cat(["/proc/sys/kernel/hostname"], root)
        case "uname":
            names = {"-n": "/proc/sys/kernel/hostname", "-r": "/proc/sys/kernel/osrelease"}
            option = words[1] if len(words) > 1 else "-s"
            return _cat([names[option]], root) if option in names else Done(0, "Linux\n")
        case "uptime":
            days, hours, minutes = int(uptime // 86400), int(uptime // 3600 % 24), int(uptime // 60 % 60)
            load = "1 user,  load average: 0.42, 0.31, 0.28"
            return Done(0, f" 12:00:00 up {days} days, {hours:2d}:{minutes:02d},  {load}\n")
        case "test":
            return Done(int(not operands or not _inside(root, operands[-1]).exists()))
        case "ls":
            return _ls(operands, root)
        case "cat":
            return _cat(operands, root)
        case "head" if "-v" in words:
            return _cat([word for word in operands if not word.isdecimal()], root, titled=True)
    return Done(_NOT_FOUND, "", f"sh: {name}: command not found\n")


def _inside(root: Path, name: str) -> Path:
    """Return the file `name` of the host, the root itself for a name that would lead out of it."""
    path = root / name.lstrip("/")
    return root if ".." in path.parts else path


def _cat(names: list[str], root: Path, *, titled: bool = False) -> Done:
    output, errors = "", ""
    for name in names:
        path = _inside(root, name)
        if path.is_file():
            output += (f"==> {name} <==\n" if titled else "") + path.read_text()
        else:
            errors += f"{name}: {_MISSING}\n"
    return Done(int(bool(errors)), output, errors)


def _ls(names: list[str], root: Path) -> Done:
    output, errors = "", ""
    for name in names:
        path = _inside(root, name)
        if path.is_dir():
            output += "".join(f"{entry.name}\n" for entry in sorted(path.iterdir()))
        elif path.exists():
            output += f"{name}\n"
        else:
            errors += f"ls: cannot access '{name}': {_MISSING}\n"
    return Done(2 if errors else 0, output, errors)
