"""A report as one self-contained page: nothing is loaded, no script runs, and what hosts say is text."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from trigger.exit_codes import MEANINGS
from trigger.report.fold import Report
from trigger.report.plain import sections, utc
from trigger.report.timeline import drawing
from trigger.text import harmless


def as_page(report: Report) -> str:
    """Return the page. The Content-Security-Policy allows its own style sheet, by its hash, and nothing else."""
    from jinja2 import Environment
    from markupsafe import Markup

    pages = resources.files("trigger.pages")
    style = pages.joinpath("report.css").read_text(encoding="utf-8")
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        pages.joinpath("report.html").read_text(encoding="utf-8")
    )
    parts = {section.key: section for section in sections(report)}
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return template.render(
        report=report,
        title=harmless(f"{report.host}: {report.title}"),
        when=utc(report.began_at),
        kind=_kind(report),
        safe=_safe(report),
        parts=parts,
        rest=[parts[key] for key in ("done", "before", "log", "preflight", "kept") if key in parts],
        console=[{"line": line, "kind": _mark(line.phase) if line.mark else ""} for line in report.console],
        picture=drawing(report),
        style=Markup(style),  # noqa: S704  our own file
        style_hash=Markup(f"sha256-{digest}"),  # noqa: S704
    )


def _mark(phase: str) -> str:
    return "alarm" if phase in ("panicked", "failed", "ignored", "denied") else "sign"


def _kind(report: Report) -> str:
    """Return how the verdict is coloured: good, bad, open, or quiet where nothing was sent."""
    code = report.exit_code
    if code is None and not report.sent:
        return "quiet"
    if code == 0:
        return "good" if report.meaning is MEANINGS[0] else "open" if report.sent else "quiet"
    return "bad" if code in (8, 9) else "quiet" if code is not None and code < 7 else "open"


def _safe(report: Report) -> dict[str, str]:
    end = report.finished
    if end is None and not report.sent:
        return {"kind": "", "text": "Nothing was sent", "reason": ""}
    said = end.safe_to_power_cycle if end is not None else "unknown"
    words = {"yes": "Safe to power-cycle", "no": "Do not power-cycle"}
    kind = {"yes": "good", "no": "bad"}.get(said, "open")
    return {
        "kind": kind,
        "text": words.get(said, "Do not power-cycle: not known to be safe"),
        "reason": harmless(end.safe_reason) if end is not None else "the run has no end in the journal",
    }
