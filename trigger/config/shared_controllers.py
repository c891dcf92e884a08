"""Two hosts with one controller: a fire at the one would hit the other, so that is an error of the configuration.

Compared are address (by spelling, no name is looked up), port and system. Every usual port of a BMC counts as the
BMC itself: IPMI under one host and Redfish under another still reach one machine. Nothing is expanded to compare
one host with a pattern: the host that a template such as `{host}-ipmi` would need for an address is computed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from yaml.nodes import Node, ScalarNode

from trigger.config import host_pattern, yaml_values
from trigger.config.address import canonical
from trigger.config.file import Entry
from trigger.config.yaml_nodes import Branch, Problem, Problems, collector_off

_BMC_PORTS = frozenset({0, 443, 623})  # 0: the driver's own
_SEARCHES = 16  # hosts asked for, before an index of all 10,000 is cheaper than searching their texts
_MAYBE_IPV6 = r"[0-9a-f.]*:[0-9a-f:.]*:[0-9a-f:.]*"

Defaults = dict[str, Branch]


class Claim(NamedTuple):
    """One controller of an entry, as written: `address` and `system` may hold `{host}`."""

    address: str
    port: int
    system: str
    file: str
    line: int
    path: str

    def place(self, host: str) -> tuple[str, int]:
        """Return what no two hosts may share: canonical address, and port (0 for a BMC's usual ones)."""
        port = 0 if self.port in _BMC_PORTS else self.port
        return canonical(self.address.replace("{host}", host)), port

    def problem(self, host: str, other: Claim, other_host: str) -> Problem:
        """Return the problem that `host` has the controller that `other` gives to `other_host`."""
        where = f"{other.file}:{other.line}" if other.file != self.file else f"line {other.line}"
        return Problem(
            self.file,
            self.line,
            f"{self.path}.address",
            f"{yaml_values.shown(self.place(host)[0])} of {host} is also the controller of {other_host} "
            f"({other.path}, {where})",
            "correct one, or name the `system` of both if one controller serves several",
        )


def claims_of(entry: Entry, defaults: Defaults) -> list[Claim]:
    """Return the controllers of an entry that have an address; errors in it are somebody else's to report."""
    ignored = Problems()
    branch = entry.compose(ignored)
    return claims_in(yaml_values.mapping(branch, ignored) if branch else None, defaults)


def claims_in(values: Mapping[str, Branch] | None, defaults: Defaults) -> list[Claim]:
    """Return the controllers in an entry's values."""
    ignored = Problems()
    controllers = (values or {}).get("controllers")
    items = yaml_values.sequence(controllers, ignored, "") if controllers else None
    found = []
    for item in items or []:
        keys = {**defaults, **(yaml_values.mapping(item, ignored) or {})}
        address, port, system = (_text(keys[key].node) if key in keys else "" for key in ("address", "port", "system"))
        if address:
            number = int(port) if re.fullmatch("[0-9]{1,5}", port) else 0
            found.append(Claim(address, number, system, item.file, item.line, item.path))
    return found


def _text(node: Node) -> str:
    return str(node.value) if isinstance(node, ScalarNode) else ""


def share(one: Claim, one_host: str, other: Claim, other_host: str) -> bool:
    """Return whether the two are one controller, and not two systems that it names."""
    if one.place(one_host) != other.place(other_host):
        return False
    systems = (one.system.replace("{host}", one_host), other.system.replace("{host}", other_host))
    return not all(systems) or systems[0] == systems[1]


class Neighbours:
    """Finds the other hosts of a configuration that share a controller with one. Safe to share between threads."""

    def __init__(self, entries: Sequence[Entry], defaults: Defaults) -> None:
        self._entries = entries
        self._defaults = defaults
        self._default_address = _text(defaults["address"].node) if "address" in defaults else ""
        self._asked = 0
        self._index: _Index | None = None

    def problems(self, host: str, own: Sequence[Entry]) -> Iterator[Problem]:
        """Yield a problem for each controller of `host` that another entry than those of `own` has as well.

        For a fire the texts are searched, which composes next to nothing; who asks for many hosts gets an index.
        """
        mine = claims_of(own[0], self._defaults)
        excluded = set(map(id, own))
        self._asked += 1
        if self._asked > _SEARCHES:
            yield from self._indexed(host, mine, excluded)
            return
        addresses = {claim.place(host)[0] for claim in mine}
        near = [entry for entry in self._entries if _may_claim(entry, addresses, self._default_address)]
        yield from self._compared(host, mine, [entry for entry in near if id(entry) not in excluded])

    def _compared(self, host: str, mine: Sequence[Claim], others: Sequence[Entry]) -> Iterator[Problem]:
        for other in others:
            for claim in claims_of(other, self._defaults):
                for one in mine:
                    for other_host in _hosts_at(claim, other, one.place(host)[0]):
                        if other_host != host and share(one, host, claim, other_host):
                            yield one.problem(host, claim, other_host)

    def _indexed(self, host: str, mine: Sequence[Claim], excluded: set[int]) -> Iterator[Problem]:
        if self._index is None:
            self._index = _Index(self._entries, self._defaults)
        for one in mine:
            for claim, entry in self._index.sharing(one, host):
                if id(entry) not in excluded and entry.key != host:
                    yield one.problem(host, claim, entry.key)
        yield from self._compared(host, mine, [entry for entry in self._index.patterns if id(entry) not in excluded])


class _Index:
    """The controllers of every entry of one host, by place and system; and the entries that are `patterns`.

    A thousand systems behind one address cost as much as a thousand addresses.
    """

    def __init__(self, entries: Sequence[Entry], defaults: Defaults) -> None:
        self.patterns: list[Entry] = []
        self._claims: dict[tuple[str, int], dict[str, list[tuple[Claim, Entry]]]] = {}
        with collector_off():
            for entry in entries:
                if host_pattern.is_pattern(entry.key):
                    self.patterns.append(entry)
                    continue
                for claim in claims_of(entry, defaults):
                    systems = self._claims.setdefault(claim.place(entry.key), {})
                    systems.setdefault(claim.system.replace("{host}", entry.key), []).append((claim, entry))

    def sharing(self, one: Claim, host: str) -> Iterator[tuple[Claim, Entry]]:
        """Yield what is at the same place: of every system, where `one` names none; else of its own and of none."""
        systems = self._claims.get(one.place(host), {})
        own = one.system.replace("{host}", host)
        for system in (own, "") if own else tuple(systems):
            yield from systems.get(system, ())


def _may_claim(entry: Entry, wanted: set[str], default_address: str) -> bool:
    """Return False only when the entry's text cannot name one of the addresses, which spares composing it."""
    if not entry.text or host_pattern.is_pattern(entry.key) or "\\" in entry.text:
        return True
    seen = f"{entry.text} {default_address}".replace("{host}", entry.key).lower()
    if any(address.lower() in seen for address in wanted):
        return True
    # IPv6 has many spellings, and ::ffff:a01:7 is 10.1.0.7.
    ipv6 = "::" in seen or any(":" in address for address in wanted)
    return ipv6 and any(canonical(text) in wanted for text in re.findall(_MAYBE_IPV6, seen))


def _hosts_at(claim: Claim, entry: Entry, address: str) -> Iterator[str]:
    """Yield the hosts of the entry whose controller `claim` would be at `address`."""
    try:
        pattern = host_pattern.parse(entry.key)
    except host_pattern.PatternError:
        return
    template = claim.address if claim.address.startswith("/") else claim.address.lower().rstrip(".")
    parts = template.split("{host}")
    if len(parts) == 1 and claim.place("")[0] != address:
        return
    if len(parts) == 1 or ":" in template:
        yield from (host for host in pattern.names() if claim.place(host)[0] == address)
        return
    length, rest = divmod(len(address) - sum(map(len, parts)), len(parts) - 1)
    host = address[len(parts[0]) :][: max(length, 0)]
    if rest or length < 1 or host.join(parts) != address:
        return
    # Addresses do not distinguish capitals, names of hosts do.
    lower = host_pattern.parse(entry.key.lower())
    if pattern.matches(host):
        yield host
    elif lower.matches(host):
        yield from (name for name in pattern.names() if name.lower() == host)


class AllClaims:
    """Every controller of every host, for the strict check."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], dict[str, tuple[Claim, str]]] = {}

    def add(self, claim: Claim, host: str) -> Problem | None:
        """Remember the controller; return a problem when another host has it."""
        systems = self._seen.setdefault(claim.place(host), {})
        system = claim.system.replace("{host}", host)
        for known in (system, "") if system else tuple(systems):
            if known in systems and systems[known][1] != host:
                other, other_host = systems[known]
                return claim.problem(host, other, other_host)
        systems.setdefault(system, (claim, host))
        return None
