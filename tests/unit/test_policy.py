"""Policies: every rule refuses with its file and line, two files together forbid what either forbids, none loosens."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from trigger.clock import FastClock
from trigger.config import file as config_file
from trigger.errors import ConfigError, GuardRefused
from trigger.guard import Finding
from trigger.host import Controller, Host
from trigger.plan import Plan, make_plan
from trigger.policy.file import policies_in_force, read_policy, this_person
from trigger.policy.hold import FIRES, Hold
from trigger.policy.rules import Person, Policy, enforce
from trigger.state import StateFolder

ADA = Person("ada", "ada", {"ada": frozenset({"oncall"})})
HOST = Host(
    "db7",
    (Controller("ilo", "ilo", "192.0.2.7"), Controller("ipmi", "ipmi", "192.0.2.8")),
    tags=("prod",),
)
COMMAND = "trigger nmi db7"


@pytest.fixture(autouse=True)
def no_policy_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(config_file, "SYSTEM_POLICY", str(tmp_path / "system.yaml"))


def written(tmp_path: Path, text: str, name: str = "policy.yaml") -> Policy:
    path = tmp_path / name
    path.write_text(text)
    return read_policy(str(path))


def judged(
    *policies: Policy, person: Person = ADA, reason: str = "INC123", host: Host = HOST
) -> tuple[Plan, tuple[Finding, ...], tuple[str, ...]]:
    plan = make_plan(host, "nmi", addresses={"192.0.2.7": ("192.0.2.7",)})
    return enforce(policies, plan, person, reason, COMMAND)


def refused(*policies: Policy, person: Person = ADA, reason: str = "INC123") -> GuardRefused:
    with pytest.raises(GuardRefused) as error:
        judged(*policies, person=person, reason=reason)
    assert "Nothing was sent" in error.value.message
    assert error.value.next_step
    return error.value


def test_an_empty_policy_forbids_nothing(tmp_path: Path) -> None:
    plan, findings, notes = judged(written(tmp_path, "# nothing yet\n"))
    assert (len(plan.routes), findings, notes) == (2, (), ())


@pytest.mark.parametrize(
    ("who", "allowed"),
    [
        (Person("ada", "ada"), True),
        (Person("bob", "bob", {"bob": frozenset({"oncall"})}), True),
        (Person("bob", "bob", {"bob": frozenset({"web"})}), False),
        (Person("root", "ada"), True),  # sudo: who logged in answers for it
        (Person("root", "mallory"), False),
        (Person("root", ""), False),  # nobody logged in: root itself must be listed
        (Person("ada", "mallory"), False),  # su ada
        (Person("service", "ada"), False),  # both must be allowed
    ],
)
def test_who_may_fire_is_asked_of_the_real_and_of_the_login_user(tmp_path: Path, who: Person, allowed: bool) -> None:
    policy = written(tmp_path, "\nmay_fire: {users: [ada], groups: [oncall]}\n")
    if allowed:
        judged(policy, person=who)
        return
    error = refused(policy, person=who)
    assert error.rule == "policy-user"
    assert f"{tmp_path}/policy.yaml:2" in error.message
    assert "--override" not in error.next_step


@pytest.mark.parametrize(
    ("rule", "reason", "allowed"),
    [
        ("{required: true}", "because", True),
        ("{required: true}", "  ", False),
        ('{pattern: "INC[0-9]{3}"}', "hangs, INC123", True),
        ('{pattern: "INC[0-9]{3}"}', "hangs", False),
        ('{pattern: "INC[0-9]{3}"}', "", False),
        ('{pattern: "INC[0-9]{3}"}', "x" * 600 + "INC123", False),
    ],
)
def test_a_reason_or_a_ticket_is_wanted(tmp_path: Path, rule: str, reason: str, allowed: bool) -> None:
    policy = written(tmp_path, f"reason: {rule}\n")
    if allowed:
        judged(policy, reason=reason)
        return
    error = refused(policy, reason=reason)
    assert (error.rule, f"{tmp_path}/policy.yaml:1" in error.message) == ("policy-reason", True)


def test_routes_that_are_not_allowed_are_left_out_and_none_left_refuses(tmp_path: Path) -> None:
    plan, _, notes = judged(written(tmp_path, "routes: [nmi/ipmi]\n"))
    assert [route.controller.name for route in plan.routes] == ["ipmi"]
    assert [f"{tmp_path}/policy.yaml:1" in note for note in notes] == [True]
    error = refused(written(tmp_path, "routes:\n  - sysrq-c\n"))
    assert (error.rule, f"{tmp_path}/policy.yaml:2" in error.message) == ("policy-route", True)


@pytest.mark.parametrize("item", ["db7", '"db[1-9]"', '"@prod"', "192.0.2.8"])
def test_protected_hosts_by_name_pattern_tag_and_address(tmp_path: Path, item: str) -> None:
    policy = written(tmp_path, f"protected:\n  - other\n  - {item}\n")
    _, [finding], _ = judged(policy)
    assert (finding.rule, finding.overridable) == ("protected", True)
    assert f"{tmp_path}/policy.yaml:3" in finding.message
    assert judged(policy, host=HOST._replace(name="web1", tags=(), controllers=HOST.controllers[:1]))[1] == ()


def test_two_files_forbid_what_either_forbids(tmp_path: Path) -> None:
    tight = written(tmp_path, "may_fire: {users: [root]}\nroutes: [nmi/ilo]\n", "tight.yaml")
    loose = written(tmp_path, "may_fire: {users: [ada, root]}\nroutes: [nmi]\nreason: {required: true}\n", "loose.yaml")
    for pair in ((tight, loose), (loose, tight)):
        assert "tight.yaml:1" in refused(*pair).message
        root = Person("root")
        assert refused(*pair, person=root, reason="").rule == "policy-reason"
        assert [route.controller.name for route in judged(*pair, person=root)[0].routes] == ["ilo"]


def test_the_system_policy_holds_whatever_the_configuration_names(tmp_path: Path) -> None:
    assert policies_in_force() == ()
    (tmp_path / "system.yaml").write_text("fires_per_hour: 1\n")
    (tmp_path / "more.yaml").write_text("fires_per_hour: 9\n")
    found = policies_in_force(str(tmp_path / "more.yaml"))
    assert [policy.per_hour.fires for policy in found if policy.per_hour] == [1, 9]
    assert [policy.file for policy in policies_in_force()] == [str(tmp_path / "system.yaml")]


def test_a_policy_that_cannot_be_read_refuses(tmp_path: Path) -> None:
    path = tmp_path / "system.yaml"
    path.symlink_to(tmp_path / "nowhere")  # lexists, and open fails: also for root
    with pytest.raises(GuardRefused, match="cannot be read") as error:
        policies_in_force()
    assert error.value.rule == "policy"
    path.unlink()
    path.write_text("")
    path.chmod(0o666)
    with pytest.raises(GuardRefused, match="written by everybody"):
        policies_in_force()
    path.unlink()
    os.mkfifo(path)  # reading it would hold up the fire, and "nothing written" is no permission
    with pytest.raises(GuardRefused, match="not a regular file"):
        policies_in_force()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("protectd: [db7]", "policy.yaml:1: protectd: unknown key 'protectd'; did you mean 'protected'?"),
        ("may_fire: {user: [ada]}", "policy.yaml:1: may_fire.user: unknown key 'user'"),
        ("\nfires_per_hour: 0", "policy.yaml:2: fires_per_hour: must be a whole number from 1"),
        ('reason: {pattern: "("}', "policy.yaml:1: reason: is no regular expression"),
        ("reason: {required: false}", "policy.yaml:1: reason.required: must be true"),
        ("routes: []", "policy.yaml:1: routes: allows no route at all"),
        ("routes: [nmy/ipmi]", "policy.yaml:1: routes: has 'nmy/ipmi'"),
        ("inhibit: {command: [pause]}", "policy.yaml:1: inhibit.command: must begin with an absolute path"),
        ("inhibit: {seconds: 3}", "policy.yaml:1: inhibit: has no command"),
        ("protected: db7", "policy.yaml:1: protected: must be a list"),
    ],
)
def test_a_wrong_policy_is_an_error_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        written(tmp_path, text)
    assert words in error.value.message


def test_who_this_is() -> None:
    person = this_person()
    assert person.real
    assert person.groups[person.real]


# --- what is held around a fire -------------------------------------------------------------------------------

NOW = FastClock().time()


def state_in(tmp_path: Path) -> StateFolder:
    return StateFolder.choose(str(tmp_path / "state"))


def test_at_most_so_many_fires_an_hour_over_all_hosts(tmp_path: Path) -> None:
    policy, state = written(tmp_path, "fires_per_hour: 2\n"), state_in(tmp_path)

    def fire(host: str, run: str, now: float) -> tuple[str, ...]:
        return Hold([policy], state, host, run, 60.0).begin(now)

    assert fire("db7", "r1", NOW) == ()
    assert fire("db8", "r2", NOW + 10) == ()
    with pytest.raises(GuardRefused, match=r"2 fires an hour.*policy\.yaml:1.*db7, db8") as error:
        fire("db9", "r3", NOW + 20)
    assert error.value.rule == "policy-rate"
    assert fire("db9", "r4", NOW + 3601) == ()
    with pytest.raises(GuardRefused):
        fire("db9", "r5", NOW + 3602)
    assert stat.S_IMODE((state.path / FIRES).stat().st_mode) == 0o600


def test_rungs_of_one_run_count_once(tmp_path: Path) -> None:
    hold = Hold([written(tmp_path, "fires_per_hour: 1\n")], state_in(tmp_path), "db7", "r1", 60.0)
    assert (hold.begin(NOW), hold.begin(NOW + 30)) == ((), ())


def test_a_damaged_count_forbids_and_one_that_cannot_be_written_too(tmp_path: Path) -> None:
    policy, state = written(tmp_path, "fires_per_hour: 1\n"), state_in(tmp_path)
    (state.path / FIRES).write_text("garbage\n")
    (state.path / FIRES).chmod(0o600)
    with pytest.raises(GuardRefused, match="there were 1") as error:
        Hold([policy], state, "db7", "r1", 60.0).begin(NOW)
    assert error.value.rule == "policy-rate"
    assert "is damaged" in error.value.next_step
    (state.path / FIRES).unlink()
    (state.path / FIRES).mkdir()
    with pytest.raises(GuardRefused) as error:
        Hold([policy], state, "db7", "r1", 60.0).begin(NOW)
    assert error.value.rule == "state"


def test_fifty_at_once_reserve_no_more_than_the_limit(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    policy, state = written(tmp_path, "fires_per_hour: 5\n"), state_in(tmp_path)

    def fire(number: int) -> bool:
        try:
            Hold([policy], state, f"db{number}", f"r{number}", 60.0).begin(NOW)
        except GuardRefused:
            return False
        return True

    with ThreadPoolExecutor(10) as pool:
        assert sum(pool.map(fire, range(50))) == 5


def pauser(tmp_path: Path, *more: str) -> Policy:
    script = tmp_path / "pause"
    script.write_text("\n".join(["#!/bin/sh", f'echo "$@" >>{tmp_path}/said', f"env >{tmp_path}/env", *more]))
    script.chmod(0o700)
    return written(tmp_path, f"inhibit: {{command: [{json.dumps(str(script))}, word], seconds: 1}}\n")


def test_auto_repair_is_paused_before_and_resumed_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BMC_PASSWORD", "made-up-pass")
    hold = Hold([pauser(tmp_path)], state_in(tmp_path), "db7", "r1", 2700.4)
    assert (hold.begin(NOW), hold.begin(NOW)) == ((), ())
    assert (hold.end(), hold.end()) == ((), ())
    assert (tmp_path / "said").read_text().splitlines() == ["word begin db7 r1 2700", "word end db7 r1"]
    assert "BMC_PASSWORD" not in (tmp_path / "env").read_text()


def test_a_pause_that_fails_is_a_warning_with_its_place(tmp_path: Path) -> None:
    hold = Hold([pauser(tmp_path, "echo no such service >&2", "exit 3")], state_in(tmp_path), "db7", "r1", 60.0)
    [warning] = hold.begin(NOW)
    assert f"{tmp_path}/policy.yaml:1" in warning
    assert "ended with 3: no such service" in warning
    slow = Hold([pauser(tmp_path, "sleep 20")], state_in(tmp_path), "db7", "r1", 60.0)
    assert "did not end within 1 s" in slow.begin(NOW)[0]
    assert "stays paused until `trigger wait db7`" in slow.still_paused()[0]
    gone = written(tmp_path, "inhibit: {command: [/nonexistent/pause]}\n")
    assert "cannot be run" in Hold([gone], state_in(tmp_path), "db7", "r1", 60.0).begin(NOW)[0]
