"""The IPMI driver against two real BMC programs on a good network: packets, identity, one request, one answer."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic

import pytest
from pyipmi.session import Session

from drivers.ipmi import REFUSALS, IpmiDriver
from drivers.ipmi_login import log_in
from drivers.ipmi_session import IpmiSession, _Account
from tests.drivers.ipmi_bmcs import (
    PASSWORD,
    USER,
    RealBmc,
    Secret,
    controller,
    free_port,
    options,
    pyghmi_bmc,
)
from tests.drivers.udp_proxy import OPEN_REQUEST, RAKP_1, RAKP_3, UdpProxy, losing, straight
from trigger.clock import Deadline
from trigger.driver import Power
from trigger.errors import OutcomeUnknown, Refused

ENCRYPTED = 0
KNOWN = {"cipher_suite": 3}


@contextmanager
def proxied(bmc: RealBmc, known: Mapping[str, object] | None = None) -> Iterator[tuple[UdpProxy, IpmiDriver]]:
    """A driver that reaches the BMC through a proxy, which sees every datagram."""
    with (
        UdpProxy(("127.0.0.1", bmc.port)) as proxy,
        IpmiDriver(controller(proxy.port), options(known)) as driver,
    ):
        yield proxy, driver


def kinds(proxy: UdpProxy) -> list[int]:
    """The payload types that the driver sent, in order; -1 is IPMI 1.5."""
    return [datagram.payload_type for datagram in proxy.seen if datagram.to_bmc]


def test_known_suite_needs_five_packets_before_the_interrupt(bmc: RealBmc) -> None:
    known = {"cipher_suite": 3, "privilege": "operator"}
    with proxied(bmc, known) as (proxy, driver):
        probe = driver.probe(Deadline(10))
        before = kinds(proxy)
        accepted = driver.send_nmi(Deadline(3))
        after = kinds(proxy)
    assert before == [OPEN_REQUEST, RAKP_1, RAKP_3, ENCRYPTED, ENCRYPTED]
    assert after == [*before, ENCRYPTED]
    assert accepted.answer == "completion code 0x00"
    assert bmc.delivered() == 1
    assert probe.identity.uuid == bmc.guid
    assert probe.power is Power.ON
    assert probe.nmi_allowed is None
    assert probe.learned == {"cipher_suite": 3, "privilege": "operator"}
    assert probe.warnings == ()


def test_cold_login_needs_seven_packets_before_the_interrupt(bmc: RealBmc) -> None:
    with proxied(bmc) as (proxy, driver):
        probe = driver.probe(Deadline(10))
        driver.send_nmi(Deadline(3))
        sent = kinds(proxy)
    assert sent == [-1, OPEN_REQUEST, OPEN_REQUEST, RAKP_1, RAKP_3, ENCRYPTED, ENCRYPTED, ENCRYPTED]
    assert probe.learned["cipher_suite"] == 3
    assert bmc.delivered() == 1


def test_a_second_interrupt_is_a_programming_error_and_is_not_sent(bmc: RealBmc) -> None:
    with proxied(bmc, KNOWN) as (proxy, driver):
        driver.probe(Deadline(10))
        driver.send_nmi(Deadline(3))
        sent = proxy.sent()
        with pytest.raises(RuntimeError, match="nothing was sent"):
            driver.send_nmi(Deadline(3))
        assert proxy.sent() == sent
    assert bmc.delivered() == 1


def test_an_interrupt_without_a_probe_sends_nothing(bmc: RealBmc) -> None:
    with UdpProxy(("127.0.0.1", bmc.port)) as proxy:
        with pytest.raises(RuntimeError, match="nothing was sent"):
            IpmiDriver(controller(proxy.port), options(KNOWN)).send_nmi(Deadline(3))
        assert proxy.sent() == 0


def test_a_second_interrupt_is_refused_after_an_unknown_outcome_too(bmc: RealBmc) -> None:
    with proxied(bmc, KNOWN) as (proxy, driver):
        driver.probe(Deadline(10))
        proxy.fate = losing(lambda datagram: not datagram.to_bmc)
        with pytest.raises(OutcomeUnknown):
            driver.send_nmi(Deadline(0.2))
        driver.close()
        proxy.fate = straight
        driver.probe(Deadline(10))
        with pytest.raises(RuntimeError):
            driver.send_nmi(Deadline(3))
    assert bmc.delivered() == 1


@pytest.mark.parametrize("lost", ["the request", "the answer"])
def test_no_answer_means_unknown_and_nothing_is_sent_again(bmc: RealBmc, lost: str) -> None:
    with proxied(bmc, KNOWN) as (proxy, driver):
        driver.probe(Deadline(10))
        before = proxy.sent()
        proxy.fate = losing(lambda datagram: datagram.to_bmc == (lost == "the request"))
        started = monotonic()
        with pytest.raises(OutcomeUnknown, match=r"sent once, and no answer came within 1\.5 s"):
            driver.send_nmi(Deadline(1.5))
        took = monotonic() - started
        assert proxy.sent() == before + 1
        proxy.fate = straight
        driver.close()
        proxy.await_sent(before + 2)
        sent = kinds(proxy)
    assert 1.4 < took < 2.0
    assert len(sent) == before + 2, "one interrupt and one Close Session"
    assert bmc.delivered() == (1 if lost == "the answer" else 0)


@pytest.mark.parametrize("code", sorted(REFUSALS))
def test_codes_of_the_allow_list_are_refusals(sim: RealBmc, code: int) -> None:
    sim.answer_with(code)
    with IpmiDriver(controller(sim.port), options(KNOWN)) as driver:
        driver.probe(Deadline(10))
        with pytest.raises(Refused, match=f"{code:#04x}") as refused:
            driver.send_nmi(Deadline(3))
    assert ("set `privilege: administrator`" in refused.value.message) == (code == 0xD4)


@pytest.mark.parametrize("code", [0x80, 0xC3, 0xC4, 0xC5, 0xCA, 0xCB, 0xCE, 0xCF, 0xD2, 0xD3, 0xFF])
def test_every_other_code_leaves_the_outcome_unknown(sim: RealBmc, code: int) -> None:
    sim.answer_with(code)
    with IpmiDriver(controller(sim.port), options(KNOWN)) as driver:
        driver.probe(Deadline(10))
        with pytest.raises(OutcomeUnknown, match=f"completion code {code:#04x}"):
            driver.send_nmi(Deadline(3))


def test_the_allow_list_is_the_one_of_the_design() -> None:
    assert sorted(REFUSALS) == [0xC0, 0xC1, 0xC2, 0xC6, 0xC7, 0xC8, 0xC9, 0xCC, 0xD4, 0xD5, 0xD6]


def test_insufficient_privilege_of_an_administrator_names_no_cure_that_was_tried(sim: RealBmc) -> None:
    sim.answer_with(0xD4)
    with IpmiDriver(controller(sim.port, privilege="administrator"), options(KNOWN)) as driver:
        assert driver.probe(Deadline(10)).learned["privilege"] == "administrator"
        with pytest.raises(Refused) as refused:
            driver.send_nmi(Deadline(3))
    assert "set `privilege" not in refused.value.message


def test_over_ipv6(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pyghmi_bmc(tmp_path_factory.mktemp("pyghmi6"), "::1") as bmc:
        with IpmiDriver(controller(bmc.port, address="::1"), options()) as driver:
            driver.probe(Deadline(10))
            driver.send_nmi(Deadline(3))
        assert bmc.delivered() == 1


def test_logging_in_again_and_again_leaves_no_session_behind(sim: RealBmc) -> None:
    """ipmi_sim has a few dozen sessions and says 0x01 when they are gone; Close Session is what frees them."""
    started = monotonic()
    for _ in range(150):
        with IpmiDriver(controller(sim.port), options(KNOWN)) as driver:
            driver.probe(Deadline(10))
    assert monotonic() - started < 20, "and nobody waits for the answer to Close Session"


def test_power_can_be_read_without_a_probe_and_after_a_close(bmc: RealBmc) -> None:
    with IpmiDriver(controller(bmc.port), options(KNOWN)) as driver:
        assert driver.power(Deadline(5)) is Power.ON
        driver.close()
        assert driver.power(Deadline(5)) is Power.ON


def test_the_password_is_asked_for_once_and_shown_nowhere(sim: RealBmc, caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret()
    with (
        caplog.at_level("DEBUG"),
        IpmiDriver(controller(sim.port), options(KNOWN, secret)) as driver,
    ):
        driver.probe(Deadline(10))
        session = driver._session
        shown = [repr(driver), repr(session), str(session._account), repr(session._account)]  # type: ignore[union-attr]
        assert PASSWORD not in repr(vars(session._account)), "forgotten after the login"  # type: ignore[union-attr]
    assert secret.asked == 1
    assert caplog.records, "python-ipmi does log, so this test would see it"
    assert not any(PASSWORD in text or PASSWORD.encode().hex() in text for text in (caplog.text, *shown))
    assert PASSWORD.encode().hex(" ") not in caplog.text


def test_python_ipmi_would_print_the_password_and_ours_does_not() -> None:
    account = _Account()
    account.set_auth_type_user("crash", PASSWORD)
    assert PASSWORD in Session.__str__(account)
    assert PASSWORD not in f"{account} {account!r}"


def test_an_icmp_error_from_before_does_not_take_the_place_of_the_request(sim: RealBmc) -> None:
    """A send() that reports an old error sends nothing; that would be an interrupt that never left."""
    with UdpProxy(("127.0.0.1", sim.port)) as proxy:
        driver = IpmiDriver(controller(proxy.port), options(KNOWN))
        driver.probe(Deadline(5))
    session = driver._session
    assert session is not None
    session._sock.send(b"to a port that is closed by now")
    select.select([session._sock], [], [], 5)  # readable: the error is pending
    with driver, pytest.raises(OutcomeUnknown, match="no answer came"):
        driver.send_nmi(Deadline(0.2))


def test_the_next_address_is_tried_when_the_first_is_dead(sim: RealBmc) -> None:
    family = socket.AF_INET
    dead = (family, ("127.0.0.1", free_port()))
    session = IpmiSession("a name with two addresses", [dead, (family, ("127.0.0.1", sim.port))])
    log_in(session, USER, Secret(), (3,), ("operator",), monotonic() + 5)
    assert session.suite == 3
    session.leave()


def test_python_ipmi_is_whole_for_others_after_the_lighter_import() -> None:
    code = """
import sys
from drivers.ipmi_opening import defer_other_interfaces
defer_other_interfaces()
import drivers.ipmi_session
assert "pyipmi.interfaces.ipmitool" not in sys.modules, "lighter"
import pyipmi.interfaces
assert pyipmi.interfaces.RmcpPlus is pyipmi.interfaces.rmcpplus.RmcpPlus
assert pyipmi.interfaces.create_interface("mock")
assert not hasattr(pyipmi.interfaces, "no_such_name")
defer_other_interfaces()
assert pyipmi.interfaces.Rmcp
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_driver_imports_no_library() -> None:
    code = "import sys, drivers.ipmi; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "drivers.ipmi" in loaded
    assert not loaded & {
        "pyipmi",
        "cryptography",
        "pyghmi",
        "logging",
        "subprocess",
        "asyncio",
        "click",
        "yaml",
    }


def test_the_plan_names_the_exact_request() -> None:
    text = IpmiDriver(controller(0, address="2001:db8::7"), options()).describe_nmi()
    assert "netfn 0x00 command 0x02 data 0x04" in text
    assert "2001:db8::7" in text
    assert "623" in text
