"""A third party's driver, in a package of its own, works without touching ours; a name claimed twice is an error."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.program import Bench

Benches = Callable[..., Bench]

DRIVER = '''
"""A driver that writes what it would send to a file."""
from pathlib import Path
from trigger.clock import Deadline
from trigger.driver import Accepted, Driver, Identity, Power, Probe


class AcmeDriver(Driver):
    """Counts in the file that its `address` names."""

    def probe(self, deadline: Deadline) -> Probe:
        return Probe(Identity(uuid=str(self.controller.options["uuid"])), Power.ON, True)

    def send_nmi(self, deadline: Deadline) -> Accepted:
        with Path(str(self.controller.options["file"])).open("a") as file:
            file.write("NMI\\n")
        return Accepted("acme says yes")
'''


def install(folder: Path, package: str) -> Path:
    """Build and install a package that brings the driver `acme`; return the folder to put on the path."""
    source = folder / package
    (source / package).mkdir(parents=True)
    (source / package / "__init__.py").write_text(DRIVER)
    (source / "pyproject.toml").write_text(
        f"""
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "{package}"
version = "1.0"
[project.entry-points."trigger.drivers"]
acme = "{package}:AcmeDriver"
"""
    )
    target = folder / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
         "--disable-pip-version-check", "--no-warn-script-location", "--target", target, source],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return target


def with_acme(b: Bench) -> Path:
    """Configure server42 with the third party's driver; return the file that counts."""
    counted = b.folder / "counted"
    uuid = "11111111-2222-4333-8444-555555555555"
    b.config.write_text(
        f"""
hosts:
  {b.host}:
    identity: {{uuid: {uuid}}}
    controllers:
      - driver: acme
        address: acme.example.com
        options: {{file: "{counted}", uuid: {uuid}}}
"""
    )
    return counted


@pytest.fixture
def b(bench: Benches) -> Bench:
    return bench()


def test_a_separately_installed_driver_fires(b: Bench) -> None:
    b.extra["PYTHONPATH"] = str(install(b.folder, "acme_one"))
    counted = with_acme(b)
    result = b.run("nmi", b.host, "--json", "--no-wait", *b.confirmed())
    assert result.code == 0, result.err
    assert result.event("Fired")["answer"] == "acme says yes"
    assert counted.read_text() == "NMI\n"
    listed = b.start("drivers", "--json")
    out, _ = listed.communicate(timeout=30)
    rows = {row["name"]: row for row in json.loads(out)["drivers"]}
    assert rows["acme"]["package"] in ("acme_one", "acme-one")
    assert rows["acme"]["abilities"] == ["nmi"]


def test_a_name_that_two_packages_claim_is_an_error_naming_both(b: Bench) -> None:
    install(b.folder, "acme_one")
    b.extra["PYTHONPATH"] = str(install(b.folder, "acme_two"))
    counted = with_acme(b)
    result = b.run("nmi", b.host, "--no-wait", *b.confirmed())
    assert result.code == 3, result.err
    assert "acme_one and acme_two" in result.err.replace("-", "_")
    assert not counted.exists()
    assert b.run("drivers").code == 3


def test_an_unknown_driver_is_named_with_a_suggestion(b: Bench) -> None:
    b.config.write_text(b.config.read_text().replace('"ipmi"', '"ipmy"'))
    result = b.run("nmi", b.host, "--no-wait", *b.confirmed())
    assert result.code == 3
    assert "'ipmy'" in result.err
    assert "'ipmi'" in result.err
