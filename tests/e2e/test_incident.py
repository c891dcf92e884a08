"""What a run leaves behind, and whom it tells: the real program against a simulated machine."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.drivers.serial_port import SerialPort
from tests.drivers.simulators.certificates import certificate
from tests.drivers.simulators.redfish_server import PASSWORD, USER, RedfishServer
from tests.drivers.simulators.redfish_trees import machine
from tests.e2e.program import Bench, finish, until
from tests.e2e.test_console_evidence import with_console
from tests.unit.webhook import Webhook

Benches = Callable[..., Bench]
SEL = "/redfish/v1/Systems/1/LogServices/SEL/Entries"


def folder_of(b: Bench) -> Path:
    [run] = (b.state / "hosts" / b.host / "runs").iterdir()
    return run


def notify(b: Bench, **settings: Any) -> None:
    """Add `notify:` to the bench's configuration."""
    b.config.write_text(b.config.read_text() + f"notify: {json.dumps(settings)}\n")


def test_the_incident_folder_of_a_landed_dump(bench: Benches) -> None:
    b = bench()
    result = b.nmi()
    assert result.code == 0, result.err
    folder = folder_of(b)
    names = {path.name for path in folder.iterdir()}
    assert {"report.html", "report.md", "first-look.json", "dmesg.txt", "event-log-after.json"} <= names
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.iterdir())
    assert folder.stat().st_mode & 0o777 == 0o700
    assert f"report: {folder / 'report.html'}" in result.err
    assert result.err.splitlines()[-1] == (
        f"trigger: {b.host}: exit code 0, a complete dump has landed; safe to power-cycle: yes"
    ), "a screen of 24 rows ends with the verdict, not with a stack trace"
    look = json.loads((folder / "first-look.json").read_text())
    assert look["look"]["panic"] == "NMI: Not continuing"
    assert look["facts"]["nodename"] == b.host
    assert "Kernel panic" in (folder / "dmesg.txt").read_text()
    page = (folder / "report.html").read_text()
    assert "A complete dump of" in page
    assert "hash chain intact" in page
    assert result.events[-1]["event"] == "Finished", "what follows is no event"
    out, _ = b.start("history", b.host, "--json").communicate(timeout=60)
    assert json.loads(out)["report"] == str(folder / "report.html")
    out, _ = b.start("report", "--format", "json").communicate(timeout=60)
    assert json.loads(out)["exit_code"] == 0


def with_redfish(b: Bench, server: RedfishServer) -> None:
    password = b.folder / "redfish-password"
    password.touch(mode=0o600)
    password.write_text(PASSWORD)
    entry = {
        "controllers": [
            {
                "driver": "redfish", "address": "127.0.0.1", "port": server.port, "user": USER,
                "password": {"file": str(password)}, "tls": {"fingerprint": certificate().fingerprint},
            }
        ],
        "identity": {"uuid": machine()["/redfish/v1/Systems/1"]["UUID"]},
        "dump": {"target": str(b.folder)},
    }  # fmt: skip
    b.config.write_text(json.dumps({"hosts": {b.host: entry}}) + "\n")


def test_the_panic_on_the_console_is_marked_in_the_report_and_hostile_text_is_text(bench: Benches) -> None:
    with SerialPort(greeting=b"\xff\xfe old <script>alert(1)</script> text\r\n") as port:
        b = with_console(bench(crash_seconds=1.5), port)
        told = {"command": ["/bin/sh", "-c", f"cat >> {b.folder}/told"], "include_console": True}
        b.config.write_text(json.dumps({**json.loads(b.config.read_text()), "notify": told}))
        process = b.start("nmi", b.host, "--json", *b.confirmed())
        until(lambda: any(line["event"] == "Fired" for line in b.journal()), "the shot", limit=60)
        port.say(b"\x1b[31m<img src=x onerror=alert(2)>\x1b[0m\r\n")
        port.say(b"[ 8123.4] Kernel panic - not syncing: NMI: Not continuing\r\n[ 8123.5] next\r\n")
        port.say(b"kdump[561]: saving to sftp://root:s3cret@dumps.example.com/srv/crash\r\n")
        result = finish(process)
    assert result.code == 0, result.err
    assert "panic" in [event.get("pattern") for event in result.events]
    page = (folder_of(b) / "report.html").read_text()
    assert '<mark class="alarm"><b>panic</b> [ 8123.4] Kernel panic - not syncing: NMI: Not continuing</mark>' in page
    assert "&lt;img src=x onerror=alert(2)&gt;" in page
    assert "<img" not in page
    assert "<script" not in page
    events = [json.loads(line) for line in (b.folder / "told").read_text().splitlines()]
    said = events[-1]["console"]
    assert "Kernel panic - not syncing" in said
    assert "saving to sftp://root:***@dumps.example.com" in said
    assert "s3cret" not in page + json.dumps(events)
    assert "\x1b" not in said


def typed(b: Bench, *options: str) -> int:
    """Run `trigger nmi HOST` on a terminal, type the host's name, and return the exit code."""
    return b.asked("nmi", b.host, *options, answer=f"{b.host}\n")[0]


def test_the_controllers_log_is_read_after_the_end_on_its_own_clock(bench: Benches) -> None:
    b, tree = bench(host="dead", crash="never"), machine()

    def log() -> None:
        tree[SEL]["Members"].append(
            {"@odata.id": f"{SEL}/9", "Id": "9", "Severity": "Critical", "Created": "2031-01-01T00:00:00Z",
             "Message": "Diagnostic \x1b[2J<b>interrupt</b>"}
        )  # fmt: skip

    server = RedfishServer(tree, on_delivery=log)
    try:
        with_redfish(b, server)
        assert typed(b, "--deadline", "2s") == 10
        assert server.deliveries() == 1
    finally:
        server.close()
    after = json.loads((folder_of(b) / "event-log-after.json").read_text())
    assert [entry["text"].split()[-1] for entry in after["entries"]][:3] == ["1", "2", "3"]
    assert after["entries"][-1]["time"] > 1.9e9
    assert after["entries"][-1]["text"].endswith("Diagnostic \\x1b[2J<b>interrupt</b>")
    before = json.loads((folder_of(b) / "event-log-before.json").read_text())
    assert len(before["entries"]) == 3
    page = (folder_of(b) / "report.html").read_text()
    assert "2031-01-01 00:00:00" in page
    assert "N3 entry 3" not in page, "that was there before"
    assert "&lt;b&gt;interrupt" in page
    assert "Do not power-cycle" in page


def test_those_who_are_told_hear_of_start_landed_and_verdict(bench: Benches, tmp_path: Path) -> None:
    b = bench()
    delivered: list[int] = []
    out = tmp_path / "told"
    with Webhook(then=lambda event: delivered.append(b.machine.delivered())) as hook:
        b.extra["TEST_HOOK"] = hook.url
        notify(b, webhook={"env": "TEST_HOOK"}, command=["/bin/sh", "-c", f"cat >> {out}"])
        result = b.nmi()
    assert result.code == 0, result.err
    assert [event["kind"] for event in hook.events] == ["start", "landed", "verdict"]
    assert delivered == [1, 1, 1], "the start is told after the request has left"
    assert [json.loads(line)["kind"] for line in out.read_text().splitlines()] == ["start", "landed", "verdict"]
    start, _, verdict = hook.events
    assert (start["outcome"], start["reason"], start["host"]) == ("accepted", "test", b.host)
    assert (verdict["exit_code"], verdict["safe_to_power_cycle"]) == (0, "yes")
    assert Path(verdict["report"]).is_file()
    assert "Not continuing" not in json.dumps(hook.events), "no text of the kernel's log"
    assert "note: notify" not in result.err


@pytest.mark.parametrize(
    ("hook_fault", "command"), [("hang", "kill -9 $$"), ("500", "sleep 600"), ("closed port", "exit 3")]
)
def test_a_notification_that_fails_changes_and_delays_nothing(
    bench: Benches, hook_fault: str, command: str, tmp_path: Path
) -> None:
    b = bench()
    left = tmp_path / "left"
    command = f"echo $$ >> {left}; {command}"
    with Webhook(hook_fault) as hook:
        b.extra["TEST_HOOK"] = hook.url
        if hook_fault == "closed port":
            with socket.create_server(("127.0.0.1", 0)) as taken:
                b.extra["TEST_HOOK"] = f"http://127.0.0.1:{taken.getsockname()[1]}/s3cret"
        notify(b, webhook={"env": "TEST_HOOK"}, command=["/bin/sh", "-c", command])
        result = b.nmi()
        ended = time.time()
    assert result.code == 0, result.err
    assert b.machine.delivered() == 1
    assert "note: notify command: " in result.err
    assert "note: notify webhook: " in result.err
    assert "s3cret" not in result.err
    times = {event["event"]: event["time"] for event in result.events}
    assert times["Fired"] - times["Firing"] < 2.0, "the fire waited for nobody"
    assert times["Finished"] - times["Fired"] < 20.0, "nor did the watch"
    assert ended - times["Finished"] < 25.0, "nor, for long, does the end"
    notes = json.loads((folder_of(b) / "notes.json").read_text())["notes"]
    assert {note.split(":")[0] for note in notes} == {"notify command", "notify webhook"}
    assert "notify webhook" in (folder_of(b) / "report.html").read_text()
    for pid in left.read_text().split():
        until(partial(gone, pid), f"the command {pid}, which nobody waits for any more, has ended", 60)


def gone(pid: str) -> bool:
    """Return whether a process has ended, be it a zombie that nobody reaps (proc(5), field 3)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_ctrl_c_ends_the_waiting_for_others_but_not_the_exit_code(bench: Benches) -> None:
    b = bench(host="dead", crash="never")
    with Webhook("hang") as hook:
        b.extra["TEST_HOOK"] = hook.url
        notify(b, webhook={"env": "TEST_HOOK"})
        process = b.start("nmi", b.host, "--json", "--no-wait", *b.confirmed())
        journal = b.state / "hosts" / b.host / "journal.jsonl"
        until(lambda: journal.exists() and '"Finished"' in journal.read_text(), "the end", 60)
        time.sleep(0.3)  # Finished is on disk; its exit code stands once the handlers have changed hands
        process.send_signal(signal.SIGINT)
        result = finish(process)
    assert result.code == 0, result.err


def test_a_broken_notify_section_stops_no_run(bench: Benches) -> None:
    b = bench(host="dead", crash="never")
    notify(b, webhook="https://hooks.example.com/s3cret-t0ken")
    result = b.nmi("--no-wait")
    assert result.code == 0, result.err
    assert "notify.webhook" in result.err
    assert "s3cret-t0ken" not in result.err


def test_an_unwritable_incident_folder_is_a_note(bench: Benches) -> None:
    b = bench(host="dead", crash="never")
    runs = b.state / "hosts" / b.host / "runs"
    runs.parent.mkdir(parents=True, mode=0o700)
    runs.write_text("a file in its place")
    result = b.nmi("--deadline", "2")
    assert result.code == 10, result.err
    assert "note: the report could not be written" in result.err


def test_wait_goes_on_with_report_and_verdict(bench: Benches, tmp_path: Path) -> None:
    b, out = bench(crash_seconds=1.0), tmp_path / "told"
    notify(b, command=["/bin/sh", "-c", f"cat >> {out}"], include_console=True)
    assert b.nmi("--no-wait").code == 0
    assert not list(b.state.glob("hosts/*/runs/*/report.md")), "whoever does not wait, waits for no report either"
    assert b.run("wait", b.host, "--json").code == 0
    events = [json.loads(line) for line in out.read_text().splitlines()]
    assert events[-1]["panic"] == "NMI: Not continuing", "it is configured"
    kinds = [event["kind"] for event in events]
    assert kinds == ["start", "verdict", "landed", "verdict"]
    assert events[1]["text"] == f"{b.host}: what was asked for has happened", (
        "no dump is claimed by who waited for none"
    )
    assert events[1]["report"] == "", "nor is a report that nobody has written"
    assert events[3]["text"] == f"{b.host}: a complete dump has landed"
    assert Path(events[3]["report"]).is_file()
    assert "# " + b.host + ": a complete dump has landed" in (folder_of(b) / "report.md").read_text()
