"""Logging in to a Redfish service, once, and leaving no session behind."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.drivers.redfish_service import StartRedfish, failure, fire, probe, redfish
from tests.drivers.simulators.redfish_trees import ilo4, machine
from trigger.clock import Deadline
from trigger.errors import LoginFailed, OutcomeUnknown


def test_a_rejected_password_is_tried_once(start_redfish: StartRedfish) -> None:
    server = start_redfish(fault="wrong-password")
    error = failure(server)
    assert isinstance(error, LoginFailed)
    assert error.rejected
    assert len(server.requests) == 1 + 1  # the login, and the root without credentials to know what its 401 means


def test_a_recorded_basic_login_that_is_rejected_is_not_tried_again(start_redfish: StartRedfish) -> None:
    server = start_redfish(fault="wrong-password", login="no-token")
    error = failure(server)
    assert isinstance(error, LoginFailed)


def test_ilo_4_answers_401_to_sessions_and_takes_basic(start_redfish: StartRedfish) -> None:
    found = probe(start_redfish(ilo4(), login="always-401"))
    assert found.learned["login"] == "basic"


def test_a_service_without_sessions_takes_basic(start_redfish: StartRedfish) -> None:
    tree = machine()
    del tree["/redfish/v1"]["Links"]
    tree["/redfish/v1/"] = tree["/redfish/v1"]
    assert probe(start_redfish(tree, login="always-401")).learned["login"] == "basic"


def test_any_other_401_is_a_rejection(start_redfish: StartRedfish) -> None:
    assert isinstance(failure(start_redfish(login="always-401")), LoginFailed)


def test_a_controller_without_a_session_left_takes_basic(start_redfish: StartRedfish) -> None:
    assert probe(start_redfish(login="none-left")).learned["login"] == "basic"


def test_the_login_is_where_the_root_says(start_redfish: StartRedfish) -> None:
    tree = machine()
    tree["sessions at"] = "/redfish/v1/Sessions/SessionService/Sessions"
    tree["/redfish/v1/"] = {"Links": {"Sessions": {"@odata.id": tree["sessions at"]}}}
    server = start_redfish(tree)
    learned = probe(server).learned
    assert learned["sessions_uri"] == tree["sessions at"]
    assert fire(server, known=learned) == 2


def test_the_session_is_deleted_whatever_became_of_the_request(start_redfish: StartRedfish) -> None:
    for fault in ("healthy", "error", "lost-reply", "silent", "garbage", "reset-after", "truncated"):
        server = start_redfish(fault=fault)
        with redfish(server) as driver:
            driver.probe(Deadline(5))
            try:
                driver.send_nmi(Deadline(0.3))
            except OutcomeUnknown as error:
                assert fault != "healthy", error
        assert (server.deleted, server.sessions) == (1, {}), fault


def test_an_interrupt_while_waiting_leaves_no_session(start_redfish: StartRedfish) -> None:
    server = start_redfish(fault="silent")
    driver = redfish(server)
    driver.probe(Deadline(5))

    def interrupt() -> None:
        wait_for(server.deliveries)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt), driver:
        driver.send_nmi(Deadline(10))
    assert (server.deliveries(), server.deleted) == (1, 1)


def wait_for(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 5
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
