"""How the IPMI driver gets in: suites, privileges, busy, slow and confused controllers."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

import pytest

from drivers.ipmi import IpmiDriver
from tests.drivers.ipmi_bmcs import PASSWORD, controller, options
from tests.drivers.scripted_bmc import GUID, Script, ScriptedBmc
from trigger.clock import Deadline
from trigger.driver import Probe
from trigger.errors import ConfigError

SUITE_3, SUITE_17 = (1, 1, 1), (3, 4, 1)


def probe(
    bmc: ScriptedBmc,
    *,
    seconds: float = 5,
    known: Mapping[str, object] | None = None,
    privilege: str = "",
    cipher_suite: int | None = None,
) -> Probe:
    """Log in, read, and log out again."""
    configured = controller(bmc.port, privilege=privilege, cipher_suite=cipher_suite)
    with IpmiDriver(configured, options(known)) as driver:
        return driver.probe(Deadline(seconds))


def test_the_strongest_suite_is_asked_for_first() -> None:
    with ScriptedBmc() as bmc:
        found = probe(bmc)
    assert bmc.suites_asked == [SUITE_17]
    assert found.learned == {"cipher_suite": 17, "privilege": "operator"}
    assert found.identity.uuid == GUID.hex()


@pytest.mark.parametrize("status", [0x04, 0x05, 0x10, 0x11, 0x12])
def test_a_refused_suite_is_followed_by_the_next(status: int) -> None:
    with ScriptedBmc(Script(codes={"open": [status]})) as bmc:
        assert probe(bmc).learned["cipher_suite"] == 3
    assert bmc.suites_asked == [SUITE_17, SUITE_3]


def test_a_bmc_that_answers_with_other_algorithms_has_refused() -> None:
    with ScriptedBmc(Script(insists_on=3)) as bmc:
        assert probe(bmc).learned["cipher_suite"] == 3
    assert bmc.suites_asked == [SUITE_17, SUITE_3]


def test_a_bmc_that_drops_an_unknown_suite_is_offered_the_next() -> None:
    """Open Session for suite 17 is lost four times, as by firmware that ignores what it does not know."""
    with ScriptedBmc(Script(loses={"open": 4})) as bmc:
        assert probe(bmc, seconds=10).learned["cipher_suite"] == 3
    assert bmc.suites_asked == [SUITE_17] * 4 + [SUITE_3]


@pytest.mark.parametrize("suite", [2, 3, 16, 17])
def test_a_recorded_suite_is_the_only_one_and_saves_the_question(suite: int) -> None:
    with ScriptedBmc(Script(suites=(2, 3, 16, 17))) as bmc:
        assert probe(bmc, known={"cipher_suite": suite}).learned["cipher_suite"] == suite
    assert len(bmc.suites_asked) == 1
    assert bmc.received["capabilities"] == 0


@pytest.mark.parametrize("nonsense", [0, 1, 15, 99, -3, "3", None, True, [3]])
def test_a_record_that_names_no_usable_suite_is_no_record(nonsense: object) -> None:
    with ScriptedBmc() as bmc:
        assert probe(bmc, known={"cipher_suite": nonsense}).learned["cipher_suite"] == 17


def test_the_configured_suite_wins_and_a_weaker_one_is_reported() -> None:
    with ScriptedBmc() as bmc:
        found = probe(bmc, cipher_suite=3, known={"cipher_suite": 17})
    assert bmc.suites_asked == [SUITE_3]
    assert "17 was recorded" in found.warnings[0]


@pytest.mark.parametrize("suite", [0, 1, 4, 15, 18])
def test_a_configured_suite_that_is_unsafe_or_unknown_is_a_configuration_error(suite: int) -> None:
    with ScriptedBmc() as bmc, pytest.raises(ConfigError, match=f"suite {suite} is not supported"):
        probe(bmc, cipher_suite=suite)
    assert not bmc.received


@pytest.mark.parametrize("stage", ["open", "rakp1", "privilege"])
def test_administrator_is_tried_when_operator_is_refused(stage: str) -> None:
    refusal = 0x81 if stage == "privilege" else 0x0A
    with ScriptedBmc(Script(refused_levels={stage: {3: refusal}})) as bmc:
        assert probe(bmc).learned["privilege"] == "administrator"
    # Whatever session existed was closed: the one refused at its last step, and the one that worked.
    assert bmc.received["close"] == (2 if stage == "privilege" else 1)


@pytest.mark.parametrize("level", ["operator", "administrator", "ADMINISTRATOR"])
def test_a_configured_privilege_is_the_only_one(level: str) -> None:
    other = 4 if level == "operator" else 3
    with ScriptedBmc(Script(refused_levels={"open": {other: 0x0A}})) as bmc:
        assert probe(bmc, privilege=level).learned["privilege"] == level.lower()
    assert bmc.received["open"] == 1


def test_a_recorded_administrator_does_not_ask_as_operator_first() -> None:
    with ScriptedBmc(Script(refused_levels={"open": {3: 0x0A}})) as bmc:
        probe(bmc, known={"cipher_suite": 17, "privilege": "administrator"})
    assert bmc.received["open"] == 1


def test_a_privilege_that_cannot_fire_is_a_configuration_error() -> None:
    with ScriptedBmc() as bmc, pytest.raises(ConfigError, match="privilege 'user'"):
        probe(bmc, privilege="user")
    assert not bmc.received


@pytest.mark.parametrize(("stage", "status"), [("open", 0x01), ("rakp1", 0x0B), ("privilege", 0xC0)])
def test_a_busy_controller_is_asked_again(stage: str, status: int) -> None:
    with ScriptedBmc(Script(codes={stage: [status, status]})) as bmc:
        probe(bmc, known={"cipher_suite": 17})
    assert bmc.received["open"] == 3


@pytest.mark.parametrize(("stage", "status"), [("rakp1", 0x02), ("rakp3", 0x08), ("rakp3", 0x0F)])
def test_a_handshake_out_of_step_begins_anew(stage: str, status: int) -> None:
    with ScriptedBmc(Script(codes={stage: [status]})) as bmc:
        probe(bmc, known={"cipher_suite": 17})
    assert bmc.received["open"] == 2


@pytest.mark.parametrize("stage", ["open", "rakp1", "rakp3", "privilege", "chassis status"])
def test_one_lost_answer_costs_one_message(stage: str) -> None:
    with ScriptedBmc(Script(loses={stage: 1})) as bmc:
        probe(bmc, known={"cipher_suite": 17})
    assert bmc.received[stage] == 2
    assert bmc.received["open"] == (2 if stage == "open" else 1)


@pytest.mark.parametrize(("stage", "resends"), [("rakp1", 3), ("rakp3", 1), ("privilege", 3), ("chassis status", 3)])
def test_login_begins_anew_when_a_message_was_sent_again_in_vain(stage: str, resends: int) -> None:
    with ScriptedBmc(Script(loses={stage: resends + 1})) as bmc:
        probe(bmc, seconds=10, known={"cipher_suite": 17})
    assert bmc.received["open"] == 2
    assert bmc.received[stage] == resends + 2


def test_a_controller_that_keeps_its_power_state_to_itself_can_still_fire() -> None:
    with ScriptedBmc(Script(codes={"chassis status": [0xC1]})) as bmc:
        found = probe(bmc)
    assert found.power.value == "unknown"
    assert "0xc1" in found.warnings[0]


@pytest.mark.parametrize("suite", [3, 17])
def test_the_scripted_bmc_speaks_as_ipmitool_does(suite: int) -> None:
    """So that the tests in this file prove something about BMCs: ipmitool is what every BMC was tried with."""
    with ScriptedBmc() as bmc:
        command = [
            "ipmitool",
            "-I",
            "lanplus",
            "-C",
            str(suite),
            "-H",
            "127.0.0.1",
            "-p",
            str(bmc.port),
            "-U",
            "crash",
        ]
        done = subprocess.run(
            [*command, "-L", "OPERATOR", "-E", "chassis", "power", "status"],
            env={"IPMITOOL_PASSWORD": PASSWORD}, capture_output=True, text=True, timeout=30,
        )  # fmt: skip
    assert done.stdout == "Chassis Power is on\n", done.stderr
    assert bmc.received["rakp3"] == 1


def test_power_off_is_seen() -> None:
    with ScriptedBmc(Script(power=0x20)) as bmc:
        assert probe(bmc).power.value == "off"


def test_a_slow_controller_is_not_flooded() -> None:
    with ScriptedBmc(Script(delay=0.3)) as bmc:
        probe(bmc, known={"cipher_suite": 17})
    assert dict(bmc.received) == {
        "open": 1, "rakp1": 1, "rakp3": 1, "privilege": 1, "chassis status": 1, "close": 1,
    }  # fmt: skip


def test_a_very_slow_controller_gets_few_messages_too_many() -> None:
    with ScriptedBmc(Script(delay=0.9)) as bmc:
        probe(bmc, seconds=12, known={"cipher_suite": 17})
    assert bmc.received.total() <= 6 + 2


def test_a_password_does_not_look_wrong_because_a_slow_controller_started_over() -> None:
    """Open Session is sent again to a controller slower than the timer, and RAKP 2 fits the second session."""
    with ScriptedBmc(Script(loses={"rakp1": 1}, codes={"rakp3": [0x0F]})) as bmc:
        probe(bmc, known={"cipher_suite": 17})
