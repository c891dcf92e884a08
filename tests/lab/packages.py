"""Install what the lab is made of: Debian packages, nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable

from tests.lab.errors import LabError

Report = Callable[[str], None]

PACKAGES = (
    "openipmi",  # ipmi_sim, the BMC
    "libopenipmi-dev",  # headers for its NMI module
    "gcc",
    "libc6-dev",
    "ipmitool",
    "qemu-system-x86",
    "seabios",
    "busybox-static",  # the guest's userland
    "kexec-tools",
    "makedumpfile",
    "dropbear-bin",  # the guest's sshd, and dropbearkey
    "openssh-sftp-server",
    "openssh-client",
    "util-linux",  # chrt for the guest, setpriv for the lab
    "e2fsprogs",
    "debootstrap",  # the full Debian guest
)


def missing() -> list[str]:
    """Return the packages that are not installed."""
    if shutil.which("dpkg-query") is None or shutil.which("apt-get") is None:
        raise LabError("the lab is built from Debian packages, and this machine has no dpkg or apt-get")
    told = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package}\n", *PACKAGES],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    installed = {line.split()[1] for line in told.stdout.splitlines() if line.startswith("ii ")}
    return [package for package in PACKAGES if package not in installed]


def install(report: Report) -> None:
    """Install what is missing; do nothing when nothing is."""
    wanted = missing()
    if not wanted:
        report("everything is installed")
        return
    report(f"installing {' '.join(wanted)}")
    # The lists may be absent (a fresh container) or stale (a removed version): then update, and once more.
    if _apt("install", "--no-install-recommends", *wanted).returncode:
        update_lists(report)
        done = _apt("install", "--no-install-recommends", *wanted)
        if done.returncode:
            raise LabError(f"apt-get cannot install {' '.join(wanted)}: {_last_words(done)}")
    if still := missing():
        raise LabError(f"apt-get said yes, yet these are not installed: {' '.join(still)}")


def update_lists(report: Report) -> None:
    """Fetch apt's package lists."""
    report("updating the package lists")
    done = _apt("update")
    if done.returncode:
        raise LabError(f"apt-get update failed: {_last_words(done)}")


def release_and_mirror() -> tuple[str, str]:
    """Return the code name of this machine's own Debian, and the address that apt has it from."""
    wanted = "$(ORIGIN) $(COMPONENT) $(CODENAME) $(REPO_URI)"
    told = subprocess.run(
        ["apt-get", "indextargets", "--format", wanted, "Identifier: Packages"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    for line in told.stdout.splitlines():
        words = line.split()
        if words[:2] == ["Debian", "main"] and "-" not in words[2]:
            return words[2], words[3]
    raise LabError("apt has no Debian main in its sources, so there is nowhere to make a Debian from")


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stderr or done.stdout).strip().splitlines()[-3:])


def _apt(*words: str) -> subprocess.CompletedProcess[str]:
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if as_root and shutil.which("sudo") is None:
        raise LabError(f"this needs root: apt-get {' '.join(words)}")
    # Another apt-get may be at work: wait for it.
    command = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]
    return subprocess.run(
        [*command, "-o", "DPkg::Lock::Timeout=300", *words],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
