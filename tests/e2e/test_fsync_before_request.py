"""strace of a fire: the journal is on disk before the request leaves, over IPMI and over Redfish.

fsync is slowed down, so that a request which did not wait for it would be seen to leave before it ends.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable

from tests.drivers.simulators.certificates import certificate
from tests.drivers.simulators.redfish_server import PASSWORD, USER, RedfishServer
from tests.drivers.simulators.redfish_trees import machine
from tests.e2e.program import Bench, finish
from trigger.conformance import ITS_IDENTITY

Benches = Callable[..., Bench]
SLOW_FSYNC = "inject=fsync:delay_exit=300ms"
SENDS = "sendto,sendmsg,sendmmsg,write,writev"


def traced(b: Bench) -> list[tuple[float, str]]:
    """Fire under strace; return the system calls that count, in order, each with when (epoch seconds)."""
    log = b.folder / "strace"
    words = [
        "strace",
        "-f",
        "-ttt",
        "-yy",
        "-s",
        "4000",
        "-e",
        f"trace=fsync,{SENDS}",
        "-e",
        SLOW_FSYNC,
        "-o",
        str(log),
    ]
    process = subprocess.Popen(
        [*words, sys.executable, "-m", "trigger", "nmi", b.host, "--no-wait", "--json", *b.confirmed()],
        env=b.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    result = finish(process)
    assert result.code == 0, result.err
    return list(calls(log.read_text(errors="replace")))


def calls(text: str) -> list[tuple[float, str]]:
    """Return what strace wrote, with the calls that another thread interrupted put together where they ended."""
    found, begun = [], dict[str, str]()
    for line in text.splitlines():
        thread, moment, what = line.split(maxsplit=2)
        if what.endswith("<unfinished ...>"):
            begun[thread] = what.removesuffix("<unfinished ...>")
        elif resumed := re.match(r"<\.\.\. \w+ resumed>", what):
            found.append((float(moment), begun.pop(thread) + what[resumed.end() :]))
        else:
            found.append((float(moment), what))
    return found


def of_the_journal(what: str) -> bool:
    return what.startswith("fsync(") and "/journal.jsonl>" in what


def shot(found: list[tuple[float, str]], port: int) -> tuple[list[float], float, list[float]]:
    """Return when there were sends to the controller before Firing, when it was synced, and sends after that."""
    written = next(n for n, (_, what) in enumerate(found) if '\\"event\\":\\"Firing\\"' in what and "journal" in what)
    synced = next(n for n, (_, what) in enumerate(found) if n > written and of_the_journal(what))
    assert ") = 0" in found[synced][1], found[synced][1]
    sends = [n for n, (_, what) in enumerate(found) if f"->127.0.0.1:{port}]" in what]
    between = [found[n][1] for n in sends if written < n < synced]
    assert between == [], "sent while the journal was not on disk yet"
    before = [found[n][0] for n in sends if n < written]
    return before, found[synced][0], [found[n][0] for n in sends if n > synced]


def test_over_ipmi(bench: Benches) -> None:
    b = bench(crash="never", host="dead")
    before, synced, after = shot(traced(b), b.machine.bmc_port)
    assert len(before) == b.machine.requests()["datagrams_before_nmi"], "the next one is the NMI"
    assert b.machine.delivered() == 1
    assert after[0] - synced > 0.25, "fsync was slow, and it was waited for"


def test_over_redfish(bench: Benches) -> None:
    b = bench(crash="never", host="dead")
    server = RedfishServer(machine())
    try:
        password = b.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o600)
        controller = {
            "driver": "redfish", "address": "127.0.0.1", "port": server.port, "user": USER,
            "password": {"file": str(password)}, "tls": {"fingerprint": certificate().fingerprint},
        }  # fmt: skip
        host = {"identity": {"uuid": ITS_IDENTITY.uuid}, "controllers": [controller]}
        b.config.write_text(json.dumps({"hosts": {b.host: host}}))
        to_epoch = time.time() - time.monotonic()
        _, synced, after = shot(traced(b), server.port)
        assert server.deliveries() == 1
    finally:
        server.close()
    assert [moment + to_epoch - synced > 0.25 for moment in server.arrivals] == [True]
    assert after[0] - synced > 0.25, "fsync was slow, and it was waited for"


def test_the_reading_of_strace_can_fail() -> None:
    """The same system calls in a wrong order are found."""
    firing = r'1 10.0 write(5</x/journal.jsonl>, "{\"event\":\"Firing\"}\n", 20) = 20'
    send = '1 {} sendto(6<UDP:[127.0.0.1:5->127.0.0.1:623]>, "x", 1, 0, NULL, 0) = 1'
    sync = ["2 10.1 fsync(5</x/journal.jsonl> <unfinished ...>", "2 10.4 <... fsync resumed>) = 0 (DELAYED)"]
    good = [send.format("9.0"), firing, *sync, send.format("10.5")]
    assert shot(calls("\n".join(good)), 623) == ([9.0], 10.4, [10.5])
    try:
        shot(calls("\n".join([firing, sync[0], send.format("10.2"), sync[1]])), 623)
    except AssertionError as error:
        assert "not on disk yet" in str(error)
    else:
        raise ValueError("a request before the end of fsync was not seen")
