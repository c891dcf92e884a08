"""FTP and SMB targets, read through fsspec. Passwords come from ~/.netrc; FTP without one is anonymous.

Neither is encrypted by default, so neither proves who serves it; identity is in the dump itself.
"""

from __future__ import annotations

import contextlib
import ftplib
import netrc
import urllib.parse
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from trigger.errors import ConfigError, DriverError, LoginFailed, Unreachable
from trigger.post.landing import Entry
from trigger.text import harmless

CALL_SECONDS = 20


@dataclass
class FsspecStore:
    """A directory on an FTP or SMB server. It is dead once its connection is lost: open another then."""

    parts: urllib.parse.SplitResult
    local: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        open_with = {"ftp": _open_ftp, "smb": _open_smb}[self.parts.scheme]
        with self._explained():
            self._filesystem = open_with(self.parts)

    def list(self, path: str) -> dict[str, Entry]:
        """Return the files and directories in `path`."""
        with self._explained():
            found = self._filesystem.ls(path, detail=True)
        entries = {}
        for info in found:
            name = PurePosixPath(info["name"]).name
            if info["type"] in ("file", "directory"):
                is_dir = info["type"] == "directory"
                entries[name] = Entry(name, int(info.get("size") or 0), _mtime(info), is_dir)
        return entries

    def open(self, path: str) -> RemoteFile:
        """Open a file."""
        with self._explained():
            info = self._filesystem.info(path)
            if info["type"] != "file":
                raise OSError(f"{path} is not a regular file")
            if self.parts.scheme == "ftp":
                return RemoteFile(self, int(info["size"]), _FtpFile(self._filesystem.ftp, path))
            return RemoteFile(self, int(info["size"]), self._filesystem.open(path, "rb"))

    def close(self) -> None:
        """End the connection, best effort."""
        connection = getattr(self._filesystem, "ftp", None)
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()

    @contextlib.contextmanager
    def _explained(self) -> Any:
        """Turn what FTP, SMB and the network raise into sentences."""
        where = f"{self.parts.scheme}://{self.parts.hostname}"
        try:
            yield
        except (FileNotFoundError, DriverError, ConfigError):
            raise
        except ftplib.error_perm as error:
            said = harmless(str(error))[:200]
            if said.startswith("530"):
                raise LoginFailed(f"{where} did not let us in: {said}.", rejected=True) from error
            raise DriverError(f"{where} refused: {said}.") from error
        except (ftplib.Error, EOFError) as error:
            raise Unreachable(f"{where} broke off: {harmless(str(error))[:200]}.") from error
        except OSError as error:
            raise Unreachable(f"{where} cannot be reached: {error.strerror or harmless(str(error))}.") from error
        except Exception as error:  # smbprotocol has a tree of its own
            said = harmless(str(error))[:200]
            if "LOGON_FAILURE" in said:
                raise LoginFailed(f"{where} did not let us in: {said}.", rejected=True) from error
            raise DriverError(f"{where} failed: {said}.") from error


class _FtpFile:
    """Reads a file over FTP, each range by a transfer of its own that starts at the offset (RFC 3659 REST).

    The data connection is closed when enough has come, and the server says 226, 426 or 451. fsspec's own file
    sends ABOR instead, as urgent data, which servers answer once, twice, or not at all (tried).
    """

    def __init__(self, connection: ftplib.FTP, path: str) -> None:
        self._connection, self._path, self._offset = connection, path, 0

    def seek(self, offset: int) -> None:
        """Set where the next read starts."""
        self._offset = offset

    def read(self, length: int) -> bytes:
        """Return `length` bytes, fewer at the end of the file."""
        if length <= 0:
            return b""
        self._connection.voidcmd("TYPE I")
        kept = bytearray()
        with self._connection.transfercmd(f"RETR {self._path}", rest=self._offset) as data:
            while len(kept) < length and (piece := data.recv(min(65536, length - len(kept)))):
                kept += piece
        with contextlib.suppress(ftplib.error_temp):
            self._connection.voidresp()
        return bytes(kept)

    def close(self) -> None:
        """Nothing is held between reads."""


class RemoteFile:
    """A Reader of a file on an FTP or SMB server."""

    def __init__(self, store: FsspecStore, size: int, file: Any) -> None:
        self._store, self._size, self._file = store, size, file

    def size(self) -> int:
        """Return its size when it was opened."""
        return self._size

    def read_at(self, offset: int, length: int) -> bytes:
        """Read a range."""
        with self._store._explained():
            self._file.seek(offset)
            data: bytes = self._file.read(max(0, min(length, self._size - offset)))
            return data

    def close(self) -> None:
        """Close it, best effort."""
        with contextlib.suppress(Exception):
            self._file.close()


def _open_ftp(parts: urllib.parse.SplitResult) -> Any:
    from fsspec.implementations.ftp import FTPFileSystem

    user, password = _login(parts)
    return FTPFileSystem(
        parts.hostname,
        parts.port or 21,
        user or "anonymous",
        password,
        timeout=CALL_SECONDS,
        skip_instance_cache=True,
        use_listings_cache=False,
    )


def _open_smb(parts: urllib.parse.SplitResult) -> Any:
    try:
        from fsspec.implementations.smb import SMBFileSystem
    except ImportError:
        raise ConfigError(
            "Reading SMB shares needs the Python package smbprotocol, which is not installed.",
            next_step="pip install 'bmc-trigger[smb]', or mount the share and name its path in dump_stores:",
        ) from None
    user, password = _login(parts)
    return SMBFileSystem(
        parts.hostname,
        parts.port or 445,
        user or None,
        password or None,
        timeout=CALL_SECONDS,
        skip_instance_cache=True,
    )


def _login(parts: urllib.parse.SplitResult) -> tuple[str, str]:
    """Return user and password: the URL's user, and what ~/.netrc has for the host (and that user)."""
    user = parts.username or ""
    path = Path.home() / ".netrc"
    if not path.is_file():
        return user, ""
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"{path} can be read by others.", next_step=f"chmod 600 {path}")
    try:
        found = netrc.netrc(str(path)).authenticators(parts.hostname or "")
    except (netrc.NetrcParseError, OSError) as bad:
        # The error quotes the line, which may hold a password.
        raise ConfigError(f"{path} cannot be read as a netrc file (line {getattr(bad, 'lineno', '?')}).") from None
    if found is None or (user and found[0] != user):
        return user, ""
    return found[0], found[2] or ""


def _mtime(info: dict[str, Any]) -> float:
    """Return the time of the last change: MLSD's `modify` (RFC 3659, UTC), or SMB's; 0 when it is not told."""
    stamp = str(info.get("modify", ""))
    with contextlib.suppress(ValueError):
        return datetime.strptime(stamp[:14] + "+0000", "%Y%m%d%H%M%S%z").timestamp()
    moment = info.get("last_write_time")
    return moment.timestamp() if isinstance(moment, datetime) else 0.0
