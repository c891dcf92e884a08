"""The picture of a run, as numbers for the page: phases as bars, evidence as points, gaps, and an axis.

Every `x` and `width` is a percentage of the run, so that the picture fits any screen while its words keep their size;
every `y` is in pixels.
"""

from __future__ import annotations

from typing import Any

from trigger.report.fold import Report
from trigger.report.plain import since, span_text
from trigger.text import harmless

_PHASE_ROW, _LANE_ROW, _TOP, _AXIS = 34, 34, 8, 30
_BAD = ("failed", "ignored", "denied")
_GOOD = ("saved", "back")
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
_MOST_POINTS = 400  # of one source; a percentage more or less shows nothing


def drawing(report: Report) -> dict[str, Any]:
    """Return what the page draws."""
    total = max(report.ended_at - report.began_at, 0.001)
    phases = [_bar(report, number, total) for number, _ in enumerate(report.phases)]
    lanes_at = _TOP + len(phases) * _PHASE_ROW + 10
    sources = list(dict.fromkeys(m.source for m in report.moments if m.source != "trigger"))
    lanes = [_lane(report, source, lanes_at + n * _LANE_ROW, total) for n, source in enumerate(sources)]
    bottom = lanes_at + len(lanes) * _LANE_ROW
    gaps: list[dict[str, Any]] = [
        {
            "x": _percent(gap.begin_s, total),
            "width": max(0.2, _percent(gap.end_s, total) - _percent(gap.begin_s, total)),
            "text": f"nothing seen for {span_text(gap.end_s - gap.begin_s)}",
            "wide": gap.end_s - gap.begin_s > 0.3 * total,
        }
        for gap in report.gaps
    ]
    return {
        "height": bottom + _AXIS,
        "bottom": bottom,
        "lanes_at": lanes_at,
        "lanes_height": bottom - lanes_at,
        "phases": phases,
        "lanes": lanes,
        "gaps": gaps,
        "longest": sorted(gaps, key=lambda gap: -gap["width"])[:3],
        "shots": [_percent(shot.at - report.began_at, total) for shot in report.shots],
        "ticks": _ticks(report, total),
    }


def _bar(report: Report, number: int, total: float) -> dict[str, Any]:
    span = report.phases[number]
    x = _percent(span.begin_s, total)
    width = max(0.4, _percent(span.end_s, total) - x)
    kind = (
        "bad" if span.name in _BAD else "good" if span.name in _GOOD else "quiet" if span.name == "before" else "plain"
    )
    name = "before the fire" if span.name == "before" else span.name
    return {
        "y": _TOP + number * _PHASE_ROW,
        "x": min(x, 99.6),
        "width": min(width, 100 - min(x, 99.6)),
        "text": f"{name}, {_short(span.end_s - span.begin_s)}",
        "kind": kind,
        "right": x > 50,
        "anchor_x": min(100.0, x + width) if x > 50 else x,
    }


def _lane(report: Report, source: str, y: int, total: float) -> dict[str, Any]:
    moments = [moment for moment in report.moments if moment.source == source]
    step = max(1, len(moments) // _MOST_POINTS)
    points = [
        {
            "x": min(99.0, max(1.0, _percent(moment.at - report.began_at, total))),
            "grade": moment.grade or "none",
            "text": f"{since(report, moment.at)} {harmless(moment.text, limit=200)}",
        }
        for moment in moments[::step]
    ]
    return {"y": y, "name": harmless(source), "count": len(moments), "points": points}


def _ticks(report: Report, total: float) -> list[dict[str, Any]]:
    """Return at most five moments, counted from the fire."""
    zero = (report.fired_at or report.began_at) - report.began_at
    step = next((step for step in _STEPS_S if (total - zero) / step <= 4), _STEPS_S[-1])
    count = int((total - zero) / step) + 1
    return [
        {"x": _percent(zero + n * step, total), "text": _short(n * step) if n else "fire" if report.fired_at else "0 s"}
        for n in range(min(count, 9))
    ]


def _short(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.3g} h"
    return f"{seconds / 60:.3g} min" if seconds >= 120 else f"{seconds:.3g} s"


def _percent(seconds: float, total: float) -> float:
    return round(100 * min(max(seconds / total, 0.0), 1.0), 3)
