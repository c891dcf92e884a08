"""One Redfish session: connect, judge the certificate, log in, ask, log out; nothing is ever sent twice.

Requests are built by the redfish library (drivers/redfish_library.py), or without it where a record has prepared the
fire; either way they leave through `drivers.redfish_connection.Connection`.

Sources: DMTF DSP0266 1.20, sections "Session-based authentication", "Redfish session login authentication".
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from drivers.redfish_body import known_text, link, local_path, parse_object, said, said_location
from drivers.redfish_connection import HEADERS, Answer, Connection, Lost, expiry
from trigger.clock import Deadline
from trigger.driver import DriverOptions
from trigger.errors import ConfigError, DriverError, LoginFailed, Unreachable
from trigger.host import Controller
from trigger.text import harmless

if TYPE_CHECKING:
    from drivers.redfish_library import LibraryClient

SESSIONS = "/redfish/v1/SessionService/Sessions"
ROOT = "/redfish/v1/"
_CLOSE_S = 1.0
_log = logging.getLogger(__name__)


class RedfishSession:
    """A login at one controller. The constructor opens nothing; nothing is ever sent twice.

    `login` is "session" or "basic" once open; `warnings` are sentences for people.
    """

    def __init__(self, controller: Controller, options: DriverOptions) -> None:
        refuse_unusable(controller)
        self.name = controller.name
        self.known = options.known
        self.connection = Connection(
            controller, recorded=known_text(options.known, "fingerprint"), accept_new=options.accept_new
        )
        self.connection.closes_idle = options.known.get("closes_idle") is True
        self.url = self.connection.url
        self.login = str(controller.options.get("login", "")) or known_text(options.known, "login")
        self.sessions_uri = known_text(options.known, "sessions_uri") or SESSIONS
        self._options = options
        self._user = controller.user
        self._session_uri = ""
        self._authorization: dict[str, str] = {}
        self._library: LibraryClient | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the operator should know about this login."""
        unsafe = () if self.connection.secure else (f"{self.url} is not encrypted: the password can be read",)
        return (*unsafe, *self.connection.warnings, *self._expired())

    def open(self, deadline: Deadline) -> None:
        """Connect, judge the certificate and log in; raises DriverError, always before `deadline`."""
        self._connect_and_load(deadline)
        if self.login == "basic":
            self._use_basic()
        else:
            self._log_in(deadline)

    def request(self, method: str, path: str, deadline: Deadline, body: Mapping[str, object] | None = None) -> Answer:
        """Send one request, once, as it is; raises Unreachable before it leaves, Lost after it may have."""
        try:
            headers = {**HEADERS, **self._authorization}
            if self._library is not None:
                answer = self._library.request(method, path, deadline, headers, body)
            else:
                answer = self._request_directly(method, path, deadline, headers, body)
        except (Lost, DriverError) as error:
            _log.info("%s %s%s: %s", method, self.url, path, error)
            raise
        _log.info("%s %s%s: HTTP %d", method, self.url, path, answer.status)
        return answer

    def _request_directly(
        self, method: str, path: str, deadline: Deadline, headers: dict[str, str], body: Mapping[str, object] | None
    ) -> Answer:
        """Send what the library would send, header by header."""
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        elif method != "GET":
            headers["Content-Length"] = "0"
        return self.connection.exchange(method, path, headers, data, deadline)

    def get(self, path: str, deadline: Deadline) -> dict[str, Any]:
        """Return the resource at `path`; raises Unreachable, LoginFailed or DriverError with the URL in it."""
        answer = self._read("GET", path, deadline)
        if answer.status in (301, 302, 307, 308) and _same_with_slash(path, answer):
            answer = self._read("GET", path + "/", deadline)
        if answer.status in (401, 403) and path != ROOT:
            raise LoginFailed(
                f"{self.name}: {self.url}{path} answers HTTP {answer.status}{said(answer)}. Nothing was sent.",
                rejected=answer.status == 401 and self.login == "basic",
                next_step="Check the user, the password and the privileges of this account.",
            )
        if answer.status != 200:
            raise NotThere(self._about(path, f"answers HTTP {answer.status}{said(answer)}"), answer.status)
        return self._parsed(path, answer)

    def close(self) -> None:
        """Delete the session and close the connection; bounded to a second, raises nothing."""
        uri, self._session_uri = self._session_uri, ""
        with contextlib.suppress(Exception):
            if uri:
                self.request("DELETE", uri, Deadline(_CLOSE_S))
        self.connection.close()
        self._authorization = {}

    def _connect_and_load(self, deadline: Deadline) -> None:
        """Connect while the library loads, which takes longer than a TLS handshake with a distant controller.

        With a record that knows the request, the library is not loaded at all.
        """
        if known_text(self.known, "reset_uri"):
            self.connection.connect(deadline)
            return
        failure: list[BaseException] = []

        def connect() -> None:
            try:
                self.connection.connect(deadline)
            except BaseException as error:
                failure.append(error)

        thread = threading.Thread(target=connect, daemon=True)
        thread.start()
        from drivers.redfish_library import LibraryClient

        self._library = LibraryClient(self.connection)
        thread.join()  # every step of connecting ends with the deadline
        if failure:
            raise failure[0]

    def _log_in(self, deadline: Deadline) -> None:
        answer = self._post_credentials(self.sessions_uri, deadline)
        if answer.status in (301, 302, 307, 308) and _same_with_slash(self.sessions_uri, answer):
            self.sessions_uri += "/"
            answer = self._post_credentials(self.sessions_uri, deadline)
        if answer.status in (404, 405, 501):
            answer = self._log_in_elsewhere(answer, deadline)
        token = answer.headers.get("x-auth-token", "")
        if answer.status in (200, 201, 202, 204):
            self._adopt(answer, token)
        elif self._needs_basic(answer, deadline):
            self._use_basic()
        else:
            raise self._rejected(answer)

    def _adopt(self, answer: Answer, token: str) -> None:
        """Use the session of a login that succeeded; a login without a token means Basic (Supermicro X11: 204)."""
        if not token:
            self._use_basic()
            return
        self.login = "session"
        self._authorization = {"X-Auth-Token": token}
        location = answer.headers.get("location", "")
        body = parse_object(answer.body) or {}
        path = urlsplit(location).path or str(body.get("@odata.id", ""))
        with contextlib.suppress(DriverError):
            self._session_uri = local_path(path)
        if b"PasswordChangeRequired" in answer.body:
            raise LoginFailed(
                f"{self.name}: {self.url} wants the password of {self._user!r} changed first. Nothing was sent.",
                next_step="Change it on the controller, then run preflight again.",
            )

    def _post_credentials(self, path: str, deadline: Deadline) -> Answer:
        credentials = {"UserName": self._user, "Password": self._options.secrets.password()}
        return self._read("POST", path, deadline, credentials)

    def _log_in_elsewhere(self, answer: Answer, deadline: Deadline) -> Answer:
        """Try the login at the place that the service root names (services before Redfish 1.6)."""
        root = self.get(ROOT, deadline)
        links = root.get("Links")
        sessions = links.get("Sessions") if isinstance(links, dict) else None
        if sessions is None:
            return answer
        path = link(sessions)
        if path.rstrip("/") == self.sessions_uri.rstrip("/"):
            return answer
        self.sessions_uri = path
        return self._post_credentials(path, deadline)

    def _needs_basic(self, answer: Answer, deadline: Deadline) -> bool:
        """Return whether Basic can work where a session cannot: no session service, no session left, or a service
        whose 401 says nothing about the password (drivers/quirks.py, or a root that has no sessions).
        """
        from drivers.quirks import basic_after_401

        if answer.status != 401:
            return answer.status in (404, 405, 501) or _no_more_sessions(answer)
        try:
            root = self.get(ROOT, deadline)
        except DriverError:
            return False
        links = root.get("Links")
        sessions = "SessionService" in root or (isinstance(links, dict) and "Sessions" in links)
        return not sessions or basic_after_401(root)

    def _use_basic(self) -> None:
        self.login = "basic"
        pair = f"{self._user}:{self._options.secrets.password()}".encode()
        self._authorization = {"Authorization": "Basic " + base64.b64encode(pair).decode("ascii")}

    def _rejected(self, answer: Answer) -> DriverError:
        where = f"{self.name}: {self.url}{self.sessions_uri}"
        if answer.status in (401, 403):
            return LoginFailed(
                f"{where} rejects the login of {self._user!r} (HTTP {answer.status}){said(answer)}. Nothing was sent,"
                " and this password is not tried again.",
                rejected=True,
                next_step="Check the user and the password of this controller.",
            )
        if 300 <= answer.status < 400:
            return LoginFailed(
                f"{where} redirects to {said_location(answer)}, which is not followed. Nothing was sent."
            )
        return LoginFailed(f"{where} cannot log in now: HTTP {answer.status}{said(answer)}. Nothing was sent.")

    def _read(self, method: str, path: str, deadline: Deadline, body: Mapping[str, object] | None = None) -> Answer:
        """Send a request that acts on nothing: a GET goes out again when an idle connection had been closed."""
        try:
            try:
                return self.request(method, path, deadline, body)
            except Lost as error:
                if not error.stale or method != "GET":
                    raise
                return self.request(method, path, deadline)
        except Lost as error:
            raise Unreachable(self._about(path, f"could not be read: {harmless(str(error))}")) from None

    def _parsed(self, path: str, answer: Answer) -> dict[str, Any]:
        body = parse_object(answer.body)
        if body is None:
            kind = "HTML" if answer.body.lstrip()[:1] == b"<" else "no JSON object"
            raise DriverError(
                self._about(path, f"sent {kind}"),
                next_step="Is this the address of a BMC with Redfish? `trigger preflight` tries it without firing.",
            )
        return body

    def _about(self, path: str, what: str) -> str:
        return f"{self.name}: {self.url}{path} {what}. Nothing was sent."

    def _expired(self) -> tuple[str, ...]:
        """Return a warning when the certificate in use has expired; a pinned one is used all the same."""
        if not self.connection.certificate:
            return ()
        left = self.expires_at() - self._options.clock.time()
        return ("the certificate has expired; it is the pinned one, so this goes on",) if left < 0 else ()

    def expires_at(self) -> float:
        """Return when the certificate expires, in seconds since the epoch; from the record where it is the same."""
        recorded = self.known.get("expires_at")
        same = known_text(self.known, "fingerprint") == self.connection.fingerprint
        if same and isinstance(recorded, int | float):
            return float(recorded)
        try:
            return expiry(self.connection.certificate)
        except ValueError:  # a certificate that nobody can parse is judged by its fingerprint alone
            return float("inf")


class NotThere(DriverError):
    """A resource that was asked for was answered with another status than 200."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def refuse_unusable(controller: Controller) -> None:
    """Raise ConfigError for an address that is a URL, or an option that this family does not have."""
    if "/" in controller.address or not controller.address:
        raise ConfigError(
            f"{controller.name}: {controller.address!r} is not an address ({controller.where}). Nothing was sent.",
            next_step="Write a host name or an IP address; the driver knows the rest of the URL.",
        )
    allowed = {"scheme": ("https", "http"), "login": ("session", "basic")}
    for option, values in allowed.items():
        if controller.options.get(option, values[0]) not in values:
            raise ConfigError(
                f"{controller.name}: {option} is {controller.options[option]!r}; it can be {' or '.join(values)}"
                f" ({controller.where}). Nothing was sent."
            )


def _same_with_slash(path: str, answer: Answer) -> bool:
    """Return whether a redirect only adds a slash: iLO does so, and it is the same resource of the same host."""
    target = urlsplit(answer.headers.get("location", ""))
    return not path.endswith("/") and target.path == path + "/"


def _no_more_sessions(answer: Answer) -> bool:
    """Return whether a login failed because every session of the controller is taken."""
    text = said(answer).lower()
    full = any(word in text for word in ("limit", "maximum", "exceed", "too many"))
    return answer.status in (400, 403, 409, 500, 503, 507) and "session" in text and full
