"""The simulated BMC speaks RMCP+ as others do, refuses as it was told, and counts what reaches it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyipmi
import pyipmi.interfaces
import pytest
from pyipmi.errors import CompletionCodeError, RetryError

from trigger.simulated import SimulatedMachine, Switches

GUID = "a1234567-89ab-cdef-a123-456789abcdef"
ADMINISTRATOR, OPERATOR, USER = 4, 3, 2


CHANGED = (
    *("privilege", "nmi_privilege", "role_check", "refused_roles", "cipher_suites", "forced_suite", "nmi"),
    *("busy_open_sessions", "reported_guid", "guid_order", "power", "refuse", "lose_replies"),
    *("nmi_answer_delay", "loss"),
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedMachine]:
    switches = Switches(password="made up", guid=GUID, crash="never", ssh="banner")
    with SimulatedMachine(switches, tmp_path_factory.mktemp("bmc")) as machine:
        yield machine


@pytest.fixture
def machine(shared: SimulatedMachine) -> Iterator[SimulatedMachine]:
    """The module's one machine; what a test switched is taken back afterwards."""
    shared.reset_counts()
    yield shared
    shared.switch(**{name: getattr(Switches(), name) for name in CHANGED})


@contextlib.contextmanager
def logged_in(machine: SimulatedMachine, level: str = "OPERATOR") -> Iterator[pyipmi.Ipmi]:
    """Log in with python-ipmi and suite 3 (its suite 17 derives keys that no BMC understands)."""
    interface: Any = pyipmi.interfaces.create_interface("rmcpplus", keep_alive_interval=0, cipher_suite=3)
    interface.ping = lambda: None
    ipmi = pyipmi.create_connection(interface)
    ipmi.session.set_session_type_rmcp(machine.bmc_address, machine.bmc_port)
    ipmi.session.set_auth_type_user(machine.user, machine.password)
    ipmi.session.set_priv_level(level)
    ipmi.target = pyipmi.Target(ipmb_address=0x20)
    try:
        ipmi.open()
        interface.set_timeout(1.0)
        yield ipmi
        ipmi.close()
    finally:
        if getattr(interface, "_sock", None):
            interface._sock.close()


def datagram(machine: SimulatedMachine, kind: int, payload: bytes) -> bytes:
    """Send one RMCP+ handshake message; return the payload of the answer, b"" for silence."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(1.0)
        udp.bind(("127.0.0.1", 0))
        return exchange(udp, machine, kind, payload)


def exchange(udp: socket.socket, machine: SimulatedMachine, kind: int, payload: bytes) -> bytes:
    header = b"\x06\x00\xff\x07\x06" + bytes([kind]) + bytes(8) + len(payload).to_bytes(2, "little")
    udp.sendto(header + payload, (machine.bmc_address, machine.bmc_port))
    with contextlib.suppress(TimeoutError):
        return udp.recv(4096)[16:]
    return b""


def open_session(algorithms: tuple[int, int, int]) -> bytes:
    request = bytes([7, 0, 0, 0]) + b"abcd"
    for kind, algorithm in enumerate(algorithms):
        request += bytes([kind, 0, 0, 8, algorithm, 0, 0, 0])
    return request


def rakp2(machine: SimulatedMachine, name: bytes, role: int) -> bytes:
    """Return RAKP message 2 to a login of `name` as `role`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(1.0)
        opened = exchange(udp, machine, 0x10, open_session((1, 1, 1)))
        request = bytes([8, 0, 0, 0]) + opened[8:12] + bytes(16) + bytes([role, 0, 0, len(name)]) + name
        return exchange(udp, machine, 0x12, request)


def test_an_nmi_is_delivered_once_and_counted(machine: SimulatedMachine) -> None:
    with logged_in(machine) as ipmi:
        ipmi.chassis_control_diagnostic_interrupt()
    requests = machine.requests()
    assert machine.delivered() == 1
    assert (requests["nmi"], requests["chassis_control"], requests["close_session"]) == (1, 1, 1)
    assert requests["datagrams_before_nmi"] == 5  # auth capabilities, Open Session, RAKP 1, RAKP 3, privilege


@pytest.mark.parametrize("suites", [(17,), (3,)])
def test_pyghmi_logs_in_with_either_suite(machine: SimulatedMachine, suites: tuple[int, ...]) -> None:
    machine.switch(cipher_suites=suites)
    script = (
        "import sys\nfrom pyghmi.ipmi.command import Command\n"
        "c = Command(sys.argv[1], sys.argv[2], sys.stdin.read(), port=int(sys.argv[3]), privlevel=3)\n"
        "print(c.raw_command(netfn=0, command=2, data=[4])['code'])\n"
    )
    command = [sys.executable, "-c", script, machine.bmc_address, machine.user, str(machine.bmc_port)]
    done = subprocess.run(command, input=machine.password, capture_output=True, text=True, timeout=60)
    assert done.stdout == "0\n", done.stderr
    assert machine.delivered() == 1
    assert machine.requests()["open_session"] == (1 if suites == (17,) else 2)  # it begins with suite 17


def test_a_suite_that_is_not_offered_is_refused_with_a_status(machine: SimulatedMachine) -> None:
    machine.switch(cipher_suites=(17,))
    assert datagram(machine, 0x10, open_session((1, 1, 1)))[:2] == bytes([7, 0x04])
    assert datagram(machine, 0x10, open_session((3, 4, 1)))[:2] == bytes([7, 0x00])
    machine.switch(cipher_suites=(3,))
    assert datagram(machine, 0x10, open_session((3, 4, 1)))[:2] == bytes([7, 0x04])
    assert datagram(machine, 0x10, open_session((0, 0, 0)))[:2] == bytes([7, 0x04])  # cipher 0: never


def test_it_can_answer_with_another_suite_than_asked(machine: SimulatedMachine) -> None:
    machine.switch(forced_suite=3)
    answer = datagram(machine, 0x10, open_session((3, 4, 1)))
    assert (answer[1], answer[16], answer[24]) == (0, 1, 1)


def test_the_first_open_sessions_can_find_it_busy(machine: SimulatedMachine) -> None:
    machine.switch(busy_open_sessions=2)
    assert [datagram(machine, 0x10, open_session((1, 1, 1)))[1] for _ in range(3)] == [1, 1, 0]


def test_an_unknown_user_gets_a_status(machine: SimulatedMachine) -> None:
    assert rakp2(machine, b"nobody", OPERATOR)[:2] == bytes([8, 0x0D])
    assert rakp2(machine, b"crash", OPERATOR)[:2] == bytes([8, 0x00])


@pytest.mark.parametrize(("order", "field"), [("big", "bytes"), ("little", "bytes_le")])
def test_rakp2_carries_the_guid(machine: SimulatedMachine, order: str, field: str) -> None:
    machine.switch(guid_order=order)
    assert rakp2(machine, b"crash", OPERATOR)[24:40] == getattr(uuid.UUID(GUID), field)
    machine.switch(reported_guid="ffffffff-0000-0000-0000-000000000001")
    assert rakp2(machine, b"crash", OPERATOR)[24:40] == getattr(
        uuid.UUID("ffffffff-0000-0000-0000-000000000001"), field
    )


def test_a_role_above_the_limit_is_refused_at_login(machine: SimulatedMachine) -> None:
    machine.switch(privilege="user")
    assert rakp2(machine, b"crash", OPERATOR)[1] == 0x0A
    assert rakp2(machine, b"crash", USER)[1] == 0
    machine.switch(privilege="administrator", refused_roles=("operator",))
    assert rakp2(machine, b"crash", OPERATOR)[1] == 0x0A
    assert rakp2(machine, b"crash", ADMINISTRATOR)[1] == 0


def test_a_role_above_the_limit_is_refused_at_set_session_privilege(machine: SimulatedMachine) -> None:
    machine.switch(privilege="user", role_check="set-privilege")
    with pytest.raises(CompletionCodeError) as refused, logged_in(machine):
        pass
    assert refused.value.cc == 0x81


def test_a_user_is_refused_chassis_control(machine: SimulatedMachine) -> None:
    machine.switch(privilege="user", role_check="command")
    with pytest.raises(CompletionCodeError) as refused, logged_in(machine) as ipmi:
        ipmi.chassis_control_diagnostic_interrupt()
    assert refused.value.cc == 0xD4
    assert (machine.delivered(), machine.requests()["nmi"]) == (0, 1)


def test_an_operator_is_refused_where_the_nmi_needs_an_administrator(machine: SimulatedMachine) -> None:
    machine.switch(privilege="administrator", nmi_privilege="administrator")
    with pytest.raises(CompletionCodeError) as refused, logged_in(machine) as ipmi:
        ipmi.chassis_control_diagnostic_interrupt()
    assert refused.value.cc == 0xD4
    with logged_in(machine, "ADMINISTRATOR") as ipmi:
        ipmi.chassis_control_diagnostic_interrupt()
    assert machine.delivered() == 1


def test_it_refuses_with_the_given_code(machine: SimulatedMachine) -> None:
    machine.switch(refuse=0xC9)
    with pytest.raises(CompletionCodeError) as refused, logged_in(machine) as ipmi:
        ipmi.chassis_control_diagnostic_interrupt()
    assert (refused.value.cc, machine.delivered()) == (0xC9, 0)


def test_it_answers_ok_and_does_nothing(machine: SimulatedMachine) -> None:
    machine.switch(nmi="ignore")
    with logged_in(machine) as ipmi:
        ipmi.chassis_control_diagnostic_interrupt()
    assert (machine.delivered(), machine.requests()["nmi"]) == (0, 1)


def test_it_acts_and_stays_silent_until_told_otherwise(machine: SimulatedMachine) -> None:
    machine.switch(lose_replies=-1)
    with pytest.raises(RetryError), logged_in(machine) as ipmi:
        ipmi.chassis_control_diagnostic_interrupt()
    assert machine.delivered() == 1
    with pytest.raises((RetryError, TimeoutError)), logged_in(machine):
        pass
    machine.switch(lose_replies=0)
    with logged_in(machine):
        pass


def test_it_can_answer_late(machine: SimulatedMachine) -> None:
    machine.switch(nmi_answer_delay=0.3)
    with logged_in(machine) as ipmi:
        start = time.monotonic()
        ipmi.chassis_control_diagnostic_interrupt()
        assert 0.3 <= time.monotonic() - start < 0.9


def test_the_network_can_be_dead(machine: SimulatedMachine) -> None:
    machine.switch(loss=1.0)
    with pytest.raises((RetryError, TimeoutError)), logged_in(machine):
        pass
    assert machine.requests() == {}


def test_power_off_is_reported_and_refuses(machine: SimulatedMachine) -> None:
    with logged_in(machine) as ipmi:
        assert ipmi.get_chassis_status().power_on
    machine.switch(power="off")
    with logged_in(machine) as ipmi:
        assert not ipmi.get_chassis_status().power_on
        with pytest.raises(CompletionCodeError) as refused:
            ipmi.chassis_control_diagnostic_interrupt()
    assert (refused.value.cc, machine.delivered()) == (0xD5, 0)


def test_a_wrong_password_does_not_log_in(machine: SimulatedMachine) -> None:
    machine.switch(password="another")
    try:
        with pytest.raises(Exception, match="password"), logged_in(machine):
            pass
    finally:
        machine.switch(password=machine.password)
    assert "set_privilege" not in machine.requests()


class Twice:
    """A socket that sends everything twice."""

    def __init__(self, udp: socket.socket) -> None:
        self.udp = udp

    def __getattr__(self, name: str) -> Any:
        return getattr(self.udp, name)

    def sendto(self, *arguments: Any) -> int:
        self.udp.sendto(*arguments)
        return self.udp.sendto(*arguments)

    def send(self, *arguments: Any) -> int:
        self.udp.send(*arguments)
        return self.udp.send(*arguments)


def test_a_datagram_of_a_session_that_comes_twice_acts_once(machine: SimulatedMachine) -> None:
    with logged_in(machine) as ipmi:
        ipmi.interface._sock = Twice(ipmi.interface._sock)
        ipmi.chassis_control_diagnostic_interrupt()
    requests = machine.requests()
    assert requests["datagrams"] >= requests["datagrams_before_nmi"] + 3, "it did come twice"
    assert (requests["nmi"], machine.delivered()) == (1, 1)


def test_every_other_chassis_control_is_refused_and_counted_by_its_name(machine: SimulatedMachine) -> None:
    with logged_in(machine) as ipmi, pytest.raises(CompletionCodeError):
        ipmi.chassis_control_power_cycle()
    assert machine.requests()["power_cycle"] == 1


def test_noise_does_not_disturb_it(machine: SimulatedMachine) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for noise in (
            b"",
            b"\x06",
            b"\x06\x00\xff\x07",
            b"\x06\x00\xff\x07" + bytes(200),
            bytes(range(256)) * 4,
        ):
            udp.sendto(noise, (machine.bmc_address, machine.bmc_port))
        for kind in (0x00, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x3F, 0x40, 0xC0, 0xC1):
            for size in (0, 8, 20, 32, 60):
                header = b"\x06\x00\xff\x07\x06" + bytes([kind]) + bytes(8) + size.to_bytes(2, "little")
                udp.sendto(header + b"\xa5" * size, (machine.bmc_address, machine.bmc_port))
    with logged_in(machine) as ipmi:
        ipmi.chassis_control_diagnostic_interrupt()
    assert machine.delivered() == 1


def test_ipv6(tmp_path: Path) -> None:
    switches = Switches(address="::1", ssh="banner", host="healthy", crash="never")
    with SimulatedMachine(switches, tmp_path) as machine:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
            udp.settimeout(2.0)
            assert exchange(udp, machine, 0x10, open_session((1, 1, 1)))[1] == 0
        with socket.create_connection(("::1", machine.ssh_port), 2.0) as tcp:
            assert tcp.recv(8) == b"SSH-2.0-"
