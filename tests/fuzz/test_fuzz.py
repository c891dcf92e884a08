"""Anything at all in place of what files, controllers, hosts and consoles should say: an error of ours at worst.

No uncaught error, no hang, no secret printed; `tests/fuzz/budget.py` says for how long.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from pyipmi.interfaces.rmcp import RmcpMsg

from drivers.ipmi import IpmiDriver
from drivers.ipmi_sel import decode, read_log
from drivers.redfish_log import parse_entry
from drivers.redfish_system import choose, read_system, with_action_info
from tests.drivers.ipmi_bmcs import controller, options
from tests.drivers.scripted_bmc import ScriptedBmc
from tests.drivers.test_redfish_fuzz import JSON, SYSTEMS, mutated
from tests.fuzz.budget import fuzz
from trigger.chain import Anchor, verify
from trigger.clock import Deadline, FastClock
from trigger.config.loading import load
from trigger.console.sysrq import judge
from trigger.display import People, sentence
from trigger.driver import Identity
from trigger.errors import ConfigError, DriverError, GuardRefused, OutcomeUnknown, TriggerError
from trigger.events import DumpFound, Finished, Fired, Firing, Guarded, Observed, Planned, Probed
from trigger.fires import fires, open_fires
from trigger.history import runs_of
from trigger.host import Ssh
from trigger.journal import Journal, read_journal
from trigger.preflight.kdump_config import read_settings
from trigger.state import StateFolder
from trigger.watch.console_text import Reader
from trigger.watch.liveness import banner

HOST = "server42"
SECRET = "kT7-made-up/value+9="  # among those that tests/conftest.py looks for
EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
WITH_SECRETS = f"""
hosts:
  server42:
    controllers:
      - {{driver: ipmi, address: 10.0.0.1, user: crash, password: "{SECRET}"}}
      - {{driver: redfish, name: r, address: 10.0.0.2, user: crash, password: {{env: "{SECRET}"}}}}
      - {{driver: ilo, name: i, address: 10.0.0.3, options: {{token: "{SECRET}"}}}}
"""
LINES = (
    "hosts:",
    "  server42:",
    "    controllers:",
    "      - driver: ipmi",
    "        address: '{host}'",
    "{",
    "}",
    "[",
    "]",
    "- ",
    ": ",
    "? ",
    "&a ",
    "*a",
    "!!python/object:os.system ",
    "|",
    ">",
    "'",
    '"',
    "\t",
    "#",
    "---",
    "...",
    "%YAML 1.1",
    "server[01-99999999999]:",
    "server[1-3,7/2]:",
    "<<: *a",
    "0x1F",
    "1e999",
    "~",
    "\ufeff",
    "\u2028",
    "\x00",
    "\x85",
)
pieces = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 60), st.sampled_from(LINES) | st.text(max_size=8)))


def cut_up(text: str, changes: list[tuple[int, int, str]]) -> str:
    """Return `text` with pieces replaced."""
    for place, length, piece in changes:
        begin = place % (len(text) + 1)
        text = text[:begin] + piece + text[begin + length :]
    return text


def test_configurations(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    texts = [EXAMPLE.read_text(), WITH_SECRETS]

    def target(example: tuple[int, list[tuple[int, int, str]], bytes]) -> None:
        which, changes, raw = example
        text = cut_up(texts[which], changes)
        whole = SECRET in text and "password" in text
        file.write_bytes(text.encode("utf-8", "surrogatepass") if which < 2 and not raw else raw)
        said = []
        try:
            config = load(file, environ={"HOME": "/root"})
            said += [str(problem) for problem in config.check()]
            said += config.warnings_for(HOST)
            said += [repr(config.host(HOST))]
        except ConfigError as error:
            said += [error.message, error.next_step]
        if whole and which == 1 and not changes:
            assert SECRET not in "\n".join(said).replace("env", "")

    fuzz("configurations", st.tuples(st.integers(0, 1), pieces, st.just(b"") | st.binary(max_size=300)), target)


EVENTS = (
    Planned("nmi", ({"controller": "ipmi", "address": "10.0.0.1"},), 900.0, "auto", "root"),
    Firing("ipmi", "ipmi", "10.0.0.1", "chassis control 4", ("host server42",), 1e10),
    Fired("ipmi", "unknown", "silence"),
    Observed("back", "host", "proof", "x"),
    DumpFound("verified", "/x", 1, crash_time=1.0, panic="x"),
    Probed("ipmi", warnings=("x",), learned={"a": 1}),
    Guarded(True, overridden=("alive",)),
    Finished(0, "yes", "x", ends_fire=True),
)


def test_journals(tmp_path: Path) -> None:
    state = StateFolder.choose(str(tmp_path / "state"))
    journal = Journal(state, HOST, "r1", FastClock())
    raws = [journal.append(event).raw for event in EVENTS]
    journal.close()
    path = state.host_folder(HOST) / "journal.jsonl"

    def target(example: tuple[list[tuple[int, Any, int]], list[bytes]]) -> None:
        changes, more = example
        lines = [json.dumps(mutated(raws[n % len(raws)], value, random.Random(s))).encode() for n, value, s in changes]
        path.write_bytes(b"\n".join([*lines, *more]))
        found = read_journal(state, HOST)
        open_fires(found, 1e9)
        fires(found)
        for line in found:
            if line.event is not None:
                sentence(line.event)
                People(io.StringIO())(line)
        for run in runs_of(state, HOST):
            run.line()
            json.dumps(run.to_json())
        assert list(verify(state, HOST, [Anchor(HOST, "a" * 64, "r1", "x:1")]).sentences())

    changes = st.lists(st.tuples(st.integers(0, 9), JSON, st.integers(0, 1 << 32)), max_size=6)
    fuzz("journals", st.tuples(changes, st.lists(st.binary(max_size=80), max_size=3)), target)


def test_redfish_json() -> None:
    def target(example: tuple[dict[str, Any], Any, int]) -> None:
        body, value, number = example
        broken = mutated(body, value, random.Random(number))
        with contextlib.suppress(DriverError):
            system = read_system("/redfish/v1/Systems/1", broken)
            choose([system], "", Identity())
            if system.reset is not None:
                with_action_info(system.reset, broken)
        if isinstance(value, dict):
            parse_entry(value, "key")

    fuzz("Redfish JSON", st.tuples(st.sampled_from(SYSTEMS), JSON, st.integers(0, 1 << 32)), target)


def test_sel_records() -> None:
    def target(example: tuple[list[bytes], bytes]) -> None:
        replies, record = example
        waiting = list(replies)

        def ask(netfn: int, command: int, data: bytes) -> bytes:
            return (waiting.pop(0) if waiting else replies[-1]) or b"\xc1"

        with contextlib.suppress(DriverError):
            read_log(ask, 8)
        decode(record)

    reply = st.binary(min_size=1, max_size=22) | st.binary(min_size=18, max_size=20).map(lambda tail: b"\0" + tail)
    fuzz(
        "SEL records", st.tuples(st.lists(reply, min_size=1, max_size=12), st.binary(min_size=16, max_size=16)), target
    )


class MutatingBmc(ScriptedBmc):
    """Answers as it should, but for what an example changes in the answers that it numbers."""

    changes: tuple[tuple[int, int, bytes, int], ...] = ()
    sent = 0

    def _answer(self, data: bytes) -> tuple[str, bytes]:
        name, answer = super()._answer(data)
        changed = bytearray(answer)
        for number, place, piece, length in self.changes:
            if number == self.sent and answer:
                begin = place % (len(changed) + 1)
                changed[begin : begin + length] = piece
        self.sent += 1
        return name, bytes(changed)


def test_ipmi_replies() -> None:
    with MutatingBmc() as bmc:

        def target(changes: list[tuple[int, int, bytes, int]]) -> None:
            bmc.changes, bmc.sent = tuple(changes), 0
            before = bmc.received["chassis control"]
            driver = IpmiDriver(controller(bmc.port, cipher_suite=3), options({"cipher_suite": 3}))
            with contextlib.suppress(DriverError, ConfigError, OutcomeUnknown), driver:
                driver.probe(Deadline(0.5))
                driver.send_nmi(Deadline(0.3))
            assert bmc.received["chassis control"] - before <= 1, "an NMI was sent twice"

        change = st.tuples(st.integers(0, 7), st.integers(0, 80), st.binary(max_size=6), st.integers(0, 8))
        fuzz("IPMI replies", st.lists(change, max_size=4), target, limit_s=5.0)


def test_datagrams_that_are_no_ipmi() -> None:
    """Garbage before the answer to the first message of a login, from the controller's own address."""
    assert RmcpMsg(7).pack(b"", 0xFF)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bmc:
        bmc.bind(("127.0.0.1", 0))
        bmc.settimeout(0.1)
        port = bmc.getsockname()[1]

        def target(answers: list[bytes]) -> None:
            driver = IpmiDriver(controller(port, cipher_suite=3), options())
            end = threading.Event()

            def serve() -> None:
                while not end.is_set():
                    with contextlib.suppress(TimeoutError):
                        _, client = bmc.recvfrom(4096)
                        for answer in answers:
                            bmc.sendto(answer, client)

            thread = threading.Thread(target=serve)
            thread.start()
            try:
                with driver, pytest.raises(TriggerError):
                    driver.probe(Deadline(0.1))
            finally:
                end.set()
                thread.join()

        header = st.sampled_from(
            [b"", b"\x06\x00\xff\x07", b"\x06\x00\xff\x07\x06\x11" + bytes(8), b"\x06\x00\xff\x06"]
        )
        datagram = st.tuples(header, st.binary(max_size=80)).map(b"".join)
        fuzz("datagrams", st.lists(datagram, min_size=1, max_size=4), target, limit_s=5.0)


WORDS = (
    b"Kernel panic - not syncing: ",
    b"\r\n",
    b"\n",
    b"\x1b[31m",
    b"\x1b]0;title\x07",
    b"\xff\xfd\x01",
    b"sysrq: HELP : ",
    b"[   12.345678] ",
    b"elfcorehdr=0x1",
    b"Copying data : [ 42.0 %]",
    b"saving vmcore",
    b"NMI",
    b"\xc3",
    b"\xe2\x80\xae",
    b"Dazed and confused, but trying to continue",
    b"\x00",
    b"\x9b",
    b"(none) login: ",
    b"x" * 5000,
)


def test_console_bytes() -> None:
    def target(pieces: list[bytes]) -> None:
        reader = Reader()
        for piece in pieces:
            for seen in reader.feed(piece):
                assert seen.line.isprintable()
            reader.idle()
        for line in reader.last_lines() or ():
            assert line.isprintable()
        for key in "hcmtwl0":
            judge(key, b"".join(pieces))

    fuzz("console bytes", st.lists(st.sampled_from(WORDS) | st.binary(max_size=60), max_size=30), target)


KDUMP = (
    "path /var/crash\n",
    "nfs server:/export\n",
    "ssh user@host\n",
    "core_collector makedumpfile -l --message-level 7 -d 31\n",
    "raw /dev/sda9\n",
    "ext4 UUID=1\n",
    "final_action reboot\n",
    "failure_action shell\n",
    'dracut_args --mount "a b"\n',
    'KDUMP_SAVEDIR="ftp://user:secret@host/dir"\n',
    "KDUMP_DUMPLEVEL=31\n",
    "KDUMP_COREDIR=/var/crash\n",
    "USE_KDUMP=1\n",
    "SSH=root@[fe80::1%eth0]\n",
    "NFS=server:/x\n",
    "HOSTTAG=ip\n",
    "$(reboot)\n",
    "`id`\n",
    "KEY='unclosed\n",
    "\\\n",
    "#\n",
)


def test_kdump_configurations() -> None:
    def target(example: tuple[str, list[str]]) -> None:
        distribution, parts = example
        settings = read_settings(distribution, "".join(parts))
        assert "secret" not in repr(settings), "a password in a URL is shown"

    grammar = st.sampled_from(["rhel", "suse-new", "suse-old", "debian"])
    parts = st.lists(st.sampled_from(KDUMP) | st.text(max_size=20), max_size=12)
    fuzz("kdump configurations", st.tuples(grammar, parts), target)


def test_ssh_banners() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        said: list[bytes] = []
        end = threading.Event()
        server.settimeout(0.1)

        def serve() -> None:
            while not end.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = server.accept()
                    with connection:
                        connection.sendall(said[-1])

        thread = threading.Thread(target=serve)
        thread.start()
        ssh = Ssh("127.0.0.1", server.getsockname()[1])

        def target(words: bytes) -> None:
            said.append(words)
            found = banner(ssh, 0.3)
            assert found.state in ("banner", "silent", "closed")
            assert found.detail.isprintable()

        try:
            fuzz(
                "SSH banners",
                st.binary(max_size=300) | st.binary(max_size=300).map(b"SSH-2.0-".__add__),
                target,
                limit_s=2,
            )
        finally:
            end.set()
            thread.join()


def test_a_journal_that_refuses_is_the_only_error(tmp_path: Path) -> None:
    """The error that reading a journal may raise is ours."""
    state = StateFolder.choose(str(tmp_path / "state"))
    with state.host(HOST):
        pass
    (state.host_folder(HOST) / "journal.jsonl").mkdir()
    with pytest.raises(GuardRefused):
        read_journal(state, HOST)
