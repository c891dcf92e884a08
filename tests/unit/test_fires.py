"""Which fires are open: a fold over the journal, and over the journals of other names of one controller."""

from pathlib import Path

import pytest

from trigger.clock import FastClock
from trigger.events import Event, Finished, Fired, Firing, Observed
from trigger.fires import open_fires, open_fires_everywhere
from trigger.journal import Journal, read_journal
from trigger.state import StateFolder

CLOCK = FastClock()
NOW = CLOCK.time()
KEYS = ("controller 192.0.2.7", "host server42")
FIRING = Firing("ipmi", "ipmi", "192.0.2.7", "chassis control 4", KEYS, NOW + 100)
REFUSED = Fired("ipmi", "refused", "0xCC")


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder.choose(str(tmp_path / "state"))


def journalled(state: StateFolder, *events: Event, host: str = "server42") -> None:
    journal = Journal(state, host, f"run-{host}", CLOCK)
    for event in events:
        journal.append(event)
    journal.close()


@pytest.mark.parametrize(
    ("events", "opened"),
    [
        ((FIRING,), True),
        ((FIRING, Fired("ipmi", "unknown", "silence")), True),
        ((FIRING, Fired("ipmi", "accepted", "0x00")), True),
        ((FIRING, REFUSED), False),
        ((FIRING, REFUSED, FIRING), True),
        ((FIRING, Fired("ipmi", "accepted", "0"), Finished(10, "yes", "pending")), True),
        ((FIRING, Fired("ipmi", "unknown", "0"), Finished(7, "maybe", "unknown")), True),
        ((FIRING, Fired("ipmi", "accepted", "0"), Finished(0, "yes", "verified", ends_fire=True)), False),
        ((FIRING, Fired("ipmi", "accepted", "0"), Finished(9, "yes", "no dump", ends_fire=True)), False),
        ((FIRING, Observed("back", "ssh", "proof", "new boot")), False),
        ((FIRING, Observed("back", "console", "weak", "login:")), True),
        ((), False),
    ],
)
def test_what_ends_a_fire(state: StateFolder, events: tuple[Event, ...], opened: bool) -> None:
    journalled(state, *events)
    assert bool(open_fires(read_journal(state, "server42"), NOW + 1)) is opened


def test_a_fire_is_closed_when_its_deadline_has_passed(state: StateFolder) -> None:
    journalled(state, FIRING)
    assert open_fires(read_journal(state, "server42"), NOW + 99)
    assert not open_fires(read_journal(state, "server42"), NOW + 101)


def test_another_name_of_the_same_controller_is_the_same_machine(state: StateFolder) -> None:
    journalled(state, FIRING, host="alias")
    found = open_fires_everywhere(state, "server42", ["host server42", "controller 192.0.2.7"], NOW + 1)
    assert [fire.host for fire in found] == ["alias"]
    assert not open_fires_everywhere(state, "server43", ["host server43", "controller 192.0.2.8"], NOW + 1)
