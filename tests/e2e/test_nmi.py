"""`trigger nmi` from the command line to the dump, and every way in which it does not get there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.program import Bench, finish, until

Benches = Callable[..., Bench]


def test_the_main_job(bench: Benches) -> None:
    b = bench()
    result = b.nmi()
    assert result.code == 0, result.err
    kinds = [event["event"] for event in result.events]
    assert kinds[:5] == ["Planned", "Probed", "Guarded", "Firing", "Fired"]
    assert result.event("Fired")["outcome"] == "accepted"
    end = result.event("Finished")
    assert (end["exit_code"], end["sent"], end["safe_to_power_cycle"]) == (0, "yes", "yes")
    dump = result.event("DumpFound")
    assert (dump["state"], dump["complete"]) == ("verified", "yes")
    assert dump["panic"] == "NMI: Not continuing"
    assert Path(dump["path"]).is_file()
    assert b.machine.delivered() == 1
    assert [line["event"] for line in b.journal()] == kinds
    # The first look: what was wrong before the shot, who ran, and how to go on.
    for said in ("before:         lockup: ", "on:             CPU 0, PID 811, storage-flush", "debuginfo: "):
        assert said in result.err


@pytest.mark.parametrize("style", ["rhel", "rhel-flat", "suse", "suse-old", "debian"])
def test_every_distribution_lands(bench: Benches, style: str) -> None:
    b = bench(style=style)
    result = b.nmi()
    assert result.code == 0, result.err
    assert result.event("DumpFound")["complete"] == "yes"
    assert b.machine.delivered() == 1


def test_a_lost_reply_is_unknown_and_the_dump_tells_the_truth(bench: Benches) -> None:
    b = bench(lose_replies=-1)
    result = b.nmi()
    assert result.event("Fired")["outcome"] == "unknown"
    assert result.code == 0, result.err
    assert b.machine.delivered() == 1


def test_a_controller_that_answers_ok_and_does_nothing_is_no_crash(bench: Benches) -> None:
    b = bench(nmi="ignore", host="healthy")
    result = b.nmi("--override", "alive")
    assert result.code == 8, result.err
    assert "Dazed and confused" in result.event("Finished")["text"]
    assert b.nmi("--override", "alive", "--no-wait").code == 0, "no crash proved: the fire is closed"


def test_a_refusal_delivers_nothing_and_leaves_no_open_fire(bench: Benches) -> None:
    b = bench(refuse=0xCC)
    result = b.nmi()
    assert result.code == 6, result.err
    assert "0xcc" in result.err
    assert result.event("Finished")["sent"] == "no"
    assert b.machine.delivered() == 0
    assert b.nmi().code == 6


def test_a_crash_without_a_dump_is_no_dump(bench: Benches) -> None:
    b = bench(crash="incomplete")
    result = b.nmi()
    assert result.code == 9, result.err
    assert result.event("Finished")["safe_to_power_cycle"] == "yes"


def test_where_there_is_no_dump_the_last_words_in_pstore_are_kept(bench: Benches) -> None:
    b = bench(crash="incomplete")
    record = b.machine.dump_dir.parents[1] / "var/lib/systemd/pstore/1790000000/dmesg-efi-179000000001001"
    record.parent.mkdir(parents=True)
    record.write_text("Panic#1 Part1\n[ 9.2] Kernel panic - not syncing: NMI: Not continuing\n")
    old = record.with_name("dmesg-efi-178000000001001")
    old.write_text("Panic#1 Part1\n[ 9.2] Kernel panic - not syncing: of another day\n")
    os.utime(old, (1_780_000_000, 1_780_000_000))
    result = b.nmi()
    assert result.code == 9, result.err
    assert "the kernel's last words are in pstore: NMI: Not continuing" in result.err
    [kept] = b.state.glob("hosts/*/runs/*/first-look.json")
    assert json.loads(kept.read_text())["look"]["panic"] == "NMI: Not continuing"
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_dump_still_being_written_at_the_deadline_is_pending(bench: Benches) -> None:
    b = bench(dump_seconds=60.0)
    result = b.nmi("--deadline", "4s")
    assert result.code == 10, result.err
    assert result.event("Finished")["safe_to_power_cycle"] == "no"
    assert "Do not power-cycle" in result.err


def test_no_wait_then_wait_equals_one_run(bench: Benches) -> None:
    b = bench()
    assert b.nmi("--no-wait").code == 0
    refused = b.nmi()
    assert refused.code == 5
    assert "open fire" in refused.err
    assert f"trigger wait {b.host}" in refused.err
    waited = b.run("wait", b.host, "--json")
    assert waited.code == 0, waited.err
    assert waited.event("DumpFound")["state"] == "verified"
    assert b.machine.delivered() == 1


def test_kill_after_firing_leaves_an_open_fire(bench: Benches) -> None:
    b = bench(nmi_answer_delay=30.0)
    process = b.start("nmi", b.host, "--json", *b.confirmed())
    until(lambda: b.machine.delivered() == 1, "the NMI arrives")
    process.send_signal(signal.SIGKILL)
    finish(process)
    refused = b.nmi()
    assert refused.code == 5
    assert "may have been sent" in refused.err
    assert f"trigger wait {b.host}" in refused.err
    assert b.run("wait", b.host, "--json").code == 0
    assert b.machine.delivered() == 1


def test_kill_before_the_request_arrives_is_the_same(bench: Benches) -> None:
    b = bench(lose_replies=-1)
    process = b.start("nmi", b.host, *b.confirmed())
    until(lambda: any(line["event"] == "Firing" for line in b.journal()), "Firing is in the journal")
    process.send_signal(signal.SIGKILL)
    finish(process)
    assert b.nmi().code == 5


def test_the_first_ctrl_c_while_waiting_detaches(bench: Benches) -> None:
    b = bench(dump_seconds=6.0)
    process = b.start("nmi", b.host, "--json", *b.confirmed())
    until(lambda: any(line["event"] == "Fired" for line in b.journal()), "Fired is in the journal")
    process.send_signal(signal.SIGINT)
    result = finish(process, 10)
    assert result.code == 10, result.err
    assert f"trigger wait {b.host}" in result.err
    assert b.run("wait", b.host).code == 0
    assert b.machine.delivered() == 1


def test_ctrl_c_before_the_fire_sends_nothing(bench: Benches) -> None:
    b = bench(delay=4.0)
    process = b.start("nmi", b.host, "--json", *b.confirmed())
    until(lambda: any(line["event"] == "Planned" for line in b.journal()), "Planned is in the journal")
    process.send_signal(signal.SIGINT)
    result = finish(process, 10)
    assert result.code == 5, result.err
    assert result.event("Finished")["sent"] == "no"
    assert b.machine.delivered() == 0


@pytest.mark.parametrize(
    ("switches", "arguments", "code", "words"),
    [
        ({"reported_guid": "00c0ffee-0000-4000-8000-00000000beef"}, (), 5, "not the one of server42-"),
        ({"host": "healthy"}, (), 5, "is alive"),
        ({"host": "healthy", "ssh": "banner"}, (), 5, "is alive"),
        ({"power": "off"}, (), 4, "powered off"),
        ({}, ("--confirm", "server43"), 5, "neither the host's name"),
        ({"privilege": "user"}, (), 6, "privilege"),
    ],
)
def test_the_guard_refuses_and_nothing_is_delivered(
    bench: Benches, switches: dict[str, object], arguments: tuple[str, ...], code: int, words: str
) -> None:
    b = bench(**switches)
    result = b.nmi(*arguments)
    assert result.code == code, result.err
    assert words in result.err
    assert "othing was" in result.err
    assert result.event("Finished")["sent"] == "no"
    assert b.machine.delivered() == 0


def test_without_a_record_it_needs_an_override_with_a_reason(bench: Benches) -> None:
    b = bench()
    first = b.run("nmi", b.host, "--confirm", b.host)
    assert first.code == 5
    assert "--override no-record --reason 'WHY'" in first.err
    assert b.run("nmi", b.host, "--confirm", b.host, "--override", "no-record").code == 5
    assert b.machine.delivered() == 0


def test_without_a_terminal_nothing_is_assumed(bench: Benches) -> None:
    b = bench()
    result = b.run("nmi", b.host)
    assert result.code == 5
    assert f"--confirm {b.host}" in result.err
    assert b.machine.requests() == {} or sum(b.machine.requests().values()) == 0


def test_dry_run_sends_nothing_and_exits_as_the_guard_would(bench: Benches) -> None:
    b = bench()
    refused = b.run("nmi", b.host, "--dry-run")
    assert refused.code == 5
    assert "no-record" in refused.err
    passed = b.run("nmi", b.host, "--dry-run", "--override", "no-record", "--reason", "x")
    assert passed.code == 0, passed.err
    assert "Nothing was sent" in passed.err
    assert b.machine.delivered() == 0
    assert b.journal() == []


def test_one_controller_under_two_names_in_two_shells(bench: Benches) -> None:
    b = bench(nmi_answer_delay=3.0)
    other = b.folder / "other.yaml"
    other.write_text(b.config.read_text().replace(b.host, "alias42"))
    process = b.start("nmi", b.host, "--json", *b.confirmed())
    until(lambda: b.machine.delivered() == 1, "the NMI arrives")
    words = ("--confirm", "alias42", "--override", "no-record", "--reason", "x", "--config", str(other))
    second = b.run("nmi", "alias42", *words)
    assert second.code == 5, second.err
    assert "Another fire holds the lock" in second.err
    assert f"process {process.pid}" in second.err
    assert finish(process).code == 0
    b.machine.switch(nmi_answer_delay=0.0)
    assert b.machine.delivered() == 1


def test_a_pattern_is_a_usage_error(bench: Benches) -> None:
    b = bench()
    result = b.run("nmi", "server[42-43]", "--confirm", b.host)
    assert result.code == 2
    assert "exactly one host" in result.err


def test_a_terminal_is_asked_and_the_typed_name_accepts(bench: Benches) -> None:
    b = bench()
    assert typed(b, f"{b.host}\n") == 0
    assert b.machine.delivered() == 1


def test_another_word_on_the_terminal_stops(bench: Benches) -> None:
    b = bench()
    assert typed(b, "server43\n") == 5
    assert b.machine.delivered() == 0


def typed(b: Bench, answer: str) -> int:
    """Run `trigger nmi server42` on a terminal, answer its question, and return the exit code."""
    code, seen = b.asked("nmi", b.host, answer=answer)
    assert "no-record" in seen
    return code


def test_closed_output_never_disturbs_the_run(bench: Benches) -> None:
    b = bench()
    process = b.start("nmi", b.host, "--json", *b.confirmed())
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(60) == 0
    assert b.machine.delivered() == 1
    assert json.loads((b.state / f"hosts/{b.host}/journal.jsonl").read_text().splitlines()[-1])["exit_code"] == 0
    assert process.stderr is not None
    process.stderr.close()


@pytest.mark.parametrize(("error", "code"), [("ZeroDivisionError", 7), ("KeyboardInterrupt", 10)])
def test_what_ends_us_after_the_shot_is_never_nothing_happened(bench: Benches, error: str, code: int) -> None:
    b = bench()
    broken = b.folder / "broken.py"
    broken.write_text(
        "import sys, trigger.action\n"
        f"def bug(*_): raise {error}\n"
        "trigger.action.watch = bug\n"
        "from trigger.cli import main\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run(
        [sys.executable, broken, "nmi", b.host, *b.confirmed()],
        env=b.environment(), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "something was sent" in done.stderr.lower()
    assert b.machine.delivered() == 1


def test_everything_over_ipv6(bench: Benches) -> None:
    b = bench(address="::1")
    result = b.nmi()
    assert result.code == 0, result.err
    assert result.event("Firing")["address"] == "::1"
    assert b.machine.delivered() == 1
