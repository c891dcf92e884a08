"""A headless Chromium for the page's test: DevTools' protocol over two pipes, and nothing else."""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
)  # fmt: skip


class Browser:
    """One page in one Chromium. `messages` holds what went to the console, and every exception and CSP report."""

    def __init__(self, profile: Path, width: int, height: int) -> None:
        program = next(found for name in _NAMES if (found := shutil.which(name)))
        theirs, self._out = os.pipe()
        self._in, answers = os.pipe()
        # The protocol wants descriptors 3 and 4; moved out of the way first, for pipe() may have given just these.
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20) for fd in (theirs, answers)]
        os.close(theirs)
        os.close(answers)

        def arrange() -> None:
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self._process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"],
            preexec_fn=arrange,  # noqa: PLW1509  no threads here
            pass_fds=(3, 4), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for fd in high:
            os.close(fd)
        self._heard = b""
        self._number = 0
        self._session = ""
        self.messages: list[str] = []
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Self:
        """Return the browser."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(10)
        os.close(self._in)
        os.close(self._out)

    def open(self, path: Path) -> None:
        """Load a local file and wait until it has."""
        self.call("Page.navigate", url=path.as_uri())
        self.wait_for("document.readyState === 'complete' && document.getElementById('shown').textContent !== ''")

    def value(self, script: str) -> Any:
        """Return what a JavaScript expression is worth; it must be plain JSON."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, userGesture=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def wait_for(self, script: str, seconds: float = 30.0) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.value(f"Boolean({script})"):
            if time.monotonic() > end:
                raise AssertionError(f"never became true: {script}")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result, keeping what is told meanwhile."""
        self._number += 1
        command: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._out, json.dumps(command).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise AssertionError(answer["error"])
                result: dict[str, Any] = answer["result"]
                return result
            self._keep(answer)

    def _keep(self, told: dict[str, Any]) -> None:
        method, parameters = told.get("method", ""), told.get("params", {})
        if method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
            self.messages.append(json.dumps(parameters)[:500])
        if method == "Network.requestWillBeSent" and not parameters["request"]["url"].startswith("file:"):
            self.messages.append("asked for " + parameters["request"]["url"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._heard:
            with selectors.DefaultSelector() as ready:
                ready.register(self._in, selectors.EVENT_READ)
                if not ready.select(60):
                    raise AssertionError("the browser says nothing")
            data = os.read(self._in, 1 << 20)
            if not data:
                raise AssertionError("the browser has ended")
            self._heard += data
        message, self._heard = self._heard.split(b"\0", 1)
        parsed: dict[str, Any] = json.loads(message)
        return parsed
