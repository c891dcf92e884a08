"""SysRq through the host itself: a real shell over SSH, by both engines; what a crash looks like, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.host import HostDriver
from tests.drivers.simulators.sysrq_host import SERIAL, UUID, SysrqHost
from trigger.clock import Deadline
from trigger.console.line import Line
from trigger.console.sysrq import Dialogue, Heard
from trigger.driver import DriverOptions, HasConsole, SendsNmi
from trigger.errors import ConfigError, DriverError, OutcomeUnknown, Refused, Unreachable
from trigger.host import Controller
from trigger.plan import host_itself
from trigger.ssh.connection import HostKeyNotTrusted

ENGINES = ("asyncssh", "openssh")


class NoPassword:
    def password(self) -> str:
        raise AssertionError("nobody asks for a password")


def driver(host: SysrqHost, engine: str = "asyncssh") -> HostDriver:
    return HostDriver(host_itself(host.ssh(engine), ""), DriverOptions(NoPassword()))


@pytest.mark.parametrize(("engine", "shell"), [("asyncssh", "dash"), ("asyncssh", "busybox sh"), ("openssh", "bash")])
def test_keys_and_what_the_kernel_says(tmp_path: Path, engine: str, shell: str) -> None:
    with SysrqHost(tmp_path, shell=shell) as host, driver(host, engine) as made:
        console = made.open_console(Deadline(30))
        line = Line(console)
        proof, answer = line.press(Dialogue("h", tries=2)), line.press(Dialogue("w"))
        console.close()
        assert (proof.heard, answer.heard, host.pressed) == (Heard.HELP, Heard.ANSWERED, ["h", "w"])
        assert b"HELP" not in answer.said  # only the lines of this key
        assert b"of before" not in proof.said
        assert host.logins == 1


def test_only_the_character_after_a_break_is_a_key(tmp_path: Path) -> None:
    with SysrqHost(tmp_path) as host, driver(host) as made:
        console = made.open_console(Deadline(30))
        console.write(b"echo b >/dev/null\rc")
        console.send_break()
        console.write(b"cw")  # c is not for a console
        console.send_break()
        console.write(b"hw")
        while b"HELP" not in console.read(Deadline(30)):
            pass
        console.close()
        host.await_pressed(["h"])


@pytest.mark.parametrize("engine", ENGINES)
def test_who_it_is_and_one_crash(tmp_path: Path, engine: str) -> None:
    with SysrqHost(tmp_path) as host, driver(host, engine) as made:
        assert isinstance(made, HasConsole)
        assert not isinstance(made, SendsNmi)
        identity = made.probe(Deadline(30)).identity
        assert (identity.uuid, identity.serial, identity.model) == (UUID, SERIAL, "PowerEdge R750")
        assert "was about to write c" in made.send_sysrq_crash(Deadline(30)).answer
        with pytest.raises(RuntimeError, match="nothing was sent now"):
            made.send_sysrq_crash(Deadline(30))
        host.await_pressed(["c"])
        assert host.logins == 1


@pytest.mark.parametrize(
    ("fault", "error", "words", "pressed"),
    [
        ("goes-on", OutcomeUnknown, "and the host goes on", ["c"]),
        ("deaf", OutcomeUnknown, "the host did not answer", []),
        ("unwritable", Refused, "could not be written", []),
    ],
)
def test_what_is_claimed(tmp_path: Path, fault: str, error: type[Exception], words: str, pressed: list[str]) -> None:
    with SysrqHost(tmp_path, fault) as host, driver(host) as made:
        made.probe(Deadline(30))
        with pytest.raises(error, match=words):
            made.send_sysrq_crash(Deadline(30))
        host.await_pressed(pressed)


def test_a_connection_that_is_lost_before_the_host_answers_is_unknown(tmp_path: Path) -> None:
    with SysrqHost(tmp_path, "deaf") as host, driver(host) as made:
        made.probe(Deadline(30))
        for connection in tuple(host._connections):
            host._loop.call_soon_threadsafe(connection.abort)
        with pytest.raises(OutcomeUnknown):
            made.send_sysrq_crash(Deadline(30))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [("user", DriverError, "may not write /proc/sysrq-trigger"), ("no-shell", Unreachable, "not available")],
)
def test_nothing_is_sent_to_a_host_that_cannot(
    tmp_path: Path, engine: str, fault: str, error: type[DriverError], words: str
) -> None:
    with SysrqHost(tmp_path, fault) as host, driver(host, engine) as made:
        with pytest.raises(error, match=words):
            made.probe(Deadline(30))
        with pytest.raises(RuntimeError):
            made.send_sysrq_crash(Deadline(30))
        assert host.pressed == []


@pytest.mark.parametrize("engine", ENGINES)
def test_an_unknown_host_key_is_refused(tmp_path: Path, engine: str) -> None:
    with SysrqHost(tmp_path) as host, driver(host, engine) as made:
        host.known_hosts.write_text("")
        with pytest.raises((HostKeyNotTrusted, Unreachable), match=r"(not trusted|verification failed)"):
            made.probe(Deadline(30))
        assert host.logins == 0


def test_a_wrong_engine_is_named() -> None:
    with pytest.raises(ConfigError, match="engine is 'putty'"):
        HostDriver(Controller("host", "host", "a", options={"engine": "putty"}), DriverOptions(NoPassword()))
