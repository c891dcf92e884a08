"""The same crash by every other kind of console, for real: one lab, one hung kernel and one dump after the other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drivers.conserver_server import conserver
from tests.drivers.rfc2217_bridge import Rfc2217Bridge
from tests.lab.chain import Lab
from tests.lab.counting_line import CountingLine
from tests.lab.test_nmi import Program

pytestmark = pytest.mark.lab
HOST = "sysrqways42"
OVER_SOL = False
# Nothing of a console says whose it is; a host that runs is alive.
BLIND = ("--override", "identity-unproved")
ALIVE = ("--override", "alive")


@pytest.fixture(scope="module")
def line(lab: Lab) -> Iterator[CountingLine]:
    with CountingLine(lab.machine.console_port) as line:
        yield line


@pytest.fixture(scope="module")
def program(lab: Lab, line: CountingLine, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """`trigger`, with the record of one preflight: the consoles are added to the lab's own configuration."""
    program = Program(lab, tmp_path_factory.mktemp("home"))
    assert program.run("preflight", HOST)[0] == 0
    return program


def configure(lab: Lab, **controllers: object) -> None:
    """Put consoles in front of the lab's own BMC."""
    text = lab.config().replace(
        "    controllers:\n",
        "    controllers:\n" + "".join(f"      - {json.dumps(row)}\n" for row in controllers.values()),
    )
    lab.config_file.write_text(text)


def crash(lab: Lab, program: Program, line: CountingLine, via: str, *overrides: str, breaks: int = 1) -> None:
    """Crash by `via` and prove: exit 0, a complete dump of this crash, so many BREAKs, one key, no NMI."""
    boot, nmis, before = lab.boot_id(), lab.nmi_count(), line.breaks
    already = len(lab.console_text())
    if "alive" not in overrides:
        lab.hang()
    arguments = ("--confirm", HOST, "--reason", "lab", *overrides, "--json")
    code, events, said = program.run("sysrq", HOST, "c", "--via", via, *arguments)
    assert code == 0, said
    end, dump = events[-1], [event for event in events if event["event"] == "DumpFound"][-1]
    assert (end["event"], end["exit_code"], end["safe_to_power_cycle"]) == ("Finished", 0, "yes")
    assert (dump["state"], dump["complete"], dump["panic"]) == ("verified", "yes", "sysrq triggered crash")
    assert (line.breaks - before, lab.nmi_count()) == (breaks, nmis)
    console = lab.console_text()[already:]
    assert re.findall(r"sysrq: [A-Z][a-z]+|sysrq: HELP", console) == ["sysrq: Trigger"]
    lab.wait_for_reboot(boot)


def test_telnet(lab: Lab, program: Program, line: CountingLine) -> None:
    configure(lab, telnet={"driver": "telnet", "address": "127.0.0.1", "port": line.port})
    crash(lab, program, line, "telnet", *BLIND)


def test_rfc2217(lab: Lab, program: Program, line: CountingLine) -> None:
    with Rfc2217Bridge(line.port) as bridge:
        configure(lab, rfc2217={"driver": "rfc2217", "address": "127.0.0.1", "port": bridge.port})
        crash(lab, program, line, "rfc2217", *BLIND)
        assert bridge.breaks == 1


def test_conserver(lab: Lab, program: Program, line: CountingLine, tmp_path: Path) -> None:
    with conserver(tmp_path, HOST, line.port) as port:
        row = {"driver": "conserver", "address": "127.0.0.1", "port": port, "user": "lab", "system": HOST}
        configure(lab, conserver=row)
        crash(lab, program, line, "conserver", *BLIND)


def test_the_host_itself(lab: Lab, program: Program, line: CountingLine) -> None:
    """Its kernel answers without a console; its own DMI proves who it is; c needs that a person says "alive"."""
    configure(lab)
    code, rows, said = program.run("sysrq", HOST, "w", "--via", "host", "--json")
    assert code == 0, said
    assert [(row["key"], row["heard"]) for row in rows] == [(key, "answered") for key in "w"]
    boot = lab.boot_id()
    code, _, said = program.run("sysrq", HOST, "c", "--via", "host", "--confirm", HOST)
    assert (code, lab.boot_id()) == (5, boot), said
    assert "--override alive" in said
    crash(lab, program, line, "host", *ALIVE, breaks=0)
