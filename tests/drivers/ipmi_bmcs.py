"""Two real BMC programs for tests of the IPMI driver, each a process of its own on 127.0.0.1: ipmi_sim and pyghmi's."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from trigger.driver import DriverOptions
from trigger.host import Controller

USER, PASSWORD = "crash", "made-up-Secret"
GUID = "a123456789abcdefa123456789abcdef"

_CONFIG = """\
name "bmc"
loadlib "{module}" "{folder}"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 {port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid {guid}
  endlan
  startnow false
  user 2 true "{user}" "{password}" admin 10 none md2 md5 straight
"""
_EMULATION = """\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
mc_enable 0x20
"""
# Get Channel Authentication Capabilities in IPMI 1.5 form: what any BMC answers without a login.
_ARE_YOU_THERE = bytes.fromhex("0600ff07 00 00000000 00000000 09 20 18 c8 81 04 38 8e 04 b1")


@dataclass(frozen=True)
class RealBmc:
    """A running BMC program: its port, and the folder in which it counts diagnostic interrupts."""

    port: int
    folder: Path
    guid: str

    def delivered(self) -> int:
        """Count the diagnostic interrupts that arrived."""
        counted = self.folder / "delivered"
        return len(counted.read_text().splitlines()) if counted.exists() else 0

    def answer_with(self, code: int) -> None:
        """Let ipmi_sim answer the next diagnostic interrupts with this completion code."""
        (self.folder / "code").write_text(f"{code:x}")


class Secret:
    """The made-up password, as a driver is given it."""

    def __init__(self, password: str = PASSWORD) -> None:
        self._password = password
        self.asked = 0

    def password(self) -> str:
        self.asked += 1
        return self._password


def controller(
    port: int,
    address: str = "127.0.0.1",
    user: str = USER,
    privilege: str = "",
    cipher_suite: int | None = None,
) -> Controller:
    """Return what a configuration would say of a BMC at this port."""
    return Controller(
        name="ipmi",
        driver="ipmi",
        address=address,
        port=port,
        user=user,
        privilege=privilege,
        cipher_suite=cipher_suite,
    )


def options(known: Mapping[str, object] | None = None, secret: Secret | None = None) -> DriverOptions:
    """Return a driver's options with the made-up password and what a record knows."""
    return DriverOptions(secrets=secret or Secret(), known=known or {})


@contextlib.contextmanager
def ipmi_sim(folder: Path) -> Iterator[RealBmc]:
    """Run Debian's ipmi_sim (cipher suite 3 only) with a module that counts diagnostic interrupts."""
    module, port = folder / "ipmi_count_mod.so", free_port()
    source = Path(__file__).with_name("ipmi_count_mod.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(module), str(source)], check=True)
    (folder / "state").mkdir()
    config, emulation = folder / "bmc.conf", folder / "bmc.emu"
    config.write_text(_CONFIG.format(module=module, folder=folder, port=port, guid=GUID, user=USER, password=PASSWORD))
    emulation.write_text(_EMULATION)
    command = ["ipmi_sim", "-c", str(config), "-f", str(emulation), "-s", str(folder / "state"), "-n"]
    with _running(command, folder):
        _await_answer(port, "127.0.0.1")
        yield RealBmc(port, folder, GUID)


@contextlib.contextmanager
def pyghmi_bmc(folder: Path, address: str = "127.0.0.1") -> Iterator[RealBmc]:
    """Run pyghmi's BMC, which answers cipher suite 3 whatever is asked, and nothing to an unknown user."""
    port, guid = free_port(address), uuid.UUID(GUID)
    command = [sys.executable, str(Path(__file__).with_name("pyghmi_bmc.py")), address, str(port)]
    command += [USER, PASSWORD, str(guid), str(folder / "delivered")]
    with _running(command, folder):
        _await_answer(port, address)
        yield RealBmc(port, folder, GUID)


def free_port(address: str = "127.0.0.1") -> int:
    """Return a UDP port that nobody has at the moment."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def _running(command: list[str], folder: Path) -> Iterator[None]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield
            assert process.poll() is None, f"the BMC died: {(folder / 'log').read_text()}"
        finally:
            process.kill()
            process.wait()


def _await_answer(port: int, address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    end = monotonic() + 20
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((address, port))
        sock.settimeout(0.2)
        while monotonic() < end:
            with contextlib.suppress(TimeoutError, ConnectionRefusedError):
                sock.send(_ARE_YOU_THERE)
                sock.recv(1024)
                return
            sleep(0.05)
    raise AssertionError(f"no BMC came up on port {port}")
