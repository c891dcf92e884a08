"""Host patterns: what they name, and that ClusterShell reads every accepted pattern in the same way."""

from __future__ import annotations

import pytest
from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trigger.config import host_pattern
from trigger.config.host_pattern import PatternError


def names(text: str) -> list[str]:
    return list(host_pattern.parse(text).names())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server42", ["server42"]),
        ("server[8-10]", ["server8", "server9", "server10"]),
        ("server[08-10]", ["server08", "server09", "server10"]),
        ("server[1-9/4]", ["server1", "server5", "server9"]),
        ("server[1,3,05-06]", ["server1", "server3", "server05", "server06"]),
        ("r[1-2]-n[1-2].x", ["r1-n1.x", "r1-n2.x", "r2-n1.x", "r2-n2.x"]),
        ("web1, db[1-2]", ["web1", "db1", "db2"]),
        ("a1[1-3]", ["a11", "a12", "a13"]),
        ("a[1-3]5", ["a15", "a25", "a35"]),
        ("[1-2]", ["1", "2"]),
        ("a[1,1]", ["a1"]),
    ],
)
def test_names(text: str, expected: list[str]) -> None:
    assert names(text) == expected
    assert host_pattern.parse(text).names_many() == (len(expected) > 1)
    assert host_pattern.parse(text).first() == expected[0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("server[01-48", "bracket without its partner"),
        ("server01]", "bracket without its partner"),
        ("server[]", "something else than numbers"),
        ("server[a-b]", "something else than numbers"),
        ("server[1-2-3]", "something else than numbers"),
        ("server[-1]", "something else than numbers"),
        ("server[1/2]", "something else than numbers"),
        ("server[4-1]", "counts backwards"),
        ("server[1-4/0]", "step of 0"),
        ("server[01-100]", "pads 01-100 unevenly"),
        ("server[1-010]", "pads 1-010 unevenly"),
        ("a[1-2][3-4]", "other than digits between two brackets"),
        ("a[1-2]5[3-4]", "other than digits between two brackets"),
        ("a1[9-10]", "digit beside the bracket"),
        ("a[9-10]5", "digit beside the bracket"),
        ("a[1-9/2]5", "step in the bracket and a digit behind it"),
        ("server[1-2000000]", "more than 1,000,000 hosts"),
        ("a[1-2000]b[1-2000]", "more than 1,000,000 hosts"),
        ("server[1-9999999999999999999]", "more than 18 digits"),
        ("server 1", "not a host name"),
        ("sérver1", "not a host name"),
        ("-server", "not a host name"),
        ("server1!server2", "not a host name"),
        ("@web", "not a host name"),
        ("", "not a host name"),
        ("a,,b", "not a host name"),
        ("a" * 256, "more than 255 characters"),
        ("a," * 20_000, "longer than 20,000 characters"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    with pytest.raises(PatternError, match=reason):
        host_pattern.parse(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("server[01-48]", "server49"),
        ("server[01-48]", "server1"),
        ("server[01-48]", "server001"),
        ("server[1-48]", "server01"),
        ("server[01-48]", "server"),
        ("server[01-48]", "server01x"),
        ("server[01-48]", "Server01"),
        ("server[1-9/4]", "server2"),
        ("a.b[1-2]", "axb1"),
        ("server[1-4]", "server" + "9" * 5000),
    ],
)
def test_does_not_match(text: str, name: str) -> None:
    assert not host_pattern.parse(text).matches(name)


def test_a_million_hosts_are_matched_without_expanding() -> None:
    pattern = host_pattern.parse("r[1-1000]n[1-1000]")
    assert pattern.matches("r1000n1000")
    assert not pattern.matches("r1001n1")
    assert pattern.names_many()
    assert pattern.first() == "r1n1"


def _ranges() -> st.SearchStrategy[str]:
    """Mostly well-formed insides of a bracket."""
    width = st.integers(1, 3)
    first, length, step = st.integers(0, 120), st.integers(0, 12), st.integers(1, 4)

    def write(first: int, length: int, step: int, width: int) -> str:
        last = first + length
        pad = width if len(str(first).zfill(width)) == len(str(last).zfill(width)) else 1
        text = f"{str(first).zfill(pad)}-{str(last).zfill(pad)}" if length else str(first).zfill(pad)
        return f"{text}/{step}" if length and step > 1 else text

    return st.lists(st.builds(write, first, length, step, width), min_size=1, max_size=3).map(",".join)


_literals = st.text(alphabet="ab-._01", max_size=3)
_patterns = st.lists(st.one_of(_ranges().map("[{}]".format), _literals), min_size=1, max_size=5).map("".join)
_lists = st.lists(_patterns, min_size=1, max_size=2).map(",".join)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(text=st.one_of(_lists, st.text(alphabet="ab019-.[],/", max_size=12)), other=st.text("ab019-.", max_size=8))
def test_clustershell_agrees_on_everything_that_is_accepted(text: str, other: str) -> None:
    try:
        pattern = host_pattern.parse(text)
    except PatternError:
        return
    expected = {str(name) for name in NodeSet(text, resolver=RESOLVER_NOGROUP)}
    found = list(pattern.names())
    assert set(found) == expected
    assert len(found) == len(expected)
    assert all(pattern.matches(name) for name in found)
    assert pattern.matches(other) == (other in expected)
    assert pattern.names_many() == (len(expected) > 1)
    assert pattern.first() == found[0]


@settings(max_examples=200, deadline=None)
@given(_ranges(), st.sampled_from(["server", "r-", "a.b"]), st.sampled_from(["", "-x", ".example.com"]))
def test_ordinary_patterns_are_accepted(inside: str, before: str, behind: str) -> None:
    assert names(f"{before}[{inside}]{behind}")
