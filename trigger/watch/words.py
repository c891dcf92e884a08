"""What a sighting on the console is called for people: our words, since the journal holds none of the console's."""

from __future__ import annotations

from collections.abc import Mapping

from trigger.watch.phases import Story

WORDS: Mapping[str, str] = {
    "nmi-unknown": "an NMI has arrived in the kernel (unknown reason)",
    "nmi-iock": "an NMI has arrived in the kernel (I/O check)",
    "nmi-serr": "an NMI has arrived in the kernel (PCI SERR)",
    "nmi-ignored": "the kernel ignores the NMI ('Dazed and confused')",
    "hpwdt": "the kernel's iLO watchdog driver panics on the NMI",
    "sysrq-crash": "the kernel crashes on SysRq c",
    "sysrq-denied": "the kernel forbids this SysRq key",
    "hard-lockup": "the kernel itself finds a hard lockup",
    "panic": "the kernel panics",
    "old-crash": "the kernel crashes on a null pointer, as old ones do on SysRq c",
    "rebooting-in": "a panicked kernel is about to reboot by itself",
    "end-panic": "a panicked kernel has stopped",
    "jump": "the kernel jumps into its crash kernel",
    "crash-kernel": "the crash kernel is up",
    "boot": "a normal kernel boots",
    "saver": "the crash kernel starts its dump service",
    "network-wait": "the crash kernel waits for its network",
    "network-failed": "the crash kernel cannot reach the dump's target over the network",
    "saving-to": "the crash kernel says where it saves to",
    "dmesg": "the kernel log is being saved",
    "dmesg-failed": "the kernel log could not be saved",
    "saving": "the dump is being saved",
    "saved": "the crash kernel says that the dump is saved",
    "save-failed": "the crash kernel says that the dump could not be saved",
    "mount-failed": "the crash kernel cannot mount the dump's target",
    "failure-action": "the crash kernel carries out its failure action",
    "final-action": "the crash kernel carries out its final action",
    "shell": "the crash kernel has stopped at a shell",
    "fallback": "makedumpfile failed, another way of saving is tried",
    "progress": "the dump is being saved",
    "raw-progress": "the dump is being saved",
    "preparing": "makedumpfile looks for the pages to save",
    "copied": "makedumpfile is done",
    "makedumpfile-failed": "makedumpfile failed",
    "out-of-memory": "memory runs out",
    "no-root": "the kernel cannot mount its root",
    "disk-full": "the dump's target is full",
    "ssh-refused": "the dump's server refuses the SSH login",
    "nfs-refused": "the NFS server refuses the mount",
    "restart": "the machine restarts",
    "login": "a login prompt",
}


def sentence(pattern: str, story: Story) -> str:
    """Return what was seen, and, where it has failed, why."""
    words = WORDS.get(pattern, pattern)
    if pattern in ("progress", "raw-progress") and story.percent is not None:
        return f"{words}: {story.percent:.0f} %"
    return f"{words}: {story.cause}" if story.phase == "failed" and story.cause else words
