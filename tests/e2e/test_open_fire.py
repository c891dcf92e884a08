"""Another shot on an open fire needs positive proof that the first had no effect; and what else forbids one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from tests.e2e.program import Bench, until

Benches = Callable[..., Bench]


def opened(bench: Benches, **switches: Any) -> Bench:
    """Return a bench with an open fire that nobody watches."""
    b = bench(**switches)
    b.hurry()
    result = b.nmi("--override", "alive", "--no-wait")
    assert result.code == 0, result.err
    return b


def test_the_same_boot_over_ssh_is_proof_and_with_a_reason_passes(bench: Benches) -> None:
    b = opened(bench, host="healthy", ignore_first=1)
    [row] = b.run("hosts", b.host, "--json").events
    assert (row["open_fire"] != "", row["open_fire_age_s"] >= 0, row["open_fire_until"] > time.time()) == (True,) * 3
    refused = b.nmi("--override", "alive")
    assert (refused.code, "open fire" in refused.err) == (5, True)
    assert b.run("nmi", b.host, "--confirm", b.host, "--override", "open-fire").code == 5, "a reason is needed"
    time.sleep(max(0.0, 1.2 - row["open_fire_age_s"]))  # what the hurried program takes for long enough
    passed = b.nmi("--override", "alive", "--override", "open-fire")
    assert passed.code == 0, passed.err
    guarded = passed.event("Guarded")
    assert "open-fire" in guarded["overridden"]
    assert any("read over authenticated SSH" in warning for warning in guarded["warnings"])
    assert b.machine.delivered() == 1
    assert [row["open_fire"] for row in b.run("hosts", b.host, "--json").events] == [""]


def test_silence_is_no_proof(bench: Benches) -> None:
    b = opened(bench, host="hung", nmi="ignore")
    time.sleep(1.2)
    refused = b.nmi("--override", "open-fire")
    assert refused.code == 5, refused.err
    assert "--override" not in refused.err.split("next:")[-1]
    assert b.machine.requests()["nmi"] == 1


def test_a_dumping_host_is_never_overridden(bench: Benches) -> None:
    b = opened(bench, host="healthy", dump_seconds=20.0)
    b.machine.wait_for("dumping")
    refused = b.nmi("--override", "alive", "--override", "open-fire")
    assert refused.code == 5, refused.err
    assert (b.machine.delivered(), b.machine.status()["ruined"]) == (1, 0)


def test_a_dump_that_grows_at_the_target_refuses_whoever_caused_it(bench: Benches) -> None:
    b = bench(dump_seconds=20.0)
    b.machine.crash()  # not by us: no journal knows of it
    b.machine.wait_for("dumping")
    target = b.machine.dump_dir
    until(lambda: any(path.stat().st_size for path in target.glob("*/vmcore*")), "the dump has begun")
    result = b.nmi()
    assert result.code == 5, result.err
    assert "seems to be being written" in result.err
    assert "grew from" in result.err
    assert (b.machine.delivered(), b.machine.status()["ruined"]) == (0, 0)


def test_old_dumps_at_the_target_refuse_nothing_and_cost_no_time(bench: Benches) -> None:
    b = bench()
    folder = b.machine.dump_dir / "127.0.0.1-2026-01-01-00:00:00"
    folder.mkdir(parents=True)
    (folder / "vmcore").write_bytes(b"old")
    os.utime(folder / "vmcore", (time.time() - 700, time.time() - 700))
    result = b.nmi("--no-wait")
    assert result.code == 0, result.err


def test_the_event_log_is_shown_before_the_question(bench: Benches) -> None:
    b = bench()
    _, seen = b.asked("nmi", b.host, answer="no\n")
    assert seen.index("event log") < seen.index("Type its name")
    assert b.machine.delivered() == 0
