"""A preflight for machines: JSON, CSV, JUnit and Prometheus, line by line, so that a fleet is never held
whole.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from trigger.preflight.check import ALL_ROUTES, Verdict
from trigger.preflight.rows import Row, described, failing
from trigger.preflight.verdict import worst
from trigger.text import csv_cell

_COLUMNS = ("host", "state", *(route.value for route in ALL_ROUTES), "os", "kernel", "failing", "says")


def json_lines(rows: Iterable[Row]) -> Iterator[str]:
    """Yield one host a line."""
    for row in rows:
        yield json.dumps(described(row), separators=(",", ":"))


def route_verdict(row: Row, route: str) -> str:
    """Return the worst verdict of a route's stages; unknown where nothing was looked at."""
    stages = row["routes"].get(route, {})
    return worst(Verdict(verdict) for verdict in stages.values()).value if stages else Verdict.UNKNOWN.value


def csv_lines(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the hosts as CSV; a cell that a spreadsheet would take for a formula is quoted."""
    yield ",".join(_COLUMNS)
    for row in rows:
        bad = failing(row)
        routes = [route_verdict(row, route.value) for route in ALL_ROUTES]
        checks, says = " ".join(f["check"] for f in bad), "; ".join(f["says"] for f in bad)
        cells = [row["host"], row["state"], *routes, row["os"], row["kernel"], checks, says]
        out = io.StringIO()
        csv.writer(out, lineterminator="").writerow([csv_cell(str(cell)) for cell in cells])
        yield out.getvalue()


def junit_lines(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the hosts as JUnit XML: a suite per host, a case per check."""
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield "<testsuites>"
    for row in rows:
        count = f'tests="{max(1, len(row["findings"]))}" failures="{len(failing(row)) or int(not row["findings"])}"'
        yield f"  <testsuite name={_attribute(row['host'])} {count}>"
        if not row["findings"]:
            yield (
                f'    <testcase classname={_attribute(row["host"])} name="configuration">'
                f"<failure message={_attribute(row['problem'])}/></testcase>"
            )
        for finding in row["findings"]:
            yield _junit_case(row, finding)
        yield "  </testsuite>"
    yield "</testsuites>"


def _junit_case(row: Row, finding: Row) -> str:
    from xml.sax.saxutils import escape

    name = f"{finding['controller']}: {finding['check']}" if finding.get("controller") else finding["check"]
    case = f"    <testcase classname={_attribute(row['host'])} name={_attribute(name)}"
    if finding["verdict"] == "fail":
        body = escape("\n".join(finding.get("remedy", ())))
        return f"{case}><failure message={_attribute(finding['says'])}>{body}</failure></testcase>"
    if finding["verdict"] == "unknown":
        return f"{case}><skipped message={_attribute(finding['says'])}/></testcase>"
    return f"{case}/>"


def _attribute(value: object) -> str:
    # a row's texts are harmless already: nothing is left that XML does not allow
    from xml.sax.saxutils import quoteattr

    return quoteattr(str(value))


_METRICS = (
    ("trigger_preflight_ready", "Whether a crash dump would result (1) or not (0)."),
    ("trigger_preflight_seen", "Whether anything of the host answered."),
    ("trigger_preflight_route", "Verdict of a route: 0 pass, 1 warn, 2 unknown, 3 fail."),
    ("trigger_preflight_time_seconds", "When the host was looked at, in seconds since the epoch."),
)
_NUMBERS = {"pass": 0, "warn": 1, "unknown": 2, "fail": 3}


def prometheus_lines(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the hosts in Prometheus's text format, for node_exporter's textfile collector."""
    samples: list[list[str]] = [[], [], [], []]
    for row in rows:
        host = f'host="{_label(row["host"])}"'
        samples[0].append(f"{{{host}}} {int(row['ready'])}")
        samples[1].append(f"{{{host}}} {int(row['state'] != 'unreachable')}")
        for route in ALL_ROUTES:
            number = _NUMBERS[route_verdict(row, route.value)]
            samples[2].append(f'{{{host},route="{route.value}"}} {number}')
        if row["time"]:
            samples[3].append(f"{{{host}}} {row['time']}")
    for (name, text), values in zip(_METRICS, samples, strict=True):
        yield f"# HELP {name} {text}"
        yield f"# TYPE {name} gauge"
        for value in values:
            yield name + value


def _label(value: Any) -> str:
    return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
