"""Where the dump of a shot is looked for: as configured, as recorded, or in the host's own directory."""

from __future__ import annotations

from urllib.parse import urlsplit

from trigger.errors import ConfigError
from trigger.post.target import Target, own_directory, resolve
from trigger.watch.watched import Watched

OWN = "host:"


def target_of(watched: Watched) -> Target:
    """Return the target of `watched`; `host:/PATH` is the host's own directory, read when it is back.

    Raises ConfigError when it cannot be read from here.
    """
    where = watched.dump_target
    if not where.startswith(OWN):
        return resolve(where, ssh=watched.host.ssh, dump_stores=watched.dump_stores)
    if watched.host.ssh is None:
        raise ConfigError(
            f"The dump of {watched.host.name} is on its own disk ({where}), and there is no `ssh:` to read it with.",
            next_step="Add `ssh: {host: ...}` to the host, or `dump: {target: ...}` that can be read from here.",
        )
    return own_directory(watched.host.ssh, where.removeprefix(OWN))


def shown(target: Target, path: str, host: str) -> str:
    """Return a path in `target` as `trigger inspect` takes it: a local path, HOST:/path of its own disk, or a URL."""
    if target.own_disk:
        return f"{host}:{path}"
    parts = urlsplit(target.url)
    return f"{parts.scheme}://{parts.netloc}{path}" if parts.scheme == "sftp" else path
