"""One HTTP connection to one controller: certificate, deadlines and sizes are ours, nobody else's.

Below the redfish library, because no HTTP library for Python does all of this: every receive gets the time that is
left (a drip of one byte a second renews nothing), the certificate is judged before a byte of HTTP leaves,
nothing is sent twice, nothing is redirected, no proxy is asked, and bodies are capped after decompression.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import ipaddress
import socket
import ssl
import threading
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from drivers.timed_socket import TimedSocket
from trigger.clock import Deadline
from trigger.errors import ConfigError, Unreachable, Untrusted
from trigger.host import Controller

MAX_BODY = 10 * 1024 * 1024
# Of every request; Accept and OData-Version are DSP0266's, "Request headers".
HEADERS = {"Accept": "application/json", "OData-Version": "4.0", "Accept-Encoding": "gzip", "User-Agent": "trigger"}
# OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED (openssl/x509_vfy.h).
_EXPIRED = 10


class Lost(Exception):
    """The request may have left, and no whole answer came back. The text says what was seen.

    `stale` is true when a connection that had been idle turned out to be closed by the other side.
    """

    def __init__(self, message: str, *, stale: bool = False) -> None:
        super().__init__(message)
        self.stale = stale


class Answer(NamedTuple):
    """One whole HTTP answer; header names are in lower case, the body is decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """A connection that is opened on demand, and judged anew (same certificate) whenever it is.

    `recorded` is the fingerprint of the last preflight, "" without one. `warnings` grows while connecting.
    `closes_idle` is set once the other side has closed an idle connection without saying so: from then on every
    request gets a new one, because the next could be the one that must not be lost.
    """

    def __init__(self, controller: Controller, *, recorded: str = "", accept_new: bool = False) -> None:
        self.address, self.port = controller.address, controller.port or 443
        self.secure = controller.options.get("scheme", "https") != "http"
        self.url = f"{'https' if self.secure else 'http'}://{self._bracketed()}:{self.port}"
        self.fingerprint = ""
        self.certificate = b""
        self.warnings: list[str] = []
        self.closes_idle = False
        self._name = controller.name
        self._tls = controller.tls
        self._legacy = controller.options.get("legacy_tls") is True
        self._recorded = plain_fingerprint(recorded)
        self._accept_new = accept_new
        self._http: http.client.HTTPConnection | None = None
        self._sock: TimedSocket | None = None
        self._requests = 0

    def connect(self, deadline: Deadline) -> None:
        """Be connected to the controller that was connected before. Sends no HTTP.

        Raises Unreachable, Untrusted or ConfigError; in each case no request has left.
        """
        if self._requests and self.closes_idle:
            self.close()
        if self._alive():
            return
        self.closes_idle = self.closes_idle or self._http is not None
        self.close()
        sock = self._secured(deadline) if self.secure else self._tcp(deadline)
        self._http = http.client.HTTPConnection(self.address, self.port)
        self._http.default_port = 443 if self.secure else 80  # for the Host header
        self._http.auto_open = 0  # never reconnects behind our back
        self._http.sock = self._sock = TimedSocket(sock)

    def exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, deadline: Deadline
    ) -> Answer:
        """Send one request, once, and return the whole answer.

        Raises what `connect` raises while nothing has left; Lost, or an interrupt, once something may have.
        """
        self.connect(deadline)
        stale, self._requests = self._requests > 0, self._requests + 1
        assert self._http is not None and self._sock is not None
        connection = self._http
        self._sock.deadline = deadline
        try:
            connection.request(method, path, body=body, headers=dict(headers))
            response = connection.getresponse()
            data = _read(response)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError | http.client.HTTPException | zlib.error | ValueError):
                stale = stale and isinstance(error, http.client.RemoteDisconnected | ConnectionError)
                self.closes_idle = self.closes_idle or stale
                raise Lost(_lost(error), stale=stale) from error
            raise
        if response.will_close:
            self.close()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, data)

    def close(self) -> None:
        """Close the socket; raises nothing."""
        connection, self._http, self._requests = self._http, None, 0
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()
        if self._sock is not None:
            self._sock.close_now()

    def _alive(self) -> bool:
        return self._http is not None and self._http.sock is not None and self._sock is not None and self._sock.idle()

    def _bracketed(self) -> str:
        return f"[{self.address}]" if ":" in self.address else self.address

    def _unreachable(self, what: str) -> Unreachable:
        return Unreachable(
            f"{self._name}: {self.url} {what}. Nothing was sent.",
            next_step="Check the address and port of this controller, and that this machine reaches its network.",
        )

    def _tcp(self, deadline: Deadline) -> socket.socket:
        last: OSError | None = None
        for family, kind, protocol, _, address in _resolve(self.address, self.port, deadline):
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(max(deadline.left(), 0.001))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.connect(address)
            except OSError as error:
                sock.close()
                last = error
                continue
            return sock
        raise self._unreachable(f"cannot be reached: {_plain(last)}")

    def _secured(self, deadline: Deadline) -> ssl.SSLSocket:
        """Return a TLS socket whose certificate has been judged good."""
        problem: ssl.SSLCertVerificationError | None = None
        verify = bool(self._tls.ca_file) and not self.fingerprint
        try:
            sock = self._handshake(deadline, verify=verify)
        except ssl.SSLCertVerificationError as error:
            problem = error
            sock = self._handshake(deadline, verify=False)
        try:
            certificate = sock.getpeercert(binary_form=True) or b""
            seen = hashlib.sha256(certificate).hexdigest()
            if self.fingerprint:
                self._same_as_before(seen)
            else:
                self.warnings += self._judge(seen, problem)
        except BaseException:
            sock.close()
            raise
        self.fingerprint, self.certificate = seen, certificate
        return sock

    def _handshake(self, deadline: Deadline, *, verify: bool) -> ssl.SSLSocket:
        context = _context(self._tls.ca_file if verify else "", self._legacy, self._name)
        raw = self._tcp(deadline)
        try:
            raw.settimeout(max(deadline.left(), 0.001))
            return context.wrap_socket(raw, server_hostname=self.address)
        except ssl.SSLCertVerificationError:
            raw.close()
            raise
        except OSError as error:
            raw.close()
            raise self._unreachable(f"does not complete a TLS handshake: {_plain(error)}") from error
        except BaseException:
            raw.close()
            raise

    def _same_as_before(self, seen: str) -> None:
        if not hmac.compare_digest(seen, self.fingerprint):
            raise Untrusted(
                f"{self._name}: {self.url} showed another certificate ({seen}) than a moment ago ({self.fingerprint})."
                " Nothing was sent on this connection.",
                fingerprint=seen,
            )

    def _judge(self, seen: str, problem: ssl.SSLCertVerificationError | None) -> list[str]:
        """Return warnings about a certificate that is good enough; raise Untrusted about one that is not."""
        pinned = plain_fingerprint(self._tls.fingerprint)
        if pinned:
            fault = "" if hmac.compare_digest(seen, pinned) and not problem else f"is not the pinned one ({pinned})"
        elif self._tls.ca_file:
            fault = f"does not verify: {problem.verify_message}" if problem else ""
            same = bool(self._recorded) and hmac.compare_digest(seen, self._recorded)
            if problem and problem.verify_code == _EXPIRED and same:
                return ["the certificate has expired; it is the same as at the last preflight, so this goes on"]
        elif self._recorded:
            same = hmac.compare_digest(seen, self._recorded)
            fault = "" if same else f"has changed since the last preflight (it was {self._recorded})"
        else:
            fault = "is not known"
        if not fault:
            return []
        if self._accept_new:
            return [f"the certificate {fault}; accepted as asked, SHA-256 {seen}"]
        raise Untrusted(
            f"{self._name}: the certificate of {self.url} {fault}. Its SHA-256 fingerprint is {seen}."
            " Nobody logged in and nothing was sent.",
            fingerprint=seen,
            next_step=(
                "Compare it with the controller's own page. If it is right: `tls: {fingerprint: ...}` in the"
                " configuration, or preflight --trust-new; while firing, --override tls-changed."
            ),
        )


def plain_fingerprint(text: str) -> str:
    """Return a SHA-256 fingerprint as 64 lower-case hex digits, whatever its punctuation; "" when it is none."""
    plain = text.lower().removeprefix("sha256:").replace(":", "").replace(" ", "")
    return plain if len(plain) == 64 else ""


def expiry(certificate: bytes) -> float:
    """Return the notAfter of a DER certificate in seconds since the epoch; raises ValueError."""
    from cryptography import x509  # 100 ms: only where the record does not say

    return x509.load_der_x509_certificate(certificate).not_valid_after_utc.timestamp()


def _context(ca_file: str, legacy: bool, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except OSError as error:
            raise ConfigError(
                f"{name}: the CA file {ca_file} cannot be used: {_plain(error)}. Nothing was sent."
            ) from None
    else:  # the fingerprint is compared instead, before any HTTP
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if legacy:  # TLS 1.0 and SHA-1: iLO 3 and 4, iDRAC 7, for a controller whose configuration asks
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def _resolve(address: str, port: int, deadline: Deadline) -> list[tuple[int, int, int, str, tuple[str, int]]]:
    """Return getaddrinfo's answer; a name server that hangs costs no more than the deadline."""
    flags = 0
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(address.partition("%")[0])
        flags = socket.AI_NUMERICHOST
    found: list[object] = []

    def look_up() -> None:
        try:
            found.append(socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=flags))
        except OSError as error:
            found.append(error)

    if flags:
        look_up()
    else:
        thread = threading.Thread(target=look_up, daemon=True)
        thread.start()
        thread.join(deadline.left())
    result = found[0] if found else OSError("the name server does not answer in time")
    if isinstance(result, OSError):
        raise Unreachable(f"{address} cannot be resolved: {_plain(result)}. Nothing was sent.")
    return result  # type: ignore[return-value]


def _read(response: http.client.HTTPResponse) -> bytes:
    """Return the whole body, decompressed; raises ValueError or HTTPException when it is too long or cut short."""
    encoding = (response.getheader("Content-Encoding") or "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", "deflate"):
        raise ValueError(f"the body is encoded as {encoding!r}, which was not offered")
    inflate = None if encoding == "identity" else zlib.decompressobj(47)  # 32 + 15: gzip or zlib by its header
    announced, received, parts, size = response.length, 0, [], 0
    while chunk := response.read(65536):
        received += len(chunk)
        data = inflate.decompress(chunk, MAX_BODY + 1 - size) if inflate else chunk
        size += len(data)
        if size > MAX_BODY or (inflate and inflate.unconsumed_tail):
            raise ValueError(f"the body is longer than {MAX_BODY // 1024 // 1024} MB")
        parts.append(data)
    if announced is not None and received < announced:
        raise http.client.IncompleteRead(b"", announced - received)
    if inflate and received and not inflate.eof:
        raise ValueError("the compressed body is cut short")
    return b"".join(parts)


def _lost(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no whole answer came in time"
    if isinstance(error, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError):
        return "the connection was lost before an answer came"
    if isinstance(error, http.client.IncompleteRead):
        return "the answer was cut short"
    if isinstance(error, http.client.HTTPException):
        return f"the answer is not HTTP ({type(error).__name__})"
    return f"the answer cannot be used: {_plain(error)}"


def _plain(error: BaseException | None) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
