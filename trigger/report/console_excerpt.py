"""The part of a console's recording that tells the story: the lines around what the watch recognised, marked."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import NamedTuple

from trigger.text import harmless
from trigger.watch.console_text import plain, sightings

BEFORE_BYTES, AFTER_BYTES = 2048, 4096  # around each mark
LAST_BYTES = 4096  # without any mark
MAX_LINES = 80
_LINE_CHARACTERS = 300
_LONGEST_LINE = 8192  # a line that goes on for longer is cut there
_PASSWORD = re.compile(r"(://[^\s/:@]{0,64}:)[^\s/@]{1,128}@")


class Mark(NamedTuple):
    """What the watch recognised: the pattern's name, and the phase that it stands for."""

    word: str
    phase: str = ""


@dataclass(frozen=True, slots=True)
class ExcerptLine:
    """One line: seconds since the recording began, its text (harmless), and what the watch recognised in it, if it did.

    `gap` says that lines before this one were left out.
    """

    after_s: float
    text: str
    mark: str = ""
    phase: str = ""
    gap: bool = False


@dataclass(slots=True)
class _Line:
    begin: int
    end: int
    after_s: float
    text: str


def excerpts(casts: Sequence[Sequence[bytes]], marks: Sequence[tuple[int, Mark]]) -> tuple[ExcerptLine, ...]:
    """Return what tells the story of several recordings of one run (`trigger wait` makes another one).

    `marks` are offsets into any of them; each counts where the line at its offset says what it stands for. Without any,
    the last lines of the last recording are returned.
    """
    found: list[ExcerptLine] = []
    offsets = sorted(offset for offset, _ in marks)
    for cast in casts if marks else ():
        near = list(_near(cast, offsets))
        valid = _valid(near, marks)
        if valid:
            found += _around(near, valid)
    return tuple(found) if found or not casts else excerpt(casts[-1], {})


def _valid(near: Sequence[_Said], marks: Sequence[tuple[int, Mark]]) -> dict[int, Mark]:
    found: dict[int, Mark] = {}
    ordered = sorted(marks)
    offsets = [offset for offset, _ in ordered]
    for line in _lines(near):
        here = ordered[bisect_left(offsets, line.begin) : bisect_left(offsets, line.end)]
        said = {seen.pattern for seen in sightings(plain(line.text.encode()))} if here else set()
        found |= {offset: mark for offset, mark in here if mark.word in said and offset not in found}
    return found


def excerpt(cast: Iterable[bytes], marks: Mapping[int, Mark]) -> tuple[ExcerptLine, ...]:
    """Return the lines around `marks` (the console's bytes before a line -> what it is), or the last lines.

    `cast` are the lines of console.cast (asciicast v2). Lines that are no JSON are passed over.
    """
    if marks:
        return _around(_near(cast, sorted(marks)), marks)
    last = list(_lines(_last(cast)))
    return _shown([line for line in last if last[-1].end - line.end <= LAST_BYTES], [], marks)


def _around(near: Iterable[_Said], marks: Mapping[int, Mark]) -> tuple[ExcerptLine, ...]:
    offsets = sorted(marks)
    return _shown([line for line in _lines(near) if _within(line.begin, line.end, offsets)], offsets, marks)


def masked(text: str) -> str:
    """Return `text` without passwords in URLs: dump savers print where they save to."""
    return _PASSWORD.sub(r"\1***@", text)


class _Said(NamedTuple):
    """What was said at once, and the console's bytes before it."""

    begin: int
    end: int
    after_s: float
    text: str


def _events(cast: Iterable[bytes]) -> Iterator[_Said]:
    offset = 0
    for line in cast:
        try:
            event = json.loads(line)
            if isinstance(event, list) and event[1] == "o":
                after_s, text = float(event[0]), str(event[2])
                if isfinite(after_s):
                    yield _Said(offset, offset := offset + _size(text), after_s, text)
        except (ValueError, TypeError, IndexError, OverflowError, RecursionError):
            continue


def _within(begin: int, end: int, offsets: Sequence[int], margin: int = 0) -> bool:
    """Return whether what lies between two offsets is in the window of any of the marks at `offsets`, in order."""
    at = bisect_left(offsets, begin - AFTER_BYTES - margin + 1)
    return at < len(offsets) and offsets[at] < end + BEFORE_BYTES + margin


def _near(cast: Iterable[bytes], offsets: Sequence[int]) -> Iterator[_Said]:
    """Yield what may belong to a line near a mark: to cut all of 64 MB into lines takes many seconds."""
    return (said for said in _events(cast) if _within(said.begin, said.end, offsets, _LONGEST_LINE))


def _last(cast: Iterable[bytes]) -> Iterator[_Said]:
    kept: deque[_Said] = deque()
    for said in _events(cast):
        kept.append(said)
        while said.end - kept[0].end > LAST_BYTES + _LONGEST_LINE:
            kept.popleft()
    return iter(kept)


def _lines(events: Iterable[_Said]) -> Iterator[_Line]:
    """Cut the output into lines, each with the console's bytes before and after it; progress ends in returns."""
    rest, begin, since, expected = "", 0, 0.0, 0
    for said in events:
        if said.begin != expected:  # what lies between is not near anything
            if rest:
                yield _Line(begin, begin + _size(rest), since, rest)
            rest, begin = "", said.begin
        expected, after_s = said.end, said.after_s
        if not rest:
            since = after_s
        *finished, rest = re.split(r"(?<=\n)|(?<=\r)(?!\n)", rest + said.text)
        if len(rest) > _LONGEST_LINE:
            finished, rest = [*finished, rest], ""
        for text in finished:
            offset = begin + _size(text)
            yield _Line(begin, offset, since, text)
            begin, since = offset, after_s
    if rest:
        yield _Line(begin, begin + _size(rest), since, rest)


def _size(text: str) -> int:
    """Return how many bytes the console sent for `text`; a replacement character stands for one that was no UTF-8."""
    return len(text) if text.isascii() else len(text.encode()) - 2 * text.count("�")


def _shown(kept: list[_Line], offsets: Sequence[int], marks: Mapping[int, Mark]) -> tuple[ExcerptLine, ...]:
    found: list[ExcerptLine] = []
    end = kept[0].begin if kept else 0
    gap = bool(kept and kept[0].begin > 0)
    for line in kept:
        gap |= line.begin > end
        end = line.end
        at = bisect_left(offsets, line.begin)
        mark = marks[offsets[at]] if at < len(offsets) and offsets[at] < line.end else Mark("")
        text = masked(harmless(plain(line.text.strip("\r\n").encode()), limit=_LINE_CHARACTERS))
        if text.strip():
            found.append(ExcerptLine(round(line.after_s, 3), text, *mark, gap))
            gap = False
    return _thinned(found)


def _thinned(lines: list[ExcerptLine]) -> tuple[ExcerptLine, ...]:
    """Keep at most MAX_LINES, those nearest to a mark first."""
    if len(lines) <= MAX_LINES:
        return tuple(lines)
    marked = [number for number, line in enumerate(lines) if line.mark] or [len(lines) - 1]

    def distance(number: int) -> int:
        at = bisect_left(marked, number)
        return min(abs(number - mark) for mark in marked[max(0, at - 1) : at + 1])

    nearest = sorted(range(len(lines)), key=distance)
    chosen = sorted(nearest[:MAX_LINES])
    return tuple(
        replace(lines[number], gap=lines[number].gap or previous != number - 1)
        for previous, number in zip([-1, *chosen], chosen, strict=False)
    )
