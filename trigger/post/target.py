"""Where a dump lands, and how it is read from here: a Store lists and opens what lies at a target.

Paths inside a store are absolute. A local target may be written by anybody, so files are opened without
following symbolic links and only when they are regular; directories below the target likewise.
"""

from __future__ import annotations

import os
import re
import stat
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Protocol

from trigger.clock import Deadline
from trigger.errors import ConfigError, DriverError
from trigger.host import Ssh
from trigger.post.landing import Baseline, Entry
from trigger.post.reader import Reader

CALL_SECONDS = 20.0
_MAX_ENTRIES = 100_000
_SAME_SCHEME = {"ssh": "sftp", "scp": "sftp", "smb": "cifs"}
_PLAIN = "/:@+,=~"  # what may stand in a URL's path as it is


class OpenFile(Reader, Protocol):
    """A Reader that must be closed."""

    def close(self) -> None:
        """Free it; raises nothing."""
        ...


class Store(Protocol):
    """One opened target. Methods raise OSError (FileNotFoundError when it is not there) or DriverError."""

    @property
    def local(self) -> bool:
        """Whether a read costs microseconds."""
        ...

    def list(self, path: str) -> dict[str, Entry]:
        """Return what is in a directory; symbolic links and special files are left out."""
        ...

    def open(self, path: str) -> OpenFile:
        """Open a regular file for reading."""
        ...

    def close(self) -> None:
        """Free the connection; raises nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """A target as configured: `open` opens a Store, in which `path` is the directory that dumps land in.

    `url` is for people. `own_disk` says that it is the crashed host's own, readable only when it is back. `place` is
    what goes before a path to make a URL that `resolve` opens: sftp://user@host:port, "" for this machine.
    """

    url: str
    path: str
    open: Callable[[], Store]
    own_disk: bool = False
    place: str = ""

    def shown(self, path: str) -> str:
        """Return a path in it as `trigger inspect` takes it."""
        return f"{self.place}{urllib.parse.quote(path, safe=_PLAIN)}" if self.place else path


def resolve(
    url: str, *, ssh: Ssh | None = None, dump_stores: Mapping[str, str] | None = None, host_says: bool = False
) -> Target:
    """Return the target that a path or URL names; opens nothing.

    `/path` and `file:///path` are local to the operator; `sftp://[user@]host[:port]/path` is read over SFTP,
    with the key and known hosts of `ssh` if that is the same host. Other schemes (nfs, cifs, ftp, ssh) are
    what the host writes to, and are read as `dump_stores` maps them: to one of the above, or to `ftp://` and
    `smb://`, which the operator's own ~/.netrc opens. With `host_says` the URL comes from a file of the host,
    which must not choose where the operator's keys are used: only a mapped one is opened. Raises ConfigError.
    """
    mapped = _mapped(url, dump_stores or {})
    if mapped is None and host_says:
        raise _unmapped(url)
    mapped = mapped or url
    if mapped.startswith("/"):
        return Target(url, _clean(mapped), LocalStore)
    parts = _split(mapped)
    place = f"{parts.scheme}://{parts.netloc}"
    if parts.scheme == "file" and parts.hostname in (None, "localhost"):
        return Target(url, _clean(urllib.parse.unquote(parts.path)), LocalStore)
    if parts.scheme == "sftp" and parts.hostname:
        where = _ssh_of(parts, ssh)
        return Target(url, _clean(urllib.parse.unquote(parts.path)), lambda: SftpStore(where), place=place)
    if parts.scheme in ("ftp", "smb") and parts.hostname:
        return Target(url, _clean(urllib.parse.unquote(parts.path)), lambda: _open_remote(parts), place=place)
    raise _unmapped(url)


def own_directory(ssh: Ssh, path: str) -> Target:
    """Return the crashed host's own directory, read over SFTP after it has come back."""
    return Target(f"sftp://{ssh.host}{_clean(path)}", _clean(path), lambda: SftpStore(ssh), own_disk=True)


def baseline(store: Store, path: str) -> Baseline:
    """List a target before the fire; raises OSError or DriverError when it cannot be listed.

    A directory that does not exist yet is empty: kdump makes it.
    """
    try:
        return Baseline(path, store.list(path))
    except FileNotFoundError:
        return Baseline(path, {})


def _unmapped(url: str) -> ConfigError:
    """Return the error with the line to add; what can be opened as it is, is opened when the operator says so."""
    if url.startswith(("sftp://", "ftp://", "smb://")):
        why, how = "is named by the host alone, and your keys are not used where a host says", url
    else:
        why, how = "cannot be read from here as it is", "/where/it/is/mounted or sftp://host/path"
    return ConfigError(
        f"The dump target {url} {why}.",
        next_step=f'Say in the configuration how to read it: dump_stores: {{"{url}": "{how}"}}',
    )


def _open_remote(parts: urllib.parse.SplitResult) -> Store:
    from trigger.post.remote import FsspecStore

    return FsspecStore(parts)


def _mapped(url: str, dump_stores: Mapping[str, str]) -> str | None:
    """Replace the longest prefix that `dump_stores` names, at a component's border; None when none matches.

    A prefix may be written as kdump does: `nas:/export` is nfs://nas/export, ssh:// and scp:// are sftp://, and one
    without a user is good for every user.
    """
    for prefix in sorted(dump_stores, key=len, reverse=True):
        stem, whole = _canonical(prefix).rstrip("/"), _canonical(url)
        if "@" not in stem.partition("://")[2].partition("/")[0]:
            whole = re.sub(r"^([a-z]+://)[^/@]*@", r"\1", whole)
        if whole.rstrip("/") == stem or whole.startswith(stem + "/"):
            return dump_stores[prefix].rstrip("/") + whole[len(stem) :]
    return None


def _canonical(url: str) -> str:
    """Return a URL in the one spelling that prefixes are compared in."""
    if export := re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^/:]+):(/(?!/).*)", url):
        return f"nfs://{export[1]}{export[2]}"
    scheme, colon, rest = url.partition("://")
    return _SAME_SCHEME.get(scheme.lower(), scheme.lower()) + colon + rest if colon else url


def _split(url: str) -> urllib.parse.SplitResult:
    try:
        parts = urllib.parse.urlsplit(url)
        _ = parts.port
    except ValueError as bad:
        raise ConfigError(f"A dump target is no valid URL: {bad}.") from None
    if parts.password:
        raise ConfigError("A dump target's URL must not hold a password.")
    return parts


def _ssh_of(parts: urllib.parse.SplitResult, ssh: Ssh | None) -> Ssh:
    host = parts.hostname or ""
    same = ssh if ssh is not None and ssh.host == host else Ssh(host)
    return same._replace(port=parts.port or same.port, user=parts.username or same.user)


def _clean(path: str) -> str:
    """Return an absolute path without `//`, `.` and trailing `/`; `..` is refused."""
    parts = PurePosixPath("/" + path.lstrip("/"))
    if ".." in parts.parts or "\0" in path:
        raise ConfigError(f"The dump target's path {path} must not contain '..'.")
    return str(parts)


class LocalStore:
    """A directory of this machine: a disk, or what is mounted here."""

    local = True

    def list(self, path: str) -> dict[str, Entry]:
        """Return the regular files and directories in `path`."""
        entries: dict[str, Entry] = {}
        with os.scandir(path) as scan:
            for item in scan:
                try:
                    status = item.stat(follow_symlinks=False)
                except FileNotFoundError:  # renamed meanwhile: the next look sees it
                    continue
                is_dir = stat.S_ISDIR(status.st_mode)
                if is_dir or stat.S_ISREG(status.st_mode):
                    entries[item.name] = Entry(item.name, status.st_size, status.st_mtime, is_dir)
                if len(entries) >= _MAX_ENTRIES:
                    raise DriverError(f"{path} holds more than {_MAX_ENTRIES} entries.")
        return entries

    def open(self, path: str) -> LocalFile:
        """Open a regular file; a symbolic link is an OSError."""
        return LocalFile(path)

    def close(self) -> None:
        """Nothing is held."""


class LocalFile:
    """A Reader of a local regular file."""

    def __init__(self, path: str) -> None:
        # O_NONBLOCK: opening a FIFO that somebody put there must not wait for its other end
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            self.close()
            raise OSError(f"{path} is not a regular file")

    def size(self) -> int:
        """Return its size now."""
        return os.fstat(self._descriptor).st_size

    def read_at(self, offset: int, length: int) -> bytes:
        """Read with pread, which may return less than asked for: asked again until the end."""
        pieces = []
        while length > 0 and (piece := os.pread(self._descriptor, min(length, 2**30), offset)):
            pieces.append(piece)
            offset, length = offset + len(piece), length - len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Close the descriptor, once."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@dataclass
class SftpStore:
    """A directory of another host over SFTP. It is dead once its connection is lost: open another then."""

    ssh: Ssh
    local: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        from trigger.ssh.connection import open_sftp

        self._filesystem = open_sftp(self.ssh, Deadline(CALL_SECONDS))

    def list(self, path: str) -> dict[str, Entry]:
        """Return the regular files and directories in `path`."""
        found: list[dict[str, Any]] = self._call(lambda: self._filesystem.ls(path, detail=True, timeout=CALL_SECONDS))
        if len(found) > _MAX_ENTRIES:
            raise DriverError(f"{path} on {self.ssh.host} holds more than {_MAX_ENTRIES} entries.")
        entries = {}
        for info in found:
            name = PurePosixPath(info["name"]).name
            if info["type"] in ("file", "directory"):
                mtime = info["mtime"].timestamp() if info["mtime"] else 0.0
                entries[name] = Entry(name, int(info["size"] or 0), mtime, info["type"] == "directory")
        return entries

    def open(self, path: str) -> SftpFile:
        """Open a regular file."""
        return SftpFile(self, path)

    def close(self) -> None:
        """End the connection."""
        from trigger.ssh.connection import close_sftp

        close_sftp(self._filesystem)

    def _call(self, function: Callable[[], Any]) -> Any:
        from trigger.ssh.connection import explain

        try:
            return function()
        except FileNotFoundError:
            raise
        except Exception as error:
            raise explain(self.ssh, error) from error


class SftpFile:
    """A Reader of a file over SFTP; every call ends within the store's time."""

    def __init__(self, store: SftpStore, path: str) -> None:
        self._store = store
        filesystem = store._filesystem
        info = store._call(lambda: filesystem.info(path, timeout=CALL_SECONDS))
        if info["type"] != "file":
            raise OSError(f"{path} on {store.ssh.host} is not a regular file")
        self._size = int(info["size"])
        self._file = store._call(lambda: filesystem.open(path, "rb"))

    def size(self) -> int:
        """Return its size when it was opened."""
        return self._size

    def read_at(self, offset: int, length: int) -> bytes:
        """Read a range; asyncssh sends its requests ahead, so a long one does not wait for each round trip."""

        def read() -> bytes:
            self._file.seek(offset, timeout=CALL_SECONDS)
            return bytes(self._file.read(length, timeout=CALL_SECONDS))

        data: bytes = self._store._call(read)
        return data

    def close(self) -> None:
        """Close the remote handle, best effort."""
        import contextlib

        with contextlib.suppress(Exception):
            self._file._close(timeout=2)
            self._file._closed = True
