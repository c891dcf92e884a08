"""How a controller is set up: what is said of its clock, its serial-over-LAN, and of who else it lets in."""

from __future__ import annotations

from tests.unit.preflight.cases import all_cases, printed
from trigger.clock import FastClock
from trigger.driver import Exposure, Probe, Settings
from trigger.host import Controller
from trigger.preflight.check import Verdict
from trigger.preflight.facts import Facts
from trigger.preflight.readings import parse
from trigger.preflight.settings import clock_offset, judge_access, judge_clock, judge_privilege, judge_sol, kernel_speed

BMC = Controller("ipmi", "ipmi", "192.0.2.1")


def facts(cmdline: str = "") -> Facts:
    name, case = next((name, case) for name, case in all_cases() if case["name"] == "prepared for good")
    files = {**case.get("files", {}), **({"/proc/cmdline": cmdline} if cmdline else {})}
    return Facts(parse(printed(name, {**case, "files": files})))


def test_the_clock() -> None:
    clock = FastClock()
    now = clock.time()
    for offset, verdict, words in (
        (0.0, Verdict.PASS, "within 2 s"),
        (100.0, Verdict.PASS, "within 100 s"),
        (86400.0 + 5, Verdict.WARN, "86405 s ahead"),
        (-600.0, Verdict.WARN, "600 s behind"),
        (7200.0 - 30, Verdict.WARN, "7170 s ahead (local time, it seems)"),
    ):
        found = judge_clock(Settings(time=now + offset), clock)
        assert found is not None
        assert found.verdict is verdict
        assert words in found.says
        assert bool(found.remedy) is (verdict is Verdict.WARN)
    assert judge_clock(Settings(), clock) is None
    assert clock_offset(None, now) is None


def test_serial_over_lan() -> None:
    here = facts()  # console=ttyS1,115200
    off = judge_sol(Settings(sol_enabled=False), here)
    assert off is not None
    assert off.verdict is Verdict.FAIL
    assert "ipmitool sol set enabled true" in off.remedy[0]
    same = judge_sol(Settings(sol_enabled=True, sol_baud=115200), here)
    assert same is not None
    assert same.verdict is Verdict.PASS
    other = judge_sol(Settings(sol_enabled=True, sol_baud=9600), here)
    assert other is not None
    assert other.verdict is Verdict.WARN
    assert "9600 baud and the kernel's ttyS1 at 115200" in other.says
    assert "115.2 1" in other.remedy[0]
    assert judge_sol(Settings(), here) is None
    unseen = judge_sol(Settings(sol_enabled=True, sol_baud=9600), None)
    assert unseen is not None
    assert unseen.verdict is Verdict.PASS


def test_an_account_that_may_only_look() -> None:
    found = judge_privilege(Settings(too_weak="the role ReadOnly, which has no ConfigureComponents"))
    assert found is not None
    assert found.verdict is Verdict.FAIL
    assert "may not reset the system: it has the role ReadOnly" in found.says
    assert judge_privilege(Settings()) is None


def test_a_console_without_a_speed_runs_at_9600() -> None:
    assert kernel_speed(facts("console=ttyS1"), "ttyS1") == 9600
    assert kernel_speed(facts("console=ttyS1,57600n8"), "ttyS1") == 57600
    assert kernel_speed(facts("root=/dev/sda1"), "ttyS1") is None, "firmware's SPCR may have chosen it"


def test_who_else_is_let_in() -> None:
    nothing = judge_access(BMC, Probe(learned={"cipher_suite": 17}), Settings())
    assert nothing is not None
    assert nothing.verdict is Verdict.PASS
    assert judge_access(BMC, Probe(learned={"cipher_suite": 17}), None) is None
    weak = judge_access(BMC, Probe(learned={"cipher_suite": 3}), Settings())
    assert weak is not None
    assert weak.verdict is Verdict.WARN
    holes = Settings(exposures=(Exposure("default-account", "ADMIN"), Exposure("cipher-0", "suite 0", "close it")))
    found = judge_access(BMC, Probe(), holes)
    assert found is not None
    assert (found.verdict, found.says, found.remedy) == (Verdict.WARN, "suite 0; ADMIN", ("# close it",)), (
        "the worst first"
    )
    plain = judge_access(BMC._replace(options={"scheme": "http"}), Probe(), None)
    assert plain is not None
    assert "in the clear" in plain.says
