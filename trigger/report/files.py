"""Finds a run, reads what lies beside it, and writes its report in the form that is asked for."""

from __future__ import annotations

import json
import os
from pathlib import Path

from trigger.errors import ConfigError, TriggerError
from trigger.journal import read_journal, read_journals
from trigger.report.fold import Report, fold, read_beside
from trigger.run_files import REPORT_PAGE, REPORT_TEXT, RunFiles
from trigger.state import StateFolder


def find(state: StateFolder, host: str = "", run: str = "") -> Report:
    """Return the report of `run`, or of the newest run, of `host` or of any.

    Raises ConfigError when there is none, GuardRefused when a journal that may have it cannot be read.
    """
    newest: tuple[float, str, str] | None = None
    unread: list[TriggerError] = []
    for name, lines in read_journals(state, [host] if host else state.host_names(), unread):
        for line in lines:
            if run in ("", line.run) and (newest is None or line.time >= newest[0] or (run and name == newest[1])):
                newest = (line.time, name, line.run)
    if unread and (newest is None or not run):
        raise unread[-1]
    if newest is None:
        whose = f"run {run}" if run else "runs"
        raise ConfigError(
            f"no {whose}{' of ' + host if host else ''} in {state.path}", next_step="trigger history lists the runs."
        )
    return report_of(state, newest[1], newest[2])


def report_of(state: StateFolder, host: str, run: str) -> Report:
    """Return the report of one run. Raises ConfigError when its host's journal does not have it."""
    report = fold(read_journal(state, host), run, read_beside(RunFiles(state, host, run)))
    if report is None:
        raise ConfigError(f"{host}: the journal has no run {run}", next_step=f"trigger history {host} lists its runs.")
    return report


def rendered(report: Report, form: str) -> str:
    """Return the report as text, md, html or json."""
    if form == "json":
        return json.dumps(report.to_json(), indent=1)
    if form == "html":
        from trigger.report.page import as_page

        return as_page(report)
    from trigger.report.plain import as_markdown, as_text

    return as_markdown(report) if form == "md" else as_text(report)


def write_reports(state: StateFolder, host: str, run: str) -> Path:
    """Write report.html and report.md into the incident folder, and return the page's path.

    Raises TriggerError or OSError.
    """
    report = report_of(state, host, run)
    files = RunFiles(state, host, run)
    for name, form in ((REPORT_TEXT, "md"), (REPORT_PAGE, "html")):
        files.write(name, rendered(report, form).encode("utf-8", "replace"))
    return files.path / REPORT_PAGE


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads: it may hold what a console said. Raises ConfigError."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "w", encoding="utf-8", errors="replace") as stream:
            stream.write(text + "\n")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
