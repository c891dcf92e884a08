"""Whose certificate is good enough, and that nobody logs in before it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.redfish import RedfishDriver
from tests.drivers.redfish_service import Answers, redfish_controller
from tests.drivers.simulators.certificates import Certificate, certificate
from tests.drivers.simulators.redfish_server import RedfishServer
from tests.drivers.simulators.redfish_trees import machine
from trigger.clock import Deadline, FastClock
from trigger.driver import DriverOptions, Probe
from trigger.errors import ConfigError, Untrusted
from trigger.host import Tls

GOOD, OTHER = certificate(), certificate("other")
EXPIRED = certificate("expired", days=-1)
ELSEWHERE = certificate("elsewhere", address="192.0.2.9")
BY_CA = Tls(ca_file=GOOD.ca_file)


@pytest.fixture
def servers() -> Iterator[list[RedfishServer]]:
    """Servers that a test started, stopped at its end."""
    started: list[RedfishServer] = []
    yield started
    for server in started:
        server.close()


def probe(servers: list[RedfishServer], shown: Certificate, tls: Tls, recorded: str = "", **options: Any) -> Probe:
    server = RedfishServer(machine(), shown=shown)
    servers.append(server)
    known = {"fingerprint": recorded} if recorded else {}
    driver = RedfishDriver(
        redfish_controller(server, tls=tls), DriverOptions(secrets=Answers(), known=known, **options)
    )
    with driver:
        return driver.probe(Deadline(5))


def written(fingerprint: str) -> str:
    """Return a fingerprint as openssl prints it."""
    return ":".join(fingerprint[i : i + 2].upper() for i in range(0, 64, 2))


@pytest.mark.parametrize(
    ("shown", "tls", "recorded"),
    [
        (GOOD, Tls(fingerprint=GOOD.fingerprint), ""),
        (GOOD, Tls(fingerprint=written(GOOD.fingerprint)), ""),
        (GOOD, Tls(fingerprint="sha256:" + GOOD.fingerprint), ""),
        (ELSEWHERE, Tls(fingerprint=ELSEWHERE.fingerprint), ""),
        (GOOD, BY_CA, ""),
        (OTHER, BY_CA, GOOD.fingerprint),
        (GOOD, Tls(), GOOD.fingerprint),
        (GOOD, BY_CA._replace(fingerprint=GOOD.fingerprint), ""),
    ],
    ids=[
        "pin",
        "pin with colons",
        "pin with prefix",
        "pin, other name",
        "CA",
        "CA, renewed",
        "record",
        "CA and pin",
    ],
)
def test_good_enough(servers: list[RedfishServer], shown: Certificate, tls: Tls, recorded: str) -> None:
    found = probe(servers, shown, tls, recorded)
    assert found.identity.fingerprint == found.learned["fingerprint"] == shown.fingerprint
    assert found.learned["expires_at"] == pytest.approx(shown.expires_at, abs=2)
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("shown", "tls", "recorded", "words"),
    [
        (GOOD, Tls(), "", "is not known"),
        (OTHER, Tls(), GOOD.fingerprint, "has changed since the last preflight"),
        (OTHER, Tls(fingerprint=GOOD.fingerprint), "", "is not the pinned one"),
        (OTHER, Tls(fingerprint=GOOD.fingerprint), OTHER.fingerprint, "is not the pinned one"),
        (ELSEWHERE, BY_CA, "", "does not verify"),
        (EXPIRED, BY_CA, "", "expired"),
        (EXPIRED, BY_CA, GOOD.fingerprint, "expired"),
        (OTHER, BY_CA._replace(fingerprint=GOOD.fingerprint), "", "is not the pinned one"),
    ],
    ids=[
        "unknown",
        "changed",
        "not pinned",
        "pin first",
        "other name",
        "expired",
        "expired, other",
        "CA and pin",
    ],
)
def test_not_good_enough(servers: list[RedfishServer], shown: Certificate, tls: Tls, recorded: str, words: str) -> None:
    with pytest.raises(Untrusted, match=words) as raised:
        probe(servers, shown, tls, recorded)
    assert shown.fingerprint in raised.value.message
    assert raised.value.fingerprint == shown.fingerprint
    assert raised.value.exit_code == 6
    assert "--override tls-changed" in raised.value.next_step
    assert servers[0].requests == []  # not a byte of HTTP, no password

    accepted = probe(servers, shown, tls, recorded, accept_new=True)
    assert shown.fingerprint in accepted.warnings[0]
    assert accepted.learned["fingerprint"] == shown.fingerprint


@pytest.mark.parametrize(
    ("tls", "recorded"),
    [(Tls(fingerprint=EXPIRED.fingerprint), ""), (Tls(), EXPIRED.fingerprint), (BY_CA, EXPIRED.fingerprint)],
    ids=["pinned", "recorded", "CA and recorded"],
)
def test_expired_but_pinned_goes_on_with_a_warning(servers: list[RedfishServer], tls: Tls, recorded: str) -> None:
    found = probe(servers, EXPIRED, tls, recorded)
    assert any("has expired" in warning for warning in found.warnings)


def test_expiry_is_judged_by_the_clock_that_is_given(servers: list[RedfishServer]) -> None:
    later = FastClock(start=GOOD.expires_at + 1)
    assert "expired" in probe(servers, GOOD, Tls(fingerprint=GOOD.fingerprint), clock=later).warnings[0]


def test_a_certificate_that_changes_between_probe_and_fire_stops_the_fire(
    servers: list[RedfishServer],
) -> None:
    first = RedfishServer(machine(), shown=GOOD)
    servers.append(first)
    driver = RedfishDriver(redfish_controller(first), DriverOptions(secrets=Answers(), accept_new=True))
    driver.probe(Deadline(5))
    second = RedfishServer(machine(), shown=OTHER)
    servers.append(second)
    driver.session.connection.port = second.port  # the same address, somebody else
    driver.session.connection.close()
    with pytest.raises(Untrusted, match="another certificate"):
        driver.send_nmi(Deadline(5))
    driver.close()
    assert second.requests == []


def test_a_ca_file_that_cannot_be_read_is_a_mistake_in_the_configuration(
    servers: list[RedfishServer], tmp_path: Path
) -> None:
    (tmp_path / "empty.pem").write_text("")
    for name in ("missing.pem", "empty.pem"):
        with pytest.raises(ConfigError, match="CA file"):
            probe(servers, GOOD, Tls(ca_file=str(tmp_path / name)))
