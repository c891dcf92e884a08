"""Values of a YAML file, read by what is expected: text, a number, true or false, a list, a mapping.

Each function returns the value, or adds a problem and returns None, so that the reader goes on and finds the rest.
What YAML 1.1 would turn into something else (`yes`, `10:22`, `010`, `1e3`, dates, `~`) is refused with the remedy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from trigger.config.yaml_nodes import Branch, Problems
from trigger.text import harmless

# What YAML would make of a text without quotes. Compiled when first used: a fire uses few of them.
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUTH = frozenset({"true", "True", "TRUE", "false", "False", "FALSE"})
_INTEGER = r"-?(?:0|[1-9][0-9]*)"
_FIRST_OF_SURPRISES = frozenset("~nNtTfFyYoO0123456789+-.=<")
_LONGEST_SURPRISE = 100  # characters; also bounds the time of the expressions below
_SURPRISES = (
    (r"(?i:yes|no|on|off|y|n)", "as true or false"),
    (r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?", "as a number of base 60"),
    (r"[-+]?0o?[0-9_]+", "as an octal number"),
    (r"[-+]?0(?:x[0-9a-fA-F_]+|b[01_]+)", "as a number of base 16 or 2"),
    (r"[-+]?[0-9][0-9_]*", "as a number"),
    (r"[-+]?(?:[0-9][0-9_]*)?\.?[0-9_]*(?:[eE][-+]?[0-9]+)?", "as a number"),
    (r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "as a number"),
    (r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t].*)?", "as a date"),
    (r"=|<<", "as a special key"),
)


def plain_kind(text: str) -> str:
    """Return what YAML makes of `text` without quotes: null, truth, integer, text, or words for a surprise."""
    if text and (text[0] not in _FIRST_OF_SURPRISES or len(text) > _LONGEST_SURPRISE):
        return "text"
    if text in _NULL:
        return "null"
    if text in _TRUTH:
        return "truth"
    if re.fullmatch(_INTEGER, text):
        return "integer"
    return next((words for pattern, words in _SURPRISES if re.fullmatch(pattern, text)), "text")


def _kind(node: Node) -> str:
    """Return "mapping", "sequence", or what `plain_kind` says; a quoted scalar is always "text"."""
    if isinstance(node, MappingNode):
        return "mapping"
    if isinstance(node, SequenceNode):
        return "sequence"
    assert isinstance(node, ScalarNode)
    return "text" if node.style else plain_kind(node.value)


def shown(text: str, length: int = 40) -> str:
    """Return `text` for a message: in quotes, shortened, control characters made visible."""
    return "'" + harmless(text if len(text) <= length else text[:length] + "...") + "'"


def text(branch: Branch, problems: Problems, *, secret: bool = False) -> str | None:
    """Return a text that is not empty and has no control characters. `secret`: never repeat it in a problem."""
    kind = _kind(branch.node)
    value = branch.node.value
    if kind == "text":
        if not value.strip():
            problems.add(branch, "is empty")
        elif not value.isprintable():
            problems.add(branch, "has a control character or a line break in it")
        else:
            return str(value)
        return None
    if kind == "null":
        problems.add(branch, "has no value", "write one, or remove the key")
    elif kind in ("mapping", "sequence"):
        problems.add(branch, f"must be text, not a {kind}")
    else:
        words = {"truth": "as true or false", "integer": "as a number"}.get(kind, kind)
        problems.add(
            branch,
            "must be text" if secret else f"must be text, but YAML reads {shown(value)} {words}",
            "quote it" if secret else f'quote it: "{value}"' if len(value) < 40 else "quote it",
        )
    return None


def number(branch: Branch, problems: Problems, low: int, high: int) -> int | None:
    """Return a whole number from `low` to `high`."""
    wanted = f"must be a whole number from {low} to {high}"
    value = branch.node.value
    kind = _kind(branch.node)
    if kind == "integer" and len(value) <= 18 and low <= int(value) <= high:
        return int(value)
    if kind == "text" and len(value) <= 18 and re.fullmatch(_INTEGER, value):
        problems.add(branch, f"{wanted}, not text", "remove the quotes")
    elif kind in ("mapping", "sequence", "integer", "text", "null", "truth"):
        problems.add(branch, wanted)
    else:
        problems.add(branch, f"{wanted}; YAML reads {shown(value)} {kind}", "write it as a plain decimal number")
    return None


def truth(branch: Branch, problems: Problems) -> bool | None:
    """Return true or false; yes, no, on and off are refused, since readers of YAML do not agree on them."""
    if _kind(branch.node) == "truth":
        return bool(branch.node.value.lower() == "true")
    problems.add(branch, "must be true or false", "write true or false, without quotes")
    return None


def sequence(branch: Branch, problems: Problems, example: str) -> list[Branch] | None:
    """Return the items of a list."""
    if not isinstance(branch.node, SequenceNode):
        null = _kind(branch.node) == "null"
        problems.add(branch, "has no value" if null else "must be a list", f"write [{example}]")
        return None
    return [branch.below(node, f"[{index}]", branch.line_of(node)) for index, node in enumerate(branch.node.value)]


def mapping(branch: Branch, problems: Problems, *, secret: bool = False) -> dict[str, Branch] | None:
    """Return the values by key; a duplicate key is a problem that names both lines.

    `secret`: never repeat a key in a problem, since somebody may have written a password in its place.
    """
    if not isinstance(branch.node, MappingNode):
        null = _kind(branch.node) == "null"
        problems.add(branch, "has no value" if null else "must be a mapping (key: value)")
        return None
    found: dict[str, Branch] = {}
    for key_node, value_node in branch.node.value:
        line = branch.line_of(key_node)
        key = _key(branch, key_node, problems, secret=secret)
        if key is None:
            continue
        if key in found:
            name = "" if secret else f" {shown(key)}"
            problems.add(branch, f"duplicate key{name}, first on line {found[key].line}", "keep one", line=line)
            continue
        found[key] = branch.below(value_node, f".{key}", line)
    return found


def _key(branch: Branch, node: Node, problems: Problems, *, secret: bool) -> str | None:
    """Return the key's text, or None after adding a problem."""
    line = branch.line_of(node)
    if not isinstance(node, ScalarNode):
        problems.add(branch, "has a key that is a mapping or list, not text", line=line)
        return None
    kind, value = _kind(node), str(node.value)
    if kind == "text" and value.isprintable() and value:
        return value
    if value == "<<" and not node.style:
        problems.add(branch, "uses a merge key (<<)", "repeat the keys, or put them under `defaults:`", line=line)
    else:
        name = "" if secret else f" {shown(value)}"
        problems.add(branch, f"has a key{name} that is not text", "quote it", line=line)
    return None


def suggest(word: str, known: Iterable[str]) -> str:
    """Return "did you mean 'x'?" for the known word nearest to `word`, or ""."""
    import difflib  # only ever needed on the way to an error

    near = difflib.get_close_matches(word[:80], list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else ""


def plain(branch: Branch, problems: Problems) -> str | int | bool | None:
    """Return a text, a whole number, true or false, whichever it is."""
    kind = _kind(branch.node)
    if kind == "truth":
        return truth(branch, problems)
    if kind == "integer":
        return number(branch, problems, -(10**15), 10**15)
    return text(branch, problems, secret=True)
