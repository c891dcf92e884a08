"""Build what the hung server boots: Debian's kernel and two small initramfs, one to run and one to dump.

Everything in them comes from Debian packages installed on this machine (see packages.py), so that the
kernel, kexec, makedumpfile and the SFTP server are the real ones. The result is cached and built again
when one of its inputs has changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab import cpio, packages
from tests.lab.errors import LabError

Report = Callable[[str], None]

_HERE = Path(__file__).parent
_KERNEL_METAPACKAGE = "linux-image-cloud-amd64"

# In the order in which insmod takes them.
_VIRTIO = ("virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci")
_NETWORK = ("failover", "net_failover", "virtio_net")
_DISK = ("virtio_blk",)

# Program on this machine -> path in the guest.
_PROGRAMS = {
    "/usr/sbin/kexec": "usr/sbin/kexec",
    "/usr/bin/makedumpfile": "usr/bin/makedumpfile",
    "/usr/sbin/dropbear": "usr/sbin/dropbear",
    "/usr/bin/chrt": "usr/bin/chrt",
    # Debian's dropbear looks for its SFTP subsystem here.
    "/usr/lib/openssh/sftp-server": "usr/lib/sftp-server",
}
_CAPTURE_PROGRAMS = {"/usr/bin/makedumpfile": "usr/bin/makedumpfile"}
_BUSYBOX = "/bin/busybox"


@dataclass(frozen=True)
class GuestImage:
    """The files that QEMU boots, and the kernel's release."""

    kernel: Path
    initrd: Path
    release: str


def cache_folder() -> Path:
    """Return the folder that keeps the kernel and the built images."""
    chosen = os.environ.get("TRIGGER_LAB_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "bmc-trigger-lab"


def build(report: Report) -> GuestImage:
    """Return the guest image, built now unless the cache has one of the same inputs."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    report("looking for the guest's kernel and initramfs")
    with only_one_builder(cache):
        kernel_tree = _kernel_tree(cache, report)
        kernel = next((kernel_tree / "boot").glob("vmlinuz-*"))
        release = kernel.name.removeprefix("vmlinuz-")
        initrd = cache / f"initrd-{_fingerprint(kernel)}"
        if not initrd.exists():
            report("building the guest's initramfs")
            _forget_old_images(cache)
            unfinished = cache / "unfinished-initrd"
            unfinished.write_bytes(_running_archive(kernel, kernel_tree, release))
            unfinished.rename(initrd)
    return GuestImage(kernel, initrd, release)


def _forget_old_images(cache: Path) -> None:
    for image in cache.glob("initrd-*"):
        # Not a young one: a lab from another checkout may be about to read it.
        if image.stat().st_mtime < time.time() - 24 * 3600:
            image.unlink()


@contextmanager
def only_one_builder(cache: Path) -> Iterator[None]:
    """Wait until nobody else builds in the cache."""
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _kernel_tree(cache: Path, report: Report) -> Path:
    try:
        return _downloaded_kernel(cache, report)
    except LabError:  # without package lists, or with lists that name a version that is gone
        packages.update_lists(report)
        return _downloaded_kernel(cache, report)


def _downloaded_kernel(cache: Path, report: Report) -> Path:
    package = _kernel_package(cache)
    tree = cache / package
    if tree.exists():
        return tree
    report(f"downloading {package}")
    unpacked = cache / f"unfinished-{package}"
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir()
    run(["apt-get", "download", package], cwd=unpacked)
    deb = next(unpacked.glob("*.deb"))
    run(["dpkg", "-x", str(deb), str(unpacked)])
    deb.unlink()
    unpacked.rename(tree)
    return tree


def _kernel_package(cache: Path) -> str:
    """Return the kernel package that Debian's metapackage names; without package lists, a cached one."""
    listed = subprocess.run(
        ["apt-cache", "depends", _KERNEL_METAPACKAGE], capture_output=True, text=True, check=False
    ).stdout
    if found := re.search(r"Depends: (linux-image-\S+)", listed):
        return found.group(1)
    if cached := sorted(cache.glob("linux-image-*")):
        return cached[-1].name
    raise LabError(f"apt knows no {_KERNEL_METAPACKAGE}: is this Debian on amd64, with its own sources?")


def _fingerprint(kernel: Path) -> str:
    digest = hashlib.sha256()
    sources = [*_HERE.glob("guest/*"), _HERE / "guest.py", _HERE / "cpio.py"]
    for path in (*sorted(sources), kernel, *map(Path, (*_PROGRAMS, _BUSYBOX))):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _running_archive(kernel: Path, kernel_tree: Path, release: str) -> bytes:
    modules = (*_VIRTIO, *_NETWORK, *_DISK)
    tree = _common_tree(kernel_tree / "lib/modules" / release, modules, _PROGRAMS)
    tree |= {
        "init": cpio.link("bin/busybox"),
        "boot/vmlinuz": cpio.file(kernel.read_bytes()),
        "boot/initrd-kdump": cpio.file(_capture_archive(kernel_tree, release)),
        "sbin/kdump-load": _script("kdump-load"),
        "sbin/kdumpctl": _script("kdumpctl"),
        "etc/rcS": _script("rcS"),
        "etc/inittab": _text("inittab"),
        "etc/sysctl.conf": _text("sysctl.conf"),
        "etc/hostname": cpio.file(b"server42\n"),
        # No password: the console is the lab's own, and sshd takes keys only (dropbear -s).
        "etc/passwd": cpio.file(b"root::0:0:root:/root:/bin/sh\n"),
        "etc/group": cpio.file(b"root:x:0:\ntty:x:5:\n"),
        "etc/shells": cpio.file(b"/bin/sh\n"),
        "root": cpio.folder(0o700),
        "run": cpio.folder(),
        "tmp": cpio.folder(0o1777),
        "var/log": cpio.folder(),
        "var/crash": cpio.folder(),
    }
    return cpio.archive(tree)


def _capture_archive(kernel_tree: Path, release: str) -> bytes:
    modules = (*_VIRTIO, *_DISK)
    tree = _common_tree(kernel_tree / "lib/modules" / release, modules, _CAPTURE_PROGRAMS)
    tree |= {"init": _script("kdump-init"), "sysroot/var/crash": cpio.folder(), "tmp": cpio.folder(0o1777)}
    return cpio.archive(tree)


def _common_tree(module_tree: Path, modules: Iterable[str], programs: dict[str, str]) -> dict[str, cpio.Entry]:
    tree = {
        "dev/console": cpio.character_device(5, 1),
        "proc": cpio.folder(),
        "sys": cpio.folder(),
        "etc/kdump.conf": _text("kdump.conf"),
        "etc/os-release": _text("os-release"),
        "lib/modules/load-order": cpio.file("".join(f"{name}\n" for name in modules).encode()),
    }
    for applet in run([_BUSYBOX, "--list"]).split():
        tree[f"bin/{applet}"] = cpio.link("/bin/busybox")
    for at_boot in ("sbin/getty", "sbin/reboot"):
        tree[at_boot] = cpio.link("/bin/busybox")
    for name in modules:
        tree[f"lib/modules/{name}.ko"] = cpio.file(next(module_tree.rglob(f"{name}.ko")).read_bytes())
    for source, target in programs.items():
        tree[target] = cpio.program(Path(source).read_bytes())
        for library in _libraries(source):
            tree[library.lstrip("/")] = cpio.program(Path(library).read_bytes())
    # After the links: busybox lists itself among its applets.
    tree["bin/busybox"] = cpio.program(Path(_BUSYBOX).read_bytes())
    return tree


def _libraries(program: str) -> list[str]:
    """Return the shared libraries of a program, the dynamic loader included."""
    return re.findall(r"(?:=> |^\s+)(/\S+) \(0x", run(["ldd", program]), re.MULTILINE)


def _script(name: str) -> cpio.Entry:
    return cpio.program((_HERE / "guest" / name).read_bytes())


def _text(name: str) -> cpio.Entry:
    return cpio.file((_HERE / "guest" / name).read_bytes())


def run(command: list[str], cwd: Path | None = None) -> str:
    """Run a program and return its output; raises LabError with what it said when it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout
