"""The whole program with a console beside its BMC: what is said there reaches the journal, and how the run ends."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

from tests.drivers.serial_port import SerialPort
from tests.e2e.program import Bench, Result, finish, until

Benches = Callable[..., Bench]
IGNORED = b"[  512.4] Dazed and confused, but trying to continue\r\n"


def with_console(b: Bench, port: SerialPort) -> Bench:
    """Give the host of `b` a telnet console as its second controller."""
    entry = b.machine.host_entry()
    telnet = {"driver": "telnet", "address": "127.0.0.1", "port": port.port}
    entry["controllers"] = [*entry["controllers"], telnet]  # type: ignore[misc]
    b.config.write_text(json.dumps({"hosts": {b.host: entry}}))
    return b


def console_events(result: Result) -> list[tuple[str, str]]:
    return [
        (event["phase"], event["pattern"])
        for event in result.events
        if event["event"] == "Observed" and event["source"] == "console" and event["pattern"]
    ]


def test_what_the_console_says_is_an_event_within_half_a_second_and_ends_the_run_sooner(bench: Benches) -> None:
    with SerialPort() as port:
        b = with_console(bench(nmi="ignore", host="healthy"), port)
        process = b.start("nmi", b.host, "--json", *b.confirmed(), "--override", "alive")
        until(lambda: any(line["event"] == "Fired" for line in b.journal()), "the shot", limit=60)
        said_at = time.time()
        port.say(IGNORED)
        result = finish(process)
        assert port.got == "", "nothing is typed on a console that only listens"
    assert result.code == 8, result.err
    assert console_events(result) == [("ignored", "nmi-ignored")]
    told = next(event for event in result.events if event.get("pattern") == "nmi-ignored")
    assert told["time"] - said_at < 2.0, "0.25 s on an idle machine"
    assert (told["grade"], told["offset"]) == ("strong", 0)
    end = result.event("Finished")
    fired = result.event("Fired")["time"]
    assert end["time"] - fired < 18, "not the 20 s without a console"
    assert "Its console says why" in end["text"]
    folder = b.state / "hosts" / b.host / "runs" / end["run"]
    assert "Dazed and confused" in (folder / "console.txt").read_text()
    assert (folder / "console.cast").stat().st_mode & 0o777 == 0o600
    journal = (b.state / "hosts" / b.host / "journal.jsonl").read_text()
    assert "trying to continue" not in journal


def test_a_busy_console_stops_nothing(bench: Benches) -> None:
    with SerialPort(greeting=b"port is in use by alice\r\n", connected=False) as port:
        b = with_console(bench(), port)
        result = b.nmi()
    assert result.code == 0, result.err
    assert b.machine.delivered() == 1
    warnings = [w for event in result.events if event["event"] == "Guarded" for w in event["warnings"]]
    assert any("somebody else has the console" in warning for warning in warnings)


def test_a_shot_that_is_not_watched_opens_no_console(bench: Benches) -> None:
    with SerialPort(greeting=b"hello") as port:
        b = with_console(bench(), port)
        assert b.nmi("--no-wait").code == 0
        assert port._lines == []
        waited = b.run("wait", b.host, "--json")
        assert waited.code == 0, waited.err
        assert len(port._lines) == 1, "waiting listens as well"


def test_nothing_climbs_where_the_console_and_the_host_contradict_each_other(bench: Benches) -> None:
    """The host answers in its old boot and its console panics: one of the two is another machine's."""
    with SerialPort() as port:
        b = with_console(bench(nmi="ignore", host="healthy"), port)
        b.hurry()
        alive = "--override", "alive", "--override", "identity-unproved"
        process = b.start("crash", b.host, "--json", *b.confirmed(), *alive)

        def panics() -> bool:
            port.say(b"[ 1.0] Kernel panic - not syncing: NMI: Not continuing\r\n")
            return any(line["event"] == "Observed" and line["phase"] == "panicked" for line in b.journal())

        until(panics, "the panic on the console", limit=60)
        result = finish(process)
        assert port.got == "", "no second rung"
    assert result.code == 8, result.err
    assert [event["event"] for event in result.events].count("Fired") == 1
    end = result.event("Finished")
    assert end["safe_to_power_cycle"] == "unknown"
    assert "of another machine" in end["text"]


def test_no_sysrq_is_sent_into_a_dump_that_is_seen_on_its_console(bench: Benches) -> None:
    with SerialPort(greeting=b"[    0.0] Command line: elfcorehdr=0x3d000000 reset_devices\r\n") as port:
        b = with_console(bench(refuse=0xCC), port)
        over = threading.Event()

        def dumps() -> None:
            while not over.wait(0.3):
                port.say(b"\rCopying data                      : [ 41.0 %] /   eta: 30s")

        saver = threading.Thread(target=dumps)
        saver.start()
        try:
            alive = "--override", "alive", "--override", "identity-unproved"
            result = b.run("crash", b.host, "--json", *b.confirmed(), *alive)
        finally:
            over.set()
            saver.join()
        assert port.got == "", "neither BREAK nor c"
    assert result.code == 5, result.err
    assert "seems to be being written" in result.event("Finished")["text"]
