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
    found = look("[1.0] Kernel panic - not syncing: 21: An NMI occurred. Depending on your system the reason\n")
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


TRACE = """\
[  812.100000] Modules linked in: nvidia(POE) xfs vboxdrv(OE) virtio_net [last unloaded: foo]
[  900.000000] Uhhuh. NMI received for unknown reason 21 on CPU 3.
[  900.000010] Kernel panic - not syncing: NMI: Not continuing
[  900.000020] CPU: 3 PID: 4242 Comm: storage flush Kdump: loaded Tainted: P           OE      6.1.0-30-amd64 #1 Debian
[  900.000030] Hardware name: HPE ProLiant DL380 Gen10/ProLiant DL380 Gen10, BIOS U30 07/16/2020
[  900.000040] Call Trace:
[  900.000050]  <NMI>
[  900.000060]  dump_stack_lvl+0x44/0x5c
[  900.000070]  ? panic+0x118/0x2e0
[  900.000080] RIP: 0010:native_queued_spin_lock_slowpath+0x6e/0x2c0
[  900.000090] Code: f0 0f ba
[  900.000100] RSP: 0018:ffffc900004b7e38 EFLAGS: 00000202
[  900.000110]  </NMI>
[  900.000120]  <TASK>
[  900.000130]  flush_thread+0x5c/0x140 [storage]
[  900.000140]  </TASK>
[  900.000150] Kernel Offset: 0x1b000000 from 0xffffffff81000000
"""
OOPS = """\
[   10.000000] BUG: kernel NULL pointer dereference, address: 0000000000000000
[   10.000001] Oops: 0002 [#1] PREEMPT SMP NOPTI
[   10.000002] CPU: 1 UID: 0 PID: 77 Comm: insmod Not tainted 6.12.0 #1
[   10.000003] RIP: 0010:init_module+0x5/0x10 [bad]
[   10.000004] Call Trace:
[   10.000005]  <TASK>
[   10.000006]  do_one_initcall+0x56/0x220
[   10.000007]  </TASK>
[   10.000008] Kernel panic - not syncing: Fatal exception
"""


def test_where_the_kernel_was() -> None:
    crash = look(TRACE).crash
    assert crash is not None
    assert (crash.cpu, crash.pid, crash.command, crash.taint) == (3, 4242, "storage flush", "P OE")
    assert crash.rip == "native_queued_spin_lock_slowpath+0x6e/0x2c0"
    assert crash.hardware.startswith("HPE ProLiant DL380 Gen10")
    assert crash.trace[0] == "<NMI>"
    assert "flush_thread+0x5c/0x140 [storage]" in crash.trace
    assert crash.foreign_modules == ("nvidia(POE)", "vboxdrv(OE)")


def test_an_oops_has_its_stack_before_the_panic() -> None:
    crash = look(OOPS).crash
    assert crash is not None
    assert (crash.cpu, crash.pid, crash.command, crash.rip) == (1, 77, "insmod", "init_module+0x5/0x10")
    assert crash.trace == ("<TASK>", "do_one_initcall+0x56/0x220", "</TASK>")
