"""`trigger hosts --check` asks the drivers too: what only they understand is wrong before the emergency."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from trigger import cli
from trigger.config import file as config_file
from trigger.errors import ConfigError, TriggerError


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
        (
            {"driver": "drac", "address": "a.example.com", "options": {"legacy_shs": True}},
            "unknown option 'legacy_shs'; did you mean 'legacy_ssh'?",
        ),
        (
            {"driver": "redfish", "address": "a.example.com", "options": {"x": 1}},
            "unknown option 'x'; its driver takes login, legacy_tls, scheme",
        ),
        ({"driver": "ipmi", "address": "a.example.com", "options": {"baud": 9600}}, "its driver takes none"),
        (
            {"driver": "ilo", "address": "a.example.com", "options": {"legacy_tls": "true"}},
            "option legacy_tls must be true or false, without quotes",
        ),
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


def hosts(folder: Path, *arguments: str, more: str = "") -> tuple[int, str]:
    config = folder / "config.yaml"
    config.write_text(f"{more}hosts:\n  server42: {{controllers: [{{driver: ipmi, address: 192.0.2.1}}]}}\n")
    done = CliRunner().invoke(cli.trigger, ["hosts", *arguments, "--config", str(config)])
    raised = str(done.exception) if isinstance(done.exception, TriggerError) else ""
    return done.exit_code, done.output + raised


def test_a_policy_that_would_refuse_every_fire_is_found(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    more = f"policy: {policy}\n"
    code, said = hosts(tmp_path, "--check", more=more)
    assert (code, said.splitlines()[-1]) == (3, f"{tmp_path}/config.yaml: 1 problem")
    assert f"The policy {policy} cannot be read (No such file or directory)" in said
    policy.write_text("fires_per_hour: 0\nroutes: [nmi, x/y]\n")
    code, said = hosts(tmp_path, "--check", more=more)
    assert (code, said.splitlines()[-1]) == (3, f"{tmp_path}/config.yaml: 2 problems")
    assert f"{policy}:1: fires_per_hour: must be a whole number" in said
    policy.write_text("fires_per_hour: 1\n")
    assert hosts(tmp_path, "--check", more=more) == (0, f"{tmp_path}/config.yaml: 1 host, no problems\n")


def test_a_host_that_is_not_there_is_not_in_order(tmp_path: Path) -> None:
    assert hosts(tmp_path, "--check", "server42")[0] == 0
    assert "no host is named 'server43'" in hosts(tmp_path, "--check", "server43")[1]


def test_a_file_that_cannot_be_read_is_no_wrong_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For root everything can be read, so the kernel's answer to "may I?" is what is changed here."""
    monkeypatch.setattr(os, "access", lambda *_a, **_k: False)
    assert hosts(tmp_path, "--check")[0] == 0


@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_no_configuration_at_all_is_not_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TRIGGER_CONFIG", raising=False)
    monkeypatch.setattr(config_file, "SYSTEM_FILE", tmp_path / "system.yaml")
    done = CliRunner().invoke(cli.trigger, ["hosts", *arguments])
    assert isinstance(done.exception, ConfigError)
    looked = f"{tmp_path}/.config/trigger/config.yaml and {tmp_path}/system.yaml"
    assert done.exception.message == f"there is no configuration (looked at {looked})"
