"""Recorded consoles of every distribution and every failure: the same phases and verdict, however they arrive."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest

from trigger.verdict import Seen, decide
from trigger.watch import phases
from trigger.watch.console_text import MOST_BYTES, PATTERNS, Reader, Sighting, plain, sightings
from trigger.watch.phases import PHASES, Story
from trigger.watch.words import WORDS

FOLDER = Path(__file__).resolve().parents[1] / "transcripts"
SEEDS = 400 if os.environ.get("TRIGGER_SOAK") else 20
DUMP = "panicked crash-kernel saving saved rebooting"

# transcript -> (phases in order, what the cause says, exit code when SSH then shows a new boot and no dump, percent)
TABLE: dict[str, tuple[str, str, int, float | None]] = {
    "rhel-8-nmi": (DUMP, "", 9, 100.0),
    "rhel-9-sysrq": (DUMP, "", 9, 100.0),
    "rhel-10-hpwdt": (DUMP, "", 9, 100.0),
    "fedora-nmi-iock": (DUMP, "", 9, 100.0),
    "fedora-makedumpfile-failed": ("panicked crash-kernel saving failed rebooting", "makedumpfile failed", 9, None),
    "sles-15-nmi": (DUMP, "", 9, 100.0),
    "sles-16-sysrq-network": (DUMP, "", 9, 100.0),
    "opensuse-host-not-responding": ("panicked crash-kernel failed rebooting", "the network did not come up", 9, None),
    "debian-12-nmi-silent": ("crash-kernel saving saved rebooting", "", 9, 100.0),
    "debian-12-fallback-to-cp": ("panicked crash-kernel saving failed saving saved rebooting", "", 9, None),
    "ubuntu-24.04-sysrq": (DUMP, "", 9, 100.0),
    "ubuntu-18.04-sysrq-old": ("panicked crash-kernel saving saved", "", 9, 100.0),
    "arm64-sysrq": ("panicked crash-kernel saving saved", "", 9, 100.0),
    "lab-nmi": ("crash-kernel saving saved rebooting", "", 9, 100.0),
    "lab-ignored": ("ignored", "", 8, None),
    "lab-sysrq-no-kdump": ("panicked failed rebooting", "kdump did not start", 9, None),
    "lab-hangs-in-crash-kernel": ("crash-kernel saving", "", 10, None),
    "ignored": ("ignored", "", 8, None),
    "ignored-serr": ("ignored", "", 8, None),
    "denied": ("denied", "", 8, None),
    "no-kdump": ("panicked failed rebooting", "kdump did not start", 9, None),
    "no-kdump-hangs": ("panicked failed", "kdump did not start", 9, None),
    "oom-in-crash-kernel": ("panicked crash-kernel failed", "itself panicked: the crash kernel has", 9, None),
    "oom-kills-makedumpfile": ("panicked crash-kernel saving failed", "too little memory", 9, 3.0),
    "network-wait": ("panicked crash-kernel", "", 10, None),
    "network-never-ready": ("panicked crash-kernel failed", "the network did not come up", 9, None),
    "stalled": ("panicked crash-kernel saving", "", 10, 41.5),
    "disk-full": ("panicked crash-kernel saving failed rebooting", "the dump target is full", 9, 61.0),
    "watchdog-resets-mid-dump": ("panicked crash-kernel saving failed", "the machine was reset", 9, 21.5),
}  # fmt: skip


def said(name: str) -> bytes:
    """Return a transcript without the lines that name its source, with the line ends of a serial line."""
    text = (FOLDER / f"{name}.txt").read_bytes()
    lines = [line for line in text.split(b"\n") if not line.startswith(b"# ")]
    return b"\r\n".join(lines)


def told(pieces: list[bytes]) -> tuple[list[str], Story, list[Sighting]]:
    """Return the phases in order, the story at the end, and all sightings."""
    reader, story = Reader(), Story()
    order: list[str] = []
    found: list[Sighting] = []
    for number, piece in enumerate([*pieces, b""]):
        for seen in reader.feed(piece) if piece else reader.idle():
            story = phases.after(story, seen, float(number))
            found.append(seen)
            if not order or order[-1] != story.phase:
                order.append(story.phase)
    return [phase for phase in order if phase != "fired"], story, found


def code(story: Story) -> int:
    """Return the exit code when proof comes: the same boot answers, or a new one without a dump; else the deadline."""
    if story.phase in ("ignored", "denied"):
        seen = Seen("accepted", boot="same", same_boot_s=5.0, told_s=5.0)
    elif story.phase in ("saving", "crash-kernel"):
        seen = Seen("accepted", timed_out=True)
    else:
        seen = Seen("accepted", boot="new", since_back_s=61.0, searched=True)
    finished = decide("server42", seen._replace(phase=story.phase, cause=story.cause, console="open"))
    assert finished is not None
    return finished.exit_code


def test_every_transcript_is_in_the_table_and_names_its_source() -> None:
    files = {path.stem for path in FOLDER.glob("*.txt")}
    assert files == set(TABLE)
    assert all((FOLDER / f"{name}.txt").read_text().startswith("# Source: ") for name in files)


@pytest.mark.parametrize("name", TABLE)
def test_a_transcript(name: str) -> None:
    expected, cause, exit_code, percent = TABLE[name]
    order, story, _ = told([said(name)])
    assert " ".join(order) == expected
    assert cause in story.cause
    assert bool(cause) == bool(story.cause)
    assert (code(story), story.percent) == (exit_code, percent)


def noisy(text: bytes, chance: random.Random) -> list[bytes]:
    """Return the text with other people's lines, escape sequences and hostile bytes in it, cut anywhere."""
    noise = [
        b"[   99.123456] systemd[1]: Started Session 7 of User root.\r\n",
        b"\x1b[2J\x1b[1;31mhello\x1b[0m\r\n",
        b"\xff\xfe\x00\x80\x1b]0;title\x07\r\n",
        "\u202egnp.tset\u2066 \u200b<b>[red]</b></script>\r\n".encode(),
        b"x" * 300 + b"\r\n",
    ]
    out = b""
    for line in re.split(rb"(?<=[\r\n])", text):
        if chance.random() < 0.4:
            out += chance.choice(noise)
        if chance.random() < 0.3 and len(line) > 4:
            at = chance.randrange(len(line) - 2)
            out += line[:at] + chance.choice([b"\x1b[0m", b"\x00", b"\x1b[1;33m", b"\x07"]) + line[at:]
        else:
            out += line
    pieces = []
    while out:
        size = chance.choice([1, 2, 3, 7, 16, 64, 255, 1024])
        pieces.append(out[:size])
        out = out[size:]
    return pieces


@pytest.mark.parametrize("name", TABLE)
def test_cut_into_random_pieces_and_interleaved_with_noise(name: str) -> None:
    expected, cause, exit_code, percent = TABLE[name]
    for seed in range(SEEDS):
        order, story, _ = told(noisy(said(name), random.Random(f"{name} {seed}")))
        assert (" ".join(order), code(story), story.percent) == (expected, exit_code, percent), f"seed {seed}"
        assert cause in story.cause


def test_an_unfinished_line_is_seen_when_nothing_more_comes_and_only_once() -> None:
    reader = Reader()
    assert reader.feed(b"[ 1.0] Rebooting in 10 seco") == []
    assert reader.feed(b"nds..") == []
    assert [seen.pattern for seen in reader.idle()] == ["rebooting-in"]
    assert reader.idle() == []
    assert reader.feed(b"\n[ 2.0] reboot: Restarting system\n") != []
    assert reader.feed(b"[ 3.0] Rebooting in 5 seconds..\n")[0].pattern == "rebooting-in"


def test_offsets_count_the_bytes_before_the_line() -> None:
    text = b"abc\r\n\xff\xff\n[ 1.0] Dazed and confused, but trying to continue\r\nreboot: Restarting system\n"
    _, _, found = told([text[:30], text[30:]])
    for seen, word in zip(found, (b"[ 1.0] Dazed", b"reboot:"), strict=True):
        assert text[seen.offset :].startswith(word)


def test_memory_is_bounded_and_nothing_is_cut_in_two() -> None:
    reader = Reader()
    for _ in range(200):
        reader.feed(b"y" * 5000)
        assert len(reader._rest) <= MOST_BYTES
    found = reader.feed(b"y" * 1000 + b"Dazed and confused, but trying to continue" + b"y" * 9000 + b"\n")
    assert [seen.pattern for seen in found] == ["nmi-ignored"]


def test_what_is_told_is_harmless() -> None:
    line = "[ 1.0] Kernel panic - not syncing: \x1b[31m\u202egnp\x9b2J</script>\x07".encode()
    (seen,) = sightings(plain(line))
    for text in (seen.line, *seen.values):
        assert text.isprintable()
        assert "\u202e" not in text


def test_the_kernels_own_end_of_a_panic_is_not_a_panic() -> None:
    assert [s.pattern for s in sightings("---[ end Kernel panic - not syncing: NMI: Not continuing ]---")] == [
        "end-panic"
    ]


def test_every_pattern_has_words_and_every_meaning_is_a_phase() -> None:
    names = {row.name for row in PATTERNS}
    assert names == set(WORDS)
    assert set(phases._MEANS) <= names
    assert set(phases._MEANS.values()) <= set(PHASES)
    assert set(phases.CAUSES) <= names
    assert all(row.source for row in PATTERNS)


def test_a_second_nmi_that_the_crash_kernel_ignores_changes_nothing() -> None:
    lines = b"Command line: elfcorehdr=0x1 x\nDazed and confused, but trying to continue\n"
    order, story, _ = told([lines])
    assert (order, story.phase) == (["crash-kernel"], "crash-kernel")


def test_the_eta_is_makedumpfiles_own_or_from_its_rate() -> None:
    (seen,) = sightings("Copying data                     : [ 40.0 %] /   eta: 1h2m")
    assert phases.after(Story(), seen, 5.0).eta_s == 3720.0
    story = Story()
    for at, copied in ((0.0, 10), (10.0, 30)):
        (seen,) = sightings(f"Copied {copied} MB / 100 MB")
        story = phases.after(story, seen, at)
    assert (story.percent, story.rate, story.eta_s) == (30.0, 2.0, 35.0)


def test_silence_is_odd_after_a_while_and_never_an_end() -> None:
    story = Story(phase="saving", moved=100.0)
    assert phases.warning(story, 600.0, console=True) == ""
    assert "no progress of the dump for 601 s" in phases.warning(story, 701.0, console=True)
    assert phases.warning(Story(), 60.0, console=False) == "", "nobody listens, so silence is not odd"
    assert "proves nothing" in phases.warning(Story(), 60.0, console=True)
    waiting = Story(phase="crash-kernel", hints=("network-wait",))
    assert phases.warning(waiting, 700.0, console=True) == ""
    assert phases.warning(waiting, 800.0, console=True) != ""


@pytest.mark.parametrize(
    ("lines", "phase", "cause"),
    [
        # hardlockup_panic=0: the kernel says so, as hung ones do, and goes on hanging
        (["watchdog: Watchdog detected hard LOCKUP on cpu 3"], "fired", ""),
        (["Watchdog detected hard LOCKUP on cpu 3", "Kernel panic - not syncing: Hard LOCKUP"], "panicked", ""),
        # a dump that is saved is none the worse for what its crash kernel does on its way out
        (["Command line: elfcorehdr=1", "kdump: saving vmcore complete", "Kernel panic - not syncing: x"], "saved", ""),
        (["Command line: elfcorehdr=1", "kdump: saving vmcore complete", "Command line: ro",
          "Kernel panic - not syncing: VFS: Unable to mount root fs", "---[ end Kernel panic"], "rebooting", ""),
        (["Command line: elfcorehdr=1", "Kernel panic - not syncing: x"], "failed", "itself panicked"),
        # a host that hangs on its network storage
        (["Host not responding"], "fired", ""),
        (["Kernel panic - not syncing: x", "Host not responding"], "failed", "the network did not come up"),
    ],
)  # fmt: skip
def test_what_is_no_failure_and_no_crash(lines: list[str], phase: str, cause: str) -> None:
    _, story, _ = told([f"{line}\n".encode() for line in lines])
    assert story.phase == phase
    assert cause in story.cause
    assert bool(cause) == bool(story.cause)
