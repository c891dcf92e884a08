"""SysRq by the serial console: every key and what it may do, and the pure part of the dialogue with a kernel.

Sources: Linux 6.1 and 6.12 drivers/tty/sysrq.c (keys, masks, words). Keys that others register, where one without an
enable_mask needs kernel.sysrq = 1: kernel/debug/debug_core.c (g), drivers/gpu/drm/drm_fb_helper.c (v),
arch/powerpc/xmon/xmon.c, arch/mips and arch/loongarch/kernel/sysrq.c, arch/sparc/kernel/process_64.c (x, y),
kernel/sched/ext.c (S, D). include/linux/serial_core.h (BREAK): a BREAK arms the port and the next character is the
key, for five seconds. Only a character or another BREAK disarms it, time does not, and a second BREAK *cancels* the
first. So there is one BREAK, one character, and never two BREAKs in a row.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Literal

from trigger.text import harmless

Danger = Literal["harmless", "disruptive", "destructive"]

# What a mask must be for a key that no bit allows: all of SysRq (kernel.sysrq = 1).
ONLY_ALL = 0
# Bits of kernel.sysrq (Documentation/admin-guide/sysrq.rst).
LOGLEVEL, KEYBOARD, DUMP, SYNC, REMOUNT, SIGNAL, BOOT, NICE = 2, 4, 8, 16, 32, 64, 128, 256
ANY = LOGLEVEL | KEYBOARD | DUMP | SYNC | REMOUNT | SIGNAL | BOOT | NICE

CRASH = "c"
# Typed before the first BREAK: it disarms a port that a stale BREAK has armed. At a login prompt or a shell it erases
# the line; as a SysRq key it is unknown, for which the kernel prints its help.
CLEARING = b"\x15"
HELP_S = 3.0  # how long a kernel may take to print the line of help (reference: section 2.3)

_HELP = re.compile(r"sysrq: (?:SysRq : )?HELP :|SysRq : HELP :", re.IGNORECASE)
_DISABLED = re.compile(r"This sysrq operation is disabled", re.IGNORECASE)
_CRASHED = re.compile(
    r"sysrq: (?:SysRq : )?Trigger a crash|SysRq : Trigger a crash|sysrq triggered crash", re.IGNORECASE
)
_ANSWER = re.compile(r"(?:sysrq: |SysRq : )\S", re.IGNORECASE)
# ECMA-48 control sequences: a shell's prompt and agetty write them; they are no sign of a wrong baud rate.
_SEQUENCES = re.compile(r"\x1b(?:\[[0-9;?]*[@-~]|[@-Z\\-_])")
_GARBAGE_FROM = 6  # characters; fewer are line noise


@dataclass(frozen=True, slots=True)
class Key:
    """One SysRq key: what it does, the bit that kernel.sysrq must have (ONLY_ALL: no bit, only 1), and how bad it is.

    disruptive: changes how the running system behaves. destructive: ends it, processes of it, or the evidence.
    """

    key: str
    meaning: str
    need: int
    danger: Danger
    note: str = ""


def _digits() -> list[Key]:
    return [Key(str(n), f"set the console's loglevel to {n}", LOGLEVEL, "harmless") for n in range(10)]


KEYS: dict[str, Key] = {
    row.key: row
    for row in (
        *_digits(),
        Key("b", "reboot at once, without syncing", BOOT, "destructive"),
        Key("c", "crash: panic, so that kdump writes the dump", DUMP, "destructive", "stands alone"),
        Key("d", "show all locks that are held", ONLY_ALL, "harmless", "kernels with LOCKDEP"),
        Key("e", "terminate all processes but init", SIGNAL, "destructive"),
        Key("f", "kill a process as if memory had run out", SIGNAL, "destructive"),
        Key("g", "enter the kernel debugger", ONLY_ALL, "disruptive", "kernels with KGDB; stops all CPUs"),
        Key("h", "print the line of help", ANY, "harmless"),
        Key("i", "kill all processes but init", SIGNAL, "destructive"),
        Key("j", "thaw filesystems that were frozen", SIGNAL, "disruptive"),
        Key("k", "kill everything on the active virtual terminal", KEYBOARD, "destructive"),
        Key("l", "show the backtrace of all active CPUs", DUMP, "harmless", "kernels for several CPUs"),
        Key("m", "show how memory is used", DUMP, "harmless"),
        Key("n", "make all real-time tasks ordinary ones", NICE, "disruptive"),
        Key("o", "switch the power off", BOOT, "destructive"),
        Key("p", "show the registers of the CPU that takes the interrupt", DUMP, "harmless"),
        Key("q", "show all timers", ONLY_ALL, "harmless"),
        Key("r", "take the keyboard out of raw mode", KEYBOARD, "disruptive"),
        Key("s", "sync all filesystems", SYNC, "disruptive", "blocks a task for good where a disk hangs"),
        Key("t", "show the state of all tasks", DUMP, "disruptive", "minutes on a slow line, interrupts off"),
        Key("u", "remount all filesystems read-only", REMOUNT, "disruptive"),
        Key("v", "restore the framebuffer console", ONLY_ALL, "disruptive", "ARM: ETM buffer"),
        Key("w", "show tasks that are blocked", DUMP, "harmless"),
        # The least that any architecture asks for: nobody may be refused a key for another machine's mask.
        Key("x", "enter xmon", DUMP, "disruptive", "POWER, sparc64 (counters): only 1; MIPS, LoongArch: show TLBs"),
        Key("y", "show global registers", ONLY_ALL, "disruptive", "sparc64"),
        Key("z", "dump the ftrace buffer", DUMP, "disruptive", "can be very long, interrupts off"),
        Key("R", "replay the kernel's log on the console", DUMP, "disruptive", "6.10 and later; can be long"),
        Key("S", "reset the sched_ext scheduler", NICE, "disruptive", "6.12 and later"),
        Key("D", "trace the state of the sched_ext scheduler", NICE, "harmless", "6.12 and later"),
    )
}


def allowed(mask: int, key: str) -> bool:
    """Return whether a kernel with kernel.sysrq = `mask` takes `key` from a console.

    1 allows everything, 0 nothing, help included; help needs any mask that is not 0.
    """
    if mask in (0, 1):
        return mask == 1
    need = KEYS[key].need
    return key == "h" or bool(mask & need)


def mask_that_allows(mask: int, key: str) -> int:
    """Return the smallest change of `mask` that allows `key`."""
    need = KEYS[key].need
    if need in (ONLY_ALL, ANY) or mask == 1:
        return 1
    return mask | need


class Heard(enum.Enum):
    """What a console said after a key."""

    HELP = "help"  # the line of help: BREAK, port and mask are proved
    ANSWERED = "answered"  # the kernel took the key
    DISABLED = "disabled"  # the kernel took the key and its mask forbids it
    CRASHED = "crashed"  # the kernel says that it crashes
    GARBAGE = "garbage"  # a wrong baud rate: the BREAK may have stepped a login's; no more BREAKs
    ECHOED = "echoed"  # something else than the kernel's SysRq got the character
    SILENT = "silent"  # nothing of SysRq came


def judge(key: str, said: bytes) -> Heard:
    """Return what the kernel made of BREAK and `key`, from what the console said afterwards.

    Console text can be forged by anybody on the host: it is evidence, never proof (design.md, law 3).
    """
    text = _SEQUENCES.sub("", said.decode("utf-8", "replace"))
    for pattern, heard in ((_CRASHED, Heard.CRASHED), (_DISABLED, Heard.DISABLED), (_HELP, Heard.HELP)):
        if pattern.search(text):
            return heard
    if _ANSWER.search(text):
        return Heard.ANSWERED
    if is_garbage(text):
        return Heard.GARBAGE
    return Heard.ECHOED if text.rstrip().endswith(key) else Heard.SILENT


def is_garbage(text: str) -> bool:
    """Return whether `text` looks like another baud rate's: a third of it or more is not printable."""
    shown = [char for char in text if char not in "\r\n\t\b\a\0"]
    bad = sum(not char.isprintable() or char == "\N{REPLACEMENT CHARACTER}" for char in shown)
    return len(shown) >= _GARBAGE_FROM and bad * 3 >= len(shown)


class Do(enum.Enum):
    """What to do next on the console."""

    CLEAR = "clear"  # type CLEARING
    BREAK = "break"  # send one BREAK
    TYPE = "type"  # type the character in `Dialogue.character`
    LISTEN = "listen"
    STOP = "stop"


class Dialogue:
    """One key, from the clearing character to the kernel's answer. Pure: the caller does what `next` says.

    `tries` is how often the key may be sent: 2 for `h` on a line of which nothing is known, 1 for every other key.
    After `STOP`, `heard` is the result and `trusted` whether another BREAK may be sent on this console.
    """

    def __init__(self, key: str, tries: int = 1) -> None:
        if key not in KEYS or (tries > 1 and key != "h"):
            raise ValueError(f"{key!r} cannot be sent {tries} times")
        self.key = key
        self.character = key
        self.heard = Heard.SILENT
        self.broken = ""  # why the BREAK was not taken for sent, in words
        self.trusted = True
        self._tries = tries
        self._next = Do.CLEAR

    def next(self) -> Do:
        """Return what to do now."""
        return self._next

    def done(self) -> None:
        """Say that it was done: the character was typed, or the BREAK was acknowledged."""
        after = {Do.CLEAR: Do.BREAK, Do.BREAK: Do.TYPE, Do.TYPE: Do.LISTEN}
        self._tries -= self._next is Do.BREAK
        self._next = after[self._next]

    def failed(self, why: str, *, refused: bool) -> None:
        """Say that the BREAK was refused, or not acknowledged: then it may have armed the port all the same.

        The key is not sent. `h` is, whatever the key was: harmless, and it disarms the port, so that nobody's next
        keystroke becomes a SysRq key. After a refusal no BREAK follows.
        """
        self.broken, self.character = why, "h"
        self.trusted = False
        self._tries = 0 if refused else self._tries - 1
        self._next = Do.TYPE

    def said(self, text: bytes) -> None:
        """Judge what the console said until it was quiet."""
        self.heard = judge(self.character, text)
        if self.heard is Heard.HELP and self.key == "h":
            self.broken, self.trusted = "", True  # the kernel got the BREAK, whoever lost its acknowledgement
        if self.heard is Heard.GARBAGE:
            self.trusted = False
        again = self.heard in (Heard.SILENT, Heard.ECHOED) and self._tries > 0
        # The character that was just typed has disarmed the port, whatever it was before.
        self._next = Do.BREAK if again else Do.STOP


def explain(heard: Heard, key: str, mask: int | None = None) -> str:
    """Return, in a sentence for people, what `heard` after `key` means and what to do."""
    known = "" if mask is None else f" (the last preflight saw kernel.sysrq = {mask})"
    return {
        Heard.HELP: "The kernel answers on this console.",
        Heard.ANSWERED: f"The kernel took {key}.",
        Heard.DISABLED: f"The kernel got BREAK and {key}, and its mask forbids it{known}.",
        Heard.CRASHED: "The kernel says that it crashes.",
        Heard.GARBAGE: "Garbage came after the BREAK: the line's speed is wrong, or a login program changed its own."
        " No more BREAKs were sent.",
        Heard.ECHOED: f"Something else than SysRq got the {key!r}, a login prompt most likely: the BREAK did not reach"
        f" the kernel, or this port is no console of it, or SysRq is off{known}.",
        Heard.SILENT: f"The kernel did not answer BREAK and {key}{known}: the line leads nowhere, nobody holds the port"
        " open on the host, or SysRq is off.",
    }[heard]


def shown(said: bytes) -> str:
    """Return what a console said, made harmless, with its lines kept."""
    text = said.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "")
    return harmless(_SEQUENCES.sub("", text), lines=True)
