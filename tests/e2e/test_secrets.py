"""The password appears nowhere: not in argv, in children's environments, the journal, logs at -vv, or on a screen."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.e2e.program import Bench, finish, until

Benches = Callable[..., Bench]
PASSWORD = "Ap%2-&s3cret"  # made up; what URL and JSON encoding change is in it


def forms(password: str, user: str) -> list[bytes]:
    """Return the password as it is, and as protocols and files write it."""
    raw = password.encode()
    pair = f"{user}:{password}".encode()
    encoded = [
        raw,
        base64.b64encode(raw),
        base64.b64encode(pair),
        raw.hex().encode(),
        quote(password, safe="").encode(),
    ]
    return [form.rstrip(b"=") for form in encoded]


def found_in(data: bytes, b: Bench) -> list[bytes]:
    return [form for form in forms(PASSWORD, b.machine.user) if form in data]


def written_files(b: Bench) -> list[Path]:
    own = b.folder / "machine"  # the simulated machine's own files, its password file among them
    return [path for path in b.folder.rglob("*") if path.is_file() and own not in path.parents]


def test_a_run_at_the_highest_verbosity_shows_and_writes_no_password(bench: Benches) -> None:
    b = bench(password=PASSWORD)
    process = b.start("nmi", b.host, "--json", "-vv", *b.confirmed())
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "DEBUG" in err, "the libraries' own loggers are on"
    assert found_in(out.encode() + err.encode(), b) == []
    assert {path.name for path in written_files(b)} >= {"journal.jsonl"}
    assert [path for path in written_files(b) if found_in(path.read_bytes(), b)] == []


def test_a_rejected_password_is_not_shown(bench: Benches) -> None:
    b = bench(password="the right one")
    Path(b.machine.password_file).write_text(PASSWORD)
    process = b.start("nmi", b.host, "-vv", *b.confirmed())
    out, err = process.communicate(timeout=60)
    assert process.returncode == 6, err
    assert found_in(out.encode() + err.encode(), b) == []
    assert b.machine.requests()["rakp1"] == 1, "a rejected password is never tried again"


@pytest.mark.parametrize("source", ["env", "command"])
def test_neither_arguments_nor_childrens_environments_hold_it(bench: Benches, source: str) -> None:
    b = bench(password=PASSWORD, nmi_answer_delay=2.0)
    seen = b.folder / "child-environment"
    teller = b.folder / "teller"
    teller.write_text(f"#!/bin/sh\nenv >{seen}\ncat {b.machine.password_file}\n")
    teller.chmod(0o700)
    reference: dict[str, object] = {"env": "BMC_PASSWORD"} if source == "env" else {"command": [str(teller)]}
    b.machine.write_config(b.config, name=b.host, controller={"password": reference})
    b.extra["BMC_PASSWORD"] = PASSWORD
    process = b.start("nmi", b.host, "--no-wait", *b.confirmed())
    until(lambda: b.machine.delivered() == 1, "the NMI arrives")
    assert found_in(Path(f"/proc/{process.pid}/cmdline").read_bytes(), b) == []
    result = finish(process)
    assert result.code == 0, result.err
    if source == "command":
        assert found_in(seen.read_bytes(), b) == []
        assert b"PATH=" in seen.read_bytes()


def test_a_traceback_of_ours_shows_no_password(bench: Benches) -> None:
    """A third party's driver that fails with the password in a local variable and in its message."""
    b = bench(password=PASSWORD)
    package = b.folder / "site" / "leaky.py"
    package.parent.mkdir()
    package.write_text(
        "from trigger.driver import Driver, Probe\n"
        "class Leaky(Driver):\n"
        "    def probe(self, deadline):\n"
        "        word = self.options.secrets.password()\n"
        "        raise ZeroDivisionError(f'failed with {word}')\n"
        "    def send_nmi(self, deadline):\n"
        "        raise AssertionError\n"
    )
    entry_points = b.folder / "site" / "leaky-1.0.dist-info"
    entry_points.mkdir()
    (entry_points / "METADATA").write_text("Metadata-Version: 2.1\nName: leaky\nVersion: 1.0\n")
    (entry_points / "entry_points.txt").write_text("[trigger.drivers]\nleaky = leaky:Leaky\n")
    b.extra["PYTHONPATH"] = str(b.folder / "site")
    b.config.write_text(b.config.read_text().replace('"ipmi"', '"leaky"'))
    process = b.start("nmi", b.host, "-vv", *b.confirmed())
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert "ZeroDivisionError" in err
    assert found_in(out.encode() + err.encode(), b) == []
