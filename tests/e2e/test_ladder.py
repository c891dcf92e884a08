"""`trigger crash`: the next rung only after a refusal or proof of no effect, and never after a crash."""

from __future__ import annotations

import json
import os
import queue
import random
import secrets
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.program import Bench, Result
from trigger.simulated.machine import SimulatedMachine
from trigger.simulated.switches import Switches

Benches = Callable[..., Bench]
WORKERS = 6
SEEDS = range(500 if os.environ.get("TRIGGER_SOAK") else 25)


def two_ways(b: Bench) -> Bench:
    """Give the host two controllers that lead to the same machine: through its faulty network, and beside it."""
    entry = b.machine.host_entry(name="first")
    port = b.machine.bmc_port_without_faults
    controllers = [*entry["controllers"], *b.machine.host_entry(name="second", port=port)["controllers"]]  # type: ignore[misc]
    b.config.write_text(json.dumps({"hosts": {b.host: {**entry, "controllers": controllers}}}))
    return b


def crash(b: Bench, *arguments: str) -> Result:
    """Run `trigger crash` in a hurry."""
    b.hurry()
    options = ("--confirm", b.host, "--override", "no-record", "--override", "alive", "--reason", "test", "--json")
    return b.run("crash", b.host, *options, *arguments)


def fired(result: Result) -> list[tuple[str, str]]:
    return [(event["controller"], event["outcome"]) for event in result.events if event["event"] == "Fired"]


def test_a_crash_is_one_shot(bench: Benches) -> None:
    b = two_ways(bench())
    result = crash(b)
    assert result.code == 0, result.err
    assert fired(result) == [("first", "accepted")]
    assert b.machine.delivered() == 1


def test_a_refusal_is_followed_by_the_next_rung(bench: Benches) -> None:
    b = two_ways(bench(refuse=0xCC, refuse_first=1))
    result = crash(b)
    assert result.code == 0, result.err
    assert fired(result) == [("first", "refused"), ("second", "accepted")]
    assert b.machine.delivered() == 1


def test_proof_of_no_effect_is_followed_by_the_next_rung(bench: Benches) -> None:
    b = two_ways(bench(ignore_first=1, host="healthy"))
    result = crash(b)
    assert result.code == 0, result.err
    assert fired(result) == [("first", "accepted"), ("second", "accepted")]
    [proof] = [event for event in result.events if event["event"] == "Observed" and event["phase"] == "no-crash"]
    assert (proof["grade"], proof["source"]) == ("proof", "host")
    assert b.machine.delivered() == 1


def test_silence_is_followed_by_nothing(bench: Benches) -> None:
    b = two_ways(bench(nmi="ignore", host="hung"))
    result = crash(b, "--deadline", "4s")
    assert result.code in (7, 10), result.err
    assert fired(result) == [("first", "accepted")]


def test_no_effect_by_any_rung_ends_8(bench: Benches) -> None:
    b = two_ways(bench(nmi="ignore", host="healthy"))
    result = crash(b)
    assert result.code == 8, result.err
    assert len(fired(result)) == 2
    assert result.event("Finished")["safe_to_power_cycle"] == "yes"


def test_a_rung_that_cannot_be_fired_leaves_the_end_of_the_one_before(bench: Benches) -> None:
    b = two_ways(bench(ignore_first=1, host="healthy"))
    config = json.loads(b.config.read_text())
    config["hosts"][b.host]["controllers"][1]["password"] = {"file": str(b.folder / "none")}
    b.config.write_text(json.dumps(config))
    result = crash(b)
    assert result.code == 8, result.err
    assert "The next rung was not fired" in result.event("Finished")["text"]
    assert result.event("Finished")["sent"] == "yes"


def at_the_prompt(b: Bench, answer: str, limit: str = "3s", ahead: str = "") -> tuple[int, str]:
    """Run `trigger crash` on a terminal, answer its second question, and return the exit code and what was said."""
    b.hurry()
    b.extra["TERM"] = "dumb"
    words = ("crash", b.host, *b.confirmed(), "--override", "alive", "--deadline", limit)
    return b.asked(*words, question="type its name to fire", answer=answer.replace("HOST", b.host), ahead=ahead)


def test_a_person_may_say_so_with_the_evidence_in_view(bench: Benches) -> None:
    b = two_ways(bench(ignore_first=1, host="hung"))
    code, said = at_the_prompt(b, "HOST\n")
    assert "plan: crash by NMI through first at " in said
    assert "; then SysRq c through first at " in said
    assert "Seen since the last shot" in said
    assert "a working kdump without a console" in " ".join(said.split())
    assert [line["controller"] for line in b.journal() if line["event"] == "Firing"] == ["first", "second"]
    assert b.machine.delivered() == 1
    assert code in (0, 10), said  # its dump may be younger than the hurried deadline


@pytest.mark.parametrize("answer", ["no\n", "\n", "\x03"], ids=["no", "nothing", "Ctrl-C"])
def test_anything_else_stops_and_the_fire_stays_open(bench: Benches, answer: str) -> None:
    b = two_ways(bench(ignore_first=1, host="hung"))
    code, said = at_the_prompt(b, answer, "2s")
    assert code in (7, 10), said
    assert b.machine.requests()["nmi"] == 1


def test_what_was_typed_before_the_evidence_was_in_view_fires_nothing(bench: Benches) -> None:
    b = two_ways(bench(ignore_first=1, host="hung"))
    code, said = at_the_prompt(b, "no\n", "3s", ahead=f"{b.host}\n")
    assert code in (7, 10), said
    assert b.machine.requests()["nmi"] == 1


def test_a_program_that_reads_along_is_asked_nothing(bench: Benches) -> None:
    """Rundeck and `ssh -tt` give a runbook a terminal, on which nobody would ever answer."""
    b = two_ways(bench(ignore_first=1, host="hung"))
    words = ("crash", b.host, *b.confirmed(), "--override", "alive", "--deadline", "2s", "--json")
    code, said = b.asked(*words, question="guard: go", answer="")
    assert code in (7, 10), said
    assert "type its name to fire" not in said


def test_nobody_is_asked_about_a_host_that_dumps(bench: Benches) -> None:
    b = two_ways(bench(dump_seconds=30.0, crash_seconds=0.1))
    code, said = at_the_prompt(b, "HOST\n", "5s")
    assert code == 10, said
    assert "type its name to fire" not in said
    assert b.machine.requests()["nmi"] == 1


def test_seeded_faults_never_shoot_twice_at_a_crash(tmp_path: Path) -> None:
    """Whatever goes wrong: no rung after a delivered and effective crash, no NMI into a host that dumps."""
    machines: queue.SimpleQueue[Bench] = queue.SimpleQueue()
    with ExitStack() as stack:
        for number in range(WORKERS):
            folder = tmp_path / f"machine{number}"
            host = f"ladder-{secrets.token_hex(4)}"
            folder.mkdir()
            machine = stack.enter_context(SimulatedMachine(Switches(hostname=host), folder / "machine"))
            machine.write_config(config := folder / "config.yaml", name=host)
            machines.put(two_ways(Bench(machine, folder, config, host)))
        with ThreadPoolExecutor(WORKERS) as pool:
            runs = list(pool.map(lambda seed: one_seed(seed, machines), SEEDS))
    assert [run.wrong for run in runs if run.wrong] == []
    assert {run.rungs for run in runs} >= {1, 2}, "neither a single shot nor a climb was among them"
    assert any(run.delivered and run.rungs == 2 for run in runs), "no climb ended in a crash"


class Climb(NamedTuple):
    """What came of one seed: what was wrong ("" for nothing), how often it fired, what was delivered."""

    wrong: str
    rungs: int
    delivered: int


def one_seed(seed: int, machines: queue.SimpleQueue[Bench]) -> Climb:
    """Run `trigger crash` against the faults of one seed, on a machine of the pool."""
    switches = faults(random.Random(seed))
    b = machines.get()
    try:
        shutil.rmtree(b.state, ignore_errors=True)
        b.machine.switch(**switches)
        b.machine.set_host(switches["host"])
        b.machine.reset_counts()
        ruined = b.machine.status()["ruined"]
        result = crash(b, "--deadline", "3s")
        status = b.machine.status()
        firings = sum(line["event"] == "Firing" for line in b.journal())
        delivered = status["requests"].get("delivered", 0)
        bad = wrong(switches, result.code, delivered, status["ruined"] - ruined)
        return Climb(bad and f"seed {seed}: {bad}: {switches} {status} {result.err[-800:]}", firings, delivered)
    finally:
        machines.put(b)


def faults(dice: random.Random) -> dict[str, Any]:
    """Return every switch that a seed may turn: of the BMC, of the network, of the host and of its crash."""
    switches: dict[str, Any] = {
        "seed": dice.randrange(1000),
        "host": dice.choice(["hung", "healthy", "healthy", "dead"]),
        "crash": dice.choice(["dump", "dump", "dump", "never", "no-dump", "no-return", "stop", "incomplete"]),
        "dump_seconds": dice.choice([0.2, 1.0, 3.0]),
        "crash_seconds": dice.choice([0.1, 0.5]),
        "ignore_first": dice.choice([0, 0, 1, 2]),
        "refuse": dice.choice([0, 0, 0xCC, 0xC1, 0xD5, 0xFF]),
        "refuse_first": dice.choice([1, 2]),
        "lose_replies": 0, "loss": 0.0, "duplicate": False, "duplicate_requests": False, "nmi_answer_delay": 0.0,
    }  # fmt: skip
    networks: list[dict[str, Any]] = [{}, {}, {"lose_replies": -1}, {"lose_replies": 1}, {"loss": 0.2}, {"loss": 1.0},
                           {"duplicate": True}, {"duplicate_requests": True}, {"nmi_answer_delay": 11.0}]  # fmt: skip
    return {**switches, **dice.choice(networks)}


def wrong(switches: dict[str, Any], code: int, delivered: int, ruined: int) -> str:
    """Return what of a run breaks the law, "" for nothing."""
    effective = delivered if switches["crash"] != "never" else 0
    if effective > 1 or ruined:
        return "a second delivery to a host that had crashed"
    if code not in (0, 6, 7, 8, 9, 10):
        return f"exit code {code}"
    return f"exit code {code} for a host that crashed" if effective and code in (6, 8) else ""
