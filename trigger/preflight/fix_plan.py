"""--fix-plan: the remedies as a shell script for a person to review. It is printed, never run.

Lines are constants with quoted, validated parameters; nothing that a host said stands in it. Each host's part
runs on a machine of that name only.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from trigger.preflight.check import quoted
from trigger.preflight.rows import Row, catalogue, worth_reading

_HEAD = """#!/bin/sh
# Remedies that `trigger preflight --fix-plan` found on {when}. Nothing in here was run.
# Read every line. Run it as root on the host that it is for; on any other it does nothing. Lines that a person
# has to decide stand as remarks. Afterwards: trigger preflight HOST
"""


def fix_plan(rows: Iterable[Row], now: float) -> Iterator[str]:
    """Yield the lines of the script for every host that has something to mend."""
    yield _HEAD.format(when=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now)))
    for row in rows:
        findings = [f for f in worth_reading(row) if f.get("remedy") and not f.get("controller")]
        findings = [f for f in findings if f["check"] != "host-login"]
        node = quoted(str(row["nodename"]))
        if findings and node is not None:
            yield from _part(findings, node)


def _part(findings: list[Row], node: str) -> Iterator[str]:
    yield f"# ---- {node}"
    yield f'if [ "$(uname -n)" = {node} ]; then'
    yield "    :"
    done: set[str] = set()
    for finding in findings:
        check = catalogue()[finding["check"]]
        yield f"    # {check.name} ({finding['verdict']}): {check.why}"
        for line in finding["remedy"]:
            if line.startswith("#") or line not in done:
                yield f"    {line}"
            done.add(line)
    yield "fi"
    yield ""
