"""Event logs over Redfish: order, pages, links, broken entries, the controller's own clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from drivers.redfish_log import parse_entry, parse_time
from tests.drivers.redfish_service import StartRedfish, redfish
from tests.drivers.simulators.redfish_trees import Tree, machine
from trigger.clock import Deadline
from trigger.driver import EventLogEntry
from trigger.errors import DriverError

SEL = "/redfish/v1/Systems/1/LogServices/SEL/Entries"
Read = Callable[..., tuple[EventLogEntry, ...]]


@pytest.fixture
def read(start_redfish: StartRedfish) -> Read:
    """Read the log of a tree."""

    def run(tree: Tree, **more: Any) -> tuple[EventLogEntry, ...]:
        with redfish(start_redfish(tree)) as driver:
            driver.probe(Deadline(5))
            return driver.event_log(Deadline(5), **more)

    return run


def entry(number: int) -> dict[str, Any]:
    return {
        "@odata.id": f"{SEL}/{number}",
        "Created": f"2026-11-23T04:{number // 60:02}:{number % 60:02}+00:00",
        "Message": f"entry {number}",
        "Severity": "Critical",
    }


def numbers(entries: tuple[EventLogEntry, ...]) -> list[int]:
    return [int(found.text.split()[-1]) for found in entries]


def test_entries_come_oldest_first_with_time_severity_and_key(read: Read) -> None:
    entries = read(machine())
    assert numbers(entries) == [1, 2, 3]
    assert entries[0] == EventLogEntry(1795406460.0, "OK", "Test.1.0.N1 entry 1", f"{SEL}/1")


def test_newest_and_since(read: Read) -> None:
    assert numbers(read(machine(), newest=2)) == [2, 3]
    assert numbers(read(machine(), since=1795406520.0)) == [2, 3]


def pages(order: list[int], size: int, *, skip: bool = False) -> Tree:
    tree = machine()
    for start in range(0, len(order), size):
        path = SEL if start == 0 else f"{SEL}?$skip={start}"
        page: dict[str, Any] = {"Members": [entry(n) for n in order[start : start + size]]}
        page["Members@odata.count"] = len(order)
        if start + size < len(order):
            page["Members@odata.nextLink"] = f"{SEL}?$skip={start + size}"
        tree[path] = page
    if skip:
        tree |= {f"{SEL}?$skip={n}": {"Members": [entry(i) for i in order[n:]]} for n in range(1, len(order))}
    return tree


@pytest.mark.parametrize("skip", [True, False])
def test_long_logs_are_read_from_their_new_end(read: Read, skip: bool) -> None:
    assert numbers(read(pages(list(range(60)), 7, skip=skip), newest=5)) == [55, 56, 57, 58, 59]
    assert numbers(read(pages(list(range(60))[::-1], 7), newest=5)) == [55, 56, 57, 58, 59]


def test_pages_that_loop_end(read: Read) -> None:
    tree = pages([1, 2, 3], 3)
    tree[SEL]["Members@odata.nextLink"] = SEL
    assert numbers(read(tree)) == [1, 2, 3]


def test_members_that_are_only_links_are_read(read: Read) -> None:
    tree = machine() | {f"{SEL}/{n}": entry(n) for n in (1, 2)}
    tree[SEL] = {"Members": [{"@odata.id": f"{SEL}/{n}"} for n in (1, 2)]}
    assert numbers(read(tree)) == [1, 2]


def test_broken_entries_do_not_end_the_log(read: Read) -> None:
    tree = machine()
    tree[SEL] = {
        "Members": [
            7,
            None,
            {"Message": 3, "Created": 5},
            {"Message": "later 4", "Created": "never"},
            entry(1),
        ]
    }
    assert numbers(read(tree)[-1:]) == [1]
    tree[SEL] = {"Members": "none"}
    assert read(tree) == ()


def test_no_log_is_an_error(read: Read) -> None:
    with pytest.raises(DriverError, match="no event log"):
        read(machine(LogServices=None))


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1970-01-01T00:00:10Z", 10.0),
        ("1970-01-01T01:00:10+01:00", 10.0),
        ("1970-01-01T00:00:10", 10.0),
        ("", None),
        ("yesterday", None),
    ],
)
def test_times(written: str, seconds: float | None) -> None:
    assert parse_time(written) == seconds


def test_a_message_that_repeats_its_id_is_said_once() -> None:
    assert parse_entry({"MessageId": "SYS1", "Message": "SYS1: power lost"}, "k").text == "SYS1: power lost"
