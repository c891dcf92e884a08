"""The hosts of tests/checks/*.yaml: what the script prints there, and simulated fleets made of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from trigger.clock import FastClock
from trigger.driver import Identity, Power, Probe
from trigger.host import Controller, Host, Ssh
from trigger.preflight.audit import HostResult, judge
from trigger.preflight.check import Route
from trigger.preflight.controllers import Asked, Asking
from trigger.preflight.facts import Facts
from trigger.preflight.readings import parse

FOLDER = Path(__file__).parents[2] / "checks"
NONCE = "0f3c6a0b-2d3c-8a41-4f8c-697261dbaff8"
BANNER = "*** AUTHORIZED USE ONLY ***\n@ = 0\ntrigger-preflight 2 old\n"
ORDER = ("folder /var/crash", "df", "writable", "filesystem", "layers", "listing")


@cache
def system(name: str) -> Mapping[str, Any]:
    """Return a file with what it inherits laid below it."""
    own = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    if "like" not in own:
        return {"frames": {}, "files": {}, **own}
    base = system(own["like"])
    merged = {key: {**base.get(key, {}), **own.get(key, {})} for key in ("frames", "files")}
    return {**own, **merged}


def output(frames: Mapping[str, Any], files: Mapping[str, Any]) -> str:
    """Return what the script prints on a host with these readings."""
    lines = "\n".join(f"{path}:{text}" for path, text in files.items() if text is not None)
    frames = {"lines": lines, **frames}
    ordered = {name: frames[name] for name in frames if name not in ORDER}
    ordered |= {name: frames[name] for name in ORDER if name in frames}
    last = ordered.pop("last", None)
    printed = [BANNER, f"\ntrigger-preflight 1 {NONCE}\n"]
    for name, value in [*ordered.items(), ("last", last)]:
        if value is not None:
            text, status = (value["text"], value["status"]) if isinstance(value, dict) else (value, "0")
            printed.append(f"\n@{NONCE} {name}\n{text}\n@{NONCE} = {status}\n")
    return "".join(printed)


def printed(name: str, case: Mapping[str, Any]) -> str:
    """Return what the script prints on the host of a case."""
    base = system(name)
    frames = {**base["frames"], **case.get("frames", {})}
    files = {**base["files"], **case.get("files", {})}
    return output(frames, files)


def all_cases() -> list[tuple[str, Mapping[str, Any]]]:
    """Return every case with the name of its file."""
    return [(path.stem, case) for path in sorted(FOLDER.glob("*.yaml")) for case in system(path.stem)["cases"]]


class NoSecrets:
    """Answers for controllers that nobody asks."""

    def password(self) -> str:
        """Fail: no simulated answer needs a password."""
        raise AssertionError("a simulated controller was asked")


def simulated_result(host: str, name: str, case: Mapping[str, Any], power: Power = Power.ON) -> HostResult:
    """Return the preflight of a simulated host with one BMC: real judgement, no sockets."""
    asking = Asking(lambda controller: NoSecrets(), clock=FastClock())
    configured = Host(host, (Controller("ipmi", "ipmi", "192.0.2.1"),), Ssh(host))
    facts = Facts(parse(printed(name, case)), asked_at=1_795_413_870.0, answered_at=1_795_413_872.0)
    probe = Probe(Identity(uuid=facts.word("dmi.product_uuid")), power, learned={"cipher_suite": 17})
    asked = Asked(configured.controllers[0], (Route.NMI, Route.SYSRQ_SOL), probe)
    return judge(configured, facts, [], [asked], None, asking)


def simulated_fleet(count: int) -> Iterator[HostResult]:
    """Yield `count` hosts that take turns with all the cases."""
    cases = all_cases()
    for number in range(count):
        name, case = cases[number % len(cases)]
        yield simulated_result(f"server{number:05d}", name, case, Power.OFF if number % 97 == 5 else Power.ON)
