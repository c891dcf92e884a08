"""From findings to verdicts: what decides, what only warns, and the best of several controllers."""

from __future__ import annotations

import pytest

from trigger.preflight.check import ALL_ROUTES, STAGES, Finding, Route, Stage, Verdict
from trigger.preflight.verdict import is_ready, matrix, reasons, route_passes

PASS, WARN, FAIL, UNKNOWN = Verdict.PASS, Verdict.WARN, Verdict.FAIL, Verdict.UNKNOWN


def finding(stage: Stage, verdict: Verdict, controller: str = "", *, decides: bool = True) -> Finding:
    says = f"{controller or 'host'} {stage.value} {verdict.value}"
    return Finding("x", verdict, says, stage, ALL_ROUTES, "why.", "source", (), decides, controller)


def healthy() -> list[Finding]:
    return [finding(stage, PASS) for stage in STAGES]


def test_a_host_on_which_all_is_well() -> None:
    table = matrix(healthy(), seen=True)
    assert is_ready(table)
    assert {verdict for stages in table.values() for verdict in stages.values()} == {PASS}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("verdict", "ready"), [(WARN, True), (FAIL, False), (UNKNOWN, False)])
def test_each_stage_counts(stage: Stage, verdict: Verdict, ready: bool) -> None:
    table = matrix([*healthy(), finding(stage, verdict)], seen=True)
    assert table[Route.NMI][stage] is verdict
    assert is_ready(table) is ready
    assert bool(reasons([*healthy(), finding(stage, verdict)], table, Route.NMI)) is (verdict is FAIL)


@pytest.mark.parametrize(("verdict", "counts_as"), [(FAIL, WARN), (UNKNOWN, PASS), (WARN, WARN), (PASS, PASS)])
def test_what_cannot_decide_only_warns(verdict: Verdict, counts_as: Verdict) -> None:
    findings = [*healthy(), finding(Stage.CAPTURE, verdict, decides=False)]
    table = matrix(findings, seen=True)
    assert table[Route.NMI][Stage.CAPTURE] is counts_as
    assert is_ready(table)
    assert reasons(findings, table, Route.NMI) == ()


def test_a_remark_decides_nothing() -> None:
    assert is_ready(matrix([*healthy(), finding(Stage.REMARK, FAIL)], seen=True))


def test_one_good_controller_is_enough() -> None:
    bad, good = finding(Stage.TRIGGER, FAIL, "ipmi"), finding(Stage.TRIGGER, PASS, "redfish")
    table = matrix([*healthy(), bad, good], seen=True)
    assert table[Route.NMI][Stage.TRIGGER] is PASS
    assert reasons([bad, good], table, Route.NMI) == (), "a failure that does not matter is no reason"
    table = matrix([*healthy(), bad], seen=True)
    assert table[Route.NMI][Stage.TRIGGER] is FAIL
    assert reasons([bad], table, Route.NMI) == ("ipmi: ipmi trigger fail",)


def test_a_controller_with_one_bad_finding_is_bad() -> None:
    bad, good = finding(Stage.TRIGGER, FAIL, "ipmi"), finding(Stage.TRIGGER, PASS, "ipmi")
    assert matrix([bad, good], seen=True)[Route.NMI][Stage.TRIGGER] is FAIL


def test_a_host_that_was_not_seen_is_unknown() -> None:
    table = matrix([finding(Stage.TRIGGER, PASS, "ipmi")], seen=False)
    assert table[Route.NMI] == {
        Stage.TRIGGER: PASS, Stage.PANIC: UNKNOWN, Stage.CAPTURE: UNKNOWN, Stage.TARGET: UNKNOWN,
    }  # fmt: skip
    assert not is_ready(table)


def test_ssh_alone_makes_no_host_ready() -> None:
    only_ssh = [
        Finding("x", FAIL, "no", Stage.TRIGGER, (Route.NMI, Route.SYSRQ_SOL), "why.", "source"),
        *(finding(stage, PASS) for stage in STAGES),
    ]
    table = matrix(only_ssh, seen=True)
    assert route_passes(table[Route.SYSRQ_SSH])
    assert not is_ready(table)
