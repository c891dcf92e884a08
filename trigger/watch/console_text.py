"""What kernels and their dump savers say on a console: patterns as data, and a reader of a stream cut anywhere.

Nothing here knows what a line means for the run; trigger/watch/phases.py does. Text can be forged, and a silent console
proves nothing: an NMI panic may not reach the serial port at all, and the crash kernel's own command line, with
`elfcorehdr=`, is then the first sign.
"""

from __future__ import annotations

import re
from collections import deque
from typing import NamedTuple

from trigger.text import harmless

MOST_BYTES = 8192  # of an unfinished line: twice the longest kernel command line (4096, s390)
_OVERLAP_BYTES = 512  # of a line that was too long, kept so that nothing is cut in two
_SHOWN_CHARACTERS = 200
LAST_LINES = 12
_SAME_CHARACTERS = 20


class Pattern(NamedTuple):
    """One thing that may be said. `word` is in every line that matches, and is looked for first: most match nothing.

    `regex` narrows it and its groups are what is told of it; "" means that the word is enough.
    """

    name: str
    word: str
    regex: str
    source: str


_NMI, _PANIC, _SYSRQ = "Linux arch/x86/kernel/nmi.c", "Linux kernel/panic.c", "Linux drivers/tty/sysrq.c"
_RHEL = "RHEL, Fedora: kdump-utils kdump.sh, kdump-lib-initramfs.sh"
_SUSE = "SLES, openSUSE: kdump 1.9 and 2: init/kdump-save"
_SUSE_OLD = "SLES 12, 15: kdump 1.0: kdumptool/savedump.cc, savefile"
_DEBIAN = "Debian, Ubuntu: kdump-tools kdump-config"
_MAKEDUMPFILE = "makedumpfile print_info.c, makedumpfile.c"
_MM = "Linux mm/oom_kill.c, mm/page_alloc.c"

PATTERNS = (
    # The shot arrives, and what the old kernel makes of it.
    Pattern("nmi-unknown", "NMI received for unknown reason", r"unknown reason ([0-9a-f]{2}) on CPU (\d+)", _NMI),
    Pattern("nmi-iock", "NMI: IOCK error (debug interrupt?)", r"for reason ([0-9a-f]{2}) on CPU (\d+)", _NMI),
    Pattern("nmi-serr", "NMI: PCI system error (SERR)", r"for reason ([0-9a-f]{2}) on CPU (\d+)", _NMI),
    Pattern("nmi-ignored", "Dazed and confused, but trying to continue", "", _NMI),
    Pattern("hpwdt", "An NMI occurred. Depending on your system the reason", "", "Linux drivers/watchdog/hpwdt.c"),
    Pattern("sysrq-crash", "Trigger a crash", r"(?i)sysrq\b.*Trigger a crash", _SYSRQ),
    Pattern("sysrq-denied", "This sysrq operation is disabled", "", _SYSRQ),
    Pattern("hard-lockup", "hard LOCKUP on cpu", r"hard LOCKUP on cpu (\d+)", "Linux kernel/watchdog_hld.c"),
    Pattern("panic", "Kernel panic - not syncing", r"(?<!end )Kernel panic - not syncing: ?(.*)", _PANIC),
    Pattern("old-crash", "NULL pointer dereference", r"BUG: unable to handle kernel NULL pointer", "Linux before 4.20"),
    Pattern("rebooting-in", "Rebooting in ", r"Rebooting in (\d+) seconds\.\.", _PANIC),
    Pattern("end-panic", "---[ end Kernel panic", "", _PANIC),
    # The crash kernel begins.
    Pattern("jump", "Starting crashdump kernel...", "", "Linux arch/arm64/kernel/machine_kexec.c"),
    Pattern("jump", "I'm in purgatory", "", "kexec-tools purgatory/purgatory.c"),
    Pattern("crash-kernel", "elfcorehdr=", r"ommand line:.*\belfcorehdr=", "Linux: the dump's header is an argument"),
    Pattern("crash-kernel", "for elfcorehdr", r"Reserving .* for elfcorehdr", "Linux drivers/of/fdt.c (arm64, riscv)"),
    Pattern("crash-kernel", "reset_devices", r"ommand line:.*\breset_devices\b", _RHEL),
    Pattern("crash-kernel", "root=kdump", r"ommand line:.*\broot=kdump\b", _SUSE),
    Pattern("crash-kernel", "kdump-tools-dump.service", r"ommand line:.*\bkdump-tools-dump\.service", _DEBIAN),
    # A normal kernel begins: x86 prints this line, without "Kernel" before it, in every boot.
    Pattern("boot", "Command line: ", r"(?<!Kernel )Command line: (?!.*(?:elfcorehdr=|reset_devices|=kdump))", "x86"),
    # The dump is saved, by distribution.
    Pattern("saver", "Kdump Vmcore Save Service", r"Start(?:ing|ed) .*Kdump Vmcore Save Service", _RHEL),
    Pattern("network-wait", "Waiting for network to be ready", r"ready \((\d+s / 10min)\)", _RHEL),
    Pattern("network-failed", "The network still isn't ready after waiting", "", _RHEL),
    Pattern("saving-to", "saving to ", r"kdump(?:\[\d+\])?: .*saving to (\S+)", _RHEL),
    Pattern("dmesg-failed", "saving vmcore-dmesg.txt failed", "", _RHEL),
    Pattern("dmesg", "saving vmcore-dmesg.txt", r"saving vmcore-dmesg\.txt(?! failed)", _RHEL),
    Pattern("saving", "saving vmcore", r"kdump(?:\[\d+\])?: saving vmcore\s*$", _RHEL),
    Pattern("saved", "saving vmcore complete", "", _RHEL),
    Pattern("save-failed", "saving vmcore failed", "", _RHEL),
    Pattern("save-failed", "sync vmcore failed", "", _RHEL),
    Pattern("save-failed", "moving vmcore failed", "", _RHEL),
    Pattern("save-failed", "failed to dump to", r"failed to dump to (.+)", _RHEL),
    Pattern("mount-failed", "Failed to mount", r"kdump(?:\[\d+\])?: .*Failed to mount (\S+)", _RHEL),
    Pattern("network-failed", "get_host_ip exited", "", _RHEL),
    Pattern("failure-action", "Executing failure action", r"Executing failure action (.+)", _RHEL),
    Pattern("final-action", "Executing final action", r"Executing final action (.+)", _RHEL),
    Pattern("shell", "Entering kdump emergency mode", "", _RHEL),
    Pattern("saver", "save kernel crash dump", r"(?i)Start(?:ing|ed) .*save kernel crash dump", _SUSE),
    Pattern("dmesg", "Saved dmesg", r"Saved dmesg\b", _SUSE),
    Pattern("saving", "Saved temporary README.txt", "", _SUSE),
    Pattern("saved", "Saved vmcore", r"Saved vmcore\b", _SUSE),
    Pattern("saved", "Saved final README.txt", "", _SUSE),
    Pattern("save-failed", "Failed saving ", r"Failed saving (dmesg|vmcore)", _SUSE),
    Pattern("save-failed", "Deleting vmcore", "", _SUSE),
    Pattern("network-failed", "Host not responding", "", _SUSE),
    Pattern("dmesg", "Saving dmesg ...", "", _SUSE_OLD),
    Pattern("dmesg", "Extracting dmesg", "", _SUSE_OLD),
    Pattern("saving", "Saving dump", r"Saving dump(?: using makedumpfile|\s*\.\.\.)", _SUSE_OLD),
    Pattern("saved", "Generating README", "", _SUSE_OLD),
    Pattern("shell", "Running a debug shell", "", _SUSE_OLD),
    Pattern("shell", "Dump saving completed. Running a shell", "", _SUSE_OLD),
    Pattern("dmesg", "running makedumpfile --dump-dmesg", "", _DEBIAN),
    Pattern("dmesg", "saved dmesg content in", r"saved dmesg content in (\S+)", _DEBIAN),
    Pattern("saving-to", "running makedumpfile", r"running makedumpfile (?!--dump-dmesg).*> (\S+)", _DEBIAN),
    Pattern("saving-to", "sending makedumpfile", r"sending makedumpfile .* (?:to|via FTP to) (.+)", _DEBIAN),
    Pattern("saved", "saved vmcore ", r"saved vmcore (?:in|via FTP in) (\S+)", _DEBIAN),
    Pattern("save-failed", "failed to save vmcore", "", _DEBIAN),
    Pattern("fallback", "makedumpfile failed, falling back", "", _DEBIAN),
    Pattern("mount-failed", "Unable to mount remote NFS", "", _DEBIAN),
    Pattern("network-failed", "Unable to reach remote server", "", _DEBIAN),
    # makedumpfile itself, whoever runs it. What it counts before it copies says nothing of how far the dump is.
    Pattern(
        "progress",
        "Copying data",
        r"Copying data\s*: \[\s*(\d{1,3}(?:\.\d)?) %\]\s*[/|\\-]?\s*(?:eta: (\S+))?",
        _MAKEDUMPFILE,
    ),
    Pattern("preparing", "Checking for memory holes", r"memory holes\s*: \[\s*(\d{1,3}(?:\.\d)?) %\]", _MAKEDUMPFILE),
    Pattern("preparing", "Excluding ", r"Excluding [\w ]+?\s*: \[\s*(\d{1,3}(?:\.\d)?) %\]", _MAKEDUMPFILE),
    Pattern("copied", "makedumpfile Completed.", "", _MAKEDUMPFILE),
    Pattern("copied", "The dumpfile is saved to ", r"The dumpfile is saved to (\S+?)\.?\s*$", _MAKEDUMPFILE),
    Pattern("makedumpfile-failed", "makedumpfile Failed.", "", _MAKEDUMPFILE),
    Pattern("raw-progress", "Copied ", r"Copied (\d+) MB / (\d+) MB", _RHEL),
    # Why it fails; said before it has failed.
    Pattern("out-of-memory", "Out of memory: Kill", r"Out of memory: Kill(?:ed)? process \d+ \((.+?)\)", _MM),
    Pattern("out-of-memory", "page allocation failure", "", _MM),
    Pattern("out-of-memory", "System is deadlocked on memory", "", _MM),
    Pattern("out-of-memory", "Initramfs unpacking failed", "", "Linux init/initramfs.c"),
    Pattern("no-root", "Unable to mount root fs", "", "Linux init/do_mounts.c"),
    Pattern("disk-full", "No space left on device", "", "errno(3), ENOSPC"),
    Pattern("ssh-refused", "Host key verification failed", "", "OpenSSH sshconnect.c"),
    Pattern("ssh-refused", "Permission denied (publickey", "", "OpenSSH sshconnect2.c"),
    Pattern("nfs-refused", "mount.nfs: access denied by server", "", "nfs-utils mount/error.c"),
    # The end.
    Pattern("restart", "reboot: Restarting system", "", "Linux kernel/reboot.c"),
    Pattern("restart", "systemd-shutdown", r"systemd-shutdown\[1\]: Rebooting", "systemd src/shutdown/shutdown.c"),
    Pattern("login", " login:", r"^\S+ login: ?$", "agetty(8)"),
)
_COMPILED = tuple((row.name, row.word, re.compile(row.regex) if row.regex else None) for row in PATTERNS)
# ECMA-48: control sequences (CSI), operating system commands up to BEL or ST, and the two-character escapes.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_LINE_END = re.compile(rb"[\r\n]")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class Sighting(NamedTuple):
    """Something that was said. `line` and `values` are harmless; `offset` counts the console's bytes before the line.

    `values` are the groups of the pattern's regex, "" for one that is not there.
    """

    pattern: str
    line: str
    values: tuple[str, ...] = ()
    offset: int = 0


class Reader:
    """Cuts a console's bytes into lines and finds what is known. Memory is bounded, whatever comes."""

    def __init__(self, offset: int = 0) -> None:
        self._rest = bytearray()
        self._begin = offset  # the offset of the first byte of the rest
        self._told: set[str] = set()  # of the unfinished line
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._changed = False

    def feed(self, said: bytes) -> list[Sighting]:
        """Return what the lines that `said` finishes hold; carriage returns end lines too (progress)."""
        found: list[Sighting] = []
        begin, old = 0, len(self._rest)
        self._rest += said
        for end in _LINE_END.finditer(self._rest, old):
            found += self._finish(bytes(self._rest[begin : end.start()]), self._begin + begin)
            begin = end.end()
        del self._rest[:begin]
        self._begin += begin
        if len(self._rest) > MOST_BYTES:
            found += self._look(bytes(self._rest), self._begin)
            cut = len(self._rest) - _OVERLAP_BYTES
            del self._rest[:cut]
            self._begin += cut
        return found

    def idle(self) -> list[Sighting]:
        """Return what the unfinished line holds, once: for when nothing more comes for the moment."""
        return self._look(bytes(self._rest), self._begin) if self._rest else []

    def last_lines(self) -> tuple[str, ...] | None:
        """Return the last lines, harmless, None when none is new; of a line that is rewritten, the last state."""
        if not self._changed:
            return None
        self._changed = False
        return tuple(self._lines)

    def _finish(self, line: bytes, offset: int) -> list[Sighting]:
        found = self._look(line, offset)
        self._told.clear()
        text = shown(plain(line).strip())
        if text:
            if self._lines and text[:_SAME_CHARACTERS] == self._lines[-1][:_SAME_CHARACTERS]:
                self._lines.pop()  # progress
            self._lines.append(text)
            self._changed = True
        return found

    def _look(self, line: bytes, offset: int) -> list[Sighting]:
        new = [seen for seen in sightings(plain(line), offset) if seen.pattern not in self._told]
        self._told.update(seen.pattern for seen in new)
        return new


def sightings(line: str, offset: int = 0) -> list[Sighting]:
    """Return everything that one line, as `plain` returns it, says; each pattern name once."""
    found: dict[str, Sighting] = {}
    for name, word, regex in _COMPILED:
        if word not in line or name in found:
            continue
        match = regex.search(line) if regex is not None else None
        if regex is None or match:
            values = tuple(shown(group or "") for group in match.groups()) if match else ()
            found[name] = Sighting(name, shown(line.strip()), values, offset)
    return list(found.values())


def plain(line: bytes) -> str:
    """Return a line as text, without escape sequences and control characters; other hostile characters are left."""
    text = line.decode("utf-8", "replace")
    if text.isprintable():
        return text
    return _CONTROLS.sub("", _ESCAPES.sub("", text))


def shown(text: str) -> str:
    """Return a line that may be printed: harmless, and not too long."""
    return harmless(text, limit=_SHOWN_CHARACTERS)
