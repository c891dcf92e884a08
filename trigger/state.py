"""The state folder: where the journal and the records live, opened so that nobody can swap it under us.

    /var/lib/trigger where it exists (a shared one: every operator sees every fire), else ~/.local/state/trigger.
    hosts/NAME/journal.jsonl, hosts/NAME/record.json, hosts/NAME/runs/ID/

Every folder below the root is opened relative to a descriptor that has been checked, never following a symbolic
link; it must belong to root or to who runs this. Folders are 0700 and files 0600. Where the root folder is open to
a group (mode 2770, say), what is below it is too, and may belong to any member.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trigger.errors import GuardRefused

SHARED = Path("/var/lib/trigger")
JOURNAL = "journal.jsonl"
RECORD = "record.json"

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class StateFolder:
    """A checked state folder. `private` is true when only this user's runs are seen."""

    def __init__(self, path: Path, *, private: bool) -> None:
        self.path = path
        self.private = private

    @classmethod
    def choose(cls, configured: str = "") -> StateFolder:
        """Return the folder to use: `configured` (state_dir), else the shared one where it exists, else the user's.

        Creates the user's own folder. Raises GuardRefused (rule `state`) when it cannot be used.
        """
        if configured:
            return cls._checked(Path(configured).expanduser(), private=False, create=True)
        if SHARED.exists():
            return cls._checked(SHARED, private=False, create=False)
        state_home = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
        return cls._checked(Path(state_home).expanduser() / "trigger", private=True, create=True)

    @classmethod
    def _checked(cls, path: Path, *, private: bool, create: bool) -> StateFolder:
        try:
            if create:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = os.open(path, _FOLDER)
        except OSError as error:
            raise _refused(path, f"cannot be opened: {error.strerror}") from None
        try:
            _check_owner(path, os.fstat(folder))
            _check_ancestors(path)
        finally:
            os.close(folder)
        return cls(path, private=private)

    @contextmanager
    def host(self, name: str, *, create: bool = True) -> Iterator[int]:
        """Yield a descriptor of hosts/NAME, made where needed.

        Raises FileNotFoundError when it is not there and `create` is false; GuardRefused (rule `state`) when it
        cannot be used.
        """
        with self._descriptor(("hosts", name), create) as folder:
            yield folder

    @contextmanager
    def root(self) -> Iterator[int]:
        """Yield a descriptor of the state folder itself. Raises GuardRefused (rule `state`)."""
        with self._descriptor((), False) as folder:
            yield folder

    @contextmanager
    def run(self, name: str, run: str) -> Iterator[int]:
        """Yield a descriptor of hosts/NAME/runs/RUN, made where needed. Raises GuardRefused (rule `state`)."""
        with self._descriptor(("hosts", name, "runs", run), True) as folder:
            yield folder

    def has(self, name: str, file: str) -> bool:
        """Return whether hosts/NAME has a `file`, of whatever kind: opening it is what checks it."""
        return os.path.lexists(self.host_folder(name) / file)

    def host_folder(self, name: str) -> Path:
        """Return the path of hosts/NAME, for messages; open it with `host`."""
        return self.path / "hosts" / name

    def host_names(self) -> list[str]:
        """Return every host that has a folder, sorted."""
        try:
            with os.scandir(self.path / "hosts") as entries:
                return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except OSError:
            return []

    def open_file(self, folder: int, file: str, flags: int) -> int:
        """Return a descriptor of `file` in an open folder of ours, for reading, or made where needed with O_CREAT.

        Raises OSError; PermissionError also for what somebody else planted: a link, a pipe, a foreign owner.
        """
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a planted pipe must not be waited for
        try:
            descriptor = os.open(file, flags & ~os.O_CREAT, dir_fd=folder)
        except FileNotFoundError:
            if not flags & os.O_CREAT:
                raise
            with suppress(FileExistsError):  # another run makes it at this moment
                return self._new_file(folder, file, flags)
            descriptor = os.open(file, flags & ~os.O_CREAT, dir_fd=folder)
        try:
            status = os.fstat(descriptor)
            why = _why_not_ours(status, os.fstat(folder))
            if not stat.S_ISREG(status.st_mode):
                why = "is not a regular file"
            elif status.st_nlink > 1:
                why = "has a second name (a hard link)"
            if why:
                raise PermissionError(errno.EPERM, f"it {why}")
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _new_file(self, folder: int, file: str, flags: int) -> int:
        descriptor = os.open(file, flags | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
        _share(descriptor, os.fstat(folder), 0o060)
        return descriptor

    @contextmanager
    def _descriptor(self, parts: tuple[str, ...], create: bool) -> Iterator[int]:
        folder = self._open(self.path, None)
        try:
            for part in parts:
                inner = self._step(folder, part, create)
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)

    def _step(self, folder: int, part: str, create: bool) -> int:
        try:
            return self._open(part, folder)
        except FileNotFoundError:
            if not create:
                raise
        made = False
        try:
            os.mkdir(part, 0o700, dir_fd=folder)
            made = True
            os.fsync(folder)
        except FileExistsError:
            pass
        except OSError as error:
            raise _refused(self.path / part, f"cannot be made: {error.strerror}") from None
        inner = self._open(part, folder)
        if made:
            _share(inner, os.fstat(folder), 0o070)
        return inner

    def _open(self, part: str | Path, parent: int | None) -> int:
        """Return a descriptor of a folder that has been checked; raises FileNotFoundError, GuardRefused."""
        try:
            folder = os.open(part, _FOLDER, dir_fd=parent)
        except FileNotFoundError:
            if parent is None:
                raise _refused(self.path, "is gone") from None
            raise
        except OSError as error:
            raise _refused(self.path / part, _words(error)) from None
        try:
            status = os.fstat(folder)
            if parent is None:
                _check_owner(self.path, status)
            elif why := _why_not_ours(status, os.fstat(parent)):
                raise _refused(self.path / part, why)
        except BaseException:
            os.close(folder)
            raise
        return folder


def _words(error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return "is a symbolic link, or no folder"
    return error.strerror or str(error)


def _why_not_ours(status: os.stat_result, folder: os.stat_result) -> str:
    """Return why what lies in `folder` is not to be trusted, or "": somebody else may have planted it."""
    shared = folder.st_mode & stat.S_IWGRP and status.st_gid == folder.st_gid
    if status.st_uid not in (0, os.geteuid()) and not shared:
        return f"belongs to user id {status.st_uid}, neither to you nor to root"
    return "can be written by everybody" if status.st_mode & stat.S_IWOTH else ""


def _share(made: int, folder: os.stat_result, group_bits: int) -> None:
    """Open what was just made to the group that its folder is open to; the umask has no say in that."""
    if folder.st_mode & group_bits:
        with suppress(PermissionError):  # not a member of that group: then it stays with ours
            os.fchown(made, -1, folder.st_gid)
        os.fchmod(made, stat.S_IMODE(os.fstat(made).st_mode) | (folder.st_mode & group_bits))


def _check_owner(path: Path, status: os.stat_result) -> None:
    """Refuse a folder that somebody else could rewrite: it is the memory that prevents a second shot."""
    if status.st_uid not in (0, os.geteuid()):
        raise _refused(path, f"belongs to user id {status.st_uid}, neither to you nor to root")
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        raise _refused(path, "can be written by everybody")


def _check_ancestors(path: Path) -> None:
    """Refuse a folder that somebody else could rename away, with every open fire in it."""
    for above in path.resolve().parents:
        status = above.stat()
        if status.st_uid not in (0, os.geteuid()) and above != above.parent:
            raise _refused(path, f"lies in {above}, which belongs to user id {status.st_uid}")
        if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
            raise _refused(path, f"lies in {above}, which everybody can write to")


def _refused(path: Path, why: str) -> GuardRefused:
    return GuardRefused(
        f"The state folder {path} {why}. Nothing was sent: a shot that is not on disk must not leave.",
        rule="state",
        next_step=f"Mend {path}, or name another folder with `state_dir:` in the configuration.",
    )
