"""`trigger sysrq` as it is typed, against a port that counts what arrives."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drivers.serial_port import SerialPort
from tests.drivers.telnet_host import TelnetHost


@pytest.fixture
def port() -> Iterator[SerialPort]:
    with SerialPort() as port:
        yield port


class Program(TelnetHost):
    """`trigger` with one host whose only controller is the telnet port, and a state folder of its own."""

    def __init__(self, folder: Path, port: SerialPort) -> None:
        super().__init__(folder, port, "console")

    def run(self, *arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "trigger", "sysrq", *(word.replace("HOST", self.host) for word in arguments)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, env=self.environment,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    def recordings(self) -> list[Path]:
        return sorted(self.folder.glob(f"state/trigger/hosts/{self.host}/runs/*/console.*"))


@pytest.fixture
def program(tmp_path: Path, port: SerialPort) -> Program:
    return Program(tmp_path, port)


@pytest.mark.parametrize(
    "policy",
    ["may_fire: {users: [somebody-else]}\n", "protected: ['*']\n"],
    ids=["user", "protected"],
)
def test_keys_that_do_harm_are_under_the_policies(program: Program, port: SerialPort, policy: str) -> None:
    file = program.folder / "policy.yaml"
    file.write_text(policy.replace("'*'", program.host))
    config = program.folder / "config.yaml"
    config.write_text(f"{config.read_text()}policy: {file}\n")
    code, _, err = program.run("HOST", "e", "--confirm", "HOST")
    assert (code, port.got) == (5, ""), err
    assert f"{file}:1" in err
    assert program.run("HOST", "h")[0] == 0, "a harmless key is nobody's business"


def test_help(program: Program, port: SerialPort) -> None:
    code, out, err = program.run("HOST", "h")
    assert (code, port.got) == (0, "\x15Bh"), err
    assert "sysrq: HELP : loglevel" in out
    assert [file.name for file in program.recordings()] == ["console.cast", "console.txt"]
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in program.recordings())
    assert "HELP" in program.recordings()[1].read_text()


def test_several_keys_each_once_after_a_proof(program: Program, port: SerialPort) -> None:
    code, out, _ = program.run("HOST", "w", "m")
    assert (code, port.got) == (0, "\x15Bh\x15Bw\x15Bm")
    assert out.index("Show Blocked State") < out.index("Mem-Info:")


def test_json_holds_no_bytes_of_the_console(program: Program) -> None:
    code, out, _ = program.run("HOST", "w", "--json")
    assert code == 0
    row = json.loads(out)
    assert (row["key"], row["heard"], row["sent"]) == ("w", "answered", True)
    assert "Blocked" not in out


def test_what_the_console_says_does_not_act(program: Program, port: SerialPort) -> None:
    port.answers["w"] = b"sysrq: Show Blocked State\r\n\x1b]0;x\x07\x1b[2J\xe2\x80\xae</script>[red]\r\n"
    code, out, _ = program.run("HOST", "w")
    assert code == 0
    assert "</script>[red]" in out
    assert not [char for char in out if not (char.isprintable() or char == "\n")]


def test_an_unproved_console_gets_no_key(tmp_path: Path) -> None:
    with SerialPort(hears_break=False) as port:
        code, _, err = Program(tmp_path, port).run("HOST", "w")
        assert code == 6
        assert "this console is not proved" in err
        assert "w: not sent" in err
        assert "w" not in port.got
        assert "BB" not in port.got


def test_a_key_that_the_mask_forbids(program: Program, port: SerialPort) -> None:
    port.mask = 16
    code, _, err = program.run("HOST", "w", "m")
    assert code == 6
    assert "its mask forbids it" in err
    assert port.got == "\x15Bh\x15Bw"


@pytest.mark.parametrize("key", list("befgijknorstuz"))
def test_keys_that_do_harm_need_the_name(program: Program, port: SerialPort, key: str) -> None:
    code, _, err = program.run("HOST", "w", key)
    assert code == 5
    assert f"--confirm {program.host}" in err
    assert program.run("HOST", key, "--confirm", "server43")[0] == 5
    assert port.got == ""


def test_a_confirmed_key_is_in_the_journal_first(program: Program, port: SerialPort) -> None:
    port.answers["s"] = b"sysrq: Emergency Sync\r\n"
    code, out, err = program.run("HOST", "s", "--confirm", "HOST", "--reason", "INC-1")
    assert (code, port.pressed) == (0, ["s"]), err
    assert "Emergency Sync" in out
    journal = (program.folder / f"state/trigger/hosts/{program.host}/journal.jsonl").read_text().splitlines()
    planned, finished = (json.loads(line) for line in journal)
    assert (planned["event"], planned["action"], planned["reason"]) == ("Planned", "sysrq s", "INC-1")
    assert (finished["event"], finished["exit_code"], finished["sent"]) == ("Finished", 0, "yes")
    assert finished["text"] == "sysrq s: sent: s; the kernel took every key"
    # nothing of this is a fire that would forbid another
    assert program.run("HOST", "h")[0] == 0


def test_the_journal_says_which_of_several_keys_were_sent(program: Program, port: SerialPort) -> None:
    """The second key is answered by nothing, so the third stays untyped."""
    port.answers |= {"s": b"sysrq: Emergency Sync\r\n", "u": b"", "r": b"sysrq: Keyboard mode\r\n"}
    code, _, err = program.run("HOST", "s", "u", "r", "--confirm", "HOST")
    assert (code, port.pressed) == (6, ["s", "u"]), err
    journal = (program.folder / f"state/trigger/hosts/{program.host}/journal.jsonl").read_text().splitlines()
    finished = json.loads(journal[-1])
    assert (finished["event"], finished["sent"]) == ("Finished", "yes")
    assert finished["text"] == "sysrq s u r: sent: s u; not every key was taken"


def test_a_lost_console_is_journalled_with_what_was_sent_before(program: Program, port: SerialPort) -> None:
    port.answers["s"] = b"sysrq: Emergency Sync\r\n"
    port.hangs_up_after = "s"
    code, _, err = program.run("HOST", "s", "u", "--confirm", "HOST")
    assert code == 6, err
    assert "Nothing was sent" in err  # of the key u
    journal = (program.folder / f"state/trigger/hosts/{program.host}/journal.jsonl").read_text().splitlines()
    finished = json.loads(journal[-1])
    assert (finished["event"], finished["exit_code"], finished["sent"]) == ("Finished", 6, "yes")
    assert finished["text"].startswith("sysrq s u: sent: s; ")


def test_the_recorded_mask_refuses_hopeless_keys() -> None:
    from trigger.console.sysrq_ask import check_mask
    from trigger.errors import GuardRefused

    check_mask("server42", ("h", "s"), 16)
    check_mask("server42", ("w", "b"), None)
    with pytest.raises(GuardRefused, match="forbids w on a console") as raised:
        check_mask("server42", ("h", "w"), 16)
    assert raised.value.rule == "sysrq-mask"
    assert "kernel.sysrq=24" in raised.value.next_step


@pytest.mark.parametrize("arguments", [("HOST",), ("HOST", "c", "w"), ("HOST", "a"), ("server[1-2]", "h"),
                                       ("HOST", "c", "--steal"), ("HOST", "h", "--dry-run")])  # fmt: skip
def test_usage(program: Program, port: SerialPort, arguments: tuple[str, ...]) -> None:
    assert program.run(*arguments)[0] == 2
    assert port.got == ""


def test_the_crash_goes_through_the_guard(program: Program, port: SerialPort) -> None:
    """No record, no proof of identity: refused, whatever was confirmed; overridden, one BREAK and one c."""
    code, _, err = program.run("HOST", "c", "--confirm", "HOST")
    assert code == 5
    assert (
        f"trigger sysrq {program.host} c --confirm {program.host} --override no-record --override identity-unproved"
        in err
    )
    assert port.got == ""
    overrides = ("--override", "no-record", "--override", "identity-unproved", "--reason", "test")
    code, _, err = program.run("HOST", "c", "--confirm", "HOST", *overrides, "--no-wait")
    assert (code, port.got) == (0, "\x15Bc"), err
    code, _, err = program.run("HOST", "c", "--confirm", "HOST", *overrides, "--no-wait")
    assert (code, port.got) == (5, "\x15Bc"), err
    assert "A SysRq c was accepted" in err
    code, _, err = program.run("HOST", "w")
    assert code == 5
    assert "open fire" in err
    assert port.got == "\x15Bc"


def test_list(program: Program) -> None:
    code, out, _ = program.run("--list")
    assert code == 0
    assert "c  destructive     8  crash" in out
    rows = {row["key"]: row for row in map(json.loads, program.run("--list", "--json")[1].splitlines())}
    assert rows["c"]["danger"] == "destructive"
    assert (rows["w"]["need"], rows["q"]["need"], rows["h"]["need"]) == ("8", "1", "any")
