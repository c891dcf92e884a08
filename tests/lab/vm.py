"""The hung server itself: one small QEMU machine, emulated (TCG) so that it runs wherever Python does."""

from __future__ import annotations

import json
import socket
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

from tests.lab import cpio
from tests.lab.errors import LabError
from tests.lab.guest import GuestImage
from tests.lab.ssh import GuestKeys

_DISK_BYTES = 2 * 1024**3  # sparse; a dump of this guest is some 30 MB
_MEMORY_MB = 768
_KERNEL_WORDS = "console=ttyS0,115200 crashkernel=192M"


@dataclass(frozen=True)
class Machine:
    """One QEMU: its ports on 127.0.0.1 and its files."""

    workdir: Path
    ssh_port: int
    system_port: int
    console_port: int
    guid: uuid.UUID

    @property
    def console_log(self) -> Path:
        """Return the file with everything that the guest wrote to its serial console."""
        return self.workdir / "console.log"

    @property
    def monitor(self) -> Path:
        """Return the socket of QEMU's own monitor (QMP)."""
        return self.workdir / "qmp"

    def inject_nmi(self) -> None:
        """Give the machine an NMI past its BMC, for controllers that are simulated in front of it."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(10)
            monitor.connect(str(self.monitor))
            with monitor.makefile("rw", encoding="utf-8") as lines:
                lines.readline()  # the greeting
                for command in ("qmp_capabilities", "inject-nmi"):
                    lines.write(json.dumps({"execute": command}) + "\n")
                    lines.flush()
                    answer = json.loads(lines.readline())
                    if "return" not in answer:
                        raise LabError(f"QEMU answers {command} with {answer}")

    def prepare(self, image: GuestImage, keys: GuestKeys, kernel_words: str) -> list[str]:
        """Make the small guest's disk and initramfs and return the command that starts QEMU."""
        disk, initrd = self.workdir / "disk.img", self.workdir / "initrd"
        _make_disk(disk)
        # The kernel unpacks one archive after the other: the guest's own secrets come last.
        initrd.write_bytes(image.initrd.read_bytes() + _secrets(keys))
        boot = ["-kernel", str(image.kernel), "-initrd", str(initrd)]
        # The guest can be reached, but can itself reach nothing.
        return self.command(boot, f"{_KERNEL_WORDS} {kernel_words}", disk, memory_mb=_MEMORY_MB, network="restrict=on")

    def command(
        self, boot: list[str], kernel_words: str, disk: Path, *, memory_mb: int, network: str, cache_mb: int = 32
    ) -> list[str]:
        """Return the command that starts QEMU."""
        command = ["qemu-system-x86_64", "-nodefaults", "-no-user-config"]
        # A small translation cache: with QEMU's own choice, code of the kernel before
        # lingers in it, and each write of the next kernel's decompressor over it is slow: 8 s of CPU now and then.
        # Too small a one for a whole systemd costs more: 68 s of CPU for its boot with 32 MB, 48 s with 128.
        # Without rdrand the guest's sshd waits 10 s for random numbers.
        command += ["-accel", f"tcg,tb-size={cache_mb}", "-cpu", "qemu64,+rdrand", "-m", str(memory_mb), "-smp", "1"]
        command += ["-display", "none", "-rtc", "base=utc", "-uuid", str(self.guid)]
        command += [*boot, "-append", kernel_words.strip()]
        forward = f"hostfwd=tcp:127.0.0.1:{self.ssh_port}-:22"
        command += ["-netdev", f"user,id=net0,{network},ipv6=off,{forward}"]
        command += ["-device", "virtio-net-pci,netdev=net0,romfile="]
        # The dump survives the guest's reboots, not this machine's (cache=unsafe).
        command += ["-drive", f"file={_quoted(disk)},format=raw,if=virtio,cache=unsafe"]
        command += ["-qmp", f"unix:{_quoted(self.monitor)},server=on,wait=off"]
        return command + self._bmc_and_console()

    def _bmc_and_console(self) -> list[str]:
        system = f"socket,id=ipmi0,host=127.0.0.1,port={self.system_port},reconnect=1"
        serial = f"socket,id=serial0,host=127.0.0.1,port={self.console_port},server=on,wait=off,telnet=on"
        options = ["-chardev", system, "-device", "ipmi-bmc-extern,id=bmc0,chardev=ipmi0"]
        options += ["-device", "isa-ipmi-kcs,bmc=bmc0"]
        return [*options, "-chardev", f"{serial},logfile={_quoted(self.console_log)}", "-serial", "chardev:serial0"]


def _quoted(path: Path) -> str:
    """Return a path as a value among QEMU's comma-separated options."""
    return str(path).replace(",", ",,")


def _make_disk(disk: Path) -> None:
    with disk.open("wb") as image:
        image.truncate(_DISK_BYTES)
    command = ["/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-L", "crash", str(disk)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"mke2fs: {done.stderr.strip()}")


def _secrets(keys: GuestKeys) -> bytes:
    return cpio.archive(
        {
            "root": cpio.folder(0o700),
            "root/.ssh": cpio.folder(0o700),
            "root/.ssh/authorized_keys": cpio.file(keys.authorized_keys, 0o600),
            "etc/dropbear/host_key": cpio.file(keys.host_key, 0o600),
        }
    )
