"""The redfish library with every hole closed, for everything but a recorded fire.

As it comes it sends a POST up to eleven times, follows redirects with the token, verifies nothing, honours proxies
and netrc, and logs tokens, and passwords with a quote in them. Here it builds requests; every byte leaves
through `drivers.redfish_connection.Connection`, mounted as its transport adapter.

Loading it takes longer than a login and a POST over 20 ms of round trip, so that a fire that a record has prepared
does without it (drivers/redfish_session.py): the same headers, the same connection, shown by a test.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import requests
from redfish.rest.v1 import HttpClient, RetriesExhaustedError
from requests.adapters import BaseAdapter

from drivers.redfish_connection import Answer, Connection, Lost
from trigger.clock import Deadline
from trigger.errors import ConfigError, DriverError


class LibraryClient:
    """The library's client on our connection; it never holds a secret of its own."""

    def __init__(self, connection: Connection) -> None:
        logging.getLogger("redfish.rest.v1").addFilter(_silent)
        self._client = HttpClient(base_url=connection.url, timeout=0, max_retry=0, check_connectivity=False)
        session = self._client._session
        session.trust_env = False
        session.get_redirect_target = lambda response: None  # there is nothing to follow, whatever Location says
        session.headers.clear()
        session.adapters.clear()
        session.mount("https://" if connection.secure else "http://", _Adapter(connection))

    def request(
        self, method: str, path: str, deadline: Deadline, headers: Mapping[str, str], body: Mapping[str, object] | None
    ) -> Answer:
        """Send one request, once; raises what Connection.exchange raises."""
        try:
            response = self._client._rest_request(
                path, method=method, body=None if body is None else dict(body), headers=dict(headers),
                allow_redirects=False, timeout=deadline, max_retry=0,
            )  # fmt: skip
        except RetriesExhaustedError as error:
            cause = error.__cause__ or error
            if isinstance(cause, Lost | DriverError | ConfigError):
                raise cause from None
            raise Lost(f"{type(cause).__name__}: {cause}") from cause
        answer: Answer = response._http_response.answer
        return answer


class _Adapter(BaseAdapter):
    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    def send(self, request: Any, stream: bool = False, timeout: Any = None, *_: Any, **__: Any) -> Any:
        body = request.body.encode() if isinstance(request.body, str) else None
        headers = {name: str(value) for name, value in request.headers.items()}
        answer = self._connection.exchange(str(request.method), request.path_url, headers, body, timeout)
        response = requests.Response()
        response.status_code, response.request, response.url = answer.status, request, str(request.url)
        response.headers.update(answer.headers)
        response._content, response._content_consumed = answer.body, True
        response.answer = answer  # type: ignore[attr-defined]
        return response

    def close(self) -> None:
        self._connection.close()


def _silent(record: logging.LogRecord) -> bool:
    """Drop what the library logs; the session logs each request without headers and bodies."""
    return False
