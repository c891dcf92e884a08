"""Whose dump is it? What is not of this host and of this crash is never success."""

from __future__ import annotations

import pytest

from tests.unit.post import vmcores
from trigger.post.facts import DumpFacts
from trigger.post.verify import Expectation, Identity, verify

FIRE = 1_790_000_000.0
INFO = {
    "BUILD-ID": vmcores.BUILD_ID,
    "SYMBOL(_stext)": f"{vmcores.STEXT:x}",
    "KERNELOFFSET": f"{vmcores.KERNEL_OFFSET:x}",
}


def verdict(
    nodename: str = "server42", crash: float | None = FIRE + 3, *, expectation: Expectation | None = None,
    new: bool | None = True, info: dict[str, str] = INFO,
) -> Identity:  # fmt: skip
    facts = DumpFacts("vmcore", 1, nodename=nodename, crash_time=crash, vmcoreinfo=info)
    found = verify(facts, expectation or Expectation("server42", clock_offset=0.0), FIRE, new=new)
    assert found.reason
    return found.identity


@pytest.mark.parametrize(
    ("nodename", "recorded", "expected"),
    [
        ("server42", "", Identity.OURS),
        ("SERVER42.example.com.", "", Identity.OURS),
        ("server4", "", Identity.ANOTHER_HOST),
        ("web7", "", Identity.ANOTHER_HOST),
        ("web7", "web7.example.com", Identity.OURS),
        ("server42", "web7", Identity.ANOTHER_HOST),
        ("web7.one.example", "web7.two.example", Identity.ANOTHER_HOST),
        ("web7.one.example", "web7.one.example", Identity.OURS),
        ("", "", Identity.CANNOT_TELL),
        ("localhost", "", Identity.CANNOT_TELL),
        ("localhost", "localhost", Identity.CANNOT_TELL),
        ("(none)", "server42", Identity.CANNOT_TELL),
        ("server42\x1b[2J", "", Identity.ANOTHER_HOST),
    ],
)
def test_names(nodename: str, recorded: str, expected: Identity) -> None:
    assert verdict(nodename, expectation=Expectation("server42", recorded, 0.0)) is expected


@pytest.mark.parametrize(
    ("seconds", "offset", "new", "expected"),
    [
        (3, 0.0, True, Identity.OURS),
        (-14, 0.0, True, Identity.OURS),
        (-16, 0.0, True, Identity.OLDER_CRASH),
        (-3600, 0.0, True, Identity.OLDER_CRASH),
        (-3600 + 2, -3600.0, True, Identity.OURS),
        (3, 3600.0, True, Identity.OLDER_CRASH),
        (-119, None, True, Identity.OURS),
        (-121, None, True, Identity.OLDER_CRASH),
        (-119, None, None, Identity.CANNOT_TELL),
        (1, None, None, Identity.OURS),
        (86_400, None, True, Identity.OURS),
        (None, 0.0, True, Identity.CANNOT_TELL),
        (3, 0.0, False, Identity.OLDER_CRASH),
    ],
)
def test_times(seconds: float | None, offset: float | None, new: bool | None, expected: Identity) -> None:
    crash = None if seconds is None else FIRE + seconds
    assert verdict(crash=crash, new=new, expectation=Expectation("server42", "", offset)) is expected


@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("offset", [0.0, None])
@pytest.mark.parametrize("new", [True, None])
def test_a_crash_in_the_very_second_of_the_fire_is_not_older(
    part: float, offset: float | None, new: bool | None
) -> None:
    """CRASHTIME is cut to whole seconds, so it may lie before the fire by almost one."""
    facts = DumpFacts("vmcore", 1, nodename="server42", crash_time=FIRE)
    found = verify(facts, Expectation("server42", clock_offset=offset), FIRE + part, new=new)
    assert found.identity is Identity.OURS


@pytest.mark.parametrize("different", [{"build_id": "00" * 20}, {"stext": vmcores.STEXT + 4096}, {"kernel_offset": 0}])
def test_another_boot_disproves_only_when_the_record_is_of_the_boot_that_was_shot(
    different: dict[str, object],
) -> None:
    same = {
        "build_id": vmcores.BUILD_ID.upper(),
        "stext": vmcores.STEXT,
        "kernel_offset": vmcores.KERNEL_OFFSET,
    }
    for same_boot, values, expected in (
        (True, same, Identity.OURS),
        (True, {**same, **different}, Identity.ANOTHER_HOST),
        (False, {**same, **different}, Identity.OURS),
    ):
        expectation = Expectation("server42", "", 0.0, same_boot, **values)  # type: ignore[arg-type]
        assert verdict(expectation=expectation) is expected
        assert verdict(expectation=expectation, info={}) is Identity.OURS


@pytest.mark.parametrize(
    ("uptime", "recorded", "offset", "expected"),
    [
        (86_400.0, FIRE - 3600, 0.0, Identity.ANOTHER_HOST),  # the crashed kernel ran when the record was made
        (86_400.0, FIRE, 0.0, Identity.ANOTHER_HOST),
        (1800.0, FIRE - 3600, 0.0, Identity.OURS),  # it was booted later: the record is of another boot
        (13_000.0, FIRE - 3600, 0.0, Identity.OURS),  # or its clock runs too fast, so that this is too near to say
        (86_400.0, FIRE + 600, 0.0, Identity.OURS),  # a record of the time after the crash
        (86_400.0, None, 0.0, Identity.OURS),
        (None, FIRE - 3600, 0.0, Identity.OURS),
        (86_400.0, FIRE - 3600, None, Identity.OURS),
    ],
)
def test_a_record_disproves_only_a_dump_of_the_boot_it_was_made_in(
    uptime: float | None, recorded: float | None, offset: float | None, expected: Identity
) -> None:
    facts = DumpFacts("vmcore", 1, nodename="server42", crash_time=FIRE + 3, vmcoreinfo=INFO)
    another = Expectation("server42", "", offset, stext=vmcores.STEXT + 0x200000, recorded_at=recorded)
    assert verify(facts, another, FIRE, new=True, uptime=uptime).identity is expected
    same = Expectation("server42", "", offset, stext=vmcores.STEXT, recorded_at=recorded)
    assert verify(facts, same, FIRE, new=True, uptime=uptime).identity is Identity.OURS


def test_hostile_numbers() -> None:
    for crash in (1e300, -1e300, float("inf"), float("nan"), 2.0**39):
        verdict(crash=crash)
    assert verdict(crash=float("nan")) is not Identity.OURS
