"""`trigger hosts --check` asks the drivers too: what only they understand is wrong before the emergency."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from trigger import cli


def check(folder: Path, **controller: object) -> tuple[int, str]:
    config = folder / "config.yaml"
    config.write_text("hosts:\n  server42:\n    controllers:\n      - " + json.dumps(controller) + "\n")
    done = CliRunner().invoke(cli.trigger, ["hosts", "--check", "--config", str(config)])
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("controller", "words"),
    [
        ({"driver": "ssh-console", "address": "a.example.com", "options": {"kind": "ibm"}}, "kind is 'ibm'"),
        ({"driver": "rfc2217", "address": "a.example.com"}, "has no port of its own"),
        ({"driver": "serial", "address": "a.example.com"}, "is no device"),
        ({"driver": "serial", "address": "/dev/ttyS0", "options": {"baud": 7}}, "baud is 7"),
        ({"driver": "conserver", "address": "a.example.com"}, "no `system:`"),
        ({"driver": "ilo", "address": "a.example.com", "options": {"ssh_port": "x"}}, "ssh_port is not a number"),
        ({"driver": "host", "address": "a.example.com", "options": {"engine": "putty"}}, "engine is 'putty'"),
    ],
)
def test_wrong_options_are_found_with_their_line(tmp_path: Path, controller: dict[str, object], words: str) -> None:
    code, said = check(tmp_path, **controller)
    assert code == 3
    assert words in said
    assert "config.yaml:4: server42" in said


@pytest.mark.parametrize(
    "controller",
    [
        {"driver": "ssh-console", "address": "a.example.com", "options": {"kind": "openbmc"}},
        {"driver": "rfc2217", "address": "a.example.com", "port": 7001, "options": {"baud": 9600}},
        {"driver": "serial", "address": "/dev/ttyUSB0"},
        {"driver": "conserver", "address": "a.example.com", "system": "{host}"},
        {"driver": "host", "address": "a.example.com"},
    ],
)
def test_what_is_right_passes(tmp_path: Path, controller: dict[str, object]) -> None:
    assert check(tmp_path, **controller)[0] == 0
