"""The suite that every driver with `send_nmi` must pass, ours and third parties'.

A test file of a driver inherits `DriverConformance`, says which faults its simulator can play and how to start
it, and gets the tests of the law: what the driver claims is compared with what was delivered at the far end.

    class TestAcme(DriverConformance):
        faults = ("healthy", "lost-reply", "idle", "refused", "silent", "garbage", "wrong-password", "closed-port")
        def start(self, fault): return AcmeSimulator(fault)
        def driver(self, simulator, fault): return AcmeDriver(Controller(...), DriverOptions(...))

pytest is imported only here in the package; this module is never imported by the program.
"""

from __future__ import annotations

import collections
import itertools
import logging
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import pytest

from trigger.clock import Deadline
from trigger.driver import Accepted, Driver, DriverOptions, Identity
from trigger.errors import ConfigError, DriverError, Refused
from trigger.identity import Match, compare_identities


class Simulator(Protocol):
    """A running controller with one fault. It counts what reached the machine behind it."""

    def deliveries(self) -> int:
        """Return how many NMIs the machine got."""
        ...

    def secrets(self) -> tuple[str, ...]:
        """Return every secret that must not appear in any output: password, tokens."""
        ...

    def close(self) -> None:
        """End it; returns when nothing more can be delivered."""
        ...


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, which outcomes may be claimed then, and how many NMIs the machine gets at most and at least."""

    what: str
    outcomes: tuple[str, ...]
    delivered: tuple[int, ...]


def _faults() -> dict[str, Fault]:
    accepted, refused, unknown, unfired = ("accepted",), ("refused",), ("unknown",), ("not fired",)
    return {
        "healthy": Fault("nothing goes wrong", accepted, (1,)),
        "idle": Fault("answers yes and does nothing", accepted, (0,)),
        "refused": Fault("answers that it does not do that", refused, (0,)),
        "not-ready": Fault("answers that it is not ready yet, and says so", refused, (0,)),
        "login-expired": Fault("the login is gone when the request comes", refused, (0,)),
        "redirect": Fault("sends the request on to another host", refused, (0,)),
        "error": Fault("lists the NMI and answers with an error that proves nothing", unknown, (0,)),
        "error-after-acting": Fault("acts, then answers with an error", unknown, (1,)),
        "busy": Fault("is busy and does not say whether it acted", unknown, (0,)),
        "lost-reply": Fault("acts, and the reply is lost", unknown, (1,)),
        "silent": Fault("acts and never answers", unknown, (1,)),
        "deaf": Fault("neither acts nor answers", unknown, (0,)),
        "reset-before": Fault("the connection is reset before the request", ("unknown", "not fired"), (0,)),
        "reset-during": Fault("the connection is reset in the middle of the request", unknown, (0,)),
        "reset-after": Fault("acts and resets the connection", unknown, (1,)),
        "garbage": Fault("acts and answers garbage", unknown, (1,)),
        "truncated": Fault("acts and answers half a reply", unknown, (1,)),
        "endless": Fault("acts and answers without end", unknown, (1,)),
        "drip": Fault("acts and answers a byte at a time, too slowly", unknown, (1,)),
        "closes-idle": Fault("closes the connection after every reply", accepted, (1,)),
        "says-close": Fault("says with each reply that it closes the connection, and does", accepted, (1,)),
        "duplicate-reply": Fault("answers twice", accepted, (1,)),
        "wrong-certificate": Fault("shows a certificate or host key that nobody pinned", unfired, (0,)),
        "changed-certificate": Fault("shows another certificate or host key than at the preflight", unfired, (0,)),
        "wrong-password": Fault("rejects the password", unfired, (0,)),
        "no-sessions": Fault("has no session left", ("not fired", "accepted"), (0, 1)),
        "no-prompt": Fault("connects and never says a word", unfired, (0,)),
        "not-a-bmc": Fault("is something else entirely", unfired, (0,)),
        "closed-port": Fault("refuses the connection", unfired, (0,)),
        "other-identity": Fault("is another machine", unfired, (0,)),
    }


FAULTS = _faults()
# A driver whose simulator cannot play these has not been tested.
REQUIRED = ("healthy", "idle", "refused", "lost-reply", "silent", "garbage", "wrong-password", "closed-port")
ITS_IDENTITY = Identity(uuid="4c4c4544-0046-3510-8034-b4c04f503147", serial="F45P1G3")
OTHER_IDENTITY = Identity(uuid="30313436-3631-5a43-3235-3130314d5134", serial="CZ2510M4QX")


@dataclass(frozen=True, slots=True)
class Shot:
    """One fire at a simulator: the outcome claimed, what was delivered, and the seconds that each step took."""

    outcome: str
    delivered: int
    probe_s: float
    fire_s: float
    close_s: float
    text: str


def shoot(driver: Driver, simulator: Simulator, probe_s: float, answer_s: float) -> Shot:
    """Probe, compare identities, fire once and close, as trigger/shot.py does; return what was claimed and done.

    Every exception of `send_nmi` but Refused counts as unknown, as in trigger/fire.py.
    """
    times = [time.monotonic()]
    outcome, text = "not fired", ""
    try:
        probe = driver.probe(Deadline(probe_s))
        times.append(time.monotonic())
        match, text = compare_identities(ITS_IDENTITY, probe.identity)
        if match is not Match.DIFFERENT:
            outcome, text = _fire(driver, answer_s)
    except (DriverError, ConfigError) as error:
        text = error.message
        times.append(time.monotonic())
    times.append(time.monotonic())
    driver.close()
    times.append(time.monotonic())
    simulator.close()
    steps = [later - earlier for earlier, later in itertools.pairwise(times)]
    return Shot(outcome, simulator.deliveries(), steps[0], steps[1], steps[2], text)


def _fire(driver: Driver, answer_s: float) -> tuple[str, str]:
    try:
        answer = driver.send_nmi(Deadline(answer_s))  # type: ignore[attr-defined]
    except Refused as error:
        return "refused", error.message
    except Exception as error:
        return "unknown", f"{type(error).__name__}: {error}"
    assert isinstance(answer, Accepted)
    return "accepted", answer.answer


def breaches(fault: str, shot: Shot, probe_s: float, answer_s: float, slack_s: float = 0.75) -> list[str]:
    """Return every way in which `shot` broke the law, in words."""
    expected = FAULTS[fault]
    close_s = 1.0 + slack_s
    found = {
        "delivered more than once": shot.delivered > 1,
        "claimed refused, but delivered": shot.outcome == "refused" and shot.delivered > 0,
        "not fired, but delivered": shot.outcome == "not fired" and shot.delivered > 0,
        f"claimed {shot.outcome}, which {fault} does not allow": shot.outcome not in expected.outcomes,
        f"delivered {shot.delivered} times, which {fault} does not allow": shot.delivered not in expected.delivered,
        f"probe took {shot.probe_s:.2f} s": shot.probe_s > probe_s + slack_s,
        f"send_nmi took {shot.fire_s:.2f} s": shot.fire_s > answer_s + slack_s,
        f"close took {shot.close_s:.2f} s": shot.close_s > close_s,
    }
    return [f"{fault}: {what} ({shot.text})" for what, broken in found.items() if broken]


class DriverConformance:
    """Inherit in a class whose name begins with Test; give `faults`, `start` and `driver`.

    `probe_s` and `answer_s` are the deadlines in seconds of healthy steps, `patience_s` the one of an answer that
    never comes. The identity of the simulated machine must be ITS_IDENTITY, OTHER_IDENTITY for other-identity.
    """

    faults: ClassVar[tuple[str, ...]] = ()
    probe_s: ClassVar[float] = 5.0
    answer_s: ClassVar[float] = 5.0
    patience_s: ClassVar[float] = 0.4
    # Faults whose answer never comes, and those whose login never ends: waiting for them is cut short.
    never: ClassVar[tuple[str, ...]] = ("silent", "deaf", "drip", "endless", "lost-reply", "reset-after")
    never_logs_in: ClassVar[tuple[str, ...]] = ("no-prompt",)

    def start(self, fault: str) -> Simulator:
        """Start a simulator that plays `fault`."""
        raise NotImplementedError

    def driver(self, simulator: Simulator, fault: str) -> Driver:
        """Return a new driver for `simulator`, its password made up; it has opened nothing."""
        raise NotImplementedError

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make one test of each fault of this driver."""
        if "fault" in metafunc.fixturenames:
            metafunc.parametrize("fault", self.faults)

    def run(self, fault: str) -> tuple[Shot, list[str]]:
        """Fire once at a simulator with `fault`; return the shot and the breaches."""
        probe_s = self.patience_s if fault in self.never_logs_in else self.probe_s
        answer_s = self.patience_s if fault in self.never else self.answer_s
        simulator = self.start(fault)
        try:
            shot = shoot(self.driver(simulator, fault), simulator, probe_s, answer_s)
        finally:
            simulator.close()
        return shot, breaches(fault, shot, probe_s, answer_s)

    def test_claims_what_the_far_end_saw(self, fault: str) -> None:
        """What is claimed agrees with what was delivered, in time, for each fault."""
        _, broken = self.run(fault)
        assert not broken, "\n".join(broken)

    def test_required_faults_are_played(self) -> None:
        """The simulator can play the faults without which the rest proves nothing."""
        assert not set(REQUIRED) - set(self.faults)
        assert not set(self.faults) - set(FAULTS)

    def test_random_fires(self) -> None:
        """Seeded fires over all faults: 1,000 with TRIGGER_SOAK=1 (at least 50 per fault), else a twentieth."""
        seed = int(os.environ.get("TRIGGER_SEED", "3"))
        each = 1.0 if os.environ.get("TRIGGER_SOAK") == "1" else 0.05
        order = [fault for fault in self.faults for _ in range(round(50 * each) or 1)]
        chooser = random.Random(seed)  # noqa: S311 -- a repeatable order, no secret
        order += chooser.choices(self.faults, k=max(0, int(1000 * each) - len(order)))
        chooser.shuffle(order)
        table: collections.Counter[tuple[str, str, int]] = collections.Counter()
        broken = []
        for fault in order:
            shot, found = self.run(fault)
            table[fault, shot.outcome, shot.delivered] += 1
            broken += found
        report(type(self).__name__, seed, table)
        assert not broken, "\n".join(broken)

    def test_a_second_request_is_never_sent(self) -> None:
        """One driver sends one NMI, whatever its caller does: a second call raises, and not Refused."""
        for fault in ("healthy", "silent"):
            simulator = self.start(fault)
            try:
                with self.driver(simulator, fault) as driver:
                    driver.probe(Deadline(self.probe_s))
                    _fire(driver, self.patience_s)
                    assert _fire(driver, self.patience_s)[0] == "unknown"
            finally:
                simulator.close()
            assert simulator.deliveries() == 1

    def test_nothing_is_sent_without_a_probe(self) -> None:
        """`send_nmi` neither logs in nor connects."""
        simulator = self.start("healthy")
        try:
            with self.driver(simulator, "healthy") as driver:
                assert _fire(driver, self.patience_s)[0] == "unknown"
        finally:
            simulator.close()
        assert simulator.deliveries() == 0

    def test_the_constructor_opens_nothing(self) -> None:
        """A driver is made without a packet, and closed without having been opened."""
        simulator = self.start("closed-port")
        try:
            driver = self.driver(simulator, "closed-port")
            driver.close()
            driver.close()
        finally:
            simulator.close()

    def test_no_secret_in_any_output(
        self, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, fault: str
    ) -> None:
        """No password or token in logs at DEBUG, in output, in errors or in what the record would keep."""
        caplog.set_level(logging.DEBUG)
        simulator = self.start(fault)
        kept: list[str] = []
        try:
            driver = self.driver(simulator, fault)
            kept.append(driver.describe_nmi())
            _keep(lambda: kept.append(repr(driver.probe(Deadline(self.patience_s + 1)))), kept)
            _keep(lambda: kept.append(repr(driver.send_nmi(Deadline(self.patience_s)))), kept)  # type: ignore[attr-defined]
            driver.close()
        finally:
            simulator.close()
        out, err = capfd.readouterr()
        everything = "\n".join([out, err, caplog.text, *kept])
        assert not [secret for secret in simulator.secrets() if secret and secret in everything]


def report(name: str, seed: int, table: collections.Counter[tuple[str, str, int]]) -> None:
    """Print the table of a soak: fault, outcome claimed, NMIs delivered, how often (pytest shows it with -rP)."""
    lines = [f"{name}, seed {seed}: {sum(table.values())} fires"]
    lines += [f"  {fault:20} {outcome:10} {n} delivered {k:5} x" for (fault, outcome, n), k in sorted(table.items())]
    print("\n".join(lines), file=sys.stdout)


def _keep(step: Callable[[], None], kept: list[str]) -> None:
    """Run one step of a fire and keep the text of its error, its causes included."""
    try:
        step()
    except Exception as error:
        import traceback

        kept.append("".join(traceback.format_exception(error)))


__all__ = ["FAULTS", "REQUIRED", "DriverConformance", "DriverOptions", "Fault", "Shot", "Simulator", "shoot"]
