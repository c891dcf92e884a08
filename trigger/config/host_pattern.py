"""Host patterns such as `server[01-48]`: which hosts they name, and whether they name this one.

The brackets are ClusterShell's (`[1-4]`, `[01-48]`, `[1-9/2]`, `[1,3,5-7]`, several brackets, commas between
patterns), and every pattern accepted here expands exactly as `ClusterShell.NodeSet` expands it; the tests compare
the two. ClusterShell itself costs 31 ms to import, which a fire cannot afford, and nothing is expanded to find
one host. A few patterns are refused on purpose because ClusterShell 1.10.1 reads them in a way nobody means:
`a1[9-10]` is a19, a20, ... a110 there.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
MAX_NAME = 255  # characters of a host's name: the DNS limit, and the limit of a folder's name
MAX_HOSTS = 1_000_000  # hosts of one pattern: more is a slip of the finger
_MAX_DIGITS = 18
_MAX_TEXT = 20_000  # characters of one pattern
_RANGE = r"([0-9]+)(?:-([0-9]+)(?:/([0-9]+))?)?"


class PatternError(ValueError):
    """The pattern cannot be read. The text is a clause that fits after "file:line: path: "."""


class Numbers(NamedTuple):
    """One range in brackets. `last` is included; `width` is the zero-padded number of digits, 0 without padding."""

    first: int
    last: int
    step: int
    width: int

    def texts(self) -> Iterator[str]:
        """Yield the numbers as they stand in names."""
        return (str(number).zfill(self.width) for number in range(self.first, self.last + 1, self.step))

    def holds(self, digits: str) -> bool:
        """Return whether `digits`, as it stands in a name, is one of the numbers."""
        if len(digits) > _MAX_DIGITS:
            return False
        number = int(digits)
        if not self.first <= number <= self.last or (number - self.first) % self.step:
            return False
        return digits == str(number).zfill(self.width)

    def size(self) -> int:
        """Return how many numbers there are."""
        return (self.last - self.first) // self.step + 1


class _Part(NamedTuple):
    """One pattern between commas: literals with a bracket between each two of them."""

    literals: tuple[str, ...]
    brackets: tuple[tuple[Numbers, ...], ...]

    def matches(self, name: str) -> bool:
        if not (name.startswith(self.literals[0]) and name.endswith(self.literals[-1])):
            return False
        # At least one character that is no digit stands between two brackets, so that there is one way to split.
        found = re.fullmatch("([0-9]+)".join(re.escape(literal) for literal in self.literals), name)
        if found is None:
            return False
        pairs = zip(found.groups(), self.brackets, strict=True)
        return all(any(numbers.holds(digits) for numbers in bracket) for digits, bracket in pairs)

    def size(self) -> int:
        size = 1
        for bracket in self.brackets:
            size *= sum(numbers.size() for numbers in bracket)
        return size

    def first(self) -> str:
        columns = itertools.zip_longest(self.literals, (next(bracket[0].texts()) for bracket in self.brackets))
        return "".join(literal + (number or "") for literal, number in columns)

    def names_many(self) -> bool:
        firsts = [{next(numbers.texts()) for numbers in bracket} for bracket in self.brackets]
        return any(len(found) > 1 for found in firsts) or any(n.size() > 1 for b in self.brackets for n in b)

    def names(self) -> Iterator[str]:
        columns: list[list[str]] = []
        for literal, bracket in itertools.zip_longest(self.literals, self.brackets, fillvalue=()):
            columns.append([str(literal)])
            if bracket:
                columns.append([text for numbers in bracket for text in numbers.texts()])
        return ("".join(choice) for choice in itertools.product(*columns))


class HostPattern(NamedTuple):
    """A pattern that was understood; made by `parse`."""

    text: str
    parts: tuple[_Part, ...]

    def matches(self, name: str) -> bool:
        """Return whether `name` is one of the hosts, without expanding anything."""
        return any(part.matches(name) for part in self.parts)

    def names(self) -> Iterator[str]:
        """Yield every host once, in the order written."""
        yield from dict.fromkeys(name for part in self.parts for name in part.names())

    def first(self) -> str:
        """Return the first host named."""
        return self.parts[0].first()

    def names_many(self) -> bool:
        """Return whether more than one host is named; expands nothing."""
        return any(part.names_many() for part in self.parts) or len({part.first() for part in self.parts}) > 1


def is_pattern(text: str) -> bool:
    """Return whether `text` uses the notation of patterns, so that it is not simply a host's name."""
    return "[" in text or "]" in text or "," in text


def parse(text: str) -> HostPattern:
    """Return the pattern; raises PatternError with the reason."""
    if len(text) > _MAX_TEXT:
        raise PatternError(f"is longer than {_MAX_TEXT:,} characters")
    parts = tuple(_part(piece.strip()) for piece in _split_at_commas(text))
    if sum(part.size() for part in parts) > MAX_HOSTS:
        raise PatternError(f"names more than {MAX_HOSTS:,} hosts")
    return HostPattern(text, parts)


def _split_at_commas(text: str) -> list[str]:
    """Return the pieces between the commas that are outside brackets."""
    pieces = [""]
    for piece in re.findall(r"\[[^\]]*\]?|,|[^,\[]+", text):
        if piece == ",":
            pieces.append("")
        else:
            pieces[-1] += piece
    return pieces


def _part(text: str) -> _Part:
    pieces = re.split(r"\[([^\[\]]*)\]", text)
    literals, insides = pieces[::2], pieces[1::2]
    if any("[" in literal or "]" in literal for literal in literals):
        raise PatternError("has a bracket without its partner")
    brackets = tuple(_bracket(inside) for inside in insides)
    if len("".join(literals)) > MAX_NAME - _MAX_DIGITS * len(brackets):
        raise PatternError(f"names a host of more than {MAX_NAME} characters")
    if not HOST_NAME.fullmatch("0".join(literals)):
        raise PatternError("is not a host name: letters, digits, '.', '_' and '-', beginning with a letter or digit")
    for literal in literals[1:-1]:
        if not literal.strip("0123456789"):
            raise PatternError("needs something other than digits between two brackets")
    for before, inside, after in zip(literals, insides, literals[1:], strict=False):
        _check_digits_beside(before, inside, after)
    return _Part(tuple(literals), brackets)


def _check_digits_beside(before: str, inside: str, after: str) -> None:
    """Refuse what ClusterShell reads in its own way when a digit touches the bracket."""
    if not (before[-1:].isdigit() or after[:1].isdigit()):
        return
    if len({len(number) for number in re.findall("[0-9]+", re.sub("/[0-9]+", "", inside))}) > 1:
        raise PatternError(
            "has a digit beside the bracket and numbers of different length in it; "
            "move the digit inside the bracket, as in a[19,110]"
        )
    if "/" in inside and after[:1].isdigit():
        raise PatternError("has a step in the bracket and a digit behind it; list the numbers instead")


def _bracket(inside: str) -> tuple[Numbers, ...]:
    return tuple(_numbers(item.strip()) for item in inside.split(","))


def _numbers(item: str) -> Numbers:
    found = re.fullmatch(_RANGE, item)
    if found is None:
        raise PatternError("has something else than numbers in brackets; write [1-4], [01-48], [1-9/2] or [1,3]")
    first, last, step = found[1], found[2] or found[1], found[3] or "1"
    if max(len(first), len(last), len(step)) > _MAX_DIGITS:
        raise PatternError(f"has a number of more than {_MAX_DIGITS} digits")
    padded = first[0] == "0" and len(first) > 1
    if len(first) != len(last) and (padded or last[0] == "0"):
        raise PatternError(f"pads {item} unevenly; give both ends the same number of digits")
    if int(first) > int(last):
        raise PatternError(f"counts backwards in {item}")
    if int(step) < 1:
        raise PatternError(f"has a step of 0 in {item}")
    return Numbers(int(first), int(last), int(step), len(first) if padded else 0)
