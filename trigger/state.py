"""The state folder: where the journal and the records live, opened so that nobody can swap it under us.

    /var/lib/trigger where it exists (a shared one: every operator sees every fire), else ~/.local/state/trigger.
    hosts/NAME/journal.jsonl, hosts/NAME/record.json, hosts/NAME/runs/ID/

Every folder below the root is opened relative to a descriptor that has been checked, never following a symbolic
link; folders are 0700 and files 0600, or open to a group where the root folder is.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
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
            return os.open(part, _FOLDER, dir_fd=folder)
        except FileNotFoundError:
            if not create:
                raise
        except OSError as error:
            raise _refused(self.path / part, error.strerror or str(error)) from None
        try:
            group = stat.S_IMODE(os.fstat(folder).st_mode) & 0o070
            os.mkdir(part, 0o700 | group, dir_fd=folder)
            os.fsync(folder)
        except FileExistsError:
            pass
        except OSError as error:
            raise _refused(self.path / part, f"cannot be made: {error.strerror}") from None
        return self._open(part, folder)

    def _open(self, part: str | Path, folder: int | None) -> int:
        try:
            return os.open(part, _FOLDER, dir_fd=folder)
        except OSError as error:
            raise _refused(self.path / part, error.strerror or str(error)) from None


def _check_owner(path: Path, status: os.stat_result) -> None:
    """Refuse a folder that somebody else could rewrite: it is the memory that prevents a second shot."""
    if status.st_uid not in (0, os.getuid()):
        raise _refused(path, f"belongs to user id {status.st_uid}, neither to you nor to root")
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        raise _refused(path, "can be written by everybody")


def _refused(path: Path, why: str) -> GuardRefused:
    return GuardRefused(
        f"The state folder {path} {why}. Nothing was sent: a shot that is not on disk must not leave.",
        rule="state",
        next_step=f"Mend {path}, or name another folder with `state_dir:` in the configuration.",
    )
