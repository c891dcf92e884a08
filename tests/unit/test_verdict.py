"""What it all means: every end of a run, from what was seen."""

import pytest

from trigger.verdict import NO_DUMP_GRACE_S, SAME_BOOT_PROOF_S, Seen, decide


@pytest.mark.parametrize(
    ("seen", "code", "sent", "safe", "ends"),
    [
        (Seen("accepted", dump="verified", dump_path="/d/vmcore"), 0, "yes", "yes", True),
        (Seen("unknown", dump="verified", dump_path="/d/vmcore"), 0, "yes", "yes", True),
        (Seen("accepted", until="accepted"), 0, "yes", "no", False),
        (Seen("unknown", until="accepted"), 7, "maybe", "unknown", False),
        (Seen("accepted", until="crashed", boot="new"), 0, "yes", "no", False),
        (Seen("accepted", until="crashed", dump="writing", dump_ours=True), 0, "yes", "no", False),
        (Seen("accepted", until="landed", dump="landed"), 0, "yes", "unknown", False),
        (Seen("accepted", boot="same", same_boot_s=SAME_BOOT_PROOF_S), 8, "yes", "yes", True),
        (Seen("unknown", boot="same", same_boot_s=SAME_BOOT_PROOF_S), 8, "maybe", "yes", True),
        (Seen("accepted", boot="new", dump="incomplete", dump_final=True), 9, "yes", "yes", True),
        (Seen("accepted", boot="new", dump="failed", dump_final=True), 9, "yes", "yes", True),
        (Seen("accepted", boot="new", since_back_s=NO_DUMP_GRACE_S, searched=True), 9, "yes", "yes", True),
        (Seen("accepted", boot="new", dump="landed", since_back_s=NO_DUMP_GRACE_S), 10, "yes", "yes", False),
        (Seen("accepted", detached=True), 10, "yes", "unknown", False),
        (Seen("unknown", detached=True), 10, "maybe", "unknown", False),
        (Seen("accepted", timed_out=True), 10, "yes", "unknown", False),
        (Seen("unknown", timed_out=True), 7, "maybe", "unknown", False),
        (Seen("unknown", timed_out=True, dump="writing"), 10, "maybe", "no", False),
        (Seen("accepted", timed_out=True, dump="unreadable", boot="new"), 10, "yes", "yes", False),
        (Seen("accepted", timed_out=True, dump="incomplete"), 10, "yes", "unknown", False),
    ],
)
def test_every_end(seen: Seen, code: int, sent: str, safe: str, ends: bool) -> None:
    finished = decide("server42", seen)
    assert finished is not None
    assert (finished.exit_code, finished.sent) == (code, sent)
    assert (finished.safe_to_power_cycle, finished.ends_fire) == (safe, ends)
    assert "server42" in finished.text
    assert finished.next


@pytest.mark.parametrize(
    "seen",
    [
        Seen("accepted"),
        Seen("accepted", dump="writing"),
        Seen("accepted", dump="landed"),
        Seen("accepted", dump="unreadable", boot="new", since_back_s=999),
        Seen("accepted", dump="incomplete"),
        Seen("accepted", boot="same", same_boot_s=SAME_BOOT_PROOF_S - 1, since_fire_s=999),
        Seen("accepted", boot="new", since_back_s=NO_DUMP_GRACE_S - 1, searched=True),
        Seen("accepted", boot="new", since_back_s=999),  # nobody has looked since
        Seen("accepted", boot="new", dump="writing", since_back_s=999),
        Seen("unknown", until="crashed"),
        Seen("accepted", until="crashed", dump="writing"),  # on a shared target: another host's
        Seen("accepted", boot="new", dump="incomplete"),  # it stalls, and may grow again
    ],
)
def test_what_is_no_end_yet(seen: Seen) -> None:
    assert decide("server42", seen) is None


@pytest.mark.parametrize(
    "phase", ["fired", "ignored", "denied", "panicked", "crash-kernel", "saving", "saved", "failed"]
)
@pytest.mark.parametrize("shot", ["NMI", "SysRq c"])
@pytest.mark.parametrize("boot", ["", "same", "new", "crash-kernel"])
@pytest.mark.parametrize("dump", ["waiting", "writing", "landed", "incomplete", "unreadable", "verified"])
def test_every_end_is_a_paragraph_for_somebody_who_is_tired(phase: str, shot: str, boot: str, dump: str) -> None:
    """What was sent, whether a power cycle is safe and why, and a command; never "safe" while a dump may be written."""
    for outcome in ("accepted", "unknown"):
        finished = decide(
            "server42",
            Seen(
                outcome, dump=dump, dump_path="/d/vmcore", boot=boot, timed_out=True, phase=phase, shot=shot,
                cause="kdump did not start" if phase == "failed" else "", last="something", console="open",
            ),
        )  # fmt: skip
        assert finished is not None
        assert f"The {shot} for server42" in finished.text
        assert "\n" not in finished.text
        assert finished.text.endswith(".")
        assert finished.next.startswith("trigger ")
        assert finished.safe_reason
        if finished.safe_to_power_cycle == "yes":
            assert boot == "new" or dump == "verified"
        elif phase != "failed":
            assert "Do not power-cycle server42" in finished.text


def test_silence_is_never_called_no_effect() -> None:
    for seconds in (60.0, 3600.0, 86400.0):
        assert decide("server42", Seen("accepted", since_fire_s=seconds, console="open")) is None
    finished = decide("server42", Seen("accepted", since_fire_s=86400.0, timed_out=True, console="open"))
    assert finished is not None
    assert finished.exit_code == 10


def test_no_dump_is_success_while_the_host_runs_the_boot_of_before_the_shot() -> None:
    """At a target that nobody listed before, a dump of seconds before the shot looks like this one's."""
    seen = Seen("accepted", dump="verified", dump_path="/x/vmcore", dump_ours=True, boot="same")
    assert decide("server42", seen) is None
    finished = decide("server42", seen._replace(boot="new"))
    assert finished is not None
    assert finished.exit_code == 0


def test_an_older_dump_makes_nothing_safe_while_the_host_runs_the_boot_of_before() -> None:
    seen = Seen("accepted", dump="verified", dump_path="/x/vmcore", boot="same", same_boot_s=2.0, detached=True)
    finished = decide("server42", seen)
    assert finished is not None
    assert (finished.exit_code, finished.safe_to_power_cycle) == (10, "unknown")
    assert decide("server42", Seen("accepted", until="landed", dump="landed", boot="same")) is None


def test_a_percentage_is_said_once() -> None:
    seen = Seen("accepted", timed_out=True, phase="saving", last="the dump is being saved: 41 %", percent=41.0)
    finished = decide("server42", seen)
    assert finished is not None
    assert finished.text.count("41 %") == 1


def test_what_the_preflight_said_is_in_every_end_that_looks_for_a_cause() -> None:
    record = ("crashkernel= reserves nothing",)
    for seen in (
        Seen("accepted", boot="same", same_boot_s=30.0, record=record),
        Seen("accepted", timed_out=True, phase="failed", cause="kdump did not start", record=record),
        Seen("accepted", boot="new", since_back_s=99.0, searched=True, record=record),
    ):
        finished = decide("server42", seen)
        assert finished is not None
        assert record[0] in finished.text


def test_whoever_has_a_dump_that_cannot_be_proved_is_told_how_to_look_at_it() -> None:
    seen = Seen("accepted", dump="landed", dump_path="/d/vmcore", boot="new", since_back_s=99.0)
    finished = decide("server42", seen)
    assert finished is not None
    assert finished.next == "trigger inspect /d/vmcore"
