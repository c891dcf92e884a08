"""Tells others of a run: at its start, when a dump has landed, and of the verdict. By a webhook and by a command.

Nothing here changes or delays a run: notifications are made after the request has left, wait in a queue, and are sent
in a thread for each way, each within LIMIT_S. What did not get through is a note at the end, and in the log. They say
nothing that a console or a kernel log said, unless the configuration allows it (`include_console`).
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from trigger.host import SecretReference
from trigger.text import harmless, without_secrets

if TYPE_CHECKING:
    from http.client import HTTPConnection
    from subprocess import Popen

LIMIT_S = 5.0  # of one notification


class Notify(NamedTuple):
    """The `notify:` of the configuration. `webhook` says where its URL is to be had, which is a secret."""

    webhook: SecretReference | None = None
    command: tuple[str, ...] = ()
    include_console: bool = False

    def __bool__(self) -> bool:
        return self.webhook is not None or bool(self.command)


class NotDelivered(Exception):
    """A notification did not get through; the text is a clause that says why, without any secret."""


class Notifier:
    """Sends the notifications of one run. Raises nothing; `failures` has one clause for each that was not delivered."""

    def __init__(self, notify: Notify) -> None:
        self._notify = notify
        self._ways: list[_Way] = []
        if notify.webhook is not None:
            self._ways.append(_Way("webhook", self._to_webhook))
        if notify.command:
            self._ways.append(_Way("command", self._to_command))
        self._url = ""
        self._running: list[Popen[bytes]] = []
        self._ended = False

    def tell(self, event: dict[str, Any]) -> None:
        """Queue one event, plain JSON, for every way; returns at once."""
        for way in self._ways:
            way.put(event)

    def finish(self) -> None:
        """Say that nothing more comes; returns at once."""
        for way in self._ways:
            way.put(None)

    def done(self) -> bool:
        """Return whether everything was sent or given up."""
        return not any(way.is_alive() for way in self._ways)

    def end(self) -> None:
        """End the command that still runs: nobody will, once this program has ended."""
        self._ended = True
        for process in tuple(self._running):
            if process.returncode is None:
                _kill(process)

    def failures(self) -> list[str]:
        """Return what did not get through, in words."""
        return [failure for way in self._ways for failure in way.said()]

    def _to_webhook(self, event: dict[str, Any]) -> None:
        if not self._url:
            self._url = _url(self._notify.webhook)
        post(self._url, event)

    def _to_command(self, event: dict[str, Any]) -> None:
        if not self._ended:
            run_command(self._notify.command, event, running=self._running)


class _Way(threading.Thread):
    """One way and its queue; the thread starts with the first event."""

    def __init__(self, name: str, send: Any) -> None:
        import queue

        super().__init__(name=f"notify {name}", daemon=True)
        self._label, self._send = name, send
        self._queue: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._waiting: list[str] = []
        self._failures: list[str] = []

    def put(self, event: dict[str, Any] | None) -> None:
        if event is not None:
            self._waiting.append(event["kind"])
        self._queue.put(event)
        if not self.is_alive() and event is not None:
            self.start()

    def run(self) -> None:
        while (event := self._queue.get()) is not None:
            try:
                self._send(event)
            except NotDelivered as error:
                self._note(f"{event['kind']}: {error}")
            except Exception as error:  # a bug of ours is no reason to disturb anybody
                self._note(f"{event['kind']}: {type(error).__name__}")
            self._waiting.pop(0)

    def said(self) -> list[str]:
        late = [f"{kind}: not delivered in time" for kind in self._waiting] if self.is_alive() else []
        return [f"notify {self._label}: {failure}" for failure in (*self._failures, *late)]

    def _note(self, text: str) -> None:
        import logging

        text = harmless(without_secrets(text), limit=300)
        self._failures.append(text)
        logging.getLogger("trigger").warning("notify %s: %s", self._label, text)


def _url(reference: SecretReference | None) -> str:
    from trigger.errors import ConfigError
    from trigger.secrets import resolve_alone

    assert reference is not None
    try:
        return resolve_alone(reference, "the URL of the webhook").reveal()
    except ConfigError as error:
        raise NotDelivered(error.message) from None


def post(url: str, event: dict[str, Any], limit_s: float = LIMIT_S) -> None:
    """POST `event` as JSON, once, following no redirect and using no proxy. Raises NotDelivered."""
    import http.client

    connection, path = _connection(url, limit_s)
    headers = {"Content-Type": "application/json", "User-Agent": "trigger", "Connection": "close"}
    late = threading.Event()
    timer = threading.Timer(limit_s, _cut, (connection, late))  # a time-out alone begins anew with every byte
    timer.daemon = True
    timer.start()
    try:
        connection.request("POST", path, json.dumps(event).encode(), headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException, ValueError) as error:
        if late.is_set() or isinstance(error, TimeoutError):
            raise NotDelivered(f"no answer within {limit_s:.0f} s") from None
        # Their texts may quote the URL.
        reason = (error.strerror if isinstance(error, OSError) else "") or type(error).__name__
        raise NotDelivered(f"it cannot be reached: {reason}") from None
    finally:
        timer.cancel()
        connection.close()
    if late.is_set():
        raise NotDelivered(f"no answer within {limit_s:.0f} s")
    if not 200 <= status < 300:
        raise NotDelivered(f"it answered with status {status}")


def _connection(url: str, limit_s: float) -> tuple[HTTPConnection, str]:
    """Return a connection, not opened yet, and the path to ask it for. Raises NotDelivered."""
    import http.client
    import ssl
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise NotDelivered("its URL cannot be read") from None
    if parts.scheme not in ("http", "https") or not host:
        raise NotDelivered("its URL is neither http:// nor https://")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=limit_s), path
    context = ssl.create_default_context()
    return http.client.HTTPSConnection(host, port, timeout=limit_s, context=context), path


def _cut(connection: HTTPConnection, late: threading.Event) -> None:
    late.set()
    with contextlib.suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)


def run_command(
    command: tuple[str, ...], event: dict[str, Any], limit_s: float = LIMIT_S, running: list[Popen[bytes]] | None = None
) -> None:
    """Run `command` with `event` as JSON on its standard input, in a clean environment. Raises NotDelivered.

    Its process is in `running` while it runs.
    """
    import subprocess
    import tempfile

    from trigger.secret_command import CommandError, find_program
    from trigger.secrets import clean_environment

    environment = clean_environment()
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complaints:
        said.write(json.dumps(event).encode() + b"\n")  # a file, since a pipe fills when nobody reads it
        said.seek(0)
        try:
            process = subprocess.Popen(
                [find_program(command[0], environment["PATH"]), *command[1:]],
                stdin=said, stdout=subprocess.DEVNULL, stderr=complaints, env=environment, cwd="/",
                start_new_session=True,
            )  # fmt: skip
        except CommandError as error:
            raise NotDelivered(str(error)) from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "an argument cannot be passed on"
            raise NotDelivered(f"it cannot be run: {reason}") from None
        running = [] if running is None else running
        running.append(process)
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            _kill(process)
            process.wait()
            raise NotDelivered(f"it did not end within {limit_s:.0f} s and was ended") from None
        finally:
            running.remove(process)
        complaints.seek(0)
        first = complaints.read(400).decode("utf-8", "replace").strip().split("\n")[0]
    if code:
        raise NotDelivered(f"it ended with status {code}" + (f": {harmless(first)}" if first else ""))


def _kill(process: Popen[bytes]) -> None:
    """End a command with its children: it has a session of its own."""
    import os
    import signal

    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
