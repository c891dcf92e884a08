"""The drivers against programs that others wrote: sushy-emulator and virtualbmc, both on libvirt's test driver.

libvirt's own debug log says how often virDomainInjectNMI was called: that is the far end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivers.ipmi import IpmiDriver
from drivers.redfish import RedfishDriver
from tests.drivers.simulators.certificates import certificate
from trigger.clock import Deadline
from trigger.driver import DriverOptions, Power
from trigger.errors import LoginFailed, Refused
from trigger.host import Controller, Tls

# The domain `test` of test:///default (libvirt, src/test/test_driver.c).
DOMAIN = "6695eb01-f6a4-8304-79aa-97f2502e193f"
USER, PASSWORD = "crash", "made-up-72"
INSTALL = Path(__file__).with_name("install_real_parts")


class Answers:
    """The made-up password."""

    def __init__(self, value: str = PASSWORD) -> None:
        self.value = value

    def password(self) -> str:
        """Return it."""
        return self.value


class Program:
    """A program started by a test, its output in a file."""

    def __init__(self, command: list[str], log: Path, **environment: str) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                env={**os.environ, "LIBVIRT_LOG_FILTERS": "1:libvirt", "LIBVIRT_LOG_OUTPUTS": "1:stderr",
                     "PYTHONUNBUFFERED": "1", **environment},
            )  # fmt: skip

    def injected(self) -> int:
        """Return how often libvirt was asked to inject an NMI."""
        return sum("virDomainInjectNMI:" in line for line in self.log.read_text(errors="replace").splitlines())

    def end(self) -> None:
        """End it by its own pid."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)


@pytest.fixture(scope="module")
def parts() -> Path:
    """Return the folder of the installed parts; installs them the first time."""
    done = subprocess.run([str(INSTALL)], capture_output=True, text=True, timeout=900, check=True)
    return Path(done.stdout.strip()) / "bin"


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def until(condition: Callable[[], bool], program: Program, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert program.process.poll() is None and time.monotonic() < end, program.log.read_text(errors="replace")[
            -2000:
        ]
        time.sleep(0.1)


def answers_tcp(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def sushy(parts: Path, folder: Path, *lines: str) -> tuple[Program, Controller]:
    """Start sushy-emulator with TLS and Basic authentication; return it and its controller."""
    port, shown = free_port(), certificate()
    hashed = subprocess.run(
        [str(parts / "python"), "-c", f"import bcrypt; print(bcrypt.hashpw({PASSWORD.encode()!r}, bcrypt.gensalt(4)))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (folder / "htpasswd").write_text(f"{USER}:{hashed.stdout.strip()[2:-1]}\n")
    settings = {
        "LISTEN_IP": "127.0.0.1",
        "LISTEN_PORT": port,
        "SSL_CERT": shown.file,
        "SSL_KEY": shown.file,
        "AUTH_FILE": str(folder / "htpasswd"),
    }
    text = [f"SUSHY_EMULATOR_{name} = {value!r}" for name, value in settings.items()]
    (folder / "emulator.conf").write_text("\n".join([*text, *lines, ""]))
    command = [str(parts / "sushy-emulator"), "--config", str(folder / "emulator.conf")]
    program = Program(command, folder / "log")
    until(lambda: answers_tcp(port), program)
    tls = Tls(fingerprint=shown.fingerprint)
    return program, Controller("redfish", "redfish", "127.0.0.1", port, USER, tls=tls, where="config.yaml:7")


@pytest.fixture
def libvirt_emulator(parts: Path, tmp_path: Path) -> Iterator[tuple[Program, Controller]]:
    """sushy-emulator on test:///default."""
    program, controller = sushy(parts, tmp_path, "SUSHY_EMULATOR_LIBVIRT_URI = 'test:///default'")
    yield program, controller
    program.end()


@pytest.fixture
def fake_emulator(parts: Path, tmp_path: Path) -> Iterator[tuple[Program, Controller]]:
    """sushy-emulator with its fake driver, which lists Nmi and cannot do it."""
    program, controller = sushy(parts, tmp_path, "SUSHY_EMULATOR_FAKE_DRIVER = True")
    yield program, controller
    program.end()


def test_sushy_emulator_takes_one_nmi(libvirt_emulator: tuple[Program, Controller]) -> None:
    program, controller = libvirt_emulator
    with RedfishDriver(controller, DriverOptions(secrets=Answers())) as driver:
        probe = driver.probe(Deadline(20))
        assert probe.identity.uuid == DOMAIN
        assert (probe.power, probe.nmi_allowed) == (Power.ON, True)
        assert probe.learned["login"] == "basic"  # it has no session service
        assert driver.send_nmi(Deadline(20)).answer.startswith("HTTP 204")
    assert program.injected() == 1
    known = {**probe.learned, "fingerprint_unique": True}
    with RedfishDriver(controller, DriverOptions(secrets=Answers(), known=known)) as driver:
        driver.probe(Deadline(20))
        driver.send_nmi(Deadline(20))
    assert program.injected() == 2


def test_sushy_emulator_rejects_another_password(libvirt_emulator: tuple[Program, Controller]) -> None:
    program, controller = libvirt_emulator
    with (
        RedfishDriver(controller, DriverOptions(secrets=Answers("wrong"))) as driver,
        pytest.raises(LoginFailed),
    ):
        driver.probe(Deadline(20))
    assert program.injected() == 0


def test_the_fake_driver_lists_nmi_and_refuses_it(fake_emulator: tuple[Program, Controller]) -> None:
    program, controller = fake_emulator
    with RedfishDriver(controller, DriverOptions(secrets=Answers())) as driver:
        assert driver.probe(Deadline(20)).nmi_allowed is True
        with pytest.raises(Refused, match="501"):
            driver.send_nmi(Deadline(20))
    assert program.injected() == 0


@pytest.fixture
def virtualbmc(parts: Path, tmp_path: Path) -> Iterator[tuple[Program, Controller]]:
    """vbmcd with one BMC for the domain `test`."""
    port, server = free_port(socket.SOCK_DGRAM), free_port()
    (tmp_path / "vbmc").mkdir()
    (tmp_path / "vbmc.conf").write_text(
        f"[default]\nconfig_dir = {tmp_path}/vbmc\npid_file = {tmp_path}/pid\nserver_port = {server}\n"
        "[log]\ndebug = true\n"
    )
    environment = {"VIRTUALBMC_CONFIG": str(tmp_path / "vbmc.conf")}
    program = Program([str(parts / "vbmcd"), "--foreground"], tmp_path / "log", **environment)
    until(lambda: answers_tcp(server), program)
    add = ["add", "test", "--port", str(port), "--address", "127.0.0.1", "--libvirt-uri", "test:///default"]
    add += ["--username", USER, "--password", PASSWORD]
    for command in (add, ["start", "test"]):
        subprocess.run(
            [str(parts / "vbmc"), "--no-daemon", *command], check=True, timeout=60, env={**os.environ, **environment},
        )  # fmt: skip
    until(
        lambda: "started vBMC instance" in program.log.read_text(errors="replace").lower() or _bound(port),
        program,
    )
    yield program, Controller("ipmi", "ipmi", "127.0.0.1", port, USER, where="config.yaml:7")
    program.end()


def _bound(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def test_virtualbmc_takes_one_nmi(virtualbmc: tuple[Program, Controller]) -> None:
    program, controller = virtualbmc
    with IpmiDriver(controller, DriverOptions(secrets=Answers())) as driver:
        driver.probe(Deadline(20))
        driver.send_nmi(Deadline(20))
    until(lambda: program.injected() > 0, program, 10)
    assert program.injected() == 1
