"""Build the full Debian guest: the distribution's own kdump-tools, openssh-server and kernel, by debootstrap.

The tree that debootstrap makes is cached, with a disk image of it: mke2fs fills it without mounting anything. Each
lab boots a copy of the disk, into which debugfs puts what is its own. The servers that kdump-tools writes to
(servers.py) run out of the same tree.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.lab import packages
from tests.lab.errors import LabError
from tests.lab.guest import Report, cache_folder, only_one_builder, run

_HERE = Path(__file__).parent
_SETUP = _HERE / "debian" / "setup"
_DISK = "3G"  # sparse
_INCLUDED = (
    "systemd-sysv", "udev", "kmod", "iproute2", "procps", "util-linux",
    "linux-image-cloud-amd64", "initramfs-tools", "kdump-tools", "makedumpfile",
    "openssh-server", "openssh-client", "nfs-common",
    "vsftpd", "nfs-ganesha", "nfs-ganesha-vfs",
)  # fmt: skip


@dataclass(frozen=True)
class DebianImage:
    """What QEMU boots, the disk to copy, and the tree that the disk was made of."""

    kernel: Path
    initrd: Path
    disk: Path
    tree: Path


def build(report: Report) -> DebianImage:
    """Return the image, made now (some two minutes) unless the cache has one of the same inputs. Needs root."""
    if os.geteuid() != 0:
        raise LabError("the full Debian guest is made by debootstrap, which needs root")
    cache = cache_folder() / "debian"  # with a lock of its own: the small guest need not wait
    cache.mkdir(parents=True, exist_ok=True)
    with only_one_builder(cache):
        folder = cache / _fingerprint()
        if not folder.exists():
            _forget_old_ones(cache)
            _make(cache / "unfinished", report)
            (cache / "unfinished").rename(folder)
    boot = folder / "tree" / "boot"
    return DebianImage(
        next(boot.glob("vmlinuz-*")), next(boot.glob("initrd.img-*")), folder / "disk.img", folder / "tree"
    )


def copy_of(disk: Path, target: Path, files: Mapping[str, tuple[bytes, int]]) -> None:
    """Copy the disk and put files into the copy: path -> (content, mode). Folders are made as needed."""
    run(["cp", "--sparse=always", str(disk), str(target)])
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        commands, known = [], set()
        for number, (path, (content, mode)) in enumerate(files.items()):
            source = Path(folder) / str(number)
            source.write_bytes(content)
            for parent in reversed(Path(path).parents[:-1]):
                if parent not in known and len(parent.parts) > 2:
                    commands.append(f"mkdir {parent}")  # one that is there is an error that harms nothing
                known.add(parent)
            commands += [f"rm {path}", f"write {source} {path}"]
            commands.append(f"set_inode_field {path} mode 0100{mode:o}")
        script = Path(folder) / "commands"
        script.write_text("\n".join(commands) + "\n")
        run(["/sbin/debugfs", "-w", "-f", str(script), str(target)])


def _fingerprint() -> str:
    inputs = _SETUP.read_bytes() + repr((_INCLUDED, _DISK)).encode()
    return hashlib.sha256(inputs).hexdigest()[:16]


def _forget_old_ones(cache: Path) -> None:
    for folder in cache.iterdir():
        # Not a young one: a lab from another checkout may be about to read it.
        if folder.is_dir() and folder.stat().st_mtime < time.time() - 24 * 3600:
            shutil.rmtree(folder)


def _make(folder: Path, report: Report) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    tree = folder / "tree"
    report("making a Debian with kdump-tools (debootstrap; two minutes, once)")
    release, mirror = packages.release_and_mirror()
    run(["debootstrap", "--variant=minbase", f"--include={','.join(_INCLUDED)}", release, str(tree), mirror])
    shutil.copy(_SETUP, tree / "setup")
    report("setting it up and making its disk")
    run(["chroot", str(tree), "/setup"])
    (tree / "setup").unlink()
    run(["/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-d", str(tree), str(folder / "disk.img"), _DISK])
