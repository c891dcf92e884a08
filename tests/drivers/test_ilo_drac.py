"""iLO and iDRAC, over Redfish and over their command lines, under every fault of the suite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

from drivers.drac import DRAC_CLI, DracDriver, parse_sysinfo
from drivers.ilo import ILO_CLI, IloDriver, parse_system
from tests.drivers import test_redfish_conformance as redfish_conformance
from tests.drivers.redfish_service import Answers, redfish_controller
from tests.drivers.simulators import cli_server
from tests.drivers.simulators.cli_server import DRAC_RACADM, DRAC_SMCLP, ILO, CliServer, Manners, host_key
from tests.drivers.simulators.redfish_server import RedfishServer
from tests.drivers.simulators.redfish_trees import Tree, idrac9, ilo4, ilo5
from trigger.clock import Deadline
from trigger.conformance import ITS_IDENTITY, DriverConformance, Simulator
from trigger.driver import Driver, DriverOptions, HasEventLog, Identity, Power, ReportsPower, SendsNmi
from trigger.errors import ConfigError, DriverError, LoginFailed, Refused, Unreachable, Untrusted
from trigger.host import Controller


class TestIlo5(redfish_conformance.TestRedfish):
    """iLO 5 over Redfish."""

    kind: type[Driver] = IloDriver

    def tree(self) -> Tree:
        return ilo5()


class TestIlo4(redfish_conformance.TestRedfish):
    """iLO 4 over Redfish, which takes Basic only."""

    kind: type[Driver] = IloDriver
    login = "always-401"

    def tree(self) -> Tree:
        return ilo4()


class TestDrac9(redfish_conformance.TestRedfish):
    """iDRAC 9 over Redfish."""

    kind: type[Driver] = DracDriver

    def tree(self) -> Tree:
        return idrac9()


def cli_controller(server: CliServer, driver: str = "ilo", **options: Any) -> Controller:
    """Return the configuration of `server`, its host key pinned."""
    pinned = {"transport": "ssh", "host_key": host_key().get_fingerprint("sha256")}
    return Controller(
        name=driver, driver=driver, address="127.0.0.1", port=server.port, user=cli_server.USER,
        options={**pinned, **options}, where="config.yaml:7",
    )  # fmt: skip


class TestIloCli(DriverConformance):
    """iLO's command line."""

    faults: ClassVar[tuple[str, ...]] = cli_server.FAULTS
    never_logs_in: ClassVar[tuple[str, ...]] = ("no-prompt", "not-a-bmc")
    kind: type[Driver] = IloDriver
    manners = ILO

    def start(self, fault: str) -> Simulator:
        server = CliServer(self.manners, fault)
        if fault == "closed-port":
            server.close()
        return server

    def driver(self, simulator: Simulator, fault: str) -> Driver:
        assert isinstance(simulator, CliServer)
        controller = cli_controller(simulator)
        known: dict[str, object] = {}
        if fault == "changed-certificate":
            known = {"fingerprint": controller.options["host_key"]}
            controller = cli_controller(simulator, host_key="")
        return self.kind(controller, DriverOptions(secrets=Answers(), known=known))


class TestDracCli(TestIloCli):
    """iDRAC's older command line, in which racadm is a command."""

    kind: type[Driver] = DracDriver
    manners = DRAC_SMCLP


class TestDracRacadm(TestIloCli):
    """iDRAC's newer command line, which is racadm."""

    kind: type[Driver] = DracDriver
    manners = DRAC_RACADM


Start = Callable[..., CliServer]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start servers, and stop them."""
    started: list[CliServer] = []

    def make(manners: Manners = ILO, fault: str = "healthy", **more: Any) -> CliServer:
        started.append(CliServer(manners, fault, **more))
        return started[-1]

    yield make
    for server in started:
        server.close()


def ilo(
    server: CliServer, *, known: dict[str, object] | None = None, accept_new: bool = False, **more: Any
) -> IloDriver:
    options = DriverOptions(secrets=Answers(), known=known or {}, accept_new=accept_new)
    return IloDriver(cli_controller(server, **more), options)


@pytest.mark.parametrize(
    ("manners", "driver", "lines"),
    [
        (ILO, IloDriver, ["show /system1", "nmi server"]),
        (DRAC_SMCLP, DracDriver, ["racadm getsysinfo -s", "racadm serveraction nmi"]),
        (DRAC_RACADM, DracDriver, ["getsysinfo -s", "serveraction nmi"]),
    ],
)
def test_what_is_typed_and_understood(start: Start, manners: Manners, driver: type[Any], lines: list[str]) -> None:
    server = start(manners)
    with driver(cli_controller(server), DriverOptions(secrets=Answers())) as controller:
        probe = controller.probe(Deadline(5))
        controller.send_nmi(Deadline(5))
        assert controller.power(Deadline(5)) is Power.ON
    assert server.lines[:2] == lines
    assert server.deliveries() == 1
    assert probe.identity.serial == ITS_IDENTITY.serial
    assert probe.identity.hostname == "server42"
    assert probe.power is Power.ON
    assert probe.learned["fingerprint"] == host_key().get_fingerprint("sha256")


def test_keyboard_interactive_is_a_password_too(start: Start) -> None:
    server = start(kbdint=True)
    with ilo(server) as driver:
        assert driver.probe(Deadline(5)).identity.serial == ITS_IDENTITY.serial


def test_a_rejected_password_is_tried_once_in_one_way(start: Start) -> None:
    server = start(fault="wrong-password")  # it offers both ways
    with ilo(server) as driver, pytest.raises(LoginFailed, match="not tried again") as raised:
        driver.probe(Deadline(5))
    assert raised.value.rejected
    assert len(server.tried) == 1


def test_an_unknown_host_key_is_shown_and_nobody_logs_in(start: Start) -> None:
    server = start()
    with ilo(server, host_key="") as driver, pytest.raises(Untrusted, match="is not known") as raised:
        driver.probe(Deadline(5))
    assert raised.value.fingerprint == host_key().get_fingerprint("sha256")
    assert server.tried == []
    with ilo(server, host_key="", accept_new=True) as driver:
        probe = driver.probe(Deadline(5))
    assert raised.value.fingerprint in probe.warnings[0]
    with ilo(server, host_key="", known=dict(probe.learned)) as driver:
        assert driver.probe(Deadline(5)).warnings == ()


def test_a_changed_host_key_is_never_adopted_silently(start: Start) -> None:
    server = start(fault="changed-certificate")
    known: dict[str, object] = {"fingerprint": host_key().get_fingerprint("sha256")}
    with ilo(server, host_key="", known=known) as driver, pytest.raises(Untrusted, match="has changed"):
        driver.probe(Deadline(5))
    assert server.tried == []


@pytest.mark.filterwarnings("ignore:Diffie-Hellman over finite fields")  # that is what such a controller wants
def test_old_algorithms_only_where_the_configuration_asks(start: Start) -> None:
    old = {"kex_algs": "diffie-hellman-group14-sha1", "encryption_algs": "aes128-cbc"}
    server = start(**old)
    with ilo(server) as driver, pytest.raises(Unreachable, match="algorithm") as raised:
        driver.probe(Deadline(5))
    assert "legacy_ssh: true" in raised.value.next_step
    with ilo(server, legacy_ssh=True) as driver:
        assert driver.probe(Deadline(5)).identity.serial == ITS_IDENTITY.serial


def test_a_bare_nmi_is_what_ilo_refuses(start: Start) -> None:
    import dataclasses

    server = start(dataclasses.replace(ILO, nmi="nmi server now"))
    with ilo(server) as driver:
        driver.probe(Deadline(5))
        driver.way._dialect = dataclasses.replace(ILO_CLI, nmi="nmi")  # type: ignore[attr-defined]
        with pytest.raises(Refused, match="You must specify an NMI target"):
            driver.send_nmi(Deadline(5))


@pytest.mark.parametrize("options", [{"transport": "telnet"}])
def test_a_transport_that_does_not_exist(start: Start, options: Any) -> None:
    with pytest.raises(ConfigError, match="redfish or ssh"):
        ilo(start(), **options)


def test_a_url_in_place_of_an_address() -> None:
    controller = Controller(name="ilo", driver="ilo", address="ssh://10.0.0.1", options={"transport": "ssh"})
    with pytest.raises(ConfigError, match="not an address"):
        IloDriver(controller, DriverOptions(secrets=Answers()))


def test_abilities_are_methods() -> None:
    for kind in (IloDriver, DracDriver):
        assert issubclass(kind, SendsNmi) and issubclass(kind, ReportsPower) and issubclass(kind, HasEventLog)


def test_the_event_log_is_read_over_redfish_only(start: Start) -> None:
    with ilo(start()) as driver, pytest.raises(DriverError, match="Redfish only"):
        driver.event_log(Deadline(5))
    server = RedfishServer(ilo5())
    try:
        with IloDriver(redfish_controller(server), DriverOptions(secrets=Answers())) as driver:
            driver.probe(Deadline(5))
            assert len(driver.event_log(Deadline(5))) == 3
    finally:
        server.close()


def test_ilo_asks_with_a_slash_from_the_start() -> None:
    server = RedfishServer(ilo5())
    try:
        with IloDriver(redfish_controller(server), DriverOptions(secrets=Answers())) as driver:
            driver.probe(Deadline(5))
            driver.send_nmi(Deadline(5))
        assert server.count() == 4
    finally:
        server.close()


@pytest.mark.parametrize("parse", [parse_system, parse_sysinfo])
def test_output_that_says_nothing_is_no_identity(parse: Callable[[str], tuple[Identity, Power]]) -> None:
    assert parse("\x1b[2J what?\n= = =\n") == (Identity(), Power.UNKNOWN)


def test_dialects_name_their_source() -> None:
    assert ILO_CLI.source and DRAC_CLI.source
