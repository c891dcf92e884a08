"""Reads policies: /etc/trigger/policy.yaml, always, and the file that `policy:` of the configuration names.

    protected: [db7, "db[10-19]", "@prod", 10.1.0.7]
    may_fire: {users: [ada], groups: [oncall]}
    reason: {pattern: "INC[0-9]{6}"}
    routes: [nmi/redfish, nmi/ipmi]
    fires_per_hour: 3
    inhibit: {command: [/usr/local/sbin/pause-repair], seconds: 5}

A file that is there and cannot be read refuses: what may forbid a fire is no reason to fire.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trigger.config import file as config_file
from trigger.config import host_pattern, yaml_nodes, yaml_values
from trigger.config import values as config_values
from trigger.config.values import Reader, unknown_key
from trigger.config.yaml_nodes import Branch, Problems
from trigger.errors import ConfigError, GuardRefused
from trigger.policy.rules import WAYS, Inhibit, Item, Limit, MayFire, Person, Policy, Reason

_MAX_BYTES = 1 << 20
_NEXT = "Nothing was sent. Have whoever keeps the policy correct it."


def policies_in_force(configured: str = "") -> tuple[Policy, ...]:
    """Return every policy: the system's own and the one that the configuration names (it must exist).

    Raises ConfigError for a file that is wrong, GuardRefused (rule `policy`) for one that cannot be read or that
    everybody may write.
    """
    paths = [path for path in dict.fromkeys((config_file.SYSTEM_POLICY, configured)) if path]
    return tuple(read_policy(path) for path in paths if path == configured or os.path.lexists(path))


def problems_of_policies(configured: str = "") -> list[str]:
    """Return why no fire at all would be let through: a policy file that is wrong or cannot be read."""
    try:
        policies_in_force(configured)
    except (ConfigError, GuardRefused) as error:
        return error.message.split("\n  ")
    return []


def read_policy(path: str) -> Policy:
    """Return the policy in one file; raises as `policies_in_force` does."""
    text = _text(path)
    problems = Problems()
    root = yaml_nodes.compose(text, path)
    found: dict[str, Any] = {}
    if root is not None:
        problems.extend(yaml_nodes.special_tokens(text, root))
        for key, branch in (yaml_values.mapping(root, problems) or {}).items():
            if key in KEYS:
                found[key] = KEYS[key](branch, Reader(problems))
            else:
                unknown_key(key, branch, KEYS, problems)
    if len(problems):
        raise ConfigError("\n  ".join(map(str, problems)), next_step=_NEXT)
    names = {"fires_per_hour": "per_hour"}
    return Policy(path, **{names.get(key, key): value for key, value in found.items() if value is not None})


def this_person() -> Person:
    """Return who runs this process: by the real user id and the login user id of the kernel's audit."""
    from trigger.run import login_uid

    real, login = os.getuid(), login_uid()
    names = {uid: _user(uid) for uid in (real, login) if uid is not None}
    groups = {name: _groups(uid) for uid, name in names.items()}
    return Person(names[real], names[login] if login is not None else "", groups)


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _groups(uid: int) -> frozenset[str]:
    import grp
    import pwd

    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return frozenset()
    names = set()
    for gid in os.getgrouplist(user.pw_name, user.pw_gid):
        try:
            names.add(grp.getgrgid(gid).gr_name)
        except KeyError:
            names.add(str(gid))
    return frozenset(names)


def _text(path: str) -> str:
    """Return the text of the file; fails closed."""
    try:
        if not stat.S_ISREG(mode := Path(path).stat().st_mode):
            raise _refused("is not a regular file", path)  # a pipe would hold up the fire
        with Path(path).open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        text = content.decode("utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise _refused(f"cannot be read ({why})", path) from None
    if mode & stat.S_IWOTH:
        raise _refused("can be written by everybody", path)
    if len(content) > _MAX_BYTES:
        raise _refused("is larger than any policy", path)
    return text.replace("\r\n", "\n")


def _refused(why: str, path: str) -> GuardRefused:
    return GuardRefused(
        f"The policy {path} {why}, so it is not known what it forbids. Nothing was sent.",
        rule="policy",
        next_step=f"Mend {path} (for example: chmod 0644), then run the same command again.",
    )


# --- one function for each key: the branch's value, or None after adding a problem --------------------------------


def _where(branch: Branch) -> str:
    return f"{branch.file}:{branch.line}"


def _words(branch: Branch, reader: Reader, example: str) -> tuple[Item, ...]:
    items = yaml_values.sequence(branch, reader.problems, example) or []
    texts = ((item, yaml_values.text(item, reader.problems)) for item in items)
    return tuple(Item(text, _where(item)) for item, text in texts if text is not None)


def _protected(branch: Branch, reader: Reader) -> tuple[Item, ...]:
    found = _words(branch, reader, 'db7, "db[10-19]", "@prod", 10.1.0.7')
    for item in found:
        try:
            if not item.text.startswith("@") and ":" not in item.text:
                host_pattern.parse(item.text)
        except host_pattern.PatternError as error:
            reader.problems.add(branch, f"has {yaml_values.shown(item.text)}, which is no host: {error}")
    return found


def _may_fire(branch: Branch, reader: Reader) -> MayFire | None:
    values = _section(branch, reader, ("users", "groups"))
    if values is None:
        return None
    users, groups = (
        tuple(item.text for item in _words(values[key], reader, "ada")) if key in values else ()
        for key in ("users", "groups")
    )
    return MayFire(users, groups, _where(branch))


def _reason(branch: Branch, reader: Reader) -> Reason | None:
    values = _section(branch, reader, ("required", "pattern"))
    if values is None:
        return None
    if "required" in values and yaml_values.truth(values["required"], reader.problems) is False:
        reader.problems.add(values["required"], "must be true", "remove `reason:` where none is required")
    pattern = yaml_values.text(values["pattern"], reader.problems) if "pattern" in values else ""
    try:
        re.compile(pattern or "")
    except re.error as error:
        reader.problems.add(branch, f"is no regular expression: {error}")
    return Reason(pattern or "", _where(values.get("pattern", branch)))


def _routes(branch: Branch, reader: Reader) -> tuple[Item, ...]:
    found = _words(branch, reader, "nmi/redfish, nmi/ipmi")
    if not found:
        reader.problems.add(branch, "allows no route at all", "name at least one, such as nmi")
    for item in found:
        way = item.text.partition("/")[0]
        if "/" in item.text and way not in WAYS.values():
            known = " or ".join(WAYS.values())
            reader.problems.add(branch, f"has {yaml_values.shown(item.text)}", f"before the / stands {known}")
    return found


def _per_hour(branch: Branch, reader: Reader) -> Limit | None:
    fires = yaml_values.number(branch, reader.problems, 1, 1000)
    return None if fires is None else Limit(fires, _where(branch))


def _inhibit(branch: Branch, reader: Reader) -> Inhibit | None:
    values = _section(branch, reader, ("command", "seconds"))
    if values is None:
        return None
    if "command" not in values:
        reader.problems.add(branch, "has no command", "write {command: [/usr/local/sbin/pause-repair]}")
        return None
    words = tuple(item.text for item in _words(values["command"], reader, "/usr/local/sbin/pause-repair"))
    if words and not words[0].startswith("/"):
        reader.problems.add(values["command"], "must begin with an absolute path")
    seconds = yaml_values.number(values["seconds"], reader.problems, 1, 30) if "seconds" in values else 5
    return Inhibit(words, float(seconds or 5), _where(branch)) if words else None


def _section(branch: Branch, reader: Reader, known: tuple[str, ...]) -> Mapping[str, Branch] | None:
    values = yaml_values.mapping(branch, reader.problems)
    for key in values or {}:
        if key not in known:
            config_values.unknown_key(key, (values or {})[key], known, reader.problems)
    return values


KEYS: Mapping[str, Callable[[Branch, Reader], object]] = {
    "protected": _protected,
    "may_fire": _may_fire,
    "reason": _reason,
    "routes": _routes,
    "fires_per_hour": _per_hour,
    "inhibit": _inhibit,
}
