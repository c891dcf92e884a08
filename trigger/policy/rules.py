"""What an organisation forbids: pure rules over who fires at which host, why, and how.

A policy can only tighten: every file in force is judged by itself and each may refuse, so that one file never takes
back what another demands. Reading the files is trigger/policy/file.py; what a policy wants done around a fire
(counting it, pausing auto-repair) is trigger/policy/hold.py. What no policy can do is in docs/security.md.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from trigger.config import host_pattern
from trigger.guard import Finding, refusal
from trigger.host import Host
from trigger.plan import Plan, Route

# What stands in `routes:` for the ability of a route (trigger/plan.py).
WAYS = {"send_nmi": "nmi", "send_sysrq_crash": "sysrq-c", "open_console": "sysrq"}
# A reason is typed by whoever fires and matched against a pattern of somebody else's: its length bounds the time.
LONGEST_REASON = 500


class Item(NamedTuple):
    """One value of a policy, and where it stands: "file:line"."""

    text: str
    where: str


class MayFire(NamedTuple):
    """Who may fire: names of users and groups."""

    users: tuple[str, ...]
    groups: tuple[str, ...]
    where: str


class Reason(NamedTuple):
    """A reason is needed; `pattern` is a regular expression that must be found in it, "" for any text."""

    pattern: str
    where: str


class Limit(NamedTuple):
    """At most `fires` within an hour over all hosts of one state folder."""

    fires: int
    where: str


class Inhibit(NamedTuple):
    """A command that keeps others from power-cycling a silent host; it may take `seconds`."""

    command: tuple[str, ...]
    seconds: float
    where: str


class Policy(NamedTuple):
    """One policy file. What it does not have is None or empty, and forbids nothing."""

    file: str
    protected: tuple[Item, ...] = ()
    may_fire: MayFire | None = None
    reason: Reason | None = None
    routes: tuple[Item, ...] = ()
    per_hour: Limit | None = None
    inhibit: Inhibit | None = None


class Person(NamedTuple):
    """Who fires: the real user, the login user ("" where the kernel knows none), and the groups of each by name."""

    real: str
    login: str = ""
    groups: Mapping[str, frozenset[str]] = MappingProxyType({})

    def answerable(self) -> tuple[str, ...]:
        """Return the users that must all be allowed: real and login; of `sudo` to root only who logged in."""
        if self.login and self.real in ("root", self.login):
            return (self.login,)
        return (self.real, self.login) if self.login else (self.real,)


def enforce(
    policies: Sequence[Policy], plan: Plan, person: Person, reason: str, command: str
) -> tuple[Plan, tuple[Finding, ...], tuple[str, ...]]:
    """Return the plan with the routes that are allowed, the findings that may be overridden, and sentences to show.

    `command` is the command as typed. Raises GuardRefused for what nobody can override, before anything is sent.
    """
    routes, refused = split_routes(policies, plan.routes)
    plan = plan._replace(routes=routes)
    final = [
        *judge_person(policies, person),
        *judge_reason(policies, reason, command),
        *judge_routes(plan, refused),
    ]
    error = refusal(final, (), command, reason)
    if error is not None:
        raise error
    return plan, tuple(judge_host(policies, plan.host, plan.keys)), refused


def judge_person(policies: Iterable[Policy], person: Person) -> list[Finding]:
    """Return a finding for each policy that does not let this person fire."""
    found = []
    for policy in policies:
        rule = policy.may_fire
        if rule is None:
            continue
        for name in person.answerable():
            if name in rule.users or person.groups.get(name, frozenset()) & set(rule.groups):
                continue
            allowed = ", ".join((*rule.users, *(f"group {group}" for group in rule.groups))) or "nobody"
            text = f"The policy does not let {name} fire ({rule.where}): may_fire has {allowed}."
            found.append(Finding("policy-user", text, False, next_step="Ask one of those to run the same command."))
    return found


def judge_reason(policies: Iterable[Policy], reason: str, command: str) -> list[Finding]:
    """Return a finding for each policy whose reason or ticket is lacking; `command` is the command as typed."""
    found = []
    for policy in policies:
        rule = policy.reason
        if rule is None or (reason.strip() and re.search(rule.pattern, reason[:LONGEST_REASON])):
            continue
        wanted = f"a reason in which {rule.pattern!r} is found" if rule.pattern else "a reason"
        text = f"The policy wants {wanted} ({rule.where})" + (f", and {reason!r} is none." if reason else ".")
        more = "Run it again with another --reason." if reason else f"{command} --reason 'WHY'"
        found.append(Finding("policy-reason", text, False, next_step=more))
    return found


def judge_host(policies: Iterable[Policy], host: Host, keys: Collection[str]) -> list[Finding]:
    """Return a finding (rule `protected`, overridable) for each policy that protects the host.

    `keys` are the plan's lock keys: a host that is protected by its controller's address is so under every name.
    """
    found = []
    for policy in policies:
        item = next((item for item in policy.protected if _names(item.text, host, keys)), None)
        if item is not None:
            text = f"{host.name} is protected by the policy ({item.where}): {item.text}."
            found.append(Finding("protected", text, True))
    return found


def split_routes(policies: Sequence[Policy], routes: Iterable[Route]) -> tuple[tuple[Route, ...], tuple[str, ...]]:
    """Return the routes that every policy allows, and a sentence for each of the others."""
    allowed, refused = [], []
    for route in routes:
        way, driver = WAYS.get(route.ability, route.ability), route.controller.driver
        words = {way, driver, f"{way}/{driver}"}
        against = next((p for p in policies if p.routes and not words & {item.text for item in p.routes}), None)
        if against is None:
            allowed.append(route)
            continue
        listed = ", ".join(item.text for item in against.routes)
        refused.append(
            f"The policy does not allow {way} through {route.controller.name} (driver {driver}):"
            f" {against.routes[0].where} has routes {listed}."
        )
    return tuple(allowed), tuple(refused)


def judge_routes(plan: Plan, refused: Sequence[str]) -> list[Finding]:
    """Return the finding of a plan that has no route left, with the sentences of `split_routes`."""
    if plan.routes:
        return []
    text = " ".join(refused)
    return [Finding("policy-route", text, False, next_step="Use a route that the policy allows: --via NAME.")]


def _names(item: str, host: Host, keys: Collection[str]) -> bool:
    """Return whether an item of `protected:` (a name, a pattern, @TAG or a controller's address) means this host."""
    if item.startswith("@"):
        return item[1:] in host.tags
    if any(key.removeprefix("controller ").split(" ")[0] == item for key in keys if key.startswith("controller ")):
        return True
    try:
        return host_pattern.parse(item).matches(host.name)
    except host_pattern.PatternError:
        return False
