"""The guard: pure rules, each with a case that it refuses and one that it lets pass."""

import pytest

from trigger.driver import Identity, Power, Probe
from trigger.fires import OpenFire
from trigger.guard import OVERRIDABLE, Facts, Liveness, judge, refusal

UUID = "a1b2c3d4-e5f6-4711-8899-aabbccddeeff"
OTHER = "00c0ffee-e5f6-4711-8899-aabbccddeeff"
READY = Facts(
    host="server42",
    probe=Probe(Identity(uuid=UUID, serial="CZ1234"), Power.ON, True),
    has_record=True,
    expected=(Identity(uuid=UUID),),
    confirmed_by="server42",
    liveness=Liveness("silent"),
)
FIRE = OpenFire("server42", "r1", "ipmi", "ipmi", "192.0.2.7", (), 1.0, 2.0, "unknown", "")


def with_probe(**changes: object) -> Facts:
    return READY._replace(probe=READY.probe._replace(**changes))  # type: ignore[arg-type]


def test_a_hung_host_with_a_record_goes() -> None:
    assert judge(READY) == ()


@pytest.mark.parametrize(
    ("facts", "rule", "code", "overridable"),
    [
        (READY._replace(open_fires=(FIRE,)), "open-fire", 5, False),
        (with_probe(identity=Identity(uuid=OTHER)), "identity-mismatch", 5, False),
        (READY._replace(confirmed_by=OTHER), "identity-mismatch", 5, False),
        (READY._replace(confirmed_by="server43"), "identity-mismatch", 5, False),
        (with_probe(power=Power.OFF), "power-off", 4, False),
        (with_probe(not_ready="still in POST"), "power-off", 4, False),
        (READY._replace(protected=True), "protected", 5, True),
        (READY._replace(liveness=Liveness("banner")), "alive", 5, True),
        (READY._replace(has_record=False), "no-record", 5, True),
        (READY._replace(expected=()), "identity-unproved", 5, True),
        (with_probe(identity=Identity()), "identity-unproved", 5, True),
        (with_probe(identity=Identity(uuid="0" * 32)), "identity-unproved", 5, True),
        (READY._replace(not_ready=("kdump is not loaded",)), "not-ready", 4, True),
        (with_probe(nmi_allowed=False), "not-listed", 5, True),
    ],
)
def test_each_rule_refuses(facts: Facts, rule: str, code: int, overridable: bool) -> None:
    findings = judge(facts)
    assert [finding.rule for finding in findings] == [rule]
    error = refusal(findings, (), "trigger nmi server42 --confirm server42", "")
    assert error is not None
    assert error.exit_code == code
    assert "Nothing was sent" in error.message
    assert error.next_step or code == 4
    after = refusal(findings, OVERRIDABLE, "trigger nmi server42", "because")
    assert (after is None) is overridable


def test_the_command_that_would_go_on_names_every_missing_override() -> None:
    facts = READY._replace(has_record=False, liveness=Liveness("banner"))
    error = refusal(judge(facts), (), "trigger nmi server42 --confirm server42", "")
    assert error is not None
    assert error.next_step == (
        "If you are sure: trigger nmi server42 --confirm server42 --override alive --override no-record --reason 'WHY'"
    )


def test_a_rule_that_cannot_be_overridden_prints_no_override() -> None:
    facts = READY._replace(has_record=False, open_fires=(FIRE,))
    error = refusal(judge(facts), OVERRIDABLE, "trigger nmi server42", "x")
    assert error is not None
    assert "--override" not in error.next_step
    assert "trigger wait server42" in error.next_step


@pytest.mark.parametrize(
    "reported",
    [
        UUID,
        UUID.upper(),
        "d4c3b2a1-f6e5-1147-8899-aabbccddeeff",  # SMBIOS byte order
        "ffeeddccbbaa9988114 7f6e5d4c3b2a1".replace(" ", ""),  # all 16 bytes reversed, as IPMI sends them
    ],
)
def test_every_byte_order_of_a_guid_is_the_same_machine(reported: str) -> None:
    assert judge(with_probe(identity=Identity(uuid=reported))) == ()


def test_a_serial_number_may_confirm() -> None:
    assert judge(READY._replace(confirmed_by="CZ1234", expected=())) == ()


@pytest.mark.parametrize(
    ("request_", "said"),
    [("SysRq: one BREAK and one 'c' on the serial console", "A SysRq c"), ("IPMI Chassis Control", "An NMI"),
     ("", "A shot")],
)  # fmt: skip
def test_an_open_fire_says_what_was_sent(request_: str, said: str) -> None:
    [finding] = judge(READY._replace(open_fires=(FIRE._replace(request=request_, outcome="accepted"),)))
    assert f" {said} was accepted by the controller." in finding.message
