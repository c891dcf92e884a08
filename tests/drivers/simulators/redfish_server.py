"""A Redfish service with faults, written on sockets so that it can break every rule of HTTP.

It serves a tree {path: body} over TLS on a free port of 127.0.0.1, counts every request, session and delivery,
and plays one fault of trigger/conformance.py at the moment of the reset POST.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import secrets
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.drivers.simulators.certificates import Certificate, certificate

USER = "crash"
PASSWORD = 'made-up "secret\\ 42'
_REASONS = {
    200: "OK",
    201: "Created",
    202: "Accepted",
    204: "No Content",
    404: "Not Found",
    503: "Service Unavailable",
}
Request = tuple[str, str, dict[str, str], bytes]


class RedfishServer:
    """One simulated controller. `login` is session, no-token (204, as Supermicro X11), always-401, none-left."""

    def __init__(
        self,
        tree: dict[str, Any],
        fault: str = "healthy",
        *,
        login: str = "session",
        shown: Certificate | None = None,
        tls: bool = True,
        zipped: bool = False,
        answer_delay_s: float = 0.0,
        address: str = "127.0.0.1",
        on_delivery: Callable[[], object] = lambda: None,
    ) -> None:
        self.tree, self.fault, self.login, self.zipped = tree, fault, login, zipped
        self.answer_delay_s, self.on_delivery = answer_delay_s, on_delivery
        self.requests: list[tuple[str, str]] = []
        self.arrivals: list[float] = []  # of reset requests, on the monotonic clock
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.sessions: dict[str, str] = {}
        self.deleted = 0
        self.connections = 0
        self.elsewhere: RedfishServer | None = None
        self._delivered = 0
        self._tokens: list[str] = []
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._stopping = threading.Event()
        self._context = _server_context(shown or certificate()) if tls else None
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        if fault == "redirect":
            self.elsewhere = RedfishServer(tree)

    def deliveries(self) -> int:
        """Return the NMIs delivered here and at the host that a redirect leads to."""
        return self._delivered + (self.elsewhere.deliveries() if self.elsewhere else 0)

    def secrets(self) -> tuple[str, ...]:
        """Return the password in its spellings, and every token given out."""
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return (PASSWORD, json.dumps(PASSWORD)[1:-1], repr(PASSWORD)[1:-1], pair, *self._tokens)

    def count(self, *methods: str) -> int:
        """Return how many requests came, session login and logout left out, of these methods (default: all)."""
        apart = "SessionService/Sessions"
        return sum(apart not in path and (not methods or method in methods) for method, path in self.requests)

    def close(self) -> None:
        """Stop; returns when no thread of this server runs."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for sock in self._open:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(5)
        if self.elsewhere:
            self.elsewhere.close()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._talk, args=(raw,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _talk(self, raw: socket.socket) -> None:
        sock = raw
        with self._lock:
            self._open.add(sock)
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.fault == "no-prompt":
                self._stopping.wait(30)
                return
            if self._context is not None:
                sock = self._context.wrap_socket(raw, server_side=True)
                with self._lock:
                    self._open.add(sock)
            reader = sock.makefile("rb")
            with reader:
                while not self._stopping.is_set() and self._one(sock, reader):
                    pass
        except (OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._open -= {raw, sock}
            sock.close()
            raw.close()

    def _one(self, sock: socket.socket, reader: Any) -> bool:
        """Serve one request; return whether the connection goes on."""
        first = reader.readline(65536).decode("latin-1").split()
        if len(first) != 3:
            return False
        method, path = first[0], first[1]
        if self.fault == "reset-during" and method == "POST" and self._is_reset(path):
            self._reset(sock)
            return False
        headers: dict[str, str] = {}
        while line := reader.readline(65536).decode("latin-1").strip():
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        body = reader.read(int(headers.get("content-length", 0)))
        self.requests.append((method, path))
        self.headers.append(headers)
        time.sleep(self.answer_delay_s)
        return self._serve(sock, (method, path, headers, body))

    def _serve(self, sock: socket.socket, request: Request) -> bool:
        method, path, headers, body = request
        if "/SessionService/Sessions" in path:
            return self._session(sock, request)
        if not self._allowed(headers) and path.rstrip("/") != "/redfish/v1":
            return self._send(sock, 401, {"error": {"message": "Unauthorized"}})
        if method == "POST" and self._is_reset(path):
            self.bodies.append(body)
            self.arrivals.append(time.monotonic())
            fault: Callable[[socket.socket, Request], bool] = getattr(
                self, "_fault_" + self.fault.replace("-", "_"), self._fault_healthy
            )
            return fault(sock, request)
        return self._get(sock, method, path)

    def _get(self, sock: socket.socket, method: str, path: str) -> bool:
        resource = self.tree.get(path) if method == "GET" else None
        other = path.rstrip("/") if path.endswith("/") else path + "/"
        if self.fault == "not-a-bmc":
            return self._raw(sock, b"HTTP/1.1 200 OK\r\nContent-Length: 25\r\n\r\n<html>A printer.</html>\r\n")
        if resource is None and other in self.tree:
            return self._raw(sock, f"HTTP/1.1 308 Moved\r\nLocation: {other}\r\nContent-Length: 0\r\n\r\n".encode())
        if isinstance(resource, list):  # one after the other, the last again and again
            resource = resource.pop(0) if len(resource) > 1 else resource[0]
        if isinstance(resource, bytes):
            return self._raw(sock, resource)
        if resource is None:
            return self._send(sock, 404, {"error": {"message": "no such resource"}})
        goes_on = self._send(sock, 200, resource)
        if self.fault == "reset-before" and "/Managers/" in path:  # the last that a probe reads
            self._listener.shutdown(socket.SHUT_RDWR)
            self._reset(sock)
            return False
        return goes_on

    def _is_reset(self, path: str) -> bool:
        at_system = path.rstrip("/") + "/" in ("/redfish/v1/Systems/1/", "/rest/v1/Systems/1/")
        return path.rstrip("/").endswith(("ComputerSystem.Reset", "FTSComputerSystem.Reset")) or at_system

    def _allowed(self, headers: dict[str, str]) -> bool:
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if headers.get("authorization") == f"Basic {pair}":
            return self.fault != "wrong-password"
        return headers.get("x-auth-token") in self.sessions

    def _session(self, sock: socket.socket, request: Request) -> bool:
        method, path, _, body = request
        if method == "DELETE":
            self.deleted += len([token for token, uri in self.sessions.items() if uri == path])
            self.sessions = {token: uri for token, uri in self.sessions.items() if uri != path}
            return self._send(sock, 204)
        if self.fault == "not-a-bmc":
            return self._get(sock, "GET", path)
        if (self.tree.get("sessions at") or path).rstrip("/") != path.rstrip("/"):
            return self._send(sock, 404, {})
        given = json.loads(body)
        right = given == {"UserName": USER, "Password": PASSWORD} and self.fault != "wrong-password"
        if self.login == "none-left":
            text = "The maximum number of user sessions is reached; the session was not made."
            return self._send(sock, 503, _error("Base.1.8.SessionLimitExceeded", text))
        if not right or self.login == "always-401":
            return self._send(sock, 401, _error("Base.1.8.NoValidSession", "no valid session"))
        if self.login == "no-token":
            return self._send(sock, 204)
        token, uri = secrets.token_hex(16), f"/redfish/v1/SessionService/Sessions/{len(self._tokens) + 1}"
        self.sessions[token] = uri
        self._tokens.append(token)
        return self._send(sock, 201, {"@odata.id": uri}, {"X-Auth-Token": token, "Location": uri})

    def _send(self, sock: socket.socket, status: int, body: Any = None, more: dict[str, str] | None = None) -> bool:
        data = b"" if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **(more or {})}
        if self.fault == "says-close":
            headers["Connection"] = "close"
        if self.zipped and data:
            data, headers["Content-Encoding"] = gzip.compress(data), "gzip"
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Whatever')}"]
        lines += [f"{name}: {value}" for name, value in {**headers, "Content-Length": str(len(data))}.items()]
        return self._raw(sock, "\r\n".join([*lines, "", ""]).encode() + data)

    def _raw(self, sock: socket.socket, data: bytes) -> bool:
        sock.sendall(data)
        return self.fault not in ("closes-idle", "says-close")

    def _reset(self, sock: socket.socket) -> None:
        """End the connection with RST instead of FIN."""
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if isinstance(sock, ssl.SSLSocket):
            socket.socket(fileno=sock.detach()).close()
        else:
            sock.close()

    # What happens at the reset POST, by fault.

    def _deliver(self) -> None:
        with self._lock:
            self._delivered += 1
        self.on_delivery()

    def _fault_healthy(self, sock: socket.socket, request: Request) -> bool:
        self._deliver()
        return self._send(sock, 204)

    def _fault_idle(self, sock: socket.socket, request: Request) -> bool:
        return self._send(sock, 200, _error("Base.1.8.Success", "The request completed successfully."))

    def _fault_refused(self, sock: socket.socket, request: Request) -> bool:
        return self._send(sock, 501, _error("Base.1.8.NotImplemented", "not on this machine"))

    def _fault_not_ready(self, sock: socket.socket, request: Request) -> bool:
        return self._send(sock, 503, _error("IDRAC.2.8.SYS518", "The iDRAC is not ready. Retry later."))

    def _fault_busy(self, sock: socket.socket, request: Request) -> bool:
        return self._send(sock, 503, {})

    def _fault_task(self, sock: socket.socket, request: Request) -> bool:
        self._deliver()
        return self._send(sock, 202, {}, {"Location": "/redfish/v1/TaskService/Tasks/1"})

    def _fault_login_expired(self, sock: socket.socket, request: Request) -> bool:
        return self._send(sock, 401, _error("Base.1.8.NoValidSession", "no valid session"))

    def _fault_redirect(self, sock: socket.socket, request: Request) -> bool:
        assert self.elsewhere is not None
        where = f"https://127.0.0.1:{self.elsewhere.port}{request[1]}"
        return self._send(sock, 307, {}, {"Location": where})

    def _fault_error(self, sock: socket.socket, request: Request) -> bool:
        return self._send(sock, 500, _error("Base.1.8.InternalError", "internal error"))

    def _fault_error_after_acting(self, sock: socket.socket, request: Request) -> bool:
        self._deliver()
        return self._fault_error(sock, request)

    def _fault_lost_reply(self, sock: socket.socket, request: Request) -> bool:
        self._deliver()
        return False

    def _fault_silent(self, sock: socket.socket, request: Request) -> bool:
        self._deliver()
        return self._fault_deaf(sock, request)

    def _fault_deaf(self, sock: socket.socket, request: Request) -> bool:
        self._stopping.wait(30)
        return False

    def _fault_reset_after(self, sock: socket.socket, request: Request) -> bool:
        self._deliver()
        self._reset(sock)
        return False

    def _fault_garbage(self, sock: socket.socket, request: Request) -> bool:
        self._deliver()
        sock.sendall(secrets.choice([b"\x00\xff\x07 what?\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n<html>Welcome</html>"]))
        return False

    def _fault_truncated(self, sock: socket.socket, request: Request) -> bool:
        self._deliver()
        sock.sendall(secrets.choice([b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}"]))
        return False

    def _fault_endless(self, sock: socket.socket, request: Request) -> bool:
        self._deliver()
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        while not self._stopping.is_set():
            sock.sendall(chunk)
        return False

    def _fault_drip(self, sock: socket.socket, request: Request) -> bool:
        self._deliver()
        for byte in b"HTTP/1.1 200 OK\r\nX-Patience: " + b"z" * 1000:
            if self._stopping.wait(0.05):
                break
            sock.sendall(bytes([byte]))
        return False

    def _fault_duplicate_reply(self, sock: socket.socket, request: Request) -> bool:
        self._deliver()
        sock.sendall(b"HTTP/1.1 204 No Content\r\n\r\n" * 2)
        return True


def _error(message_id: str, message: str) -> dict[str, Any]:
    info = [{"MessageId": message_id, "Message": message}]
    return {"error": {"code": message_id, "message": message, "@Message.ExtendedInfo": info}}


def _server_context(shown: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(shown.file)
    return context
