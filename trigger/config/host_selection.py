"""Hosts by ClusterShell patterns: `server[01-04]`, `@web`, `@web&@fra`, `server[01-48]!server07`, `db*`.

ClusterShell is imported only here: it costs 31 ms, and a fire takes exactly one host by its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from trigger.config import yaml_values
from trigger.errors import ConfigError

_NEXT = "Nothing was sent. Write for example server[01-04], @TAG, or '@web&@fra'; `trigger hosts` lists the hosts."


def select(
    patterns: Sequence[str],
    names: Sequence[str],
    tags_of_all: Callable[[], Mapping[str, Sequence[str]]],
    no_host: Callable[[str], ConfigError],
) -> list[str]:
    """Return the hosts of `names` that the patterns name, each once, in the order of the patterns.

    `tags_of_all` is asked only when a pattern has a tag. Raises ConfigError.
    """
    from ClusterShell.NodeSet import NodeSet, NodeSetException
    from ClusterShell.NodeUtils import GroupResolver, GroupSource

    tags = tags_of_all() if any("@" in pattern for pattern in patterns) else {}
    groups = {tag: ",".join(hosts) for tag, hosts in tags.items()}
    resolver = GroupResolver(GroupSource("tags", groups, ",".join(names)))
    known, found = set(names), dict[str, None]()
    for pattern in patterns:
        _check_tags(pattern, tags)
        try:
            hosts = [str(host) for host in NodeSet(pattern, resolver=resolver)]
        except (NodeSetException, ValueError, IndexError) as error:
            raise ConfigError(
                f"{yaml_values.shown(pattern)} is no pattern of hosts: {error}", next_step=_NEXT
            ) from None
        if unknown := [host for host in hosts if host not in known]:
            raise no_host(unknown[0])
        if not hosts:
            raise ConfigError(f"{yaml_values.shown(pattern)} names no host", next_step=_NEXT)
        found.update(dict.fromkeys(hosts))
    return list(found)


def _check_tags(pattern: str, tags: Mapping[str, Sequence[str]]) -> None:
    """Refuse a tag that no host has; ClusterShell would take it for an empty group."""
    for tag in re.findall(r"@([A-Za-z0-9._-]+)(?![\w.*?\[-])", pattern):
        if tag not in tags:
            guess = yaml_values.suggest(tag, tags)
            message = f"no host has the tag {yaml_values.shown(tag)}" + (f"; {guess}" if guess else "")
            raise ConfigError(message, next_step=_NEXT)
