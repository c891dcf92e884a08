"""Keeps the first look at a dump, and the end of the kernel log beside it, in the incident folder.

Where there is no dump the kernel's last words in pstore take its place, once the host is back.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from trigger.errors import ConfigError
from trigger.host import Host, Ssh
from trigger.post.first_look import FirstLook, read_dmesg
from trigger.post.inspection import Inspection, inspect_in
from trigger.post.pstore import last_words
from trigger.post.target import SftpStore, Target, own_directory, resolve
from trigger.run_files import DMESG, FIRST_LOOK, RunFiles
from trigger.text import harmless


def keep_look(files: RunFiles, host: Host, where: str, dump_stores: Mapping[str, str]) -> Inspection:
    """Write first-look.json and dmesg.txt for the dump at `where`, as DumpFound names it, and return what was seen.

    Raises TriggerError or OSError.
    """
    target = _target(host, where, dump_stores)
    with contextlib.closing(target.open()) as store:
        found = inspect_in(store, target.path)
        files.write_json(FIRST_LOOK, as_json(found))
        if found.dmesg:
            with contextlib.closing(store.open(found.dmesg)) as reader:
                files.write(DMESG, harmless(read_dmesg(reader), lines=True, limit=4 << 20).encode())
    return found


def keep_last_words(files: RunFiles, ssh: Ssh, since: float) -> FirstLook | None:
    """Write first-look.json from the host's pstore records since `since` (seconds since the epoch, the host's clock).

    Returns the look, None when there is no such record. Raises TriggerError or OSError.
    """
    with contextlib.closing(SftpStore(ssh)) as store:
        look = last_words(store, since)
    if look is not None:
        files.write_json(FIRST_LOOK, {"v": 1, "path": "pstore", "dmesg": "", "facts": {}, "look": asdict(look)})
    return look


def as_json(found: Inspection) -> dict[str, Any]:
    """Return dump facts and first look as plain JSON, harmless."""
    facts = asdict(found.facts)
    facts["complete"] = found.facts.complete.value
    facts["vmcoreinfo"] = {}
    look = asdict(found.look) if found.look is not None else None
    return {"v": 1, "path": harmless(found.path), "dmesg": harmless(found.dmesg), "facts": _safe(facts), "look": look}


def _safe(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _safe(item) for key, item in value.items()}
    return harmless(value) if isinstance(value, str) else value


def _target(host: Host, where: str, dump_stores: Mapping[str, str]) -> Target:
    own = re.fullmatch(rf"{re.escape(host.name)}:(/(?!/).*)", where)
    if not own:
        return resolve(where, ssh=host.ssh, dump_stores=dump_stores)
    if host.ssh is None:
        raise ConfigError(f"{host.name} has no `ssh:`, so its files cannot be read.")
    return own_directory(host.ssh, own[1])
