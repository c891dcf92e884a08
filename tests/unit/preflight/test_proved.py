"""What a fire has proved counts: the dump, and the controller whose NMI it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.preflight.cases import all_cases, printed
from trigger.clock import FastClock
from trigger.driver import Identity, Power, Probe
from trigger.events import DumpFound, Firing, Planned
from trigger.host import Controller, Host
from trigger.journal import Journal
from trigger.preflight.audit import judge
from trigger.preflight.check import Route
from trigger.preflight.controllers import Asked, Asking
from trigger.preflight.facts import Facts
from trigger.preflight.proved import ProvedDump, last_proved
from trigger.preflight.readings import parse
from trigger.state import StateFolder


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder.choose(str(tmp_path / "state"))


def fire(state: StateFolder, run: str, action: str, dump: str) -> None:
    journal = Journal(state, "server42", run, FastClock())
    journal.append(Planned(action=action, actor="ada", reason="", routes=(), dump_target="", deadline_s=1.0))
    journal.append(Firing("ipmi", "ipmi", "192.0.2.1", "an NMI", (), 1.0))
    journal.append(DumpFound(dump, f"/var/crash/{run}/vmcore"))


def test_the_newest_verified_dump_counts(state: StateFolder) -> None:
    assert last_proved(state, "server42") is None
    fire(state, "one", "nmi", "landed")
    assert last_proved(state, "server42") is None
    fire(state, "two", "nmi", "verified")
    fire(state, "three", "sysrq-c", "incomplete")
    proved = last_proved(state, "server42")
    assert proved is not None
    assert (proved.path, proved.nmi_through) == ("/var/crash/two/vmcore", "ipmi")
    fire(state, "four", "sysrq-c", "verified")
    later = last_proved(state, "server42")
    assert later is not None
    assert (later.path, later.nmi_through) == ("/var/crash/four/vmcore", "")


def test_a_damaged_journal_proves_nothing(state: StateFolder) -> None:
    fire(state, "one", "nmi", "verified")
    (state.host_folder("server42") / "journal.jsonl").chmod(0)
    (state.host_folder("server42") / "journal.jsonl").write_bytes(b"\xff\xfe{")
    assert last_proved(state, "server42") is None


def test_it_is_said() -> None:
    name, case = next((name, case) for name, case in all_cases() if case["name"] == "prepared for good")
    facts = Facts(parse(printed(name, case)), proved_dump=ProvedDump("/var/crash/two/vmcore", 1_795_413_871.0, "ipmi"))
    host = Host("server42", (Controller("ipmi", "ipmi", "192.0.2.1"),))
    probe = Probe(Identity(uuid=facts.word("dmi.product_uuid")), Power.ON)
    asked = Asked(host.controllers[0], (Route.NMI,), probe)
    result = judge(host, facts, [], [asked], None, Asking(lambda controller: pytest.fail("asked"), clock=FastClock()))
    says = {finding.check: finding.says for finding in result.findings}
    assert says["controller-nmi"] == "an NMI through it gave a dump on 2026-11-23: verified"
    assert says["target-tried"] == "trigger has proved a dump of this host on 2026-11-23: /var/crash/two/vmcore"
