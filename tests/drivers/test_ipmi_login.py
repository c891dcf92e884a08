"""How the IPMI driver gets in or says why not: each failure its own sentence, all before the deadline."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic

import pytest

from drivers.ipmi import IpmiDriver
from tests.drivers.ipmi_bmcs import PASSWORD, USER, Secret, controller, options
from tests.drivers.scripted_bmc import GUID, Script, ScriptedBmc
from trigger.clock import Deadline
from trigger.driver import Probe
from trigger.errors import ConfigError, DriverError, LoginFailed, Unreachable

SUITE_3, SUITE_17 = (1, 1, 1), (3, 4, 1)


class Answering:
    """Something on a UDP port; quacks enough like a ScriptedBmc for `failure`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.received = {"chassis control": 0}


def probe(
    bmc: ScriptedBmc,
    *,
    seconds: float = 5,
    known: Mapping[str, object] | None = None,
    privilege: str = "",
    cipher_suite: int | None = None,
) -> Probe:
    """Log in, read, and log out again."""
    configured = controller(bmc.port, privilege=privilege, cipher_suite=cipher_suite)
    with IpmiDriver(configured, options(known)) as driver:
        return driver.probe(Deadline(seconds))


def failure(
    bmc: ScriptedBmc | Answering,
    *,
    seconds: float = 5,
    secret: Secret | None = None,
    known: Mapping[str, object] | None = None,
    user: str = USER,
) -> DriverError:
    """Fail to log in; check what every failure must be: in time, about this address, and free of the password."""
    started = monotonic()
    with (
        IpmiDriver(controller(bmc.port, user=user), options(known, secret)) as driver,
        pytest.raises(DriverError) as caught,
    ):
        driver.probe(Deadline(seconds))
    assert monotonic() - started < seconds + 0.5
    assert "127.0.0.1" in caught.value.message
    assert "nothing was sent" in caught.value.message
    assert caught.value.next_step
    assert PASSWORD not in repr(caught.value)
    assert bmc.received["chassis control"] == 0
    return caught.value


# -- what goes right ----------------------------------------------------------------------------------------------


def test_the_strongest_suite_is_asked_for_first() -> None:
    with ScriptedBmc() as bmc:
        found = probe(bmc)
    assert bmc.suites_asked == [SUITE_17]
    assert found.learned == {"cipher_suite": 17, "privilege": "operator"}
    assert found.identity.uuid == GUID.hex()


@pytest.mark.parametrize("status", [0x04, 0x05, 0x10, 0x11, 0x12])
def test_a_refused_suite_is_followed_by_the_next(status: int) -> None:
    with ScriptedBmc(Script(codes={"open": [status]})) as bmc:
        assert probe(bmc).learned["cipher_suite"] == 3
    assert bmc.suites_asked == [SUITE_17, SUITE_3]


def test_a_bmc_that_answers_with_other_algorithms_has_refused() -> None:
    with ScriptedBmc(Script(insists_on=3)) as bmc:
        assert probe(bmc).learned["cipher_suite"] == 3
    assert bmc.suites_asked == [SUITE_17, SUITE_3]


def test_a_bmc_that_drops_an_unknown_suite_is_offered_the_next() -> None:
    """Open Session for suite 17 is lost four times, as by firmware that ignores what it does not know."""
    with ScriptedBmc(Script(loses={"open": 4})) as bmc:
        assert probe(bmc, seconds=10).learned["cipher_suite"] == 3
    assert bmc.suites_asked == [SUITE_17] * 4 + [SUITE_3]


@pytest.mark.parametrize("suite", [2, 3, 16, 17])
def test_a_recorded_suite_is_the_only_one_and_saves_the_question(suite: int) -> None:
    with ScriptedBmc(Script(suites=(2, 3, 16, 17))) as bmc:
        assert probe(bmc, known={"cipher_suite": suite}).learned["cipher_suite"] == suite
    assert len(bmc.suites_asked) == 1
    assert bmc.received["capabilities"] == 0


@pytest.mark.parametrize("nonsense", [0, 1, 15, 99, -3, "3", None, True, [3]])
def test_a_record_that_names_no_usable_suite_is_no_record(nonsense: object) -> None:
    with ScriptedBmc() as bmc:
        assert probe(bmc, known={"cipher_suite": nonsense}).learned["cipher_suite"] == 17


def test_the_configured_suite_wins_and_a_weaker_one_is_reported() -> None:
    with ScriptedBmc() as bmc:
        found = probe(bmc, cipher_suite=3, known={"cipher_suite": 17})
    assert bmc.suites_asked == [SUITE_3]
    assert "17 was recorded" in found.warnings[0]


@pytest.mark.parametrize("suite", [0, 1, 4, 15, 18])
def test_a_configured_suite_that_is_unsafe_or_unknown_is_a_configuration_error(suite: int) -> None:
    with ScriptedBmc() as bmc, pytest.raises(ConfigError, match=f"suite {suite} is not supported"):
        probe(bmc, cipher_suite=suite)
    assert not bmc.received


@pytest.mark.parametrize("stage", ["open", "rakp1", "privilege"])
def test_administrator_is_tried_when_operator_is_refused(stage: str) -> None:
    refusal = 0x81 if stage == "privilege" else 0x0A
    with ScriptedBmc(Script(refused_levels={stage: {3: refusal}})) as bmc:
        assert probe(bmc).learned["privilege"] == "administrator"
    # Whatever session existed was closed: the one refused at its last step, and the one that worked.
    assert bmc.received["close"] == (2 if stage == "privilege" else 1)


@pytest.mark.parametrize("level", ["operator", "administrator", "ADMINISTRATOR"])
def test_a_configured_privilege_is_the_only_one(level: str) -> None:
    other = 4 if level == "operator" else 3
    with ScriptedBmc(Script(refused_levels={"open": {other: 0x0A}})) as bmc:
        assert probe(bmc, privilege=level).learned["privilege"] == level.lower()
    assert bmc.received["open"] == 1


def test_a_recorded_administrator_does_not_ask_as_operator_first() -> None:
    with ScriptedBmc(Script(refused_levels={"open": {3: 0x0A}})) as bmc:
        probe(bmc, known={"cipher_suite": 17, "privilege": "administrator"})
    assert bmc.received["open"] == 1


def test_a_privilege_that_cannot_fire_is_a_configuration_error() -> None:
    with ScriptedBmc() as bmc, pytest.raises(ConfigError, match="privilege 'user'"):
        probe(bmc, privilege="user")
    assert not bmc.received


@pytest.mark.parametrize(("stage", "status"), [("open", 0x01), ("rakp1", 0x0B), ("privilege", 0xC0)])
def test_a_busy_controller_is_asked_again(stage: str, status: int) -> None:
    with ScriptedBmc(Script(codes={stage: [status, status]})) as bmc:
        probe(bmc, known={"cipher_suite": 17})
    assert bmc.received["open"] == 3


@pytest.mark.parametrize(("stage", "status"), [("rakp1", 0x02), ("rakp3", 0x08), ("rakp3", 0x0F)])
def test_a_handshake_out_of_step_begins_anew(stage: str, status: int) -> None:
    with ScriptedBmc(Script(codes={stage: [status]})) as bmc:
        probe(bmc, known={"cipher_suite": 17})
    assert bmc.received["open"] == 2


@pytest.mark.parametrize("stage", ["open", "rakp1", "rakp3", "privilege", "chassis status"])
def test_one_lost_answer_costs_one_message(stage: str) -> None:
    with ScriptedBmc(Script(loses={stage: 1})) as bmc:
        probe(bmc, known={"cipher_suite": 17})
    assert bmc.received[stage] == 2
    assert bmc.received["open"] == (2 if stage == "open" else 1)


@pytest.mark.parametrize(("stage", "resends"), [("rakp1", 3), ("rakp3", 1), ("privilege", 3), ("chassis status", 3)])
def test_login_begins_anew_when_a_message_was_sent_again_in_vain(stage: str, resends: int) -> None:
    with ScriptedBmc(Script(loses={stage: resends + 1})) as bmc:
        probe(bmc, seconds=10, known={"cipher_suite": 17})
    assert bmc.received["open"] == 2
    assert bmc.received[stage] == resends + 2


def test_a_controller_that_keeps_its_power_state_to_itself_can_still_fire() -> None:
    with ScriptedBmc(Script(codes={"chassis status": [0xC1]})) as bmc:
        found = probe(bmc)
    assert found.power.value == "unknown"
    assert "0xc1" in found.warnings[0]


@pytest.mark.parametrize("suite", [3, 17])
def test_the_scripted_bmc_speaks_as_ipmitool_does(suite: int) -> None:
    """So that the tests in this file prove something about BMCs: ipmitool is what every BMC was tried with."""
    with ScriptedBmc() as bmc:
        command = [
            "ipmitool",
            "-I",
            "lanplus",
            "-C",
            str(suite),
            "-H",
            "127.0.0.1",
            "-p",
            str(bmc.port),
            "-U",
            "crash",
        ]
        done = subprocess.run(
            [*command, "-L", "OPERATOR", "-E", "chassis", "power", "status"],
            env={"IPMITOOL_PASSWORD": PASSWORD}, capture_output=True, text=True, timeout=30,
        )  # fmt: skip
    assert done.stdout == "Chassis Power is on\n", done.stderr
    assert bmc.received["rakp3"] == 1


def test_power_off_is_seen() -> None:
    with ScriptedBmc(Script(power=0x20)) as bmc:
        assert probe(bmc).power.value == "off"


def test_a_slow_controller_is_not_flooded() -> None:
    with ScriptedBmc(Script(delay=0.3)) as bmc:
        probe(bmc, known={"cipher_suite": 17})
    assert dict(bmc.received) == {
        "open": 1, "rakp1": 1, "rakp3": 1, "privilege": 1, "chassis status": 1, "close": 1,
    }  # fmt: skip


def test_a_very_slow_controller_gets_few_messages_too_many() -> None:
    with ScriptedBmc(Script(delay=0.9)) as bmc:
        probe(bmc, seconds=12, known={"cipher_suite": 17})
    assert bmc.received.total() <= 6 + 2


# -- what goes wrong ----------------------------------------------------------------------------------------------


def test_wrong_password() -> None:
    with ScriptedBmc() as bmc:
        error = failure(bmc, secret=Secret("not-the-Secret"))
    assert isinstance(error, LoginFailed)
    assert error.rejected
    assert "password of user 'crash' is wrong" in error.message
    assert bmc.received["rakp1"] == 1, "never tried again, not with another suite either"
    assert bmc.suites_asked == [SUITE_17]


def test_wrong_password_that_the_controller_finds_at_rakp_3_is_tried_once_more_at_most() -> None:
    """RAKP message 2 was right, so 0x0F is a confusion; said twice, it is believed."""
    with ScriptedBmc(Script(codes={"rakp3": [0x0F] * 9})) as bmc:
        error = failure(bmc)
    assert isinstance(error, LoginFailed)
    assert error.rejected
    assert bmc.received["rakp3"] == 2


def test_a_password_does_not_look_wrong_because_a_slow_controller_started_over() -> None:
    """Open Session is sent again to a controller slower than the timer, and RAKP 2 fits the second session."""
    with ScriptedBmc(Script(loses={"rakp1": 1}, codes={"rakp3": [0x0F]})) as bmc:
        probe(bmc, known={"cipher_suite": 17})


def test_wrong_user() -> None:
    with ScriptedBmc(Script(user="somebody-else")) as bmc:
        error = failure(bmc)
    assert isinstance(error, LoginFailed)
    assert error.rejected
    assert "user name 'crash'" in error.message
    assert bmc.received["rakp1"] == 1


def test_an_unknown_user_who_gets_silence() -> None:
    with ScriptedBmc(Script(silent=frozenset({"rakp1"}))) as bmc:
        error = failure(bmc, seconds=2)
    assert isinstance(error, LoginFailed)
    assert not error.rejected
    assert "silent to a user name that they do not know" in error.message


def test_no_privilege() -> None:
    with ScriptedBmc(Script(refused_levels={"privilege": {3: 0x81, 4: 0x81}})) as bmc:
        error = failure(bmc)
    assert isinstance(error, LoginFailed)
    assert not error.rejected
    assert "not allowed to log in as OPERATOR or ADMINISTRATOR" in error.message
    assert bmc.received["close"] == 2


def test_no_suite_in_common() -> None:
    with ScriptedBmc(Script(suites=(2,))) as bmc:
        error = failure(bmc)
    assert isinstance(error, LoginFailed)
    assert "none of the cipher suites that were offered: 17 and 3" in error.message


def test_never_below_the_recorded_suite() -> None:
    with ScriptedBmc(Script(insists_on=3)) as bmc:
        error = failure(bmc, known={"cipher_suite": 17})
    assert isinstance(error, LoginFailed)
    assert "offered: 17 " in error.message
    assert set(bmc.suites_asked) == {SUITE_17}


def test_a_controller_with_a_key_of_its_own() -> None:
    with ScriptedBmc(Script(kg=b"a K_G key")) as bmc:
        error = failure(bmc)
    assert isinstance(error, LoginFailed)
    assert not error.rejected
    assert "K_G" in error.message


def test_a_refusal_without_a_cure_names_its_code() -> None:
    with ScriptedBmc(Script(codes={"rakp1": [0x0E]})) as bmc:
        assert "status 0x0e" in failure(bmc).message


def test_no_free_session() -> None:
    with ScriptedBmc(Script(codes={"open": [0x01] * 50})) as bmc:
        error = failure(bmc, seconds=1.5)
    assert isinstance(error, LoginFailed)
    assert "no free session" in error.message
    assert 2 <= bmc.received["open"] <= 5, "asked again, and not in a hurry"


def test_a_login_that_stops_half_way() -> None:
    with ScriptedBmc(Script(silent=frozenset({"privilege"}))) as bmc:
        error = failure(bmc, seconds=1)
    assert isinstance(error, LoginFailed)
    assert "last at Set Session Privilege Level" in error.message
    assert bmc.received["close"] == 1


def test_a_session_that_dies_before_the_first_question() -> None:
    with ScriptedBmc(Script(silent=frozenset({"chassis status"}))) as bmc:
        error = failure(bmc, seconds=1)
    assert "did not answer request 0x00/0x01" in error.message
    assert bmc.received["close"] == 1


def test_too_long_names_and_passwords_are_not_even_sent() -> None:
    with ScriptedBmc() as bmc:
        assert "16 bytes" in failure(bmc, user="seventeen-letters").message
        assert not bmc.received["rakp1"]
        error = failure(bmc, secret=Secret("twenty-one-characters"))
        assert "20 bytes" in error.message
        assert "twenty" not in repr(error)
        assert not bmc.received["rakp1"]


# -- what is no BMC -----------------------------------------------------------------------------------------------


@contextmanager
def answering(answer: Callable[[bytes], bytes | None]) -> Iterator[Answering]:
    """Serve whatever `answer` makes of a datagram."""
    stop = threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(0.05)

        def serve() -> None:
            while not stop.is_set():
                try:
                    data, client = sock.recvfrom(4096)
                except TimeoutError:
                    continue
                if (reply := answer(data)) is not None:
                    sock.sendto(reply, client)

        thread = threading.Thread(target=serve)
        thread.start()
        yield Answering(sock.getsockname()[1])
        stop.set()
        thread.join()


@pytest.mark.parametrize("known", [{}, {"cipher_suite": 17}])
@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (lambda data: None, "did not answer within 1.0 s"),
        (lambda data: b"220 ready\r\n", "that is not a BMC"),
        (lambda data: data, "that is not a BMC"),  # a UDP echo service
        (lambda data: b"", "that is not a BMC"),
        (lambda data: bytes(300), "that is not a BMC"),
    ],
)
def test_not_a_bmc(answer: Callable[[bytes], bytes | None], sentence: str, known: Mapping[str, object]) -> None:
    with answering(answer) as something:
        error = failure(something, seconds=1, known=known)
    assert isinstance(error, Unreachable)
    assert sentence in error.message


def test_nobody_listens() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    started = monotonic()
    error = failure(Answering(port))
    assert isinstance(error, Unreachable)
    assert "refused" in error.message
    assert monotonic() - started < 2, "an ICMP error is believed when it comes twice, not waited for"


def test_no_route() -> None:
    with (
        IpmiDriver(controller(623, address="255.255.255.255"), options()) as driver,
        pytest.raises(Unreachable, match=r"255\.255\.255\.255.* cannot be reached: .*nothing was sent"),
    ):
        driver.probe(Deadline(5))


def test_a_name_that_does_not_exist() -> None:
    with (
        IpmiDriver(controller(623, address="bmc.invalid"), options()) as driver,
        pytest.raises(Unreachable, match=r"bmc\.invalid.*cannot be found.*nothing was sent"),
    ):
        driver.probe(Deadline(5))
