"""Where the dump of a shot is looked for: as configured, as recorded, or in the host's own directory."""

from __future__ import annotations

from typing import NamedTuple

from trigger.errors import ConfigError, TriggerError
from trigger.post.target import Target, own_directory, resolve
from trigger.watch.watched import Watched

OWN = "host:"


class Place(NamedTuple):
    """One place to look at: `where` as configured or recorded; `target` is None where `problem` says why not."""

    where: str
    target: Target | None
    problem: str = ""

    def shown(self, path: str, host: str) -> str:
        """Return a path there as `trigger inspect` takes it: a local path, HOST:/path of its own disk, or a URL."""
        if not path or self.target is None:
            return path
        return f"{host}:{path}" if self.target.own_disk else self.target.shown(path)


def places_of(watched: Watched) -> tuple[Place, ...]:
    """Return every place where the dump may land: the configured one, else all that the host's kdump writes to.

    Debian's kdump-tools writes to several targets one after the other, and SUSE's old kdump took several URLs. What
    only the host's own file names is opened only where `dump_stores:` maps it.
    """
    record = watched.known.record
    recorded = [target.read for target in record.dump_targets if target.read] if record is not None else []
    if watched.host.dump_target != "auto" or not recorded:
        return (_place(watched, watched.dump_target, host_says=False),)
    return tuple(_place(watched, where, host_says=True) for where in dict.fromkeys(recorded))


def _place(watched: Watched, where: str, *, host_says: bool) -> Place:
    try:
        return Place(where, _target(watched, where, host_says=host_says))
    except TriggerError as error:
        return Place(where, None, " ".join(filter(None, (error.message, error.next_step))))


def _target(watched: Watched, where: str, *, host_says: bool) -> Target:
    """Return the target; `host:/PATH` is the host's own directory, read when it is back. Raises ConfigError."""
    if not where.startswith(OWN):
        return resolve(where, ssh=watched.host.ssh, dump_stores=watched.dump_stores, host_says=host_says)
    if watched.host.ssh is None:
        raise ConfigError(
            f"The dump of {watched.host.name} is on its own disk ({where}), and there is no `ssh:` to read it with.",
            next_step="Add `ssh: {host: ...}` to the host, or `dump: {target: ...}` that can be read from here.",
        )
    return own_directory(watched.host.ssh, where.removeprefix(OWN))
