"""How a BMC is set up and who else it lets in: from ipmi_sim and pyghmi's BMC, and from packets as BMCs send them."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.ipmi import IpmiDriver
from drivers.ipmi_exposure import accounts, capabilities, cipher_0
from drivers.ipmi_settings import Account, read_accounts, read_settings, read_sol, read_time
from tests.drivers import ipmi_bmcs
from tests.drivers.ipmi_bmcs import PASSWORD, USER, RealBmc, Secret, controller, options
from trigger.clock import Deadline
from trigger.driver import ReportsSettings, Settings
from trigger.errors import DriverError

_CONFIG = """\
name "bmc"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 {port}
    priv_limit admin
    allowed_auths_operator {auths}
    allowed_auths_admin {auths}
    guid a123456789abcdefa123456789abcdef
  endlan
  sol "telnet:127.0.0.1:1" 115200
  startnow false
  user 1 {anonymous} "" "made-up" operator 10 none md2 md5 straight
  user 2 true "{user}" "{password}" admin 10 none md2 md5 straight
  user 3 {default} "ADMIN" "made-up-2" admin 10 none md2 md5 straight
"""


@contextlib.contextmanager
def bmc(folder: Path, *, anonymous: bool, default: bool, auths: str) -> Iterator[int]:
    """Run ipmi_sim with these accounts and authentication types; yield its port."""
    port = ipmi_bmcs.free_port()
    words = {"anonymous": str(anonymous).lower(), "default": str(default).lower(), "auths": auths}
    (folder / "lan.conf").write_text(_CONFIG.format(port=port, user=USER, password=PASSWORD, **words))
    (folder / "emu").write_text(ipmi_bmcs._EMULATION)
    (folder / "state").mkdir()
    command = ["ipmi_sim", "-c", str(folder / "lan.conf"), "-f", str(folder / "emu"), "-s", str(folder / "state"), "-n"]
    with ipmi_bmcs._running(command, folder):
        ipmi_bmcs._await_answer(port, "127.0.0.1")
        yield port


def settings_of(port: int, secret: Secret | None = None) -> Settings:
    with IpmiDriver(controller(port), options(secret=secret)) as driver:
        driver.probe(Deadline(20))
        assert isinstance(driver, ReportsSettings)
        return driver.settings(Deadline(20))


def kinds(found: Settings) -> set[str]:
    return {exposure.kind for exposure in found.exposures}


def test_a_bmc_as_delivered(tmp_path: Path) -> None:
    secret = Secret()
    with bmc(tmp_path, anonymous=True, default=True, auths="none md5") as port:
        found = settings_of(port, secret)
    assert kinds(found) == {"cipher-0", "no-authentication", "anonymous", "default-account"}
    assert (found.firmware, found.sol_enabled, found.sol_baud) == ("9.08", True, None)
    assert secret.asked == 1, "nothing but the one login uses a password"
    assert all(exposure.remedy for exposure in found.exposures)
    assert not any(PASSWORD in exposure.says for exposure in found.exposures)


def test_a_bmc_that_was_tidied_up(tmp_path: Path) -> None:
    with bmc(tmp_path, anonymous=False, default=False, auths="md5") as port:
        found = settings_of(port)
    # ipmi_sim always opens sessions of suite 0, and always speaks IPMI 1.5
    assert kinds(found) == {"cipher-0", "ipmi-1.5"}
    assert "MD5" in next(exposure.says for exposure in found.exposures if exposure.kind == "ipmi-1.5")


def test_a_bmc_that_knows_few_commands(pyghmi: RealBmc) -> None:
    found = settings_of(pyghmi.port)
    assert (found.time, found.sol_enabled) == (None, None)
    assert "cipher-0" not in kinds(found), "it answers suite 3 whatever is asked"


def test_the_login_still_works_afterwards(sim: RealBmc) -> None:
    for _ in range(3):
        settings_of(sim.port)
    assert sim.delivered() == 0


def capability_packet(types: int, users: int, versions: int, code: int = 0) -> bytes:
    data = bytes((0x81, 0x1C, 0x63, 0x20, 0x04, 0x38, code, 0x01, types, users, versions, 0, 0, 0, 0, 0))
    return bytes.fromhex("0600ff07 00 00000000 00000000") + bytes((len(data),)) + data


@pytest.mark.parametrize(
    ("types", "users", "versions", "expected"),
    [
        (0x80, 0x04, 0x02, []),  # RMCP+ only, named accounts only
        (0x84, 0x04, 0x03, ["ipmi-1.5"]),
        (0x85, 0x04, 0x03, ["no-authentication"]),
        (0x81, 0x04, 0x02, []),  # lists "none", but takes no IPMI 1.5 session
        (0x15, 0x04, 0x00, ["no-authentication"]),  # a BMC of IPMI 1.5 alone
        (0x80, 0x06, 0x02, ["anonymous"]),
        (0x80, 0x07, 0x02, ["anonymous"]),
        (0x97, 0x07, 0x03, ["no-authentication", "anonymous"]),
    ],
)
def test_capabilities(types: int, users: int, versions: int, expected: list[str]) -> None:
    found = capabilities(capability_packet(types, users, versions))
    assert found is not None
    assert [exposure.kind for exposure in found] == expected


def open_session(status: int = 0, level: int = 4, algorithms: tuple[int, int, int] = (0, 0, 0)) -> bytes:
    payload = struct.pack("<BBBx4s4s", 0x42, status, level, b"t\x01\x02\x03", b"bmc1")
    for kind, algorithm in enumerate(algorithms):
        payload += struct.pack("<BxxBBxxx", kind, 8, algorithm)
    return struct.pack("<BxBBBBIIH", 0x06, 0xFF, 0x07, 0x06, 0x11, 0, 0, len(payload)) + payload


def test_open_session_with_suite_0() -> None:
    taken = cipher_0(open_session())
    assert taken is not None
    assert "without any password, at administrator" in taken[0].says
    for refused in (open_session(status=0x11), open_session()[:24], open_session(algorithms=(1, 1, 1))):
        assert cipher_0(refused) == ()
    assert cipher_0(b"\x06\x00\xff\x07" + bytes(40)) is None
    assert cipher_0(b"") is None
    assert capabilities(b"\xff" * 15) is None
    assert capabilities(capability_packet(0x85, 7, 3, code=0xC1)) is None


def answering(replies: dict[tuple[int, int, bytes], bytes]) -> object:
    return lambda netfn, command, data: replies.get((netfn, command, data), b"\xc1")


def test_the_clock() -> None:
    stamp = struct.pack("<I", 1_795_413_871)
    ask = {(0x0A, 0x48, b""): b"\0" + stamp}
    assert read_time(answering(ask)) == 1_795_413_871.0  # type: ignore[arg-type]
    east = {**ask, (0x0A, 0x5C, b""): b"\0" + struct.pack("<h", 60)}
    assert read_time(answering(east)) == 1_795_413_871.0 - 3600  # type: ignore[arg-type]
    unspecified = {**ask, (0x0A, 0x5C, b""): b"\0" + struct.pack("<h", 0x07FF)}
    assert read_time(answering(unspecified)) == 1_795_413_871.0  # type: ignore[arg-type]
    for never_set in (b"\x10\x20\x30\x00", b"\xff\xff\xff\xff"):
        assert read_time(answering({(0x0A, 0x48, b""): b"\0" + never_set})) is None  # type: ignore[arg-type]


def test_serial_over_lan() -> None:
    def sol(enabled: int, now: int, stored: int) -> object:
        values = {1: enabled, 6: now, 5: stored}
        return answering({(0x0C, 0x22, bytes((14, k, 0, 0))): bytes((0, 0x11, v)) for k, v in values.items()})

    assert read_sol(sol(1, 0x0A, 0x06)) == (True, 115200)  # type: ignore[arg-type]
    assert read_sol(sol(0, 0, 0x06)) == (False, 9600)  # type: ignore[arg-type]
    assert read_sol(sol(1, 0, 0)) == (True, None)  # type: ignore[arg-type]
    assert read_sol(answering({})) == (None, None)  # type: ignore[arg-type]


def test_firmware_that_drops_what_it_does_not_know() -> None:
    asked = []

    def ask(netfn: int, command: int, data: bytes) -> bytes:
        asked.append(command)
        if command == 0x01:
            return bytes((0, 0x20, 1, 0x09, 0x08))
        raise DriverError("no answer")

    found, users = read_settings(ask)
    assert (found, users) == (Settings(firmware="9.08"), ())
    assert asked == [0x01, 0x48], "each silence costs seconds"


def test_accounts() -> None:
    def user(slot: int, state: int, limit: int, name: bytes) -> dict[tuple[int, int, bytes], bytes]:
        access = bytes((0, 0x0A, state << 6 | 2, 0, limit))
        return {(6, 0x44, bytes((14, slot))): access, (6, 0x46, bytes((slot,))): b"\0" + name.ljust(16, b"\0")}

    slots = user(1, 2, 0x14, b"") | user(2, 1, 0x14, b"ADMIN") | user(3, 0, 0x0F, b"no") | user(4, 1, 0x13, b"a\x1b[m")
    found = read_accounts(answering(slots))  # type: ignore[arg-type]
    assert found == (Account(2, "ADMIN", 4), Account(4, "a\\x1b[m", 3))
    assert accounts(found, "ADMIN") == ()
    assert "(ADMIN)" in accounts(found, "crash")[0].says
    assert read_accounts(answering({})) == ()  # type: ignore[arg-type]
