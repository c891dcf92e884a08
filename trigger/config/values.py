"""How single values of the configuration are checked: addresses, ports, paths, passwords by reference, and so on.

Each function takes the value's branch and the reader, and returns the value, or adds a problem and returns None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from yaml.nodes import MappingNode

from trigger.config import yaml_values
from trigger.config.address import AddressError, parse_address
from trigger.config.file import expand_home
from trigger.config.yaml_nodes import Branch, Problems
from trigger.host import SecretReference


@dataclass(slots=True)
class Reader:
    """What the checks need to know of the host whose values are read, and where problems go.

    `host` replaces `{host}`; `many` says that the entry is a pattern of more than one host; `defaults` are the
    values of `defaults` by section and key. `known_drivers` None accepts any name of a driver; `strict` also
    reports what a single host can do without.
    """

    problems: Problems
    home: str = ""
    host: str = ""
    many: bool = False
    known_drivers: Collection[str] | None = None
    strict: bool = False
    defaults: Mapping[str, Mapping[str, Branch]] = field(default_factory=dict)


def unknown_key(name: str, branch: Branch, known: Collection[str], problems: Problems) -> None:
    """Add the problem of an unknown key. Behind a colon in it may stand a password, so that is not repeated."""
    if ":" in name:
        word = name.partition(":")[0]
        path = branch.path.removesuffix(name) + word
        place = Branch(branch.node, branch.file, branch.line, path, branch.first_line)
        problems.add(place, "unknown key with a colon in it", "put a space behind the colon")
        return
    hint = yaml_values.suggest(name, known) or f"known keys: {', '.join(known)}"
    problems.add(branch, f"unknown key {yaml_values.shown(name)}", hint)


def text(branch: Branch, reader: Reader) -> str | None:
    """Return any text."""
    return yaml_values.text(branch, reader.problems)


def host_text(branch: Branch, reader: Reader) -> str | None:
    """Return any text, with `{host}` replaced."""
    found = text(branch, reader)
    return None if found is None else found.replace("{host}", reader.host)


def truth(branch: Branch, reader: Reader) -> bool | None:
    """Return true or false."""
    return yaml_values.truth(branch, reader.problems)


def port(branch: Branch, reader: Reader) -> int | None:
    """Return a TCP or UDP port."""
    return yaml_values.number(branch, reader.problems, 1, 65535)


def choice(*words: str) -> Callable[[Branch, Reader], str | None]:
    """Return a check for one of `words`."""

    def check(branch: Branch, reader: Reader) -> str | None:
        found = text(branch, reader)
        if found is None or found in words:
            return found
        hint = yaml_values.suggest(found, words) or f"write {' or '.join(words)}"
        reader.problems.add(branch, f"is {yaml_values.shown(found)}, which is not known", hint)
        return None

    return check


def _matching(pattern: str, wanted: str) -> Callable[[Branch, Reader], str | None]:
    def check(branch: Branch, reader: Reader) -> str | None:
        found = text(branch, reader)
        if found is None or re.fullmatch(pattern, found):
            return found
        reader.problems.add(branch, f"must be {wanted}")
        return None

    return check


_WORD = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
name = _matching(_WORD, "a word of letters, digits, '.', '_' and '-'")
_tag = _matching(_WORD, "a word of letters, digits, '.', '_' and '-'")
user = _matching(r"[^\s:@-][^\s:@]{0,127}|[^\s:@-][^\s:]*@[^\s:@]+", "a user's name, without ':' and spaces")


def driver(branch: Branch, reader: Reader) -> str | None:
    """Return the name of a driver that is known."""
    found = name(branch, reader)
    if found is None or reader.known_drivers is None or found in reader.known_drivers:
        return found
    known = sorted(reader.known_drivers)
    hint = yaml_values.suggest(found, known) or f"known drivers: {', '.join(known)}"
    reader.problems.add(branch, f"unknown driver {yaml_values.shown(found)}", hint)
    return None


def address(branch: Branch, reader: Reader) -> str | None:
    """Return a host name or IP address without brackets, with `{host}` replaced."""
    found = host_text(branch, reader)
    if found is None:
        return None
    if re.search("[{}]", found):
        reader.problems.add(branch, "has braces in it that are not {host}", "only {host} is replaced")
        return None
    try:
        return parse_address(found)
    except AddressError as error:
        templated = "{host}" in str(branch.node.value)
        hint = error.suggestion.replace(reader.host, "{host}") if templated else error.suggestion
        reader.problems.add(branch, error.message, hint)
        return None


def addresses(branch: Branch, reader: Reader) -> tuple[str, ...] | None:
    """Return a list of host names and IP addresses."""
    items = yaml_values.sequence(branch, reader.problems, "10.2.0.7, 10.3.0.7")
    if items is None:
        return None
    return tuple(found for item in items if (found := address(item, reader)) is not None)


def path(branch: Branch, reader: Reader) -> str | None:
    """Return an absolute path, with `~` and `{host}` replaced. Whether it exists is not looked at."""
    found = host_text(branch, reader)
    if found is None:
        return None
    expanded = expand_home(found, reader.home)
    if expanded.startswith("/"):
        return expanded
    reader.problems.add(branch, "must be an absolute path", "begin it with / or ~/")
    return None


def paths(branch: Branch, reader: Reader) -> tuple[str, ...] | None:
    """Return a list of absolute paths."""
    items = yaml_values.sequence(branch, reader.problems, "/path, /other")
    if items is None:
        return None
    return tuple(found for item in items if (found := path(item, reader)) is not None)


def tags(branch: Branch, reader: Reader) -> tuple[str, ...] | None:
    """Return a list of words, each once."""
    items = yaml_values.sequence(branch, reader.problems, "web, db")
    if items is None:
        return None
    return tuple(dict.fromkeys(found for item in items if (found := _tag(item, reader)) is not None))


def syslog_address(branch: Branch, reader: Reader) -> str | None:
    """Return a local socket's path, udp://HOST[:PORT] or tcp://HOST[:PORT]."""
    found = text(branch, reader)
    if found is None or re.fullmatch(r"/\S+|(udp|tcp)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?", found):
        return found
    reader.problems.add(branch, "is no address of a syslog server", "write /dev/log, udp://HOST:514 or tcp://HOST:514")
    return None


_rung = _matching(rf"{_WORD}/(nmi|sysrq-c)", "CONTROLLER/nmi or CONTROLLER/sysrq-c")


def rungs(branch: Branch, reader: Reader) -> tuple[str, ...] | None:
    """Return the steps of `trigger crash`, each once."""
    items = yaml_values.sequence(branch, reader.problems, "ilo/nmi, ipmi/nmi, ipmi/sysrq-c")
    if items is None:
        return None
    return tuple(dict.fromkeys(found for item in items if (found := _rung(item, reader)) is not None))


_URL = r"[a-z][a-z0-9+.-]*://[^\s]+"
_URL_WITH_LOGIN = r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*:[^/?#]*@"
_REMOTE_PATH = r"\[?[A-Za-z0-9][A-Za-z0-9.:_-]*\]?:/[^\s]*"


def target(branch: Branch, reader: Reader) -> str | None:
    """Return where a dump lands: auto, an absolute path, a URL, or HOST:/path."""
    found = host_text(branch, reader)
    if found is None:
        return None
    expanded = expand_home(found, reader.home)
    if re.match(_URL_WITH_LOGIN, found):
        reader.problems.add(branch, "has a password in its URL", "remove it, use a key, and change the password")
    elif (
        expanded == "auto" or expanded.startswith("/") or re.fullmatch(_URL, found) or re.fullmatch(_REMOTE_PATH, found)
    ):
        return expanded
    else:
        reader.problems.add(branch, "is neither auto, nor an absolute path, nor a URL", "write for example /srv/crash")
    return None


def dump_stores(branch: Branch, reader: Reader) -> Mapping[str, str] | None:
    """Return what hosts write to -> where that is read from here."""
    values = yaml_values.mapping(branch, reader.problems)
    if values is None:
        return None
    stores = {}
    for prefix, item in values.items():
        if re.match(_URL_WITH_LOGIN, prefix):
            reader.problems.add(branch, "has a password in a URL", "remove it, and change the password", line=item.line)
        elif (place := target(item, reader)) == "auto":
            reader.problems.add(item, "must be a path or URL that can be read from here")
        elif place is not None:
            stores[prefix] = place
    return stores


def fingerprint(branch: Branch, reader: Reader) -> str | None:
    """Return a SHA-256 as 64 hex digits in lower case; colons and a leading `sha256:` are taken off."""
    found = text(branch, reader)
    if found is None:
        return None
    digits = re.sub(r"(?i)^sha-?256[:=]", "", found).replace(":", "").lower()
    if re.fullmatch("[0-9a-f]{64}", digits):
        return digits
    how = "openssl x509 -noout -fingerprint -sha256 prints it"
    reader.problems.add(branch, "must be a SHA-256 fingerprint of 64 hex digits", how)
    return None


def uuid(branch: Branch, reader: Reader) -> str | None:
    """Return a UUID that says something: not all zeros and not all F."""
    found = text(branch, reader)
    if found is None:
        return None
    digits = found.replace("-", "").lower()
    if not re.fullmatch(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", found.lower()):
        reader.problems.add(branch, "must be a UUID of 32 hex digits", "dmidecode -s system-uuid prints it")
    elif len(set(digits)) == 1:
        reader.problems.add(branch, "is a UUID that identifies nothing", "remove it, or give the serial number")
    else:
        return found
    return None


# IPMI v2.0 revision 1.1, table 22-20: what is wrong with the cipher suites other than 3 and 17.
_WEAK_SUITES = {
    **dict.fromkeys((0,), "logs in without a password, so that anybody can fire"),
    **dict.fromkeys((1, 6, 15), "neither signs nor encrypts requests"),
    **dict.fromkeys((2, 7, 11, 16), "does not encrypt requests"),
    **dict.fromkeys((4, 5, 9, 10, 13, 14), "encrypts with xRC4, which is broken"),
    **dict.fromkeys((8, 12), "signs with MD5, which is broken"),
}


def cipher_suite(branch: Branch, reader: Reader) -> int | None:
    """Return 3 or 17."""
    found = yaml_values.number(branch, reader.problems, 0, 255)
    if found in (3, 17, None):
        return found
    reason = _WEAK_SUITES.get(found, "is not known here")
    reader.problems.add(branch, f"cipher suite {found} {reason}", "use 17, or 3 for an older controller")
    return None


# --- passwords by reference -----------------------------------------------------------------------------------

_SOURCES = "write `password: {env: BMC_PASSWORD}`, or {file: /path}, {command: [pass, show, bmc]}, "
_SOURCES += "{keyring: SERVICE}, {prompt: true}"


def password(branch: Branch, reader: Reader) -> SecretReference | None:
    """Return where a password is to be had. No problem repeats a value or key from below here."""
    if not isinstance(branch.node, MappingNode):
        empty = not branch.node.value
        message = "has no value" if empty else "must say where the password is; a password never stands in this file"
        change = "" if empty else "; change the password that stands here"
        reader.problems.add(branch, message, _SOURCES + change)
        return None
    values = yaml_values.mapping(branch, reader.problems, secret=True) or {}
    if len(values) != 1 or not values.keys() <= _ARGUMENTS.keys():
        reader.problems.add(branch, "must have exactly one of env, file, command, keyring and prompt", _SOURCES)
        return None
    kind, item = next(iter(values.items()))
    argument = _ARGUMENTS[kind](item, reader)
    return None if argument is None else SecretReference(kind, argument, f"{item.file}:{item.line}")


def webhook(branch: Branch, reader: Reader) -> SecretReference | None:
    """Return where the URL of a webhook is to be had: as a password, for who has it can write there."""
    how = "write `webhook: {env: TRIGGER_WEBHOOK}`, or {file: /path}, {command: [pass, show, hook]}, {keyring: SERVICE}"
    if not isinstance(branch.node, MappingNode):
        reader.problems.add(branch, "must say where the URL is; the URL itself is a secret", how)
        return None
    found = password(branch, replace(reader, host="{host}"))
    if found is not None and found.kind == "prompt":
        reader.problems.add(branch, "cannot be asked for: nobody waits for a notification", how)
        return None
    return found


def command(branch: Branch, reader: Reader) -> tuple[str, ...] | None:
    """Return a command as a list of words, as they are written."""
    return _command(branch, replace(reader, host="{host}"))


def _variable(branch: Branch, reader: Reader) -> str | None:
    found = yaml_values.text(branch, reader.problems, secret=True)
    if found is None or re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,127}", found, re.ASCII):
        return found
    reader.problems.add(branch, "must be the name of an environment variable", "write for example BMC_PASSWORD")
    return None


def _secret_path(branch: Branch, reader: Reader) -> str | None:
    found = yaml_values.text(branch, reader.problems, secret=True)
    expanded = expand_home((found or "").replace("{host}", reader.host), reader.home)
    if found is None or expanded.startswith("/"):
        return expanded or None
    reader.problems.add(branch, "must be an absolute path", "begin it with / or ~/")
    return None


def _command(branch: Branch, reader: Reader) -> tuple[str, ...] | None:
    items = yaml_values.sequence(branch, reader.problems, "pass, show, bmc")
    if items is None:
        return None
    words = [yaml_values.text(item, reader.problems, secret=True) for item in items]
    found = tuple(word.replace("{host}", reader.host) for word in words if word is not None)
    if not items:
        reader.problems.add(branch, "is empty", "write the command as a list of words; no shell is involved")
    elif found and "/" in found[0] and not found[0].startswith("/"):
        reader.problems.add(items[0], "must be an absolute path, or a name without a slash")
    elif len(found) == len(items):
        return found
    return None


def _service(branch: Branch, reader: Reader) -> str | None:
    found = yaml_values.text(branch, reader.problems, secret=True)
    return None if found is None else found.replace("{host}", reader.host)


def _prompt(branch: Branch, reader: Reader) -> str | None:
    found = yaml_values.truth(branch, reader.problems)
    if found is False:
        reader.problems.add(branch, "must be true", "write `password: {prompt: true}`")
    return "" if found else None


_ARGUMENTS: Mapping[str, Callable[[Branch, Reader], str | tuple[str, ...] | None]] = {
    "env": _variable,
    "file": _secret_path,
    "command": _command,
    "keyring": _service,
    "prompt": _prompt,
}


# --- what only a driver understands ----------------------------------------------------------------------------

_SECRETIVE = r"(?i)pass(word|wd|phrase|code)?$|secret|token|community|api_?key|credential"


def options(branch: Branch, reader: Reader) -> Mapping[str, object] | None:
    """Return plain values by name: text (with `{host}` replaced), whole numbers, true and false; never a secret."""
    values = yaml_values.mapping(branch, reader.problems)
    if values is None:
        return None
    found: dict[str, object] = {}
    for key, item in values.items():
        if re.search(_SECRETIVE, key):
            reader.problems.add(item, "a secret never stands in this file", "the controller's `password:` is for it")
        elif (plain := yaml_values.plain(item, reader.problems)) is not None:
            found[key] = plain.replace("{host}", reader.host) if isinstance(plain, str) else plain
    return found
