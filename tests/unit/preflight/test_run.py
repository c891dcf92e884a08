"""A fleet, from the command line to the exit code: formats, Ctrl-C and --resume, what changed, the fix plan."""

from __future__ import annotations

import csv
import json
import subprocess
import threading
import time
import xml.etree.ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.preflight.cases import all_cases, simulated_result
from trigger.clock import FastClock
from trigger.preflight.audit import HostResult
from trigger.preflight.run import Look, Wishes, run
from trigger.record import Record

CASES = all_cases()
READY = next(index for index, (_, case) in enumerate(CASES) if case["name"] == "prepared for good")
UNLOADED = next(index for index, (_, case) in enumerate(CASES) if case["name"] == "the crash kernel was unloaded")
HOSTILE = '=cmd|"/c calc"!A1'


@pytest.fixture
def config(tmp_path: Path) -> Callable[[int], Path]:
    def make(count: int) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(
            f"state_dir: {tmp_path / 'state'}\nhosts:\n  'server[0001-{count:04d}]':\n"
            "    controllers:\n      - {driver: ipmi, address: '192.0.2.{number}', user: crash}\n".replace(
                "{number}", "1"
            )
            if count == 1
            else f"state_dir: {tmp_path / 'state'}\nhosts:\n"
            + "".join(f"  server{n:04d}: {{ssh: {{host: server{n:04d}}}}}\n" for n in range(1, count + 1))
        )
        return path

    return make


def look_of(*picks: int) -> Look:
    """Return a look that takes turns with these cases."""

    def look(name: str) -> HostResult:
        case = CASES[picks[int(name[-4:]) % len(picks)]]
        return simulated_result(name, *case)

    return look


def preflight(path: Path, look: Look, capsys: pytest.CaptureFixture[str], **wishes: object) -> tuple[int, str]:
    everything = Wishes(everything=True, config=path, **wishes)  # type: ignore[arg-type]
    code = run(everything, FastClock(), look)
    return code, capsys.readouterr().out


def test_all_ready_is_0_and_one_bad_is_4(config: Callable[[int], Path], capsys: pytest.CaptureFixture[str]) -> None:
    code, out = preflight(config(3), look_of(READY), capsys)
    assert code == 0
    assert "3 hosts: 3 ready" in out
    code, out = preflight(config(3), look_of(READY, READY, UNLOADED), capsys)
    assert code == 4
    assert "2 ready" in out


def test_nobody_seen_is_6(config: Callable[[int], Path], capsys: pytest.CaptureFixture[str]) -> None:
    def nobody(name: str) -> HostResult:
        return HostResult(name, "unreachable", problem="no route to host")

    code, out = preflight(config(3), nobody, capsys)
    assert code == 6
    assert "no route to host" in out


def test_fail_on(config: Callable[[int], Path], capsys: pytest.CaptureFixture[str]) -> None:
    from dataclasses import replace

    def fell(name: str) -> HostResult:
        result = simulated_result(name, *CASES[UNLOADED])
        was_ready = name.endswith("1")
        return replace(result, old=Record(name, 1.0, ready=was_ready))

    assert preflight(config(3), fell, capsys, fail_on="unreachable")[0] == 0
    assert preflight(config(3), fell, capsys, fail_on="new")[0] == 4
    assert preflight(config(3), look_of(UNLOADED), capsys, fail_on="new")[0] == 0


def test_one_bad_host_neither_delays_nor_breaks_the_others(
    config: Callable[[int], Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    slow = threading.Event()
    done: list[str] = []

    def look(name: str) -> HostResult:
        if name.endswith("0001"):
            slow.wait(30)
        result = look_of(READY)(name)
        done.append(name)
        if len(done) == 19:
            slow.set()  # the other nineteen are done, and nothing waited for the slow one
        return result

    code, out = preflight(config(20), look, capsys, fanout=2)
    assert code == 0
    assert done[-1] == "server0001"
    assert "20 hosts: 20 ready" in out


def test_ctrl_c_keeps_what_there_is_and_resume_goes_on(
    config: Callable[[int], Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    looked: list[str] = []

    def interrupted(name: str) -> HostResult:
        looked.append(name)
        if len(looked) > 12:
            raise KeyboardInterrupt  # comes out in the main thread, where Ctrl-C does
        return look_of(READY)(name)

    path = config(20)
    code, out = preflight(path, interrupted, capsys, fanout=1)
    assert code == 4
    assert out.count("NOT SEEN") == 8
    files = list((tmp_path / "state" / "audits").glob("*.jsonl"))
    assert [len(file.read_text().splitlines()) for file in files] == [12]
    again: list[str] = []

    def rest(name: str) -> HostResult:
        again.append(name)
        return look_of(READY)(name)

    code, out = preflight(path, rest, capsys, resume=True)
    assert code == 0
    assert len(again) == 8
    assert not set(again) & set(looked[:12])
    assert "20 hosts: 20 ready" in out


def test_resume_shows_only_what_is_wished_for(
    config: Callable[[int], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = config(12)
    preflight(path, look_of(READY), capsys)
    code = run(Wishes(patterns=("server[0001-0003]",), config=path, resume=True), FastClock(), look_of(READY))
    out = capsys.readouterr().out
    assert code == 0
    assert "3 hosts: 3 ready" in out
    assert "server0004" not in out


def test_resume_without_an_audit_says_so(config: Callable[[int], Path], capsys: pytest.CaptureFixture[str]) -> None:
    from trigger.errors import ConfigError

    with pytest.raises(ConfigError, match="no audit to go on with"):
        preflight(config(3), look_of(READY), capsys, resume=True)


def test_a_line_cut_off_by_a_crash_is_left_out(
    config: Callable[[int], Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    preflight(config(10), look_of(READY), capsys)
    file = next((tmp_path / "state" / "audits").glob("*.jsonl"))
    file.write_bytes(file.read_bytes()[:-40])
    again: list[str] = []

    def rest(name: str) -> HostResult:
        again.append(name)
        return look_of(READY)(name)

    assert preflight(config(10), rest, capsys, resume=True)[0] == 0
    assert len(again) == 1


def test_json_is_one_host_a_line_and_explains(
    config: Callable[[int], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, out = preflight(config(12), look_of(0, READY), capsys, form="json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert len(rows) == 12
    assert {row["host"] for row in rows} == {f"server{n:04d}" for n in range(1, 13)}
    finding = rows[0]["findings"][0]
    assert set(finding) >= {"check", "verdict", "says", "stage", "routes", "why", "source", "decides"}


def test_csv_cells_are_no_formulas(config: Callable[[int], Path], capsys: pytest.CaptureFixture[str]) -> None:
    def look(name: str) -> HostResult:
        return HostResult(HOSTILE, "unreachable", problem="x")

    _, out = preflight(config(1), look, capsys, form="csv")
    rows = list(csv.DictReader(out.splitlines()))
    assert rows[0]["host"] == "'" + HOSTILE
    _, out = preflight(config(3), look_of(0), capsys, form="csv")
    rows = list(csv.DictReader(out.splitlines()))
    assert rows[0]["nmi"] in ("warn", "fail", "pass")
    assert len(rows) == 3


def test_junit_is_xml(config: Callable[[int], Path], capsys: pytest.CaptureFixture[str]) -> None:
    def look(name: str) -> HostResult:
        if name.endswith("1"):
            return HostResult("<a>&\x01\ud800", "unreachable", problem='"]]>\x00')
        return look_of(0)(name)

    _, out = preflight(config(3), look, capsys, form="junit")
    suites = list(xml.etree.ElementTree.fromstring(out))
    assert len(suites) == 3
    failures = [case for suite in suites for case in suite if case.find("failure") is not None]
    assert failures
    assert [int(suite.attrib["failures"]) for suite in suites] == [
        sum(case.find("failure") is not None for case in suite) for suite in suites
    ]


def test_prometheus(config: Callable[[int], Path], capsys: pytest.CaptureFixture[str]) -> None:
    _, out = preflight(config(3), look_of(READY, 0), capsys, form="prometheus")
    lines = out.splitlines()
    assert 'trigger_preflight_ready{host="server0002"} 1' in lines
    assert 'trigger_preflight_route{host="server0002",route="nmi"} 0' in lines
    assert sum(line.startswith("# TYPE") for line in lines) == 4


def test_since_last_shows_only_what_changed(config: Callable[[int], Path], capsys: pytest.CaptureFixture[str]) -> None:
    from dataclasses import replace

    def look(name: str) -> HostResult:
        before = simulated_result(name, *CASES[READY]).record
        now = (
            READY
            if not name.endswith("2")
            else next(index for index, (_, case) in enumerate(CASES) if case["name"] == "the crash kernel was unloaded")
        )
        return replace(simulated_result(name, *CASES[now]), old=before)

    _, out = preflight(config(3), look, capsys, since_last=True)
    assert "server0002" in out
    assert "server0001" not in out
    assert "WORSE  ready before" in out
    assert "pass -> fail  kdump-loaded  no crash kernel is loaded" in out
    _, out = preflight(config(3), lambda name: replace(look("server0001"), host=name), capsys, since_last=True)
    assert "Nothing has changed" in out


def test_the_fix_plan_is_a_script_without_a_word_of_the_host(
    config: Callable[[int], Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _, out = preflight(config(8), look_of(*range(0, 40, 5)), capsys, fix_plan=True)
    done = subprocess.run(["sh", "-n"], input=out, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    harmless = subprocess.run(["sh", "-s"], input=out, text=True, capture_output=True)
    assert (harmless.returncode, harmless.stdout, harmless.stderr) == (0, "", ""), "it is for hosts of other names"
    assert 'if [ "$(uname -n)" = server42 ]; then' in out
    assert "sysctl -w" in out


def test_a_hostile_host_cannot_write_into_the_fix_plan(
    config: Callable[[int], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    evil = {
        "name": "evil",
        "frames": {
            "uname": "Linux x';touch${IFS}/tmp/owned;' 6.1 x86_64",
            "kdump.conf": "path /var/crash",
            "folder /var/crash": "/var/crash",
            "filesystem": "/dev/sda3 / xfs ro",
            "df": "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sda3 1 1 0 9% /$(touch x)",
        },
        "files": {"/proc/cmdline": "apic_extnmi=none console=tty`id`,9600"},
    }
    _, out = preflight(config(1), lambda name: simulated_result(name, "rhel-9", evil), capsys, fix_plan=True)
    assert "touch" not in out
    named = {**evil, "frames": {**evil["frames"], "uname": "Linux server42 6.1 x86_64"}}  # type: ignore[dict-item]
    _, out = preflight(config(1), lambda name: simulated_result(name, "rhel-9", named), capsys, fix_plan=True)
    assert "touch" not in out
    assert "by hand, for its mount has unusual characters" in out


def test_output_goes_to_a_file(
    config: Callable[[int], Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out = preflight(config(3), look_of(READY), capsys, form="html", output=tmp_path / "page.html")
    assert (code, out) == (0, "")
    assert "Content-Security-Policy" in (tmp_path / "page.html").read_text()


def test_the_program_itself(tmp_path: Path) -> None:
    import os
    import sys

    (tmp_path / "config.yaml").write_text("hosts:\n  server42: {ssh: {host: 192.0.2.1, port: 1}}\n")
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "XDG_STATE_HOME": str(tmp_path),
        "TRIGGER_CONFIG": str(tmp_path / "config.yaml"),
    }

    def trigger(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "trigger", "preflight", *words],
            capture_output=True,
            text=True,
            env=environment,
            timeout=60,
        )

    printed = trigger("--print-script")
    assert printed.returncode == 0
    assert printed.stdout.startswith("#!/bin/sh")
    assert trigger().returncode == 2
    with (tmp_path / "config.yaml").open("a") as file:
        file.write(f"policy: {tmp_path}/gone.yaml\n")
    assert f"every fire would be refused: The policy {tmp_path}/gone.yaml cannot be read" in trigger("server42").stderr
    assert trigger("nobody").returncode == 3


def test_a_thousand_hosts_in_bounded_memory(config: Callable[[int], Path], capsys: pytest.CaptureFixture[str]) -> None:
    import tracemalloc

    def peak(count: int) -> int:
        path = config(count)
        tracemalloc.start()
        begun = time.monotonic()
        preflight(path, look_of(0, READY, 3, 7), capsys, form="csv")
        assert time.monotonic() - begun < 60
        _, top = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return top

    small, large = peak(100), peak(400)
    assert large - small < 300 * 10_000, "a host costs less than 10 kB: rows go to disk"


def test_ctrl_c_waits_for_nobody(tmp_path: Path) -> None:
    import os
    import signal
    import socket
    import sys

    with socket.create_server(("127.0.0.1", 0)) as silent:  # connects, and never says a word
        hosts = "".join(
            f"  server{n:02d}: {{ssh: {{host: 127.0.0.1, port: {silent.getsockname()[1]}}}}}\n" for n in range(20)
        )
        (tmp_path / "config.yaml").write_text("hosts:\n" + hosts)
        environment = {
            **os.environ,
            "HOME": str(tmp_path),
            "XDG_STATE_HOME": str(tmp_path),
            "TRIGGER_CONFIG": str(tmp_path / "config.yaml"),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "trigger", "preflight", "--all"],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0,
        )  # fmt: skip
        try:
            silent.settimeout(30)
            first, _ = silent.accept()  # it is at work
            begun = time.monotonic()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
            first.close()
        finally:
            process.kill()
            process.wait()
    assert time.monotonic() - begun < 5
    assert process.returncode == 6
    assert "20 hosts were not looked at. Go on: --resume" in err
    assert out.count("NOT SEEN") == 20
