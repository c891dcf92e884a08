"""The commands around a fire: hosts, history, completion, ad-hoc controllers, dry runs, the demo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.program import Bench
from trigger.record import Record, write_record
from trigger.state import StateFolder

Benches = Callable[..., Bench]


def output(b: Bench, *arguments: str) -> str:
    """Run a command that must succeed, and return its standard output."""
    process = b.start(*arguments)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


def test_history_and_hosts_tell_of_an_open_fire(bench: Benches) -> None:
    b = bench(crash="never", host="dead")
    assert b.nmi("--no-wait").code == 0
    [run] = [json.loads(line) for line in output(b, "history", b.host, "--json").splitlines()]
    assert (run["action"], run["outcome"], run["open"], run["reason"]) == ("nmi", "accepted", True, "test")
    assert "open" in output(b, "history")
    events = [json.loads(line) for line in output(b, "history", b.host, "--run", run["run"], "--json").splitlines()]
    assert events == b.journal()
    assert "the controller accepted it" in output(b, "history", b.host, "--run", run["run"])
    row: dict[str, Any] = json.loads(output(b, "hosts", "--json"))
    assert (row["host"], row["open_fire"], row["record_age_s"]) == (b.host, run["run"], None)
    assert "OPEN FIRE" in output(b, "hosts")


def test_hosts_check_names_file_line_and_key(bench: Benches) -> None:
    b = bench()
    b.config.write_text("hosts:\n  server42:\n    controllers:\n      - {driver: redfsh, address: 192.0.2.7}\n")
    process = b.start("hosts", "--check")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 3
    where = f"{b.config}:4: hosts.server42.controllers[0].driver"
    assert f"{where}: unknown driver 'redfsh'; did you mean 'redfish'?" in out


def test_an_ad_hoc_controller_needs_no_configuration_of_the_host(bench: Benches) -> None:
    b = bench(host="dead", crash="never")
    b.config.write_text("hosts: {}\n")
    b.extra["TRIGGER_PASSWORD"] = b.machine.password
    url = f"ipmi://{b.machine.user}@{b.machine.bmc_address}:{b.machine.bmc_port}"
    overrides = ("--override", "identity-unproved", "--no-wait")
    result = b.nmi("--controller", url, *overrides)
    assert result.code == 0, result.err
    assert b.machine.delivered() == 1
    assert result.event("Finished")["next"] == f"trigger wait {b.host}"
    waited = b.run("wait", b.host, "--deadline", "1s", "--json")
    assert (waited.code, waited.event("Finished")["sent"]) == (10, "yes"), waited.err
    assert b.run("wait", "nobody").code == 3


def test_a_uuid_confirms_what_the_controller_must_report(bench: Benches) -> None:
    b = bench(host="dead", crash="never")
    words = ("--override", "no-record", "--reason", "x", "--no-wait")
    wrong = b.run("nmi", b.host, "--confirm", "00c0ffee-0000-4000-8000-00000000beef", *words)
    assert wrong.code == 5, wrong.err
    assert b.machine.delivered() == 0
    right = b.run("nmi", b.host, "--confirm", b.machine.guid, *words)
    assert right.code == 0, right.err


def test_a_dry_run_shows_the_exact_request(bench: Benches) -> None:
    b = bench()
    result = b.run("nmi", b.host, "--dry-run", "--override", "no-record", "--reason", "x")
    assert result.code == 0, result.err
    for words in ("netfn 0x00 command 0x02 data 0x04", b.machine.bmc_address, "watched for at most", "dump expected"):
        assert words in result.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(bench: Benches, shell: str) -> None:
    assert "_TRIGGER_COMPLETE" in output(bench(), "completion", shell)


def test_completion_completes_commands_and_hosts(bench: Benches) -> None:
    b = bench()

    def completed(words: str, number: int) -> list[str]:
        asked = {"_TRIGGER_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
        done = subprocess.run(
            [sys.executable, "-m", "trigger"], env={**b.environment(), **asked}, capture_output=True, text=True
        )
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert "nmi" in completed("trigger n", 1)
    assert completed("trigger nmi server42-", 2) == [b.host]
    assert "--dry-run" in completed("trigger nmi --dry", 2)


def test_the_demo_runs_as_an_ordinary_user_apart_from_the_real_state(bench: Benches) -> None:
    b = bench()
    process = b.start("demo", "--json")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["dump"].endswith("vmcore")
    assert "counted 1 NMI" in err
    assert not b.state.exists()


def test_the_demo_never_writes_to_the_journal_of_real_fires(bench: Benches, tmp_path: Path) -> None:
    """Where /var/lib/trigger is, that is what everything else writes to."""
    b = bench()
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o700)
    b.program = ("-c", f"import pathlib, trigger.state as s; s.SHARED = pathlib.Path({str(shared)!r})\n"
                       "from trigger.cli import main; raise SystemExit(main())")  # fmt: skip
    kept = tmp_path / "kept"
    done = b.run("demo", "--json", "--keep", str(kept))
    assert done.code == 0, done.err
    assert list(shared.iterdir()) == []
    assert list(kept.glob("state/hosts/server42/runs/*/report.html"))
    again = b.run("demo", "--keep", str(kept))
    assert (again.code, "File exists" in again.err) == (2, True)


@pytest.mark.parametrize(("days", "warnings"), [(3, []), (12, ["the preflight's record is 12 days old"])])
def test_the_age_of_a_record_warns_and_never_refuses(bench: Benches, days: int, warnings: list[str]) -> None:
    b = bench()
    b.state.mkdir(parents=True)
    write_record(StateFolder.choose(str(b.state)), Record(b.host, time.time() - days * 86400 - 60, ready=True))
    fired = b.run("nmi", b.host, "--json", "--confirm", b.host, "--no-wait")
    assert fired.code == 0, fired.err
    assert fired.event("Guarded")["warnings"] == warnings


def test_wait_says_which_run_there_is_not(bench: Benches) -> None:
    b = bench()
    assert "no run sent anything" in b.run("wait", b.host).err
    assert b.run("nmi", b.host, "--confirm", b.host).code == 5  # nobody has preflighted it
    [run] = [json.loads(line)["run"] for line in output(b, "history", b.host, "--json").splitlines()]
    assert f"run {run} sent nothing" in b.run("wait", b.host, "--run", run).err
    missing = b.run("wait", b.host, "--run", "x")
    assert (missing.code, "there is no run x" in missing.err) == (3, True)


def test_output_nobody_reads_is_no_error(bench: Benches) -> None:
    b = bench()
    script = f"{sys.executable} -m trigger hosts --json | head -c 0; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], env={**b.environment(), "PATH": os.environ["PATH"]}, timeout=30)
    assert done.returncode == 0
