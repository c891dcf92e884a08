"""Why the IPMI driver does not get in: each reason its own sentence, all in time, none with the password."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic

import pytest

from drivers.ipmi import IpmiDriver
from tests.drivers.ipmi_bmcs import PASSWORD, USER, Secret, controller, options
from tests.drivers.scripted_bmc import Script, ScriptedBmc
from trigger.clock import Deadline
from trigger.errors import DriverError, LoginFailed, Unreachable

SUITE_17 = (3, 4, 1)


def failure(
    port: int,
    *,
    seconds: float = 5,
    secret: Secret | None = None,
    known: Mapping[str, object] | None = None,
    user: str = USER,
) -> DriverError:
    """Fail to log in; check what every failure must be: in time, about this address, and free of the password."""
    started = monotonic()
    with (
        IpmiDriver(controller(port, user=user), options(known, secret)) as driver,
        pytest.raises(DriverError) as caught,
    ):
        driver.probe(Deadline(seconds))
    assert monotonic() - started < seconds + 0.5
    assert "127.0.0.1" in caught.value.message
    assert "nothing was sent" in caught.value.message
    assert caught.value.next_step
    assert PASSWORD not in repr(caught.value)
    return caught.value


def test_wrong_password() -> None:
    with ScriptedBmc() as bmc:
        error = failure(bmc.port, secret=Secret("not-the-Secret"))
    assert isinstance(error, LoginFailed)
    assert error.rejected
    assert "password of user 'crash' is wrong" in error.message
    assert bmc.received["rakp1"] == 1, "never tried again, not with another suite either"
    assert bmc.suites_asked == [SUITE_17]


def test_wrong_password_that_the_controller_finds_at_rakp_3_is_tried_once_more_at_most() -> None:
    """RAKP message 2 was right, so 0x0F is a confusion; said twice, it is believed."""
    with ScriptedBmc(Script(codes={"rakp3": [0x0F] * 9})) as bmc:
        error = failure(bmc.port)
    assert isinstance(error, LoginFailed)
    assert error.rejected
    assert bmc.received["rakp3"] == 2


def test_wrong_user() -> None:
    with ScriptedBmc(Script(user="somebody-else")) as bmc:
        error = failure(bmc.port)
    assert isinstance(error, LoginFailed)
    assert error.rejected
    assert "user name 'crash'" in error.message
    assert bmc.received["rakp1"] == 1


def test_an_unknown_user_who_gets_silence() -> None:
    with ScriptedBmc(Script(silent=frozenset({"rakp1"}))) as bmc:
        error = failure(bmc.port, seconds=2)
    assert isinstance(error, LoginFailed)
    assert not error.rejected
    assert "silent to a user name that they do not know" in error.message


def test_no_privilege() -> None:
    with ScriptedBmc(Script(refused_levels={"privilege": {3: 0x81, 4: 0x81}})) as bmc:
        error = failure(bmc.port)
    assert isinstance(error, LoginFailed)
    assert not error.rejected
    assert "not allowed to log in as OPERATOR or ADMINISTRATOR" in error.message
    assert bmc.received["close"] == 2


def test_no_suite_in_common() -> None:
    with ScriptedBmc(Script(suites=(2,))) as bmc:
        error = failure(bmc.port)
    assert isinstance(error, LoginFailed)
    assert "none of the cipher suites that were offered: 17 and 3" in error.message


def test_never_below_the_recorded_suite() -> None:
    with ScriptedBmc(Script(insists_on=3)) as bmc:
        error = failure(bmc.port, known={"cipher_suite": 17})
    assert isinstance(error, LoginFailed)
    assert "offered: 17 " in error.message
    assert set(bmc.suites_asked) == {SUITE_17}


def test_a_controller_with_a_key_of_its_own() -> None:
    with ScriptedBmc(Script(kg=b"a K_G key")) as bmc:
        error = failure(bmc.port)
    assert isinstance(error, LoginFailed)
    assert not error.rejected
    assert "K_G" in error.message


def test_a_refusal_without_a_cure_names_its_code() -> None:
    with ScriptedBmc(Script(codes={"rakp1": [0x0E]})) as bmc:
        assert "status 0x0e" in failure(bmc.port).message


def test_no_free_session() -> None:
    with ScriptedBmc(Script(codes={"open": [0x01] * 50})) as bmc:
        error = failure(bmc.port, seconds=1.5)
    assert isinstance(error, LoginFailed)
    assert "no free session" in error.message
    assert 2 <= bmc.received["open"] <= 5, "asked again, and not in a hurry"


def test_a_login_that_stops_half_way() -> None:
    with ScriptedBmc(Script(silent=frozenset({"privilege"}))) as bmc:
        error = failure(bmc.port, seconds=1)
    assert isinstance(error, LoginFailed)
    assert "last at Set Session Privilege Level" in error.message
    assert bmc.received["close"] == 1


def test_a_session_that_dies_before_the_first_question() -> None:
    with ScriptedBmc(Script(silent=frozenset({"chassis status"}))) as bmc:
        error = failure(bmc.port, seconds=1)
    assert "did not answer request 0x00/0x01" in error.message
    assert bmc.received["close"] == 1


def test_too_long_names_and_passwords_are_not_even_sent() -> None:
    with ScriptedBmc() as bmc:
        assert "16 bytes" in failure(bmc.port, user="seventeen-letters").message
        assert not bmc.received["rakp1"]
        error = failure(bmc.port, secret=Secret("twenty-one-characters"))
        assert "20 bytes" in error.message
        assert "twenty" not in repr(error)
        assert not bmc.received["rakp1"]


# -- what is no BMC -----------------------------------------------------------------------------------------------


@contextmanager
def answering(answer: Callable[[bytes], bytes | None]) -> Iterator[int]:
    """Serve on a UDP port whatever `answer` makes of a datagram."""
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
        yield sock.getsockname()[1]
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
    error = failure(port)
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
