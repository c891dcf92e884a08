"""What the tests of the configuration's errors share: a file, what the check says, how a host is refused."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from trigger.config.loading import Config, load
from trigger.errors import ConfigError

DRIVERS = {"ipmi", "redfish", "ilo"}
HOW = (
    "write `password: {env: BMC_PASSWORD}`, or {file: /path}, {command: [pass, show, bmc]}, {keyring: SERVICE}, "
    "{prompt: true}"
)


def config(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "config.yaml"
    file.write_text(textwrap.dedent(text))
    return load(file, environ={"HOME": "/home/ada"})


def problems(tmp_path: Path, text: str) -> list[str]:
    """Return what the strict check says, without the folder."""
    return [str(problem).removeprefix(f"{tmp_path}/") for problem in config(tmp_path, text).check(DRIVERS)]


def refusal(found: Config, name: str = "server42") -> str:
    with pytest.raises(ConfigError) as caught:
        found.host(name, known_drivers=DRIVERS)
    assert caught.value.exit_code == 3
    assert "Nothing was sent" in caught.value.next_step
    return str(caught.value)
