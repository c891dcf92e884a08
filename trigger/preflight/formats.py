"""A preflight for machines: JSON, CSV, JUnit and Prometheus. Every text of a host is made harmless first."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping

from trigger.preflight.audit import HostResult
from trigger.preflight.check import ALL_ROUTES, Finding, Verdict
from trigger.preflight.verdict import worst
from trigger.text import csv_cell, harmless

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_mapping(result: HostResult) -> dict[str, object]:
    """Return one host as plain values, as --format json prints it and audits/ keeps it."""
    record = result.record
    return {
        "host": harmless(result.host),
        "state": result.state,
        "ready": result.ready,
        "host_seen": result.host_seen,
        "controllers_seen": result.controllers_seen,
        "problem": harmless(result.problem),
        "routes": {
            route.value: {stage.value: verdict.value for stage, verdict in result.table.get(route, {}).items()}
            for route in ALL_ROUTES
        },
        "findings": [_finding(finding) for finding in result.findings],
        "os": harmless(record.os_name) if record else "",
        "kernel": harmless(record.kernel_release) if record else "",
        "dump_targets": [harmless(target.written) for target in record.dump_targets] if record else [],
        "time": record.written_at if record else None,
    }


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "check": finding.check,
        "controller": finding.controller,
        "verdict": finding.verdict.value,
        "says": harmless(finding.says),
        "stage": finding.stage.value,
        "routes": [route.value for route in finding.routes],
        "decides": finding.decides,
        "why": finding.why,
        "source": finding.source,
        "remedy": [harmless(line) for line in finding.remedy],
    }


def json_line(result: HostResult) -> str:
    """Return one host as one line of JSON."""
    return json.dumps(as_mapping(result), separators=(",", ":"))


_COLUMNS = ("host", "state", *(route.value for route in ALL_ROUTES), "os", "kernel", "failing", "says")


def csv_text(rows: Iterable[Mapping[str, object]]) -> str:
    """Return the hosts as CSV, one a line; a cell that a spreadsheet would take for a formula is quoted."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in rows:
        bad = failing(row)
        routes = [route_verdict(row, route.value) for route in ALL_ROUTES]
        cells = [
            row["host"], row["state"], *routes, row["os"], row["kernel"],
            " ".join(str(f["check"]) for f in bad), "; ".join(str(f["says"]) for f in bad),
        ]  # fmt: skip
        writer.writerow([csv_cell(str(cell)) for cell in cells])
    return out.getvalue()


def failing(row: Mapping[str, object]) -> list[Mapping[str, object]]:
    """Return the findings of a row that fail."""
    findings = row["findings"]
    assert isinstance(findings, list)
    return [finding for finding in findings if finding["verdict"] == Verdict.FAIL.value]


def route_verdict(row: Mapping[str, object], route: str) -> str:
    """Return the worst verdict of a route's stages."""
    routes = row["routes"]
    assert isinstance(routes, dict)
    return worst(Verdict(verdict) for verdict in routes.get(route, {}).values()).value


def junit_text(rows: Iterable[Mapping[str, object]]) -> str:
    """Return the hosts as JUnit XML: a suite per host, a case per check."""
    from xml.sax.saxutils import escape, quoteattr

    def attribute(value: object) -> str:
        return quoteattr(_NOT_XML.sub("?", str(value)))

    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>"]
    for row in rows:
        findings = row["findings"]
        assert isinstance(findings, list)
        lines.append(
            f'  <testsuite name={attribute(row["host"])} tests="{len(findings)}" failures="{len(failing(row))}">'
        )
        for finding in findings:
            name = f"{finding['controller']}: {finding['check']}" if finding["controller"] else finding["check"]
            case = f"    <testcase classname={attribute(row['host'])} name={attribute(name)}"
            if finding["verdict"] == "fail":
                body = escape(_NOT_XML.sub("?", "\n".join(finding["remedy"])))
                lines.append(f"{case}><failure message={attribute(finding['says'])}>{body}</failure></testcase>")
            elif finding["verdict"] == "unknown":
                lines.append(f"{case}><skipped message={attribute(finding['says'])}/></testcase>")
            else:
                lines.append(f"{case}/>")
        lines.append("  </testsuite>")
    return "\n".join([*lines, "</testsuites>", ""])


def prometheus_text(rows: Iterable[Mapping[str, object]]) -> str:
    """Return the hosts in Prometheus's text format, for node_exporter's textfile collector."""
    rows = list(rows)

    def label(value: object) -> str:
        return str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    lines = ["# HELP trigger_preflight_ready Whether a crash dump would result (1) or not (0).",
             "# TYPE trigger_preflight_ready gauge"]  # fmt: skip
    lines += [f'trigger_preflight_ready{{host="{label(row["host"])}"}} {int(bool(row["ready"]))}' for row in rows]
    lines += ["# HELP trigger_preflight_seen Whether anything of the host answered.",
              "# TYPE trigger_preflight_seen gauge"]  # fmt: skip
    lines += [
        f'trigger_preflight_seen{{host="{label(row["host"])}"}} {int(row["state"] != "unreachable")}' for row in rows
    ]
    lines += ["# HELP trigger_preflight_route Verdict of a route: 0 pass, 1 warn, 2 unknown, 3 fail.",
              "# TYPE trigger_preflight_route gauge"]  # fmt: skip
    number = {"pass": 0, "warn": 1, "unknown": 2, "fail": 3}
    for row in rows:
        for route in ALL_ROUTES:
            value = number[route_verdict(row, route.value)]
            lines.append(f'trigger_preflight_route{{host="{label(row["host"])}",route="{route.value}"}} {value}')
    lines += ["# HELP trigger_preflight_time_seconds When the host was looked at, in seconds since the epoch.",
              "# TYPE trigger_preflight_time_seconds gauge"]  # fmt: skip
    lines += [
        f'trigger_preflight_time_seconds{{host="{label(row["host"])}"}} {row["time"]}' for row in rows if row["time"]
    ]
    return "\n".join([*lines, ""])
