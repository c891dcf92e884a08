"""The page of a fleet: one self-contained file, a matrix of hosts against routes and stages.

Nothing is loaded from anywhere (Content-Security-Policy: default-src 'none'). What hosts said goes into a
block of JSON and becomes text nodes. Texts that many hosts share stand in it once, so that 5,000 hosts are
some MB.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from importlib import resources
from typing import Any

from trigger.preflight.check import ALL_ROUTES, STAGES
from trigger.preflight.rows import Row, catalogue
from trigger.preflight.table import STATES

_NUMBERS = {"pass": 0, "warn": 1, "unknown": 2, "fail": 3}
_DATA = "@@ the data of the hosts @@"


def page_lines(rows: Callable[[], Iterable[Row]], now: float) -> Iterator[str]:
    """Yield the page, piece by piece, each to be followed by a newline. `rows` is called twice."""
    head, _, tail = _frame(rows(), now).partition(_DATA)
    yield head.rstrip("\n")
    texts: dict[tuple[str, tuple[str, ...]], int] = {}
    constant = {
        "routes": [route.value for route in ALL_ROUTES],
        "stages": [stage.value for stage in STAGES],
        "checks": {
            name: {
                "why": check.why,
                "source": check.source,
                "stage": check.stage.value,
                "routes": [route.value for route in check.routes],
            }
            for name, check in catalogue().items()
        },
    }
    yield _json(constant)[:-1] + ',"hosts":['
    comma = ""
    for row in rows():
        yield comma + _json(_host(row, texts))
        comma = ","
    yield '],"texts":' + _json([[says, remedy] for says, remedy in texts]) + "}"
    yield tail.strip("\n")


def _frame(rows: Iterable[Row], now: float) -> str:
    from jinja2 import Environment
    from markupsafe import Markup

    pages = resources.files("trigger.pages")
    style = pages.joinpath("preflight.css").read_text(encoding="utf-8")
    script = pages.joinpath("preflight.js").read_text(encoding="utf-8")
    template = Environment(autoescape=True).from_string(pages.joinpath("preflight.html").read_text(encoding="utf-8"))
    states = Counter(row["state"] for row in rows)
    return template.render(
        when=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now)),
        total=sum(states.values()),
        counts=", ".join(f"{states[state]} {name.lower()}" for state, name in STATES.items() if states[state]),
        style=Markup(style),  # noqa: S704  our own files
        style_hash=Markup(_hash(style)),  # noqa: S704
        script=Markup(script),  # noqa: S704
        script_hash=Markup(_hash(script)),  # noqa: S704
        data=_DATA,
    )


def _hash(text: str) -> str:
    """Return what allows exactly this inline text (CSP level 3, hash-source)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _host(row: Row, texts: dict[tuple[str, tuple[str, ...]], int]) -> dict[str, Any]:
    findings, abilities = [], {}
    for finding in row["findings"]:
        number = texts.setdefault((finding["says"], tuple(finding.get("remedy", ()))), len(texts))
        plain = [finding["check"], _NUMBERS[finding["verdict"]], number]
        controller = finding.get("controller")
        if controller:
            plain.append(controller)
            if finding["check"] == "controller-login":
                abilities[controller] = finding["routes"]
        findings.append(plain)
    matrix = [
        _NUMBERS[row["routes"].get(route.value, {}).get(stage.value, "unknown")]
        for route in ALL_ROUTES
        for stage in STAGES
    ]
    kept = {key: row[key] for key in ("host", "state", "os", "kernel", "problem")}
    return {**kept, "matrix": matrix, "findings": findings, "abilities": abilities}


def _json(value: Any) -> str:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
