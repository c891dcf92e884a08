"""A webhook's server on a free port of 127.0.0.1, with what can go wrong with one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class Webhook:
    """`fault` is "", 500, redirect, hang or dribble. `events` holds what was posted; `then` is called with each."""

    def __init__(self, fault: str = "", then: Callable[[dict[str, Any]], None] = lambda event: None) -> None:
        self.events: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.stopping = threading.Event()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 60

            def do_POST(self) -> None:
                event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                then(event)
                hook.events.append(event)
                hook.paths.append(self.path)
                if fault == "hang":
                    hook.stopping.wait(60)
                    return
                if fault == "dribble":
                    self._dribble()
                    return
                self.send_response({"500": 500, "redirect": 307}.get(fault, 200))
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def _dribble(self) -> None:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
                while not hook.stopping.wait(0.3):
                    try:
                        self.wfile.write(b"x")
                    except OSError:
                        return

            def do_GET(self) -> None:
                hook.events.append({"redirect": "followed"})

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook/s3cret-t0ken?x=1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._thread.join(30)
        self._server.server_close()
