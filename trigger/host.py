"""What the configuration says of one host: frozen values, made by trigger/config/loading.py, read by everybody."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class SecretReference(NamedTuple):
    """Where a secret is to be had; never the secret itself.

    `kind` is env, file, command, keyring or prompt; `argument` is the variable's name, the path, the argument
    list, the keyring's service; for prompt it is empty. `where` is "file:line" of the configuration.
    """

    kind: str
    argument: str | tuple[str, ...] = ""
    where: str = ""


class Tls(NamedTuple):
    """How a controller's certificate is verified: by a CA file, or by a pinned SHA-256 fingerprint (hex)."""

    ca_file: str = ""
    fingerprint: str = ""


class Controller(NamedTuple):
    """One way to a host's controller, in the order in which it is tried.

    `name` is what `--via` takes (default: the driver's name). `port` 0 is the driver's default. `system` names
    one of several systems behind one controller. `options` holds what only this driver understands, already
    checked to be plain scalars; `where` is "file:line".
    """

    name: str
    driver: str
    address: str
    port: int = 0
    user: str = ""
    password: SecretReference | None = None
    system: str = ""
    privilege: str = ""
    cipher_suite: int | None = None
    tls: Tls = Tls()
    options: Mapping[str, object] = MappingProxyType({})
    where: str = ""


class Ssh(NamedTuple):
    """How the host itself is reached. `key` and `known_hosts` are paths, "" for SSH's own defaults."""

    host: str
    port: int = 22
    user: str = ""
    key: str = ""
    known_hosts: str = ""
    engine: str = "asyncssh"


class ExpectedIdentity(NamedTuple):
    """Who the host is, as its owner wrote it down; "" where not given."""

    uuid: str = ""
    serial: str = ""


class FenceKdump(NamedTuple):
    """Listen for the host's fence_kdump packets (UDP). `listen` is our own address, "" for all of them.

    `addresses` are more names or addresses that the host sends from (other rings of a cluster) than that of its SSH.
    """

    listen: str = ""
    port: int = 7410
    addresses: tuple[str, ...] = ()


class Host(NamedTuple):
    """One host. `dump_target` is "auto" (from the record or the host's own kdump configuration), a path or a URL.

    `ladder` is the order of `trigger crash`, as "CONTROLLER/nmi" and "CONTROLLER/sysrq-c"; empty for the usual one.
    """

    name: str
    controllers: tuple[Controller, ...]
    ssh: Ssh | None = None
    dump_target: str = "auto"
    tags: tuple[str, ...] = ()
    identity: ExpectedIdentity = ExpectedIdentity()
    protected: bool = False
    where: str = ""
    ladder: tuple[str, ...] = ()
    fence_kdump: FenceKdump | None = None
