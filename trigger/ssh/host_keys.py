"""A host's SSH key, seen for the first time: fetched and stored, for `preflight --trust-new` only.

A key that has *changed* is never stored: that takes a person with `ssh-keygen -R`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from trigger.clock import Deadline
from trigger.errors import DriverError
from trigger.host import Ssh
from trigger.ssh.connection import connect_options, in_time


def trust_new_key(ssh: Ssh, deadline: Deadline) -> str:
    """Store the key that the host shows and return its SHA-256 fingerprint.

    Raises DriverError when another key of this host is known already, when none is shown, or when it cannot be
    stored.
    """
    import asyncssh

    known = connect_options(ssh)["known_hosts"]
    for kind in asyncssh.match_known_hosts(known, ssh.host, "", ssh.port)[:3] if known else ():
        if kind:
            raise DriverError(
                f"The SSH host key of {ssh.host} has changed; that is never accepted by itself.",
                next_step=f"Compare it with the host's own. If it is right: ssh-keygen -R '{_name(ssh)}'",
            )

    async def fetch() -> Any:
        return await asyncssh.get_server_host_key(ssh.host, ssh.port if ssh.port != 22 else ())

    key = in_time(fetch, deadline, ssh)
    if key is None:
        raise DriverError(f"{ssh.host} showed no SSH host key.")
    _store(ssh, f"{_name(ssh)} {key.export_public_key('openssh').decode().strip()}\n")
    return str(key.get_fingerprint("sha256"))


def _name(ssh: Ssh) -> str:
    return ssh.host if ssh.port == 22 else f"[{ssh.host}]:{ssh.port}"


def _store(ssh: Ssh, line: str) -> None:
    path = Path(ssh.known_hosts or "~/.ssh/known_hosts").expanduser()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)
    except OSError as error:
        raise DriverError(f"The SSH host key of {ssh.host} cannot be stored in {path}: {error.strerror}.") from None
