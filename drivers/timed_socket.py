"""A socket for http.client on which every system call gets the time that is left, and no more.

With the time-out of a plain socket each byte received starts the clock anew; here a drip renews nothing.
"""

from __future__ import annotations

import io
import socket
import ssl

from trigger.clock import Deadline


class TimedSocket:
    """What http.client needs of a socket, each receive with the time that is left."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._readers = 0
        self._closing = False
        self.deadline = Deadline(0)

    def left(self) -> float:
        """Return the seconds left for one system call; raises TimeoutError when there are none."""
        left = self.deadline.left()
        if left <= 0:
            raise TimeoutError("timed out")
        return left

    def sendall(self, data: bytes) -> None:
        """Send everything within the deadline."""
        self._sock.settimeout(self.left())
        self._sock.sendall(data)

    def receive_into(self, buffer: memoryview) -> int:
        """Receive once within the deadline."""
        self._sock.settimeout(self.left())
        return self._sock.recv_into(buffer)

    def makefile(self, mode: str, *_: object) -> io.BufferedReader:
        """Return a reader for one response; closing it leaves the socket open."""
        assert mode == "rb"
        self._readers += 1
        return io.BufferedReader(_TimedReader(self))

    def reader_closed(self) -> None:
        """Close the socket when that was asked for while a response was still being read."""
        self._readers -= 1
        if self._closing:
            self.close()

    def idle(self) -> bool:
        """Return whether the peer keeps the connection open and has said nothing unasked (a TLS ticket is no word)."""
        try:
            self._sock.settimeout(0)
            self._sock.recv(1)
        except (ssl.SSLWantReadError, BlockingIOError):
            return True
        except (OSError, ValueError):
            return False
        return False

    def close_now(self) -> None:
        """Close the socket, whoever still reads from it."""
        self._sock.close()

    def close(self) -> None:
        """Close the socket once no response is being read from it: http.client closes as soon as headers say so."""
        self._closing = True
        if self._readers <= 0:
            self._sock.close()


class _TimedReader(io.RawIOBase):
    def __init__(self, sock: TimedSocket) -> None:
        self._timed = sock

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._timed.receive_into(buffer)

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._timed.reader_closed()
