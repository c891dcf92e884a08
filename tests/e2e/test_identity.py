"""Is it the right machine? Every way to be at the wrong one, at the guard, through every driver that can fire.

The whole of a shot is real: plan, login, comparison, journal, request; the controllers count what they receive.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.drivers.redfish_service import Answers, redfish_controller
from tests.drivers.simulators.cli_server import DRAC_RACADM, DRAC_SMCLP, ILO, CliServer, Manners
from tests.drivers.simulators.redfish_server import RedfishServer
from tests.drivers.simulators.redfish_trees import Tree, idrac9, ilo4, ilo5, machine, several
from tests.drivers.test_ilo_drac import cli_controller
from trigger.clock import SystemClock
from trigger.conformance import ITS_IDENTITY, OTHER_IDENTITY
from trigger.driver import Identity
from trigger.errors import GuardRefused, TriggerError
from trigger.host import Controller, ExpectedIdentity, Host, SecretReference
from trigger.known import Known, known_of
from trigger.plan import lock_keys, make_plan
from trigger.record import Record, write_record
from trigger.run import Run
from trigger.shot import Surroundings, Wish, shoot
from trigger.simulated.machine import SimulatedMachine
from trigger.simulated.switches import Switches
from trigger.state import StateFolder

TREES: dict[str, Callable[..., Tree]] = {"redfish": machine, "ilo5": ilo5, "ilo4": ilo4, "idrac9": idrac9}
SHELLS: dict[str, Manners] = {"ilo-cli": ILO, "racadm": DRAC_RACADM, "smclp": DRAC_SMCLP}
NOBODY, NO_RECORD = Identity(), Known()
ZERO = "00000000-0000-0000-0000-000000000000"


class Bmc(NamedTuple):
    """A controller that is there: how it is configured, and how many NMIs its machine got."""

    controller: Controller
    password: str
    delivered: Callable[[], int]


@pytest.fixture(scope="module")
def ipmi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedMachine]:
    switches = Switches(host="dead", crash="never", guid=ITS_IDENTITY.uuid)
    with SimulatedMachine(switches, tmp_path_factory.mktemp("ipmi") / "machine") as machine:
        yield machine


@pytest.fixture
def bmc(ipmi: SimulatedMachine) -> Iterator[Callable[..., Bmc]]:
    """Make a controller by name that says it is `who`."""
    servers: list[RedfishServer | CliServer] = []

    def make(kind: str, who: Identity = ITS_IDENTITY, **more: Any) -> Bmc:
        if kind == "ipmi":
            ipmi.switch(reported_guid=who.uuid, guid_order=more.get("order", "big"))
            ipmi.reset_counts()
            return Bmc(ipmi_controller(ipmi), ipmi.password, ipmi.delivered)
        server: RedfishServer | CliServer
        if kind in TREES:
            server = RedfishServer(TREES[kind](who), login="always-401" if kind == "ilo4" else "session")
            controller = redfish_controller(server, driver=kind.rstrip("0123456789").replace("idrac", "drac"))
        else:
            server = CliServer(SHELLS[kind], "healthy" if who == ITS_IDENTITY else "other-identity")
            controller = cli_controller(server, "ilo" if kind == "ilo-cli" else "drac")
        servers.append(server)
        return Bmc(controller, Answers().password(), server.deliveries)

    yield make
    for server in servers:
        server.close()


def ipmi_controller(machine: SimulatedMachine) -> Controller:
    password = SecretReference("file", str(machine.password_file))
    return Controller("ipmi", "ipmi", machine.bmc_address, machine.bmc_port, machine.user, password)


def fire(bmc: Bmc, state: Path, *, written: Identity = NOBODY, known: Known = NO_RECORD, confirm: str = "h") -> str:
    """Fire once as `trigger nmi --confirm` does; return "fired" or the rule that refused."""
    host = Host("h", (bmc.controller,), identity=ExpectedIdentity(written.uuid, written.serial), where="config.yaml:3")
    folder = StateFolder.choose(str(state))
    around = Surroundings(folder, SystemClock(), lambda controller: Answers(bmc.password))
    run = Run(folder, "h", SystemClock(), [])
    try:
        shot = shoot(make_plan(host, "nmi"), known, Wish("trigger nmi h", confirm, ("no-record",), "test"), around, run)
    except TriggerError as error:
        assert bmc.delivered() == 0
        assert isinstance(error, GuardRefused), error
        return error.rule
    finally:
        run.close()
    assert (shot.outcome, bmc.delivered()) == ("accepted", 1)
    return "fired"


def recorded(
    bmc: Bmc, state: Path, *, controller: Identity, host: Identity = ITS_IDENTITY, shared: bool = False
) -> Known:
    """Return what is known after a preflight that saw the host as `host` and its controller as `controller`."""
    folder = StateFolder.choose(str(state))
    seen = {bmc.controller.name: controller}
    write_record(folder, Record("h", 1.0, ready=True, controllers=seen, identity=host, uuid_shared=shared))
    return known_of(folder, NoConfig(), Host("h", (bmc.controller,)))  # type: ignore[arg-type]


class NoConfig:
    """A configuration that names no other places for records."""

    record_dirs = ()


EVERY = ["ipmi", *TREES, *SHELLS]


@pytest.mark.parametrize("kind", EVERY)
def test_the_right_machine_is_fired_at(bmc: Callable[..., Bmc], tmp_path: Path, kind: str) -> None:
    made = bmc(kind)
    who = ITS_IDENTITY if kind == "ipmi" or kind in TREES else Identity(serial=ITS_IDENTITY.serial)
    assert fire(made, tmp_path, written=who) == "fired"


@pytest.mark.parametrize("kind", EVERY)
def test_a_swapped_cable_or_a_wrong_line(bmc: Callable[..., Bmc], tmp_path: Path, kind: str) -> None:
    """The machine behind the address is another one than the owner wrote down."""
    assert fire(bmc(kind, OTHER_IDENTITY), tmp_path, written=ITS_IDENTITY) == "identity-mismatch"


@pytest.mark.parametrize("kind", EVERY)
def test_an_address_that_was_given_to_another_machine(bmc: Callable[..., Bmc], tmp_path: Path, kind: str) -> None:
    """Nobody wrote anything down, but the last preflight saw another one there."""
    made = bmc(kind, OTHER_IDENTITY)
    known = recorded(made, tmp_path, controller=ITS_IDENTITY)
    assert fire(made, tmp_path, known=known) == "identity-mismatch"


@pytest.mark.parametrize("kind", EVERY)
def test_the_same_controller_as_at_the_preflight_is_good_enough(
    bmc: Callable[..., Bmc], tmp_path: Path, kind: str
) -> None:
    """Its GUID is not the host's: some BMCs have one of their own. The preflight reached both and knows the pair."""
    made = bmc(kind, OTHER_IDENTITY)
    known = recorded(made, tmp_path, controller=OTHER_IDENTITY)
    assert fire(made, tmp_path, known=known) == "fired"


@pytest.mark.parametrize("kind", ["ipmi", *TREES])
@pytest.mark.parametrize("said", [ZERO, "ffffffff-ffff-ffff-ffff-ffffffffffff", "03000200-0400-0500-0006-000700080009"])
def test_a_guid_that_many_machines_have_proves_nothing(
    bmc: Callable[..., Bmc], tmp_path: Path, kind: str, said: str
) -> None:
    made = bmc(kind, Identity(uuid=said, serial="To be filled by O.E.M."))
    assert fire(made, tmp_path, written=Identity(uuid=ITS_IDENTITY.uuid)) == "identity-unproved"


@pytest.mark.parametrize("kind", ["ipmi", *TREES])
def test_a_guid_shared_by_a_batch_proves_nothing(bmc: Callable[..., Bmc], tmp_path: Path, kind: str) -> None:
    """The same UUID stood in the record of another host as well: it names the batch, not the machine."""
    made = bmc(kind, Identity(uuid=ITS_IDENTITY.uuid))
    only = Identity(uuid=ITS_IDENTITY.uuid)
    known = recorded(made, tmp_path, controller=only, host=only, shared=True)
    assert fire(made, tmp_path, known=known) == "identity-unproved"
    assert recorded(made, tmp_path, controller=only, host=only).identities[made.controller.name] == only


@pytest.mark.parametrize("kind", ["ipmi", *TREES])
def test_every_byte_order_is_the_same_machine(bmc: Callable[..., Bmc], tmp_path: Path, kind: str) -> None:
    swapped = str(uuid.UUID(bytes_le=uuid.UUID(ITS_IDENTITY.uuid).bytes))
    backwards = str(uuid.UUID(bytes=uuid.UUID(ITS_IDENTITY.uuid).bytes[::-1]))
    for number, said in enumerate((swapped, backwards, ITS_IDENTITY.uuid.upper())):
        made = bmc(kind, Identity(uuid=said))
        assert fire(made, tmp_path / str(number), written=Identity(uuid=ITS_IDENTITY.uuid)) == "fired"


def test_ipmi_in_the_order_of_rakp_message_2(bmc: Callable[..., Bmc], tmp_path: Path) -> None:
    for order in ("big", "little"):
        assert fire(bmc("ipmi", order=order), tmp_path / order, written=Identity(uuid=ITS_IDENTITY.uuid)) == "fired"


@pytest.mark.parametrize("kind", EVERY)
def test_confirm_may_name_the_machine_instead_of_the_host(bmc: Callable[..., Bmc], tmp_path: Path, kind: str) -> None:
    its = ITS_IDENTITY.uuid if kind == "ipmi" else ITS_IDENTITY.serial
    other = OTHER_IDENTITY.uuid if kind == "ipmi" else OTHER_IDENTITY.serial
    assert fire(bmc(kind), tmp_path / "its", confirm=its) == "fired"
    assert fire(bmc(kind), tmp_path / "other", confirm=other) == "identity-mismatch"


# --- two nodes of one chassis ------------------------------------------------------------------------------------


def chassis(**more: Any) -> tuple[RedfishServer, Controller]:
    server = RedfishServer(several(machine(system="node-1"), machine(OTHER_IDENTITY, system="node-2")))
    return server, redfish_controller(server, **more)


@pytest.mark.parametrize(
    ("system", "who", "expected"),
    [
        ("node-1", ITS_IDENTITY, "fired"),
        ("node-2", OTHER_IDENTITY, "fired"),
        ("node-2", ITS_IDENTITY, "identity-mismatch"),
        ("node-1", OTHER_IDENTITY, "identity-mismatch"),
    ],
)
def test_two_nodes_behind_one_controller(tmp_path: Path, system: str, who: Identity, expected: str) -> None:
    server, controller = chassis(system=system)
    try:
        assert fire(Bmc(controller, Answers().password(), server.deliveries), tmp_path, written=who) == expected
    finally:
        server.close()


def test_two_nodes_lock_apart_and_one_node_under_two_names_together() -> None:
    """Neither keeps the other's operator waiting, and nobody fires at one of them twice."""
    one, two = (lock_keys(Host(name, (chassis_controller(name),)), {}) for name in ("node-1", "node-2"))
    alias = lock_keys(Host("web1", (chassis_controller("node-1"),)), {})
    assert not set(one) & set(two)
    assert set(one) & set(alias)


def chassis_controller(system: str) -> Controller:
    return Controller("redfish", "redfish", "192.0.2.7", system=system)
