"""One host looked at whole: a real BMC simulation over UDP, real SSH, and every way in which either fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.preflight.cases import all_cases, printed, system
from tests.unit.preflight.host_server import HostServer, serve
from trigger.clock import SystemClock
from trigger.host import Controller, ExpectedIdentity, Host, Ssh
from trigger.preflight.audit import HostResult, audit
from trigger.preflight.controllers import Asking
from trigger.record import config_hash, find_record
from trigger.simulated.machine import SimulatedMachine
from trigger.simulated.switches import Switches
from trigger.state import StateFolder

GUID = "4c4c4544-0042-3510-8053-b4c04f4d3432"  # what tests/checks/x86-server.yaml has as DMI UUID
PREPARED = next(case for name, case in all_cases() if case["name"] == "prepared for good")


class Answers:
    """A password, and how often it was asked for."""

    def __init__(self, password: str) -> None:
        self._password = password
        self.asked = 0

    def password(self) -> str:
        """Return it."""
        self.asked += 1
        return self._password


@pytest.fixture(scope="module")
def bmc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedMachine]:
    with SimulatedMachine(Switches(guid=GUID), tmp_path_factory.mktemp("bmc")) as machine:
        yield machine


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostServer]:
    ready = printed("rhel-9", PREPARED)
    other = ready.replace(GUID, "99999999-1234-5678-9abc-def012345678")
    nameless = ready.replace(GUID, "00000000-0000-0000-0000-000000000000").replace("5BSM42X", "Default string")
    prints = {
        "ready": ready, "other": other, "nameless": nameless, "hang": "hang", "flood": "flood", "menu": "menu",
        "csh": "csh", "installed": printed("rhel-9", system("rhel-9")["cases"][0]),
        "banner": "*** WARNING ***\n" * 50 + ready,
    }  # fmt: skip
    with serve(tmp_path_factory.mktemp("hosts"), prints) as server:
        yield server


Look = Callable[..., HostResult]


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder.choose(str(tmp_path / "state"))


@pytest.fixture
def answers(bmc: SimulatedMachine) -> Answers:
    return Answers(bmc.password)


@pytest.fixture
def look(state: StateFolder, bmc: SimulatedMachine, hosts: HostServer, answers: Answers) -> Look:
    def make(
        user: str = "ready", *, ssh: Ssh | None = None, identity: str = "", port: int = 0, **wishes: Any
    ) -> HostResult:
        controller = Controller("ipmi", "ipmi", bmc.bmc_address, port or bmc.bmc_port, bmc.user, privilege="operator")
        host = Host("server42", (controller,), ssh or hosts.ssh(user), identity=ExpectedIdentity(identity))
        return audit(host, state, (), Asking(lambda _: answers, clock=SystemClock(), **wishes))

    return make


def says(result: HostResult, check: str) -> str:
    return next(f"{f.verdict.value}: {f.says}" for f in result.findings if f.check == check)


def test_a_host_that_is_ready(look: Look, state: StateFolder, hosts: HostServer) -> None:
    result = look()
    assert result.state == "ready"
    assert says(result, "controller-identity").startswith("pass: its UUID")
    assert hosts.scripts["ready"].startswith("#!/bin/sh")
    record = find_record(state, "server42")
    assert record == result.record
    assert record is not None
    assert record.ready
    assert record.kernel_release == "5.14.0-427.13.1.el9_4.x86_64"
    assert record.mem_bytes == 65536000 * 1024
    assert record.stext == 0xFFFFFFFF9D400000
    assert record.kerneloffset == 0x1C400000
    assert record.routes["ipmi"]["cipher_suite"] in (3, 17)
    assert "netfn 0x00 command 0x02" in str(record.routes["ipmi"]["request"])
    assert record.dump_targets[0].read == "host:/var/crash"
    assert [entry.name for entry in record.dump_targets[0].baseline] == ["127.0.0.1-2026-11-18-03:12:44"]
    assert record.distribution == "rhel"
    assert record.sysrq_mask == 184
    assert record.console.device == "ttyS1"
    assert record.route_verdicts["nmi"] == "pass"


def test_a_banner_does_no_harm(look: Look) -> None:
    assert look("banner").state == "ready"


def test_a_host_as_installed_says_why(look: Look) -> None:
    result = look("installed")
    assert result.state == "not-ready"
    assert result.record is not None
    assert any("Dazed and confused" in reason for reason in result.record.route_reasons["nmi"])
    assert any("kernel.sysrq is 16" in reason for reason in result.record.not_ready_reasons)
    assert result.record.route_reasons["sysrq-ssh"] == ()


def test_the_controller_of_another_machine_is_a_failure(look: Look) -> None:
    result = look("other")
    assert result.state == "not-ready"
    assert says(result, "controller-identity").startswith("fail: WRONG MACHINE")
    assert any("WRONG MACHINE" in reason for reason in result.record.route_reasons["nmi"])  # type: ignore[union-attr]


def test_a_bmc_with_a_uuid_of_its_own_is_accepted_once(look: Look, state: StateFolder) -> None:
    assert look("other").state == "not-ready"
    assert find_record(state, "server42").controllers == {}, "a refused identity is not recorded"  # type: ignore[union-attr]
    assert look("other").state == "not-ready"
    accepted = look("other", accept_identity=True)
    assert "accepted as asked" in says(accepted, "controller-identity")
    assert accepted.state == "ready"
    assert "accepted at an earlier preflight" in says(look("other"), "controller-identity")


def test_the_owner_wrote_down_another_machine(look: Look) -> None:
    result = look(identity="99999999-1234-5678-9abc-def012345678")
    assert "by the configuration" in says(result, "controller-identity")
    assert result.state == "not-ready"


def test_a_host_that_does_not_say_who_it_is_only_warns(look: Look) -> None:
    result = look("nameless")
    assert says(result, "controller-identity").startswith("warn: nothing proves")
    assert result.state == "ready"


def test_the_powered_off_are_not_ready(look: Look, bmc: SimulatedMachine) -> None:
    bmc.switch(power="off")
    try:
        result = look()
    finally:
        bmc.switch(power="on")
    assert says(result, "controller-power") == "fail: the system is powered off"
    assert result.state == "not-ready"


def test_a_rejected_login_is_not_tried_again(look: Look, answers: Answers, state: StateFolder) -> None:
    answers._password = "wrong"
    first = look()
    assert says(first, "controller-login").startswith("fail: ")
    assert answers.asked == 1
    second = look()
    assert "not tried again" in says(second, "controller-login")
    assert answers.asked == 1
    look(retry_auth=True)
    assert answers.asked == 2
    record = find_record(state, "server42")
    assert record is not None
    assert list(record.rejected_logins) == ["ipmi"]


def test_a_login_that_works_again_is_forgiven(look: Look, answers: Answers, bmc: SimulatedMachine) -> None:
    answers._password = "wrong"
    look()
    answers._password = bmc.password
    assert look(retry_auth=True).record.rejected_logins == {}  # type: ignore[union-attr]
    assert look().state == "ready"


def test_another_controller_than_last_time(look: Look, tmp_path: Path, state: StateFolder) -> None:
    look("nameless")
    with SimulatedMachine(Switches(), tmp_path / "bmc2") as stranger:
        answers = Answers(stranger.password)
        controller = Controller(
            "ipmi", "ipmi", stranger.bmc_address, stranger.bmc_port, stranger.user, privilege="operator"
        )
        host = Host("server42", (controller,))
        result = audit(host, state, (), Asking(lambda _: answers))
        assert says(result, "controller-changed").startswith("fail: this is another controller")
        assert "--accept-identity" in "".join(f for x in result.findings for f in x.remedy)
        accepted = audit(host, state, (), Asking(lambda _: answers, accept_identity=True))
        assert says(accepted, "controller-changed").startswith("warn: ")


@pytest.mark.parametrize(
    ("user", "words"),
    [("menu", "the login printed: '1) reboot 2) log out >'"), ("csh", "did not run the script"), ("flood", "bytes")],
)
def test_logins_that_are_no_shell(look: Look, user: str, words: str) -> None:
    begun = time.monotonic()
    result = look(user)
    assert words in says(result, "host-login")
    assert result.state == "unknown"
    assert result.controllers_seen == 1
    assert time.monotonic() - begun < 20


def test_a_host_that_hangs_after_the_login(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trigger.preflight.audit.SCRIPT_S", 1.0)
    assert "in time" in says(look("hang"), "host-login")


def test_what_is_known_of_a_host_that_does_not_answer_stays(look: Look, hosts: HostServer) -> None:
    before = look().record
    after = look(ssh=hosts.ssh("ready", port=1)).record
    assert before is not None
    assert after is not None
    assert (after.kernel_release, after.host_seen_at) == (before.kernel_release, before.host_seen_at)
    assert after.written_at > before.written_at
    assert not after.ready


def test_nobody_answers_at_all(look: Look, hosts: HostServer, state: StateFolder) -> None:
    result = look(ssh=hosts.ssh("ready", port=1), port=1)
    assert result.state == "unreachable"
    assert find_record(state, "server42") is None, "a preflight that saw nothing leaves no record"


def test_an_unknown_host_key_needs_trust(look: Look, hosts: HostServer, tmp_path: Path) -> None:
    unknown = hosts.ssh("ready", known_hosts=str(tmp_path / "known_hosts"))
    (tmp_path / "known_hosts").touch()
    assert "not trusted" in says(look(ssh=unknown), "host-login")
    assert look(ssh=unknown, trust_new=True).state == "ready"
    assert look(ssh=unknown).state == "ready", "it is known from now on"


def test_a_changed_host_key_is_never_trusted(look: Look, hosts: HostServer, tmp_path: Path) -> None:
    import asyncssh

    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key("openssh").decode()
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{hosts.port} {other}")
    changed = hosts.ssh("ready", known_hosts=str(tmp_path / "known_hosts"))
    assert "has changed" in says(look(ssh=changed, trust_new=True), "host-login")


def test_a_damaged_record_is_replaced_and_said(look: Look, state: StateFolder) -> None:
    look()
    (state.host_folder("server42") / "record.json").write_text("{")
    result = look()
    assert "is not JSON" in result.problem
    assert find_record(state, "server42") is not None


def test_the_systems_own_ssh(look: Look, hosts: HostServer, tmp_path: Path) -> None:
    assert look(ssh=hosts.ssh("ready", engine="openssh")).state == "ready"
    assert "did not run the script" in says(look(ssh=hosts.ssh("csh", engine="openssh")), "host-login")
    (tmp_path / "known_hosts").touch()
    unknown = hosts.ssh("ready", engine="openssh", known_hosts=str(tmp_path / "known_hosts"))
    assert "not trusted" in says(look(ssh=unknown), "host-login")
    assert "bytes" in says(look(ssh=hosts.ssh("flood", engine="openssh")), "host-login")
    assert "cannot be reached" in says(look(ssh=hosts.ssh("ready", engine="openssh", port=1)), "host-login")


def test_the_configuration_changed(look: Look, hosts: HostServer) -> None:
    one = Host("server42", (), hosts.ssh("ready"))
    other = Host("server42", (), hosts.ssh("banner"))
    assert config_hash(one) != config_hash(other)
