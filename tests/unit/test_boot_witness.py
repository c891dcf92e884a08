"""When did the host boot? By its uptime, but never by a clock that runs wrong."""

from __future__ import annotations

import pytest

from trigger.watch.host import BootWitness

FIRED = 1_700_000_000.0
DAY = 86400.0


def look(witness: BootWitness, after_s: float, uptime: float, boot_id: str = "b1", vmcore: str = "") -> str:
    """Return what the witness says of a look so many seconds after the shot."""
    return witness.judge(f"{uptime} 12.0\n{boot_id}\n{vmcore}", FIRED + after_s).boot


@pytest.mark.parametrize(
    ("after_s", "uptime", "known", "boot"),
    [
        (30.0, 11 * DAY, "", "same"),
        (30.0, 10.0, "", "new"),
        (30.0, 10.0, "b0", "new"),
        (30.0, 10.0, "b1", ""),  # the very boot of the preflight cannot be that young: a clock was set
        (0.4, 27.0, "", "same"),  # so soon after the shot nothing can have booted
        (35.0, 58.0, "", ""),  # seen on a busy hypervisor: a new boot whose clock ran 3.7 times too fast
        (35.0, 58.0, "b0", ""),
        (35.0, 58.0, "b1", "same"),  # the record was written in this very boot
        (35.0, 800.0, "", "same"),
        (2.0, 4.0, "", "new"),  # within the tolerance: the answer travels
    ],
)
def test_one_look(after_s: float, uptime: float, known: str, boot: str) -> None:
    assert look(BootWitness(FIRED, known), after_s, uptime) == boot


def test_a_boot_id_that_changes_is_a_new_boot_whatever_the_uptime_says() -> None:
    witness = BootWitness(FIRED)
    assert look(witness, 0.4, 27.0, "b1") == "same"
    assert look(witness, 35.0, 58.0, "b2") == "new"


def test_a_boot_that_was_proved_old_stays_so() -> None:
    witness = BootWitness(FIRED)
    assert look(witness, 1.0, 60.0) == "same"
    assert look(witness, 600.0, 659.0) == "same"


def test_a_boot_that_the_preflight_should_have_seen_is_another_machines() -> None:
    """A service address that a peer with the same host key has taken over: its boot proves nothing of this host."""
    witness = BootWitness(FIRED, "b0", FIRED - DAY)
    assert look(witness, 30.0, 11 * DAY, "b1") == ""
    assert look(witness, 30.0, 11 * DAY, "b0") == "same"
    assert look(BootWitness(FIRED, "b0", FIRED - DAY), 30.0, 3600.0, "b1") == "same", "rebooted since the preflight"


def test_the_crash_kernel_is_no_boot() -> None:
    witness = BootWitness(FIRED)
    assert look(witness, 1.0, 60.0) == "same"
    assert look(witness, 9.0, 4.0, "crash", "/proc/vmcore") == "crash-kernel"
    assert look(witness, 60.0, 20.0, "b2") == "new"


def test_what_is_no_uptime_proves_nothing() -> None:
    assert BootWitness(FIRED).judge("up 3 days", FIRED + 30).problem == "answer"
