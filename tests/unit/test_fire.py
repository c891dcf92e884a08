"""The button: journal first, one call, and every end of that call has a name."""

from pathlib import Path

import pytest

from trigger.clock import FastClock
from trigger.driver import Accepted
from trigger.errors import DriverError, GuardRefused, OutcomeUnknown, Refused
from trigger.events import Firing
from trigger.fire import fire
from trigger.journal import Journal, read_journal
from trigger.state import StateFolder

FIRING = Firing("ipmi", "ipmi", "127.0.0.1", "chassis control 4", ("host server42",), 1e10)


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder.choose(str(tmp_path / "state"))


@pytest.fixture
def journal(state: StateFolder) -> Journal:
    return Journal(state, "server42", "r1", FastClock())


def test_the_intent_is_on_disk_when_the_request_leaves(state: StateFolder, journal: Journal) -> None:
    seen = []

    def send() -> Accepted:
        seen.append([line.event for line in read_journal(state, "server42")])
        return Accepted("yes")

    assert fire(journal, FIRING, send).outcome == "accepted"
    assert seen == [[FIRING]]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Refused("completion code 0xCC"), "refused"),
        (OutcomeUnknown("silence"), "unknown"),
        (DriverError("logged out"), "unknown"),
        (TimeoutError("timed out"), "unknown"),
        (ConnectionResetError(104, "reset"), "unknown"),
        (KeyboardInterrupt(), "unknown"),
        (SystemExit(1), "unknown"),
        (MemoryError(), "unknown"),
        (RecursionError(), "unknown"),
    ],
)
def test_only_refused_is_refused_and_nothing_is_sent_twice(
    journal: Journal, error: BaseException, outcome: str
) -> None:
    calls = []

    def send() -> Accepted:
        calls.append(1)
        raise error

    assert fire(journal, FIRING, send).outcome == outcome
    assert calls == [1]


def test_without_a_journal_nothing_is_sent(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise GuardRefused("full", rule="journal")

    calls: list[int] = []

    def send() -> Accepted:
        calls.append(1)
        return Accepted("yes")

    monkeypatch.setattr(journal, "append", full)
    with pytest.raises(GuardRefused):
        fire(journal, FIRING, send)
    assert calls == []


def test_the_answer_is_made_harmless(journal: Journal) -> None:
    assert fire(journal, FIRING, lambda: Accepted("ok\x1b[2J")).answer == "ok\\x1b[2J"


def test_an_exceptions_words_hold_no_secret(journal: Journal) -> None:
    from trigger.redaction import LIVE

    LIVE.add("made-up-word")

    def send() -> Accepted:
        raise ZeroDivisionError("login of crash with made-up-word failed")

    assert fire(journal, FIRING, send).answer == "ZeroDivisionError: login of crash with *** failed"
