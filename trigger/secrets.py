"""Passwords: had from where the configuration points, as late as possible, and never printed.

    secrets = ControllerSecrets(host, controller, ask_on_terminal)
    secrets.password()      # env, file, command or keyring; asks when that fails and there is a terminal

Each resolved value is told to trigger/redaction.py, so that no log shows it. A password never stands in an argument
list, and children get an environment made by `clean_environment`.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from trigger.clock import Deadline
from trigger.errors import ConfigError
from trigger.host import Controller, Host, SecretReference
from trigger.redaction import HIDDEN, LIVE, RedactingFilter
from trigger.text import harmless

Ask = Callable[[str], str]

_MAX_BYTES = 4096
CLEAN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What a password manager needs to find its store, its agent and the person's screen; nothing that is a secret.
_KEPT_VARIABLES = (
    "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TERM", "TZ",
    "GNUPGHOME", "GPG_TTY", "PASSWORD_STORE_DIR", "PASSWORD_STORE_GPG_OPTS",
    "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME",
    "DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY",
)  # fmt: skip
HOW_TO_WRITE = "Write for example `password: {env: BMC_PASSWORD}` in the controller's configuration."


class Secret:
    """A text that never prints itself: repr, str and every format give ***. Cannot be pickled; `reveal` is the way."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text."""
        return self._value

    def __repr__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return HIDDEN

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret is not written anywhere")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a secret is not written anywhere")


class _SourceFailed(Exception):
    """A source gave no secret; the text is a clause that says why, without the secret."""


class ControllerSecrets:
    """The secrets of one controller, for its driver (`trigger.driver.Answers`). Safe to share between threads."""

    def __init__(self, host: Host, controller: Controller, ask: Ask | None = None) -> None:
        self._host = host
        self._controller = controller
        self._ask = ask
        self._lock = threading.Lock()
        self._found: Secret | ConfigError | None = None

    def password(self) -> str:
        """Return the controller's password; raises ConfigError.

        The source is used, and a person asked, once: a second call gets the same answer or the same error.
        """
        with self._lock:
            if self._found is None:
                try:
                    reference = self._controller.password
                    self._found = resolve(reference, host=self._host, controller=self._controller, ask=self._ask)
                except ConfigError as error:
                    self._found = error
        if isinstance(self._found, ConfigError):
            raise ConfigError(self._found.message, next_step=self._found.next_step)
        return self._found.reveal()


def resolve(reference: SecretReference | None, *, host: Host, controller: Controller, ask: Ask | None = None) -> Secret:
    """Return the secret that `reference` points to; None points nowhere, so that only a person can give it.

    When the source fails and `ask` is given, the person is asked, and told why. Raises ConfigError.
    """
    whose = f"the password of {controller.user or 'the user'} at {controller.name} of {host.name}"
    try:
        value = _SOURCES[reference.kind](reference, controller) if reference else _nothing(None, controller)
    except _SourceFailed as failure:
        where = f"{reference.where}: " if reference and reference.where else ""
        reason = "" if reference and reference.kind == "prompt" else f"{where}{failure}.\n"
        if ask is None:
            raise ConfigError(
                f"{where}{whose} cannot be had: {failure}. Nothing was sent.",
                next_step=HOW_TO_WRITE if reference is None else "Mend this, or run trigger on a terminal to type it.",
            ) from None
        value = ask(f"{reason}{whose[0].upper()}{whose[1:]} ({controller.address}): ")
        if not value:
            raise ConfigError(f"{whose}: nothing was typed. Nothing was sent.") from None
    LIVE.add(value, controller.user)
    return Secret(value)


def resolve_alone(reference: SecretReference, what: str) -> Secret:
    """Return a secret that belongs to no controller, named by `what` in an error. Raises ConfigError."""
    try:
        value = _SOURCES[reference.kind](reference, Controller(name=what, driver="", address="", user="trigger"))
    except _SourceFailed as failure:
        where = f"{reference.where}: " if reference.where else ""
        raise ConfigError(f"{where}{what} cannot be had: {failure}") from None
    LIVE.add(value)
    return Secret(value)


def ask_on_terminal(prompt: str) -> str:
    """Ask for a secret on the controlling terminal, without echo; raises ConfigError when there is none."""
    import getpass
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)  # it would read with echo
        try:
            return getpass.getpass(prompt)
        except (EOFError, OSError, getpass.GetPassWarning):
            raise ConfigError("No password was typed: there is no terminal to ask on. Nothing was sent.") from None


def redacting_filter() -> RedactingFilter:
    """Return the filter for logging handlers that hides every secret resolved so far, and later."""
    return RedactingFilter(LIVE)


def clean_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment that children get: a clean PATH, and of `environ` only what is known to hold no secret."""
    kept = {name: environ[name] for name in _KEPT_VARIABLES if name in environ}
    return {**kept, "PATH": CLEAN_PATH}


# --- sources --------------------------------------------------------------------------------------------------


def _nothing(reference: SecretReference | None, controller: Controller) -> str:
    raise _SourceFailed("the configuration does not say where it is")


def _from_prompt(reference: SecretReference, controller: Controller) -> str:
    raise _SourceFailed("it is to be typed, and there is no terminal")


def _from_environment(reference: SecretReference, controller: Controller) -> str:
    name = str(reference.argument)
    value = os.environ.get(name)
    if value is None:
        raise _SourceFailed(f"the environment variable {name} is not set")
    if not value:
        raise _SourceFailed(f"the environment variable {name} is empty")
    return value


def _from_file(reference: SecretReference, controller: Controller) -> str:
    """Read a file that only its owner can read; judged on the descriptor that is read, so nothing can be swapped."""
    path = str(reference.argument)
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _SourceFailed(f"{path} is a symbolic link; name the file itself") from None
        raise _SourceFailed(f"{path} cannot be opened: {error.strerror}") from None
    except ValueError:
        raise _SourceFailed("the path has a NUL character in it") from None
    try:
        _check_file(path, os.fstat(descriptor))
        content = os.read(descriptor, _MAX_BYTES + 1)
    except OSError as error:
        raise _SourceFailed(f"{path} cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if len(content) > _MAX_BYTES:
        raise _SourceFailed(f"{path} is larger than {_MAX_BYTES} bytes, which no password is")
    return _one_line(content.removesuffix(b"\n").removesuffix(b"\r"), path)


def _check_file(path: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _SourceFailed(f"{path} is not a regular file")
    if found.st_uid not in (0, os.geteuid()):
        raise _SourceFailed(f"{path} belongs to another user (uid {found.st_uid})")
    if found.st_mode & 0o066:
        mode = f"mode {stat.S_IMODE(found.st_mode):04o}"
        raise _SourceFailed(f"{path} can be read or changed by other users ({mode}); chmod 600 {path}")


def _from_command(reference: SecretReference, controller: Controller) -> str:
    from trigger.secret_command import COMMAND_SECONDS, CommandError, run

    argv = [str(word) for word in reference.argument]
    try:
        output = run(argv, clean_environment(), Deadline(COMMAND_SECONDS), _MAX_BYTES)
    except CommandError as error:
        raise _SourceFailed(str(error)) from None
    first = output.split(b"\n", 1)[0]  # `pass show` prints what belongs to the password on more lines
    return _one_line(first.removesuffix(b"\r"), f"the output of {harmless(argv[0])}")


def _from_keyring(reference: SecretReference, controller: Controller) -> str:
    service = str(reference.argument)
    try:
        import keyring
    except ImportError:
        raise _SourceFailed("the keyring needs an extra: pip install 'bmc-trigger[keyring]'") from None
    try:
        value = keyring.get_password(service, controller.user)
    except Exception as error:  # each backend has errors of its own; their texts may quote anything
        raise _SourceFailed(f"the keyring failed ({type(error).__name__})") from None
    if not value:
        raise _SourceFailed(f"the keyring has nothing for service {service!r}, user {controller.user!r}")
    return str(value)


def _one_line(content: bytes, source: str) -> str:
    """Return the bytes as text; they must be one line, since no controller's password has two."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise _SourceFailed(f"{source} is not UTF-8 text") from None
    if not text:
        raise _SourceFailed(f"{source} is empty")
    if "\n" in text or "\r" in text or "\0" in text:
        raise _SourceFailed(f"{source} has more than one line")
    return text


_SOURCES: Mapping[str, Callable[[SecretReference, Controller], str]] = {
    "env": _from_environment,
    "file": _from_file,
    "command": _from_command,
    "keyring": _from_keyring,
    "prompt": _from_prompt,
}
