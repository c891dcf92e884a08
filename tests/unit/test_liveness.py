"""Is the host alive? What its SSH port says, in pieces too: a living host must never be taken for a hung one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence

import pytest

from trigger.host import Ssh
from trigger.watch.liveness import banner

PATIENCE = 10.0


def seen(*pieces: bytes, close: bool = False) -> str:
    """Return the state of a port that says these pieces, one after another."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = threading.Event()
        thread = threading.Thread(target=_say, args=(server, pieces, close, done))
        thread.start()
        limit = 0.3 if not pieces else PATIENCE
        state = banner(Ssh("127.0.0.1", server.getsockname()[1]), limit).state
        done.set()
        thread.join(PATIENCE)
    return state


def _say(server: socket.socket, pieces: Sequence[bytes], close: bool, done: threading.Event) -> None:
    connection, _ = server.accept()
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
            done.wait(0.05)
        if not close:
            done.wait(PATIENCE)


@pytest.mark.parametrize(
    "pieces",
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n",),
        (b"S", b"SH-2.0-Open", b"SSH_9.2\r\n"),
        (b"You are welcome\r\n", b"SSH-2.0-x\r\n"),
    ],
)
def test_a_banner_in_any_pieces_is_alive(pieces: tuple[bytes, ...]) -> None:
    assert seen(*pieces) == "banner"


def test_whatever_is_said_is_said_by_something_alive() -> None:
    assert seen(b"SS", close=True) == "banner"
    assert seen(b"Exceeded MaxStartups\r\n", close=True) == "banner"


def test_silence_is_silence_and_a_closed_port_is_closed() -> None:
    assert seen() == "silent"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert banner(Ssh("127.0.0.1", port)).state == "closed"
