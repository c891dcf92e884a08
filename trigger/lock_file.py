"""Locks by flock(2), for systems without abstract Unix sockets: held by the kernel, gone with the process.

The files are in one folder for all users of the machine and stay there; what is in them only names the holder.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from pathlib import Path

from trigger.errors import GuardRefused
from trigger.lock import lock_name, user_name
from trigger.text import harmless

# Of all users of the machine, whatever their TMPDIR is; the folder is made like /tmp itself.
FOLDER = Path("/tmp/trigger-locks")  # noqa: S108 - checked below
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class LockedFile:
    """One file that is locked until it is closed."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def close(self) -> None:
        """Unlock; the file stays."""
        os.close(self._descriptor)


def flock_file(key: str, folder: Path | None = None) -> LockedFile:
    """Take `key` by an exclusive lock on a file of its own in `folder` (FOLDER when None).

    Raises BlockingIOError that names the holder; GuardRefused (rule `locked`) where nobody can be locked out.
    """
    folder = folder or FOLDER
    while True:
        descriptor = _open(folder, lock_name(key))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_still_there(folder / lock_name(key), descriptor):
                os.close(descriptor)  # somebody removed it between opening and locking: lock the one that is there
                continue
            text = f"user {user_name(os.getuid())}, process {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}"
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, text.encode(), 0)
        except BlockingIOError:
            said = harmless(os.pread(descriptor, 200, 0).decode(errors="replace"))
            os.close(descriptor)
            raise BlockingIOError(said or "it does not say who it is") from None
        except BaseException:
            os.close(descriptor)
            raise
        return LockedFile(descriptor)


def _open(folder: Path, name: str) -> int:
    try:
        _check_folder(folder)
        try:
            return _checked(os.open(folder / name, _FLAGS), folder / name)
        except FileNotFoundError:
            pass
        try:
            descriptor = os.open(folder / name, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:  # another makes it at this moment
            return _checked(os.open(folder / name, _FLAGS), folder / name)
        os.fchmod(descriptor, 0o666)  # other users lock it too
        return descriptor
    except BlockingIOError:
        raise
    except OSError as error:
        raise _refused(folder, error.strerror or str(error)) from None


def _check_folder(folder: Path) -> None:
    """Make the folder where needed; refuse one in which others could swap the files."""
    if not folder.exists():
        folder.mkdir(mode=0o700)
        folder.chmod(0o1777)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise _refused(folder, "is no folder")
    if status.st_mode & (stat.S_IWOTH | stat.S_IWGRP) and not status.st_mode & stat.S_ISVTX:
        raise _refused(folder, "can be written by others and is not sticky")


def _checked(descriptor: int, path: Path) -> int:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _refused(path, "is no regular file")
    return descriptor


def _is_still_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _refused(path: Path, why: str) -> GuardRefused:
    return GuardRefused(
        f"The lock {path} {why}, so another operator could not be kept out. Nothing was sent.",
        rule="locked",
        next_step=f"Have root mend it: mkdir -m 1777 {path}",
    )
