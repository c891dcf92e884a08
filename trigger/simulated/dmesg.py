"""The kernel's last words, as an x86 kernel writes them on an unknown NMI (arch/x86/kernel/nmi.c, kernel/panic.c)."""

from __future__ import annotations

_BOOT = """\
Linux version {release} (builder@example.com) (gcc 11.4.1, GNU ld 2.35.2) #1 SMP PREEMPT_DYNAMIC
Command line: BOOT_IMAGE=/vmlinuz-{release} root=/dev/sda1 ro crashkernel=192M console=ttyS0,115200n8
BIOS-provided physical RAM map:
DMI: Simulated Machine, BIOS 1.0 01/01/2026
Reserving 192MB of memory at 2416MB for crashkernel (System RAM: 4095MB)
crash kernel: loaded
systemd[1]: Set hostname to <{hostname}>.
"""

_HUNG = """\
watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [storage-flush:811]
INFO: task kworker/u8:2:77 blocked for more than 122 seconds.
      Not tainted {release} #1
"""

_CRASH = """\
Uhhuh. NMI received for unknown reason 21 on CPU 0.
Kernel panic - not syncing: {panic}
CPU: 0 PID: 811 Comm: storage-flush Kdump: loaded Not tainted {release} #1
Hardware name: Simulated Machine, BIOS 1.0 01/01/2026
Call Trace:
 <NMI>
 dump_stack_lvl+0x34/0x48
 panic+0x107/0x2bb
 nmi_panic.cold+0xc/0xc
 unknown_nmi_error.cold+0x46/0x5f
 default_do_nmi+0xc9/0xe0
 exc_nmi+0x123/0x190
 end_repeat_nmi+0x16/0x67
RIP: 0010:native_queued_spin_lock_slowpath+0x6e/0x2c0
Code: f0 0f ba 2f 08 0f 92 c2 8b 07 0f b6 d2 c1 e2 08 30 e4 09 d0 a9 00 01 ff ff 0f 85 f2 01 00 00 85 c0 74 12 0f b6 07
RSP: 0018:ffffc900004b7e38 EFLAGS: 00000202
 </NMI>
 <TASK>
 _raw_spin_lock+0x25/0x30
 storage_flush_thread+0x5c/0x140
 kthread+0xe6/0x110
 ret_from_fork+0x29/0x50
 </TASK>
"""


def records(release: str, hostname: str, uptime: float, panic: str = "NMI: Not continuing") -> list[tuple[float, str]]:
    """Return the log as (seconds since boot, line): a boot, a hang, and the panic at `uptime` seconds."""
    words = {"release": release, "hostname": hostname, "panic": panic}
    parts = ((_BOOT, 0.0, 0.031), (_HUNG, max(0.0, uptime - 120.0), 9.7), (_CRASH, uptime, 0.000_21))
    lines: list[tuple[float, str]] = []
    for text, start, step in parts:
        for number, line in enumerate(text.format(**words).split("\n")[:-1]):
            lines.append((start + number * step, line))
    return lines


def text(log: list[tuple[float, str]]) -> str:
    """Return the log as dmesg prints it."""
    return "".join(f"[{seconds:12.6f}] {line}\n" for seconds, line in log)
