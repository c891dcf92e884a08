"""The full Debian guest in a lab: a copy of its disk with keys and kdump-tools' target of one test's own.

with sshd(image.tree, key) as server, Lab.start(folder, boots=debian(image, over_ssh(server))) as lab: ...
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.lab.chain import Boots, Report
from tests.lab.debian import DebianImage, copy_of
from tests.lab.guest import run
from tests.lab.servers import AS_THE_GUEST_SEES_IT, Server
from tests.lab.ssh import GuestKeys
from tests.lab.vm import Machine

PATIENCE = 400.0  # seconds for a whole systemd to boot under emulation, on a machine that has other things to do
Files = Mapping[str, tuple[bytes, int]]

_MEMORY_MB = 1024
_KERNEL_WORDS = "root=/dev/vda rw console=ttyS0,115200 crashkernel=256M net.ifnames=0 fsck.mode=skip"
_KDUMP_TOOLS = "/etc/default/kdump-tools"
_SETTINGS = "USE_KDUMP=1\nKDUMP_KERNEL=/var/lib/kdump/vmlinuz\nKDUMP_INITRD=/var/lib/kdump/initrd.img\n"


def debian(image: DebianImage, files: Files) -> Boots:
    """Return what makes this guest ready, with these files in it."""

    def boots(machine: Machine, keys: GuestKeys, name: str, kernel_words: str, report: Report) -> list[str]:
        report("copying the full guest's disk")
        disk = machine.workdir / "disk.img"
        own = {
            "/etc/hostname": (f"{name}\n".encode(), 0o644),
            "/root/.ssh/authorized_keys": (keys.authorized_keys, 0o600),
            "/etc/ssh/lab_host_key": (_openssh(machine.workdir / "host_key"), 0o600),
        }
        copy_of(image.disk, disk, {**own, **files})
        boot = ["-kernel", str(image.kernel), "-initrd", str(image.initrd)]
        # It must reach the servers on this machine's loopback: restrict=on would forbid that.
        return machine.command(
            boot, f"{_KERNEL_WORDS} {kernel_words}", disk, memory_mb=_MEMORY_MB, network="restrict=off", cache_mb=128
        )

    return boots


def on_its_own_disk() -> Files:
    """Return kdump-tools' settings as the package has them: /var/crash."""
    return _settings("")


def over_ssh(server: Server, key: bytes) -> Files:
    """Return what lets kdump-tools write to `server` with the private `key`."""
    seen = AS_THE_GUEST_SEES_IT
    return {
        **_settings(f'KDUMP_COREDIR="{server.inside}"\nSSH="root@{seen}"\nSSH_KEY=/root/.ssh/kdump_id_rsa\n'),
        "/root/.ssh/kdump_id_rsa": (key, 0o600),
        "/root/.ssh/known_hosts": (f"[{seen}]:{server.port} {server.public_key}\n".encode(), 0o600),
        "/root/.ssh/config": (f"Host {seen}\n    Port {server.port}\n".encode(), 0o600),
    }


def over_ftp(server: Server) -> Files:
    """Return what lets kdump-tools write to `server`."""
    return _settings(f'FTP="{AS_THE_GUEST_SEES_IT}:{server.inside}/"\nFTP_PORT={server.port}\n')


def over_nfs(server: Server) -> Files:
    """Return what lets kdump-tools write to `server`."""
    return {
        **_settings(f'NFS="{AS_THE_GUEST_SEES_IT}:{server.inside}"\n'),
        "/var/crash/.mountpoint": (b"", 0o600),  # kdump-tools mounts there and does not make it
        "/etc/nfsmount.conf": (f'[ Server "{AS_THE_GUEST_SEES_IT}" ]\nPort={server.port}\n'.encode(), 0o644),
    }


def key_pair(folder: Path) -> tuple[bytes, bytes]:
    """Make the key with which kdump-tools logs in; return the private and the public half."""
    path = folder / "kdump_id_rsa"
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "kdump", "-f", str(path)])
    return path.read_bytes(), path.with_suffix(".pub").read_bytes()


def _settings(more: str) -> Files:
    coredir = "" if "KDUMP_COREDIR" in more else 'KDUMP_COREDIR="/var/crash"\n'
    return {_KDUMP_TOOLS: (f"{_SETTINGS}{coredir}{more}".encode(), 0o644)}


def _openssh(dropbear_key: Path) -> bytes:
    """Return dropbear's host key as OpenSSH writes it."""
    converted = dropbear_key.with_name("host_key.openssh")
    run(["/usr/lib/dropbear/dropbearconvert", "dropbear", "openssh", str(dropbear_key), str(converted)])
    return converted.read_bytes()
