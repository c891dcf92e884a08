"""A relay in front of QEMU's telnet serial port that counts the BREAKs which reach it."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

_IAC, _BREAK = 255, 243


class CountingLine:
    """One client at a time, like QEMU's port itself; what one leaves unsaid the next does not hear."""

    def __init__(self, behind: int) -> None:
        self.breaks = 0
        self._behind = behind
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        for line in tuple(self._open):
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            with near, socket.create_connection(("127.0.0.1", self._behind), 30) as far:
                far.settimeout(None)
                self._open[:] = near, far
                back = threading.Thread(target=_relay, args=(far, near), daemon=True)
                back.start()
                self._forward(near, far)
                back.join(30)

    def _forward(self, near: socket.socket, far: socket.socket) -> None:
        after_iac = False
        with contextlib.suppress(OSError):
            while data := near.recv(4096):
                for byte in data:
                    self.breaks += after_iac and byte == _BREAK
                    after_iac = byte == _IAC and not after_iac
                far.sendall(data)
        with contextlib.suppress(OSError):
            far.shutdown(socket.SHUT_RDWR)


def _relay(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(4096):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
