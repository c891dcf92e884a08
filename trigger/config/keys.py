"""Every key of the configuration: one row each, with how its value is checked and what it means.

A check takes the value's branch and the reader, and returns the value, or adds a problem and returns None. A new
key is one row in one of the tables at the end, and a line in config.example.yaml (a test compares the two). How
single values are checked is in trigger/config/values.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from trigger.config import values as value
from trigger.config import yaml_values
from trigger.config.values import Reader
from trigger.config.yaml_nodes import Branch, Problems
from trigger.host import Controller, ExpectedIdentity, FenceKdump, Host, Ssh, Tls
from trigger.notify import Notify

T = TypeVar("T")
Check = Callable[[Branch, Reader], object]


class Key(NamedTuple):
    """One key: how its value is checked, and what it is, in a sentence for documentation."""

    check: Check
    doc: str


def read(values: Mapping[str, Branch], keys: Mapping[str, Key], reader: Reader) -> dict[str, Any]:
    """Return those of `values` that are in order, checked; an unknown key is a problem."""
    found = {}
    for name, branch in values.items():
        if name not in keys:
            value.unknown_key(name, branch, keys, reader.problems)
            continue
        checked = keys[name].check(branch, reader)
        if checked is not None:
            found[name] = checked
    return found


def merged(branch: Branch, section: str, reader: Reader) -> dict[str, Branch] | None:
    """Return the values of a section by key, with those of `defaults` below them; a key given here wins whole."""
    own = yaml_values.mapping(branch, reader.problems)
    return None if own is None else {**reader.defaults.get(section, {}), **own}


def _ssh(branch: Branch, reader: Reader) -> Ssh | None:
    values = merged(branch, "ssh", reader)
    if values is None:
        return None
    if reader.many and "host" in values and "{host}" not in str(values["host"].node.value):
        _needs_host(values["host"], reader)
    return Ssh(**{"host": reader.host, **read(values, SSH_KEYS, reader)})


def _needs_host(branch: Branch, reader: Reader) -> None:
    reader.problems.add(
        branch, "is the same for every host of the pattern", 'put {host} into it, as in "{host}.example.com"'
    )


def _controllers(branch: Branch, reader: Reader) -> tuple[Controller, ...] | None:
    items = yaml_values.sequence(branch, reader.problems, "{driver: ..., address: ...}")
    if items is None:
        return None
    if not items and reader.strict:
        reader.problems.add(branch, "is empty", "name at least one controller")
    found: dict[str, Controller] = {}
    for item in items:
        controller = _controller(item, reader)
        if controller is None:
            continue
        if controller.name in found:
            reader.problems.add(
                item.below(item.node, ".name", item.line),
                f"this host has two controllers named {yaml_values.shown(controller.name)}",
                f"give one of them a name of its own, as in `name: {controller.name}-2`; --via takes it",
            )
        found.setdefault(controller.name, controller)
    return tuple(found.values())


def _controller(branch: Branch, reader: Reader) -> Controller | None:
    values = merged(branch, "controller", reader)
    if values is None:
        return None
    for required in ("driver", "address"):
        if required not in values:
            reader.problems.add(branch.below(branch.node, f".{required}", branch.line), "is missing", "add it")
    templates = [str(values[key].node.value) for key in ("address", "system") if key in values]
    if reader.many and "address" in values and not any("{host}" in text for text in templates):
        _needs_host(values["address"], reader)
    found = read(values, CONTROLLER_KEYS, reader)
    if "driver" not in found or "address" not in found:
        return None
    return Controller(**{"name": found["driver"], **found}, where=f"{branch.file}:{branch.line}")


def _section(keys: Mapping[str, Key], make: Callable[..., T]) -> Callable[[Branch, Reader], T | None]:
    """Return a check for a mapping whose checked values become `make(**values)`."""

    def check(branch: Branch, reader: Reader) -> T | None:
        values = yaml_values.mapping(branch, reader.problems)
        return None if values is None else make(**read(values, keys, reader))

    return check


def _tls(branch: Branch, reader: Reader) -> Tls | None:
    tls = _section(TLS_KEYS, Tls)(branch, reader)
    if tls is not None and tls.ca_file and tls.fingerprint:
        reader.problems.add(branch, "has both ca_file and fingerprint, and one would be ignored", "keep one")
    return tls


def _dump(branch: Branch, reader: Reader) -> str | None:
    values = merged(branch, "dump", reader)
    return None if values is None else read(values, DUMP_KEYS, reader).get("target", "auto")


def _syslog(branch: Branch, reader: Reader) -> str | None:
    values = yaml_values.mapping(branch, reader.problems)
    return None if values is None else read(values, SYSLOG_KEYS, reader).get("address", "")


def _defaults(branch: Branch, reader: Reader) -> Mapping[str, Mapping[str, Branch]] | None:
    """Check every default by itself, since no host may use it."""
    alone = replace(reader, defaults={}, host=reader.host or "host", many=False)
    values = yaml_values.mapping(branch, reader.problems)
    if values is not None:
        read(values, DEFAULT_KEYS, alone)
    return None


def _default_controller(branch: Branch, reader: Reader) -> None:
    values = yaml_values.mapping(branch, reader.problems)
    if values is not None:
        keys = {name: key for name, key in CONTROLLER_KEYS.items() if name != "name"}
        read(values, keys, reader)


def _elsewhere(branch: Branch, reader: Reader) -> None:
    """Check nothing: trigger/config/loading.py reads the hosts one by one."""


def build_host(values: Mapping[str, Branch], defaults: Branch | None, where: str, reader: Reader) -> Host:
    """Return the host that `values` and `defaults` describe; its problems go to the reader, not those of `defaults`."""
    sections: dict[str, Branch] = {}
    if defaults is not None:
        sections = yaml_values.mapping(defaults, Problems()) or {}
    reader.defaults = {
        name: yaml_values.mapping(branch, Problems()) or {} for name, branch in sections.items() if name in DEFAULT_KEYS
    }
    inherited = {name: branch for name, branch in sections.items() if name in ("ssh", "dump")}
    found = read({**inherited, **values}, HOST_KEYS, reader)
    dump_target = found.pop("dump", "auto")
    return Host(**{"controllers": (), **found}, name=reader.host, dump_target=dump_target, where=where)


SSH_KEYS = {
    "host": Key(value.address, "Address of the host itself; its own name when not given."),
    "port": Key(value.port, "SSH port, 22 when not given."),
    "user": Key(value.user, "User to log in as; SSH's own default when not given."),
    "key": Key(value.path, "Private key file; SSH's own defaults when not given."),
    "known_hosts": Key(value.path, "File of known host keys; SSH's own defaults when not given."),
    "engine": Key(value.choice("asyncssh", "openssh"), "The SSH implementation: asyncssh, or the system's own ssh."),
}
TLS_KEYS = {
    "ca_file": Key(value.path, "File of CA certificates that signed the controller's certificate."),
    "fingerprint": Key(value.fingerprint, "SHA-256 of the controller's own certificate, in hex."),
}
CONTROLLER_KEYS = {
    "driver": Key(value.driver, "Which driver speaks to it: `trigger drivers` lists them."),
    "name": Key(value.name, "What --via takes; the driver's name when not given."),
    "address": Key(value.address, "Host name, IPv4 or IPv6 address of the controller, or a device's path."),
    "port": Key(value.port, "Port of the controller; the driver's own when not given."),
    "user": Key(value.user, "User to log in as at the controller."),
    "password": Key(value.password, "Where the password is to be had: env, file, command, keyring or prompt."),
    "system": Key(value.host_text, "Which system, when one controller serves several."),
    "privilege": Key(value.choice("operator", "administrator"), "IPMI privilege to ask for, operator first."),
    "cipher_suite": Key(value.cipher_suite, "IPMI cipher suite: 17 or 3; 17, then 3, when not given."),
    "tls": Key(_tls, "How the controller's certificate is verified."),
    "options": Key(value.options, "What only this driver understands."),
}
DUMP_KEYS = {
    "target": Key(value.target, "Where the dump lands: auto, a path, or a URL."),
}
IDENTITY_KEYS = {
    "uuid": Key(value.uuid, "UUID of the system, as `dmidecode -s system-uuid` prints it."),
    "serial": Key(value.text, "Serial number of the system."),
}
FENCE_KDUMP_KEYS = {
    "listen": Key(value.address, "Our own address to listen at; all of them when not given."),
    "port": Key(value.port, "UDP port, 7410 when not given."),
    "addresses": Key(value.addresses, "What the host sends from besides its SSH address: other rings."),
}
HOST_KEYS = {
    "tags": Key(value.tags, "Words to choose hosts by: `trigger hosts @web`."),
    "ssh": Key(_ssh, "How the host itself is reached."),
    "controllers": Key(_controllers, "The host's controllers, in the order in which they are tried."),
    "dump": Key(_dump, "Where the crash dump lands."),
    "identity": Key(_section(IDENTITY_KEYS, ExpectedIdentity), "Who the host is, so that no other is hit."),
    "protected": Key(value.truth, "Whether a fire needs `--override protected`."),
    "fence_kdump": Key(_section(FENCE_KDUMP_KEYS, FenceKdump), "Listen for fence_kdump packets of its crash kernel."),
    "ladder": Key(value.rungs, "The order of `trigger crash`: CONTROLLER/nmi and CONTROLLER/sysrq-c."),
}
DEFAULT_KEYS = {
    "ssh": Key(_ssh, "Default values of every host's `ssh`."),
    "controller": Key(_default_controller, "Default values of every controller."),
    "dump": Key(_dump, "Default values of every host's `dump`."),
}
SYSLOG_KEYS = {
    "address": Key(value.syslog_address, "Who is told of shots and ends: /dev/log, udp://HOST:514 or tcp://HOST:514."),
}
NOTIFY_KEYS = {
    "webhook": Key(
        value.webhook, "Where the URL is to be had that gets each event as JSON: env, file, command, keyring."
    ),
    "command": Key(value.command, "A command that gets each event as JSON on its standard input, as a list of words."),
    "include_console": Key(value.truth, "Whether notifications may carry what a console or kernel log said."),
}
TOP_KEYS = {
    "defaults": Key(_defaults, "Values that hold where a host gives none."),
    "hosts": Key(_elsewhere, "The hosts, by name or pattern."),
    "policy": Key(value.path, "One more policy file beside /etc/trigger/policy.yaml; it can only forbid more."),
    "record_dirs": Key(value.paths, "More folders to read preflight records from."),
    "dump_stores": Key(value.dump_stores, "Where a target that hosts write to is read from here."),
    "notify": Key(_section(NOTIFY_KEYS, Notify), "Who is told of a run's start, of a landed dump and of the verdict."),
    "state_dir": Key(value.path, "Folder for journals and records."),
    "syslog": Key(_syslog, "A syslog server that is told of every shot, with the head of the journal."),
}
TABLES = {
    "": TOP_KEYS,
    "notify": NOTIFY_KEYS,
    "syslog": SYSLOG_KEYS,
    "defaults": DEFAULT_KEYS,
    "hosts.NAME": HOST_KEYS,
    "hosts.NAME.ssh": SSH_KEYS,
    "hosts.NAME.controllers[]": CONTROLLER_KEYS,
    "hosts.NAME.controllers[].tls": TLS_KEYS,
    "hosts.NAME.dump": DUMP_KEYS,
    "hosts.NAME.identity": IDENTITY_KEYS,
    "hosts.NAME.fence_kdump": FENCE_KDUMP_KEYS,
}
