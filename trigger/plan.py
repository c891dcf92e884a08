"""What a fire would do, decided before anything is sent: pure, from the configuration and the record.

`--dry-run` prints this value; nothing else decides the order of routes, the deadlines or the locks.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from trigger.errors import ConfigError
from trigger.host import Controller, Host, Ssh

# design.md, "Exit codes": 15 minutes, the memory at 50 MB/s, and 30 minutes to write and reboot.
BASE_DEADLINE_S = 45 * 60.0
DUMP_BYTES_PER_S = 50e6
DEADLINE_WITHOUT_RECORD_S = 4 * 3600.0
# From Enter to Firing over all controllers, however many are dead.
ROUTES_DEADLINE_S = 60.0
LOGIN_DEADLINE_S = 10.0
ANSWER_DEADLINE_S = 10.0

# Two names for one controller share its address. A port that is not the driver's own is a forwarder in front of
# several controllers, so that it tells them apart.
_DEFAULT_PORTS = {"ipmi": 623, "redfish": 443, "ilo": 443, "drac": 443, "telnet": 23, "conserver": 3109}

# action -> the method of the driver that does it; sysrq-c is trigger/console/sysrq_crash.py around `open_console`.
ACTIONS = {"nmi": "send_nmi", "sysrq": "open_console", "sysrq-c": "send_sysrq_crash"}
# Drivers that cannot do an action: such a controller is no route of it unless it is named or there is no other. A
# test compares this with their methods; asking the classes would cost a fire the import of every driver.
CANNOT = {
    "nmi": ("telnet", "ssh-console", "rfc2217", "serial", "conserver", "host"),
    "sysrq": ("redfish",),
    "sysrq-c": ("redfish",),
}
# The host itself as a controller, by `--via host`: it need not be configured where `ssh:` is.
HOST_ITSELF = "host"
# What a rung of `trigger crash` is called in `ladder:` and needs of a driver.
RUNGS = {"nmi": "send_nmi", "sysrq-c": "open_console"}


class Route(NamedTuple):
    """One controller, and the ability of its driver that the action needs (a method's name)."""

    controller: Controller
    ability: str


class Plan(NamedTuple):
    """An action on one host: routes in order, deadline in seconds from the fire, target of the dump, lock keys."""

    action: str
    host: Host
    routes: tuple[Route, ...]
    deadline_s: float
    dump_target: str
    keys: tuple[str, ...]


def make_plan(
    host: Host,
    action: str,
    *,
    via: str = "",
    deadline_s: float | None = None,
    memory_bytes: int | None = None,
    dump_target: str = "",
    addresses: Mapping[str, Sequence[str]] | None = None,
    abilities: Mapping[str, Collection[str]] | None = None,
) -> Plan:
    """Return the plan of `action` for `host`.

    `via` names one controller. `memory_bytes` and `dump_target` come from the record. `addresses` maps a
    controller's address to what it resolves to. `abilities` maps a driver to its methods, for the action `crash`.
    Raises ConfigError when there is no controller to try.
    """
    controllers = _controllers(host, action, via)
    if not controllers:
        raise _no_controller(host, via)
    if action == "crash":
        routes = ladder(host, controllers, abilities or {c.driver: ACTIONS.values() for c in host.controllers})
    else:
        routes = tuple(Route(controller, ACTIONS[action]) for controller in controllers)
    return Plan(
        action=action,
        host=host,
        routes=routes,
        deadline_s=deadline_s if deadline_s is not None else default_deadline(memory_bytes),
        dump_target=dump_target_of(host, dump_target),
        keys=lock_keys(host, addresses or {}),
    )


def _controllers(host: Host, action: str, via: str) -> list[Controller]:
    """Return the controller that is named, else those that can do the action, else whatever there is."""
    if not via:
        able = [c for c in host.controllers if c.driver not in CANNOT.get(action, ())]
        return able or list(host.controllers)
    named = [c for c in host.controllers if c.name == via]
    if not named and via == HOST_ITSELF and host.ssh is not None:
        return [host_itself(host.ssh, host.where)]
    return named


def host_itself(ssh: Ssh, where: str) -> Controller:
    """Return the controller that is the host's own kernel, reached as its `ssh:` says."""
    options = {"key": ssh.key, "known_hosts": ssh.known_hosts, "engine": ssh.engine}
    return Controller(HOST_ITSELF, "host", ssh.host, ssh.port, ssh.user, options=options, where=where)


def ladder(
    host: Host, controllers: Sequence[Controller], abilities: Mapping[str, Collection[str]]
) -> tuple[Route, ...]:
    """Return the rungs of `trigger crash`: as `ladder:` has them, else every NMI, IPMI's last, then every console.

    Of the consoles those of controllers that can do no more come last. Raises ConfigError for a rung that no
    controller has, and when there is none at all.
    """
    can = [(c, rung) for rung, method in RUNGS.items() for c in host.controllers if method in abilities[c.driver]]
    sends = {controller.name for controller, rung in can if rung == "nmi"}
    if host.ladder:
        named = {f"{controller.name}/{rung}": (controller, rung) for controller, rung in can}
        unknown = [words for words in host.ladder if words not in named]
        if unknown:
            raise _no_rung(
                host, f"`ladder:` has {unknown[0]!r}; its controllers can do: {', '.join(named) or 'nothing'}"
            )
        can = [named[words] for words in host.ladder]
    else:  # sorting is stable: within a group it is the order of `controllers:`
        group = {"redfish": 0, "ilo": 0, "drac": 0, "ipmi": 1}
        can.sort(key=lambda step: group.get(step[0].driver, 0) if step[1] == "nmi" else 3 - (step[0].name in sends))
    routes = tuple(Route(controller, ACTIONS[rung]) for controller, rung in can if controller in controllers)
    if not routes:
        raise _no_rung(host, "none of its controllers can send an NMI or has a console")
    return routes


def _no_rung(host: Host, why: str) -> ConfigError:
    return ConfigError(
        f"{host.name}: {why} ({host.where}). Nothing was sent.",
        next_step="trigger drivers shows what each driver can do.",
    )


def shot_words(ability: str) -> str:
    """Return what a route of this ability sends, for a sentence."""
    return "SysRq c" if ability == "send_sysrq_crash" else "NMI"


def dump_target_of(host: Host, recorded: str) -> str:
    """Return where the dump is read: as configured; for `auto` as recorded, else the host's own /var/crash."""
    if host.dump_target != "auto":
        return host.dump_target
    return recorded or "host:/var/crash"


def default_deadline(memory_bytes: int | None) -> float:
    """Return how long a dump may take, in seconds: by the host's memory, four hours without a record."""
    if memory_bytes is None:
        return DEADLINE_WITHOUT_RECORD_S
    return BASE_DEADLINE_S + memory_bytes / DUMP_BYTES_PER_S


def lock_keys(host: Host, addresses: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return what a fire locks: the host's name, and every controller's address and system."""
    keys = [f"host {host.name}"]
    for controller in host.controllers:
        usual = controller.port in (0, _DEFAULT_PORTS.get(controller.driver, 0))
        rest = ("" if usual else f" port {controller.port}") + (
            f" system {controller.system}" if controller.system else ""
        )
        for address in {controller.address, *addresses.get(controller.address, ())}:
            keys.append(f"controller {address}{rest}")
    return tuple(dict.fromkeys(sorted(keys)))


def _no_controller(host: Host, via: str) -> ConfigError:
    names = ", ".join(controller.name for controller in host.controllers) or "none"
    if via:
        return ConfigError(
            f"{host.name}: no controller is named {via!r}; it has: {names}. Nothing was sent.",
            next_step=f"Choose one: trigger nmi {host.name} --via NAME",
        )
    return ConfigError(
        f"{host.name}: no controllers are configured ({host.where}). Nothing was sent.",
        next_step="Add one below `controllers:`, or name one: --controller ipmi://USER@ADDRESS",
    )
