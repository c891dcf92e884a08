"""The keys of SysRq, the mask, and the dialogue: one BREAK, one character, never two BREAKs in a row."""

from __future__ import annotations

import itertools
import random
import string

import pytest

from trigger.console.sysrq import KEYS, Dialogue, Do, Heard, allowed, explain, judge, mask_that_allows, shown

HELP = b"\r\n[   12.3] sysrq: HELP : loglevel(0-9) reboot(b) crash(c)\r\n"


@pytest.mark.parametrize(
    ("mask", "keys"),
    [
        (0, ""),  # not even help
        (16, "hs"),  # RHEL
        (438, "0123456789bhknorsuSD"),  # Debian, 0x1b6: no 8, so no c
        (176, "bhosu"),  # Ubuntu
        (184, "bchlmopstuwxzR"),  # SLES
        (8, "chlmptwxzR"),
        (512, "h"),  # a bit that nobody has given a meaning yet
        (1, "".join(KEYS)),
    ],
)
def test_masks_of_distributions(mask: int, keys: str) -> None:
    """Reference: drivers/tty/sysrq.c and the distributions' sysctl files."""
    assert {key for key in KEYS if allowed(mask, key)} == set(keys)


def test_what_mask_to_set() -> None:
    assert [mask_that_allows(mask, "c") for mask in (0, 16, 176, 1)] == [8, 24, 184, 1]
    assert mask_that_allows(16, "q") == 1
    assert all(allowed(mask_that_allows(mask, key), key) for mask in (0, 1, 16, 176, 438) for key in KEYS)


def test_every_letter_that_ends_something_is_destructive() -> None:
    assert {key for key, row in KEYS.items() if row.danger == "destructive"} == set("bcefiko")
    assert set("hwlmp0123456789dqD") == {key for key, row in KEYS.items() if row.danger == "harmless"}
    assert set(KEYS) == set(string.digits + string.ascii_lowercase.replace("a", "") + "RSD")


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (HELP, Heard.HELP),
        (b"SysRq : HELP : loglevel(0-9)", Heard.HELP),  # kernels before 4.20
        (b"[ 1.0] sysrq: Show Blocked State\r\n", Heard.ANSWERED),
        (b"[ 1.0] sysrq: This sysrq operation is disabled.\r\n", Heard.DISABLED),
        (b"sysrq: Trigger a crash\r\nKernel panic - not syncing: sysrq triggered crash", Heard.CRASHED),
        (b"\r\nserver42 login: w", Heard.ECHOED),
        (b"", Heard.SILENT),
        (b"\xf8\x80\xff\xfe\x81\xe0\xf0w\x80\x99", Heard.GARBAGE),
        (b"\x1b[2J\x1b[1;31mserver\x1b[0m login: ", Heard.SILENT),
    ],
)
def test_what_the_console_says(said: bytes, heard: Heard) -> None:
    assert judge("w", said) is heard
    assert explain(heard, "w", 16)


def play(dialogue: Dialogue, answers: list[bytes], *, breaks_fail: str = "") -> str:
    """Do what the dialogue says; return what went out: . clearing, B BREAK, or the character."""
    sent = ""
    for _ in range(50):
        match dialogue.next():
            case Do.CLEAR:
                sent += "."
                dialogue.done()
            case Do.BREAK:
                sent += "B"
                if breaks_fail:
                    dialogue.failed(breaks_fail, refused=breaks_fail == "NACK")
                else:
                    dialogue.done()
            case Do.TYPE:
                sent += dialogue.character
                dialogue.done()
            case Do.LISTEN:
                dialogue.said(answers.pop(0) if answers else b"")
            case Do.STOP:
                return sent
    raise AssertionError("the dialogue does not end")


def test_one_break_one_character() -> None:
    dialogue = Dialogue("w")
    assert play(dialogue, [b"sysrq: Show Blocked State"]) == ".Bw"
    assert (dialogue.heard, dialogue.trusted) == (Heard.ANSWERED, True)


def test_a_stale_break_cancels_the_first_help_only() -> None:
    dialogue = Dialogue("h", tries=2)
    assert play(dialogue, [b"login: h", HELP]) == ".BhBh"
    assert dialogue.heard is Heard.HELP


def test_help_is_asked_for_twice_and_no_more() -> None:
    dialogue = Dialogue("h", tries=2)
    assert play(dialogue, []) == ".BhBh"
    assert dialogue.heard is Heard.SILENT


def test_a_key_is_never_sent_twice() -> None:
    for key in KEYS:
        assert play(Dialogue(key), []) == f".B{key}"
    for key in set(KEYS) - {"h"}:
        with pytest.raises(ValueError, match="cannot be sent"):
            Dialogue(key, tries=2)


def test_after_garbage_no_more_breaks() -> None:
    dialogue = Dialogue("h", tries=2)
    assert play(dialogue, [b"\xf8\x80\xff\xfe\x81\xe0\xf0\x80\x99"]) == ".Bh"
    assert (dialogue.heard, dialogue.trusted) == (Heard.GARBAGE, False)


def test_a_refused_break_is_followed_by_h_and_never_by_the_key() -> None:
    for key, why in itertools.product("ch", ("NACK", "silence")):
        dialogue = Dialogue(key)
        assert play(dialogue, [], breaks_fail=why) == ".Bh"
        assert (dialogue.broken, dialogue.trusted) == (why, False)


def test_a_break_without_an_acknowledgement_may_have_arrived() -> None:
    heard = Dialogue("h", tries=2)
    assert play(heard, [HELP], breaks_fail="silence") == ".Bh"
    assert (heard.broken, heard.trusted) == ("", True)
    lost = Dialogue("h", tries=2)
    assert play(lost, [b"login: h", HELP], breaks_fail="silence") == ".BhBh"
    assert lost.trusted
    refused = Dialogue("h", tries=2)
    assert play(refused, [b"login: h"], breaks_fail="NACK") == ".Bh"
    other = Dialogue("w")  # the kernel took the h: w was not sent, and is not sent now
    assert play(other, [HELP], breaks_fail="silence") == ".Bh"
    assert (other.broken, other.trusted) == ("silence", False)


def test_never_two_breaks_in_a_row_whatever_happens() -> None:
    """Seeded: 2,000 dialogues with random answers and failures."""
    chooser = random.Random(4)
    answers = [HELP, b"", b"login: h", b"\xff\x80\xf8\x80\xf8\x80\x80", b"This sysrq operation is disabled"]
    for _ in range(2000):
        key = chooser.choice(list(KEYS))
        dialogue = Dialogue(key, 2 if key == "h" else 1)
        sent = play(dialogue, chooser.choices(answers, k=3), breaks_fail=chooser.choice(["", "", "NACK", "silence"]))
        assert "BB" not in sent
        assert sent.count("B") <= 2
        assert not sent.endswith("B")  # the port is never left armed
        assert all(a != "B" or b != "." for a, b in itertools.pairwise(sent))


def test_what_is_shown_cannot_act() -> None:
    text = shown(b"\x1b]0;owned\x07\x1b[31mred\x1b[0m\r\n</script>\xe2\x80\xaeabc\x9b2J")
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in text
    assert "red\n</script>" in text
