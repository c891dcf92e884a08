"""A small FTP server on loopback (RFC 959, 2428, 3659): enough to list, and to read from an offset."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Ftpd:
    """The server, and what it saw. `mlsd=False` is vsftpd: only LIST, as `ls -l` prints it."""

    root: Path
    listener: socket.socket
    user: str = "anonymous"
    password: str = ""
    mlsd: bool = True
    logins: list[str] = field(default_factory=list)
    sent: int = 0

    @property
    def port(self) -> int:
        port: int = self.listener.getsockname()[1]
        return port

    def accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=_Session(self, connection).run, daemon=True).start()


class _Session:
    def __init__(self, server: Ftpd, connection: socket.socket) -> None:
        self.server, self.connection = server, connection
        self.data: socket.socket | None = None
        self.offset = 0
        self.user = ""

    def run(self) -> None:
        with contextlib.suppress(OSError), self.connection, self.connection.makefile("rb") as commands:
            self.say("220 ready")
            for line in commands:
                name, _, argument = line.decode().strip().partition(" ")
                getattr(self, f"on_{name.upper()}", self.unknown)(argument)
        if self.data is not None:  # a client may go away between PASV and the transfer
            self.data.close()

    def say(self, line: str) -> None:
        self.connection.sendall(line.encode() + b"\r\n")

    def unknown(self, argument: str) -> None:
        self.say("502 not here")

    def on_USER(self, argument: str) -> None:
        self.user = argument
        self.say("331 password?")

    def on_PASS(self, argument: str) -> None:
        self.server.logins.append(self.user)
        good = self.user == self.server.user and (self.user == "anonymous" or argument == self.server.password)
        self.say("230 in" if good else "530 Login incorrect.")

    def on_TYPE(self, argument: str) -> None:
        self.say("200 ok")

    def on_PASV(self, argument: str) -> None:
        if self.data is not None:
            self.data.close()
        self.data = socket.create_server(("127.0.0.1", 0))
        port = self.data.getsockname()[1]
        self.say(f"227 Entering Passive Mode (127,0,0,1,{port >> 8},{port & 255})")

    def on_REST(self, argument: str) -> None:
        self.offset = int(argument)
        self.say("350 from there")

    def on_ABOR(self, argument: str) -> None:
        self.say("226 nothing to abort")

    def path(self, argument: str) -> Path:
        return self.server.root / argument.strip("/")

    def send(self, data: bytes) -> None:
        assert self.data is not None
        self.say("150 here it comes")
        with self.data, contextlib.suppress(OSError):
            peer, _ = self.data.accept()
            with peer:
                for start in range(0, len(data), 65536):
                    peer.sendall(data[start : start + 65536])
                    self.server.sent += len(data[start : start + 65536])
        self.say("226 done")

    def on_MLSD(self, argument: str) -> None:
        if not self.server.mlsd:
            assert self.data is not None
            self.data.close()
            self.say("500 unknown command")
            return
        lines = ""
        for path in self.path(argument).iterdir():
            kind = "dir" if path.is_dir() else "file"
            moment = time.strftime("%Y%m%d%H%M%S", time.gmtime(path.stat().st_mtime))
            lines += f"type={kind};size={path.stat().st_size};modify={moment}; {path.name}\r\n"
        self.send(lines.encode())

    def on_LIST(self, argument: str) -> None:
        lines = ""
        for path in self.path(argument).iterdir():
            kind = "d" if path.is_dir() else "-"
            lines += f"{kind}rw-------    1 0        0      {path.stat().st_size:>10} Nov 23 03:49 {path.name}\r\n"
        self.send(lines.encode())

    def on_RETR(self, argument: str) -> None:
        with self.path(argument).open("rb") as file:
            file.seek(self.offset)
            self.offset = 0
            self.send(file.read())


@contextlib.contextmanager
def serve(root: Path, **settings: object) -> Iterator[Ftpd]:
    """Serve `root` until the block ends."""
    server = Ftpd(root, socket.create_server(("127.0.0.1", 0)), **settings)  # type: ignore[arg-type]
    thread = threading.Thread(target=server.accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        with contextlib.suppress(OSError):
            server.listener.shutdown(socket.SHUT_RDWR)
        server.listener.close()
        thread.join(5)
