"""Is the journal as it was written? Each line holds the hash of the one before; heads kept elsewhere hold the rest.

The chain alone shows a line that was changed, inserted or removed in the middle. It cannot show that the end was cut
off, nor that somebody wrote the whole file anew with a chain of its own. For that a hash must have been kept where
that somebody cannot write: the `head` of `--json` output that was collected, or of the messages to syslog.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from trigger.errors import ConfigError, GuardRefused
from trigger.state import JOURNAL, StateFolder
from trigger.text import harmless

_IN_SYSLOG = re.compile(
    r'\[trigger@32473 [^]]*?host="(?P<host>[^"]*)" run="(?P<run>[^"]*)"[^]]*?head="(?P<head>\w{64})"'
)
_BY_HAND = re.compile(r"(?P<host>\S+)\s+(?P<head>[0-9a-f]{64})")
WITHOUT_ANCHORS = (
    "not excluded without --anchors: that lines at the end were cut off, that the last line was changed, that the"
    " whole file was written anew, or that a journal is missing"
)


class Anchor(NamedTuple):
    """A hash that was seen elsewhere: a line with it was in the host's journal. `where` is file:line."""

    host: str
    head: str
    run: str
    where: str


class Fault(NamedTuple):
    """Something that is not as it was written. `line` counts from 1; 0 when it is in no line that is left."""

    line: int
    text: str


class Verified(NamedTuple):
    """What was found in one journal. `vouched` is the last line that an anchor vouches for, 0 for none."""

    host: str
    lines: int
    head: str
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]
    vouched: int
    not_excluded: str

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {**self._asdict(), "faults": [fault._asdict() for fault in self.faults], "notes": list(self.notes)}

    def sentences(self) -> Iterator[str]:
        """Yield it for people."""
        state = "NOT as it was written" if self.faults else "the chain is whole"
        head = f", head {self.head}" if self.head else ""
        yield f"{self.host}: {self.lines} lines, {state}{head}"
        for text in (*(fault.text for fault in self.faults), *self.notes, self.not_excluded):
            yield f"  {text}"


class _Text(NamedTuple):
    """One line of the file, counted from 1, with its hash; `raw` is None when it is no line of a journal."""

    number: int
    hash: str
    raw: Mapping[str, Any] | None

    def follows(self, before: _Text) -> int | None:
        """Return how many lines of one run are missing before this one, None when that cannot be told."""
        if self.raw is None or before.raw is None or self.raw.get("run") != before.raw.get("run"):
            return None
        first, second = before.raw.get("seq"), self.raw.get("seq")
        return second - first - 1 if isinstance(first, int) and isinstance(second, int) else None


def verify(state: StateFolder, host: str, anchors: Sequence[Anchor] | None = None) -> Verified:
    """Verify the journal of one host; `anchors` None means that there are none to compare with.

    Raises GuardRefused when the journal cannot be read.
    """
    data = _read(state, host)
    texts, faults, notes = _split(data)
    faults += _chain(texts, notes)
    faults += [
        Fault(text.number, f"line {text.number} is of another host ({harmless(str(text.raw.get('host')), limit=80)})")
        for text in texts
        if text.raw is not None and text.raw.get("host") != host
    ]
    by_hash = {text.hash: text.number for text in texts}
    vouched = 0
    for anchor in anchors or ():
        if anchor.host == host:
            vouched = max(vouched, by_hash.get(anchor.head, 0))
            if anchor.head not in by_hash:
                faults.append(_missing(anchor, texts))
    return Verified(
        host,
        len(texts),
        texts[-1].hash if texts else "",
        tuple(sorted(set(faults))),
        tuple(notes),
        vouched,
        _not_excluded(anchors is not None, vouched, len(texts)),
    )


def read_anchors(path: Path) -> list[Anchor]:
    """Return every hash in a file of collected `--json` lines, syslog messages, or lines `HOST HASH`.

    Other lines are passed over. Raises ConfigError when the file cannot be read or has none.
    """
    try:
        with path.open("rb") as file:
            found = [a for number, line in enumerate(file, 1) for a in _anchors_in(line, f"{path}:{number}")]
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from None
    if not found:
        raise ConfigError(
            f"{path}: has no hash of a journal in it.",
            next_step="It takes collected `--json` lines, syslog messages of trigger, or lines `HOST HASH`.",
        )
    return found


def _anchors_in(line: bytes, where: str) -> Iterator[Anchor]:
    text = line.decode(errors="replace").strip()
    start = text.find("{")
    if start >= 0 and '"head"' in text:
        try:
            raw = json.loads(text[start:])
        except (ValueError, RecursionError):
            return
        if isinstance(raw, dict) and re.fullmatch(r"[0-9a-f]{64}", str(raw.get("head"))):
            yield Anchor(str(raw.get("host")), raw["head"], str(raw.get("run", "")), where)
    elif found := _IN_SYSLOG.search(text):
        yield Anchor(found["host"], found["head"], found["run"], where)
    elif found := _BY_HAND.fullmatch(text):
        yield Anchor(found["host"], found["head"], "", where)


def _read(state: StateFolder, host: str) -> bytes:
    try:
        with state.host(host, create=False) as folder:
            file = state.open_file(folder, JOURNAL, os.O_RDONLY)
    except FileNotFoundError:
        return b""
    except OSError as error:
        path = state.host_folder(host) / JOURNAL
        raise GuardRefused(f"{path} cannot be read ({error.strerror}).", rule="journal") from None
    with os.fdopen(file, "rb") as stream:
        return stream.read()


def _split(data: bytes) -> tuple[list[_Text], list[Fault], list[str]]:
    texts: list[_Text] = []
    faults: list[Fault] = []
    *whole, rest = data.split(b"\n")
    for number, line in enumerate(whole, 1):
        if line:
            texts.append(_Text(number, sha256(line).hexdigest(), _parsed(line)))
        else:
            faults.append(Fault(number, f"line {number} is empty: it was inserted"))
    if not rest:
        return texts, faults, []
    number = len(whole) + 1
    texts.append(_Text(number, sha256(rest).hexdigest(), _parsed(rest)))
    return texts, faults, [f"line {number}, the last, is cut: a crash or a full disk while it was written"]


def _parsed(line: bytes) -> Mapping[str, Any] | None:
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return raw if isinstance(raw, dict) and "prev" in raw else None


def _chain(texts: Sequence[_Text], notes: list[str]) -> Iterable[Fault]:
    """Yield what is wrong with the order of the lines; adds to `notes` lines that a crash cut, which is no fault."""
    seen = {"": 0}
    for before, text, after in zip((None, *texts), texts, (*texts[1:], None), strict=False):
        if text.raw is not None:
            if text.raw["prev"] != (before.hash if before else ""):
                yield _broken(before, text, seen)
        elif after is not None and after.raw is not None and after.raw["prev"] == text.hash:
            notes.append(f"line {text.number} is cut: a crash while it was written; the next line vouches for it")
        elif after is not None or not notes:
            yield Fault(text.number, f"line {text.number} was changed: it is no line of a journal")
        seen[text.hash] = text.number


def _broken(before: _Text | None, text: _Text, seen: Mapping[str, int]) -> Fault:
    """Return why `text` does not follow the line before it."""
    assert text.raw is not None
    number, prev = text.number, text.raw["prev"]
    if before is None:
        return Fault(1, "lines before line 1 were removed: it is not the first of its chain")
    if isinstance(prev, str) and prev in seen:
        first, last = seen[prev] + 1, number - 1
        which = f"line {first} was" if first == last else f"lines {first} to {last} were"
        return Fault(first, f"{which} inserted: line {number} was written right after line {seen[prev]}")
    missing = text.follows(before)
    if missing == 0 or before.raw is None:
        return Fault(before.number, f"line {before.number} was changed: line {number} holds the hash of another")
    count = f"{missing} lines of run {text.raw.get('run')}" if missing and missing > 0 else "lines"
    return Fault(
        number,
        f"{count} were removed between line {before.number} and line {number}, or line {before.number} was changed",
    )


def _missing(anchor: Anchor, texts: Sequence[_Text]) -> Fault:
    run = f" of run {harmless(anchor.run)}" if anchor.run else ""
    gone = anchor.run and not any(text.raw and text.raw.get("run") == anchor.run for text in texts)
    what = (
        f"run {harmless(anchor.run)} was removed"
        if gone
        else "it was changed or removed, or the end was cut off"
        if texts
        else "the journal was removed"
    )
    return Fault(0, f"the line with hash {anchor.head[:16]}...{run} ({anchor.where}) is not in the journal: {what}")


def _not_excluded(anchored: bool, vouched: int, lines: int) -> str:
    if not anchored:
        return WITHOUT_ANCHORS
    if not vouched:
        return "no anchor is of a line that is here: " + WITHOUT_ANCHORS.partition(": ")[2] + " is not excluded"
    since = f"the {lines - vouched} lines after it by the chain alone" if vouched < lines else "nothing is after it"
    return (
        f"line {vouched} and all before it are vouched for from elsewhere; {since}. Not excluded: that lines written"
        " after the newest anchor were cut off"
    )
