"""Addresses of controllers and hosts, and `--controller ipmi://crash@10.1.0.7`.

An address is a host name, an IPv4 address, an IPv6 address (bare or in brackets, with or without a zone), or the
path of a serial device. Ports, users and passwords have keys of their own, so an address with one of those in it
is refused with the way to write it. Addresses come out without brackets.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Collection

from trigger.errors import ConfigError
from trigger.host import Controller, SecretReference

PASSWORD_VARIABLE = "TRIGGER_PASSWORD"  # noqa: S105 - the variable's name, not a password
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_LOOKS_LIKE_IPV4 = r"[0-9.]+"
_ZONE = r"[A-Za-z0-9._-]{1,32}"
_PORT = r":[0-9]{1,5}"
_DEVICE = r"/[A-Za-z0-9._/:+@-]{1,250}"
_AD_HOC = r"(?P<driver>[A-Za-z][A-Za-z0-9_.-]*)://(?P<rest>[^\s?#]*)"


class AddressError(ValueError):
    """An address that cannot be used. `suggestion` says how to write it; neither repeats what may be a secret."""

    def __init__(self, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.suggestion = suggestion


def parse_address(text: str) -> str:
    """Return the address without brackets; raises AddressError."""
    if "://" in text:
        raise AddressError("is a URL, and an address is wanted", _instead_of_url(text))
    if text.startswith("/"):
        if not re.fullmatch(_DEVICE, text):
            raise AddressError("is not the path of a device")
        return text
    if "@" in text:
        raise AddressError("has an '@' in it", "name the user in `user:`")
    if text.startswith("["):
        inside, _, rest = text[1:].partition("]")
        if re.fullmatch(_PORT, rest):
            raise AddressError("has a port in it", f'write `address: "{inside}"` and `port: {rest[1:]}`')
        if rest or "]" not in text:
            raise AddressError("has a bracket without its partner")
        return _ipv6(inside)
    if text.count(":") >= 2:
        return _ipv6(text)
    host, _, port = text.partition(":")
    if re.fullmatch(_PORT, f":{port}"):
        raise AddressError("has a port in it", f"write `address: {host}` and `port: {port}`")
    return _name_or_ipv4(text)


def _name_or_ipv4(text: str) -> str:
    if re.fullmatch(_LOOKS_LIKE_IPV4, text):
        try:
            socket.inet_pton(socket.AF_INET, text)
        except OSError:
            raise AddressError("is not an IPv4 address", "write four numbers from 0 to 255, as 10.1.0.7") from None
        return text
    labels = text.removesuffix(".").split(".")
    if len(text) > 254 or not all(re.fullmatch(_LABEL, label) for label in labels):
        raise AddressError("is neither a host name nor an IP address")
    return text


def _ipv6(text: str) -> str:
    bare, percent, zone = text.partition("%")
    try:
        socket.inet_pton(socket.AF_INET6, bare)
    except (OSError, ValueError):
        raise AddressError("is not an IPv6 address") from None
    if percent and not re.fullmatch(_ZONE, zone):
        raise AddressError("has no interface behind the '%'", "write for example fe80::1%eth0")
    return text


def _instead_of_url(text: str) -> str:
    """Return how to write the URL as keys, without what stands before an '@' (it may be a password)."""
    scheme, _, rest = text.partition("://")
    host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    bare, port = _split_port(host)
    if not re.fullmatch(r"[A-Za-z0-9._:{}%-]+", bare):
        return "write only the host name or IP address"
    port_too = f" and `port: {port}`" if re.fullmatch(_PORT, f":{port}") else ""
    quote = '"' if re.search(r"[:{%]", bare) else ""
    return f"write `address: {quote}{bare}{quote}`{port_too} ({scheme}:// is decided by the driver)"


def _split_port(host: str) -> tuple[str, str]:
    """Return (address without brackets, port or "") of `host`, `host:port`, `[v6]`, `[v6]:port`."""
    if host.startswith("["):
        inside, _, rest = host[1:].partition("]")
        return inside, rest.removeprefix(":")
    bare, _, port = host.partition(":")
    return bare, port


def canonical(address: str) -> str:
    """Return `address` so that two spellings of one address are equal; what cannot be read stays as it is.

    Case, a trailing dot, brackets and the zeros of IPv6 do not matter. No name is looked up.
    """
    if address.startswith("/"):
        return address
    text = address.strip("[]").lower().rstrip(".")
    bare, percent, zone = text.partition("%")
    if ":" in bare:
        try:
            packed = socket.inet_pton(socket.AF_INET6, bare)
        except (OSError, ValueError):
            return text
        if packed.startswith(b"\0" * 10 + b"\xff\xff"):  # ::ffff:10.1.0.7 is 10.1.0.7, RFC 4291 section 2.5.5.2
            return socket.inet_ntop(socket.AF_INET, packed[12:])
        return socket.inet_ntop(socket.AF_INET6, packed) + percent + zone
    return text


def ad_hoc_controller(url: str, *, known_drivers: Collection[str] | None = None) -> Controller:
    """Return the controller that `--controller DRIVER://[USER@]ADDRESS[:PORT][/SYSTEM]` names.

    Its password comes from the environment variable TRIGGER_PASSWORD, or is asked for. Raises ConfigError, which
    never repeats the URL: it may hold a password.
    """
    found = re.fullmatch(_AD_HOC, url)
    if found is None:
        raise _wrong("is not a URL", "Write it as ipmi://USER@10.1.0.7 or ipmi://USER@[fe80::1]:623.")
    driver = found["driver"].lower()
    if known_drivers is not None and driver not in known_drivers:
        known = ", ".join(sorted(known_drivers))
        raise _wrong(f"names an unknown driver '{driver}'", f"Known drivers: {known}.")
    authority, _, system = found["rest"].partition("/")
    user, _, place = authority.rpartition("@")
    if ":" in user or "@" in system:  # a password may hold a slash
        raise _wrong(
            "has a password in it, which every user of this machine can read in the list of processes",
            f"Write {driver}://USER@ADDRESS and put the password into the environment variable "
            f"{PASSWORD_VARIABLE}, or type it when asked. Change this password: your shell keeps it in its history.",
        )
    address, port = _place(place)
    return Controller(
        name=driver,
        driver=driver,
        address=address,
        port=port,
        user=_unquoted(user),
        password=SecretReference("env", PASSWORD_VARIABLE, "--controller"),
        system=_unquoted(system.rstrip("/")),
        where="--controller",
    )


def _place(place: str) -> tuple[str, int]:
    """Return (address, port or 0) of the part of a URL between '@' and '/'."""
    if place.count(":") >= 2 and not place.startswith("["):
        raise _wrong("has an IPv6 address without brackets", "Write it as ipmi://USER@[fe80::1]:623.")
    bare, port = _split_port(place)
    if not bare or (place.startswith("[") and not re.fullmatch(r"\[[^\]]*\](:[0-9]+)?", place)):
        raise _wrong("names no address", "Write it as ipmi://USER@10.1.0.7 or ipmi://USER@[fe80::1]:623.")
    if place.endswith(":") or (port and not re.fullmatch(r"[1-9][0-9]{0,4}", port)) or int(port or 0) > 65535:
        raise _wrong("has a port that is no number from 1 to 65535", "Write for example ipmi://USER@10.1.0.7:623.")
    try:
        return parse_address(bare.replace("%25", "%")), int(port or 0)  # RFC 6874 writes a zone as %25eth0
    except AddressError as error:
        raise _wrong(f"has an address that {error.message}", error.suggestion) from None


def _unquoted(text: str) -> str:
    """Return `text` with %40 and the like decoded; control characters are refused."""
    if "%" in text:
        from urllib.parse import unquote

        text = unquote(text, errors="replace")
    if not text.isprintable():
        raise _wrong("has a control character in it", "Write it as ipmi://USER@10.1.0.7.")
    return text


def _wrong(message: str, next_step: str) -> ConfigError:
    return ConfigError(f"--controller {message}. Nothing was sent.", next_step=next_step)
