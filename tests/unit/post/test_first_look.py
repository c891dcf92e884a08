"""The kernel log beside the dump: what panicked, what shot it, what was wrong before."""

from __future__ import annotations

from trigger.post.first_look import MAX_DMESG, look, read_dmesg
from trigger.post.reader import BytesReader

SYSRQ = """\
[    0.000000] Linux version 6.1.0-30-amd64
[    0.300000] EDAC MC: Ver: 3.0.0
[ 3600.000001] INFO: task mysqld:1201 blocked for more than 120 seconds.
[ 3600.000002]       Not tainted 6.1.0-30-amd64 #1
[ 3700.000000] watchdog: BUG: soft lockup - CPU#3 stuck for 23s! [kworker/3:1:88]
[ 3800.000000] blk_update_request: I/O error, dev sdb, sector 1234
[ 3900.000000] sysrq: Trigger a crash
[ 3900.000001] Kernel panic - not syncing: sysrq triggered crash
[ 3900.000002] CPU: 0 PID: 1 Comm: bash Not tainted 6.1.0-30-amd64 #1
"""
NMI = """\
[  100.1] Uhhuh. NMI received for unknown reason 21 on CPU 0.
[  100.2] Kernel panic - not syncing: NMI: Not continuing
"""


def test_a_sysrq_crash_and_what_was_wrong_before_it() -> None:
    found = look(SYSRQ)
    assert found.panic == "sysrq triggered crash"
    assert found.trigger == ("[ 3900.000000] sysrq: Trigger a crash",)
    assert [line.split(":")[0] for line in found.before] == ["hung task", "lockup", "oops", "I/O error"]
    assert "mysqld:1201" in found.before[0]


def test_an_nmi() -> None:
    found = look(NMI)
    assert found.panic == "NMI: Not continuing"
    assert found.trigger == ("[  100.1] Uhhuh. NMI received for unknown reason 21 on CPU 0.",)
    assert found.before == ()


def test_hpe_names_the_nmi_in_the_panic_itself() -> None:
    found = look(
        "[1.0] Kernel panic - not syncing: 21: An NMI occurred. Depending on your system the reason\n"
    )
    assert found.panic.startswith("21: An NMI occurred.")
    assert len(found.trigger) == 1


def test_the_last_panic_counts_and_an_nmi_that_was_survived_is_only_shown() -> None:
    dazed = "[1.0] Uhhuh. NMI received for unknown reason 31 on CPU 0.\n[1.1] Dazed and confused\n"
    assert look(dazed).panic == ""
    assert len(look(dazed).trigger) == 1
    assert look("Kernel panic - not syncing: one\nKernel panic - not syncing: two\n").panic == "two"


def test_hostile_text_is_made_harmless() -> None:
    hung = "INFO: task \x1b]0;evil\x07:1 blocked for more than 120 seconds\n"
    found = look(hung + "Kernel panic - not syncing: \x1b[2J\u202egone\n")
    assert "\x1b" not in found.panic + found.before[0]
    assert "\u202e" not in found.panic
    assert "\\x1b" in found.panic


def test_an_endless_log_is_read_from_its_end() -> None:
    data = b"A" * (MAX_DMESG + 1000) + b"\n" + NMI.encode()
    text = read_dmesg(BytesReader(data))
    assert len(text) == MAX_DMESG
    assert look(text).panic == "NMI: Not continuing"
    assert look("x" * 10_000_000).panic == ""
    assert look("").before == ()
