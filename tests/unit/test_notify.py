"""Notifications: who is told what, how long it may take, and what a failure looks like."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.configured import config
from tests.unit.webhook import Webhook
from trigger.errors import ConfigError
from trigger.host import SecretReference
from trigger.notify import NotDelivered, Notifier, Notify, post, run_command

EVENT: dict[str, Any] = {"kind": "start", "host": "server42", "text": "a $(touch x) `b` \n c"}


def test_a_webhook_gets_each_event_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    with Webhook() as hook:
        monkeypatch.setenv("TRIGGER_TEST_HOOK", hook.url)
        notifier = Notifier(Notify(SecretReference("env", "TRIGGER_TEST_HOOK")))
        for kind in ("start", "landed", "verdict"):
            notifier.tell({**EVENT, "kind": kind})
        finish(notifier)
    assert notifier.failures() == []
    assert [event["kind"] for event in hook.events] == ["start", "landed", "verdict"]
    assert hook.events[0] == EVENT
    assert set(hook.paths) == {"/hook/s3cret-t0ken?x=1"}


def finish(notifier: Notifier, limit: float = 60.0) -> None:
    notifier.finish()
    end = time.monotonic() + limit
    while not notifier.done():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("fault", "words"),
    [("500", "status 500"), ("redirect", "status 307"), ("hang", "no answer within"), ("dribble", "no answer within")],
)
def test_a_webhook_that_fails_is_said_without_its_url(fault: str, words: str) -> None:
    with Webhook(fault) as hook:
        begun = time.monotonic()
        with pytest.raises(NotDelivered, match=words) as caught:
            post(hook.url, EVENT, limit_s=1.0)
        assert "s3cret" not in str(caught.value)
        assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1/x", "127.0.0.1:80", "http://", "http://[::1", "http://127.0.0.1:99999/x"]
)
def test_a_url_that_is_none_is_said_without_repeating_it(url: str) -> None:
    with pytest.raises(NotDelivered) as caught:
        post(url, EVENT)
    assert "127.0.0.1" not in str(caught.value)


def test_a_closed_port_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(NotDelivered, match="refused"):
        post(f"http://127.0.0.1:{port}/", EVENT)


def script(tmp_path: Path, text: str) -> tuple[str, ...]:
    path = tmp_path / "notify.sh"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return (str(path), "--team", "a b")


def test_a_command_gets_json_on_its_input_and_a_clean_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BMC_PASSWORD", "s3cret")
    out = tmp_path / "out"
    run_command(script(tmp_path, f'cat > {out}; echo "$0|$1|$2|$PWD" >> {out}; env >> {out}'), EVENT)
    first, second, *environment = out.read_text().splitlines()
    assert json.loads(first) == EVENT
    assert second.endswith("|--team|a b|/")
    assert not any("BMC_PASSWORD" in line for line in environment)


def test_an_event_larger_than_a_pipe_does_not_wait_for_a_reader(tmp_path: Path) -> None:
    run_command(script(tmp_path, "exit 0"), {**EVENT, "console": "x" * 1_000_000})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo 'no such team' >&2; exit 3", "status 3: no such team"),
        ("kill -9 $$", "status -9"),
        ("sleep 600", "did not end"),
    ],
)
def test_a_command_that_fails_is_said(tmp_path: Path, text: str, words: str) -> None:
    begun = time.monotonic()
    with pytest.raises(NotDelivered, match=words):
        run_command(script(tmp_path, text), EVENT, limit_s=1.0)
    assert time.monotonic() - begun < 20


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(NotDelivered):
        run_command(script(tmp_path, f"sleep 600 & echo $! > {pid}; wait"), EVENT, limit_s=1.0)
    child = int(pid.read_text())
    end = time.monotonic() + 20
    while Path(f"/proc/{child}/stat").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text().split()[2]:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_command_that_is_not_there_is_said() -> None:
    for command in (("/no/such/program",), ("no-such-program-here",)):
        with pytest.raises(NotDelivered, match=r"is not in /usr|cannot be run"):
            run_command(command, EVENT)


def test_one_way_that_hangs_does_not_hold_up_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    with Webhook("hang") as hook:
        monkeypatch.setenv("TRIGGER_TEST_HOOK", hook.url)
        notifier = Notifier(Notify(SecretReference("env", "TRIGGER_TEST_HOOK"), script(tmp_path, f"cat >> {out}")))
        begun = time.monotonic()
        notifier.tell(EVENT)
        notifier.tell({**EVENT, "kind": "verdict"})
        assert time.monotonic() - begun < 0.5, "it only queues"
        end = time.monotonic() + 60
        while not (out.exists() and out.read_text().count("\n") == 2):
            assert time.monotonic() < end
            time.sleep(0.02)
        assert not notifier.done()
        assert any("not delivered in time" in failure for failure in notifier.failures())
        hook.stopping.set()
        finish(notifier)


def test_a_secret_that_cannot_be_had_is_a_failure_and_no_more() -> None:
    notifier = Notifier(Notify(SecretReference("env", "TRIGGER_NO_SUCH_VARIABLE", "config.yaml:3")))
    notifier.tell(EVENT)
    finish(notifier)
    [failure] = notifier.failures()
    assert failure == (
        "notify webhook: start: config.yaml:3: the URL of the webhook cannot be had: "
        "the environment variable TRIGGER_NO_SUCH_VARIABLE is not set"
    )
    assert "TRIGGER_NO_SUCH_VARIABLE" not in os.environ


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("webhook: https://hooks.example.com/s3cret", "notify.webhook: must say where the URL is"),
        ("webhook: {prompt: true}", "notify.webhook: cannot be asked for"),
        ("command: page-oncall", "notify.command: must be a list"),
        ("command: [bin/page]", "notify.command[0]: must be an absolute path"),
        ("include_console: maybe", "notify.include_console: must be true or false"),
        ("webhok: {env: X}", "notify.webhok: unknown key 'webhok'; did you mean 'webhook'?"),
    ],
)
def test_what_is_written_wrongly_is_named_and_stops_no_run(tmp_path: Path, text: str, problem: str) -> None:
    controllers = "[{driver: ipmi, address: 192.0.2.7}]"
    found = config(tmp_path, f"notify:\n  {text}\nhosts: {{server42: {{controllers: {controllers}}}}}\n")
    [said] = map(str, found.check())
    assert f"config.yaml:2: {problem}" in said
    assert "s3cret" not in said
    assert found.host("server42").name == "server42"
    assert found.warnings_for("server42") == [said]
    assert not found.notify


def test_what_is_written_rightly_is_read(tmp_path: Path) -> None:
    found = config(tmp_path, "notify: {webhook: {env: HOOK}, command: [page, '{host}'], include_console: true}\n")
    assert found.check() == []
    assert found.notify.command == ("page", "{host}")
    assert (found.notify.webhook.kind if found.notify.webhook else "", found.notify.include_console) == ("env", True)
    with pytest.raises(ConfigError):
        found.host("server42")
