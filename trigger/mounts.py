"""Which file system a folder is on, as far as it matters: one that other machines write to is no place for a journal.

The kernel's locks (trigger/lock.py) hold on one machine; appends over NFS are not atomic between machines, and its
fsync depends on how the server exports it. statfs(2) would say the same and Python does not have it, so this reads
/proc/self/mountinfo (proc_pid_mountinfo(5)) at the mount that the descriptor itself is on.
"""

from __future__ import annotations

import os
from pathlib import Path

# File systems that several machines may write to at once.
_KERNEL = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "gpfs", "beegfs", "gfs2", "ocfs2")
_FUSE = ("fuse.sshfs", "fuse.glusterfs", "fuse.ceph-fuse", "fuse.s3fs", "fuse.rclone", "fuse.davfs2", "fuse.juicefs")
NETWORK = frozenset((*_KERNEL, *_FUSE))
_FDINFO, _MOUNTS = "/proc/self/fdinfo", "/proc/self/mountinfo"


def network_file_system(folder: int) -> str:
    """Return the type of the file system that descriptor `folder` is on if it is a network's, else "".

    "" as well where the kernel does not tell (not Linux, no /proc).
    """
    kind = _file_system(folder)
    return kind if kind in NETWORK else ""


def _file_system(folder: int) -> str:
    try:
        facts = Path(_FDINFO, str(folder)).read_text()
        mount = next(line.split()[1] for line in facts.splitlines() if line.startswith("mnt_id:"))
        lines = Path(_MOUNTS).read_text(errors="surrogateescape").splitlines()
        device = os.fstat(folder).st_dev
    except (OSError, StopIteration, IndexError):
        return ""
    number = f"{os.major(device)}:{os.minor(device)}"
    found = [words for words in map(str.split, lines) if words and words[0] == mount]
    # In a container's namespace the mount may not be listed under this id; its device is then.
    found = found or [words for words in map(str.split, lines) if len(words) > 2 and words[2] == number]
    return found[0][found[0].index("-") + 1] if found and "-" in found[0][:-1] else ""
