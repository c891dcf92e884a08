"""What the tests of passwords share: one controller, what a source gives, and why it gives nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from trigger import secrets
from trigger.errors import ConfigError
from trigger.host import Controller, Host, SecretReference
from trigger.secrets import resolve

PASSWORD = "kT7-made-up/value+9="
CONTROLLER = Controller(name="ipmi", driver="ipmi", address="10.1.0.7", user="crash")
HOST = Host(name="server42", controllers=(CONTROLLER,))
WHERE = "config.yaml:12"
FAILED = "config.yaml:12: the password of crash at ipmi of server42 cannot be had: "


def get(kind: str, argument: str | tuple[str, ...], ask: secrets.Ask | None = None) -> str:
    return resolve(SecretReference(kind, argument, WHERE), host=HOST, controller=CONTROLLER, ask=ask).reveal()


def failure(kind: str, argument: str | tuple[str, ...]) -> str:
    """Return why a source gave nothing, without what every such message begins and ends with."""
    with pytest.raises(ConfigError) as caught:
        get(kind, argument)
    message = str(caught.value)
    assert message.startswith(FAILED)
    assert message.endswith(". Nothing was sent.")
    assert caught.value.next_step == "Mend this, or run trigger on a terminal to type it."
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert PASSWORD not in message
    return message.removeprefix(FAILED).removesuffix(". Nothing was sent.")


def script_in(folder: Path) -> Callable[[str], str]:
    """Return a function that writes a shell script into `folder` and returns its path."""

    def write(body: str) -> str:
        path = folder / "command"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o700)
        return str(path)

    return write


def kept_in(folder: Path) -> Path:
    """Return a file with the password and nothing else, for a command that prints it: it stands in no argument list."""
    path = folder / "kept"
    path.write_text(PASSWORD)
    path.chmod(0o600)
    return path
