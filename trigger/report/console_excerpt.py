"""The part of a console's recording that tells the story: the lines around what the watch recognised, marked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from trigger.text import harmless
from trigger.watch.console_text import plain, sightings

BEFORE_BYTES, AFTER_BYTES = 2048, 4096  # around each mark
LAST_BYTES = 4096  # without any mark
MAX_LINES = 80
_LINE_CHARACTERS = 300
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
    for cast in casts:
        valid = _valid(cast, marks)
        if valid:
            found += excerpt(cast, valid)
    return tuple(found) if found or not casts else excerpt(casts[-1], {})


def _valid(cast: Sequence[bytes], marks: Sequence[tuple[int, Mark]]) -> dict[int, Mark]:
    found: dict[int, Mark] = {}
    for line in _lines(_events(cast)):
        here = [(offset, mark) for offset, mark in marks if line.begin <= offset < line.end]
        said = {seen.pattern for seen in sightings(plain(line.text.encode()))} if here else set()
        found |= {offset: mark for offset, mark in here if mark.word in said and offset not in found}
    return found


def excerpt(cast: Iterable[bytes], marks: Mapping[int, Mark]) -> tuple[ExcerptLine, ...]:
    """Return the lines around `marks` (the console's bytes before a line -> what it is), or the last lines.

    `cast` are the lines of console.cast (asciicast v2). Lines that are no JSON are passed over.
    """
    windows = [(offset - BEFORE_BYTES, offset + AFTER_BYTES) for offset in sorted(marks)]
    kept: list[_Line] = []
    for line in _lines(_events(cast)):
        if not windows:
            kept.append(line)
            if line.end - kept[0].end > LAST_BYTES:
                kept.pop(0)
        elif any(line.begin < end and line.end > begin for begin, end in windows):
            kept.append(line)
    return _shown(kept, marks)


def masked(text: str) -> str:
    """Return `text` without passwords in URLs: dump savers print where they save to."""
    return _PASSWORD.sub(r"\1***@", text)


def _events(cast: Iterable[bytes]) -> Iterator[tuple[float, str]]:
    for text in cast:
        try:
            event = json.loads(text)
            if isinstance(event, list) and event[1] == "o":
                yield float(event[0]), str(event[2])
        except (ValueError, TypeError, IndexError, RecursionError):
            continue


def _lines(events: Iterable[tuple[float, str]]) -> Iterator[_Line]:
    """Cut the output into lines, each with the console's bytes before and after it; progress ends in returns."""
    offset, rest, begin, since = 0, "", 0, 0.0
    for after_s, said in events:
        if not rest:
            since = after_s
        *finished, rest = re.split(r"(?<=\n)|(?<=\r)(?!\n)", rest + said)
        if len(rest) > 8192:
            finished, rest = [*finished, rest], ""
        for text in finished:
            offset = begin + _size(text)
            yield _Line(begin, offset, since, text)
            begin, since = offset, after_s
    if rest:
        yield _Line(begin, begin + _size(rest), since, rest)


def _size(text: str) -> int:
    """Return how many bytes the console sent for `text`; a replacement character stands for one that was no UTF-8."""
    return len(text.encode()) - 2 * text.count("�")


def _shown(kept: list[_Line], marks: Mapping[int, Mark]) -> tuple[ExcerptLine, ...]:
    found: list[ExcerptLine] = []
    end = kept[0].begin if kept else 0
    gap = bool(kept and kept[0].begin > 0)
    for line in kept:
        gap |= line.begin > end
        end = line.end
        mark = next((mark for offset, mark in marks.items() if line.begin <= offset < line.end), Mark(""))
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
    nearest = sorted(range(len(lines)), key=lambda number: min(abs(number - mark) for mark in marked))
    chosen = sorted(nearest[:MAX_LINES])
    return tuple(
        replace(lines[number], gap=lines[number].gap or previous != number - 1)
        for previous, number in zip([-1, *chosen], chosen, strict=False)
    )
