"""YAML composed into nodes with line numbers, never into Python objects, and the problems found in it.

trigger/config/yaml_values.py reads values from the nodes. What makes two places of a file depend on each other, or
means more than it says (anchors, aliases, tags, directives), is found here and refused.
"""

from __future__ import annotations

import contextlib
import gc
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import yaml
from yaml._yaml import CParser
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from trigger.errors import ConfigError
from trigger.text import harmless

_MAX_DEPTH = 200  # levels; libyaml's composer recurses in C and ends the process at some ten thousand


class Problem(NamedTuple):
    """One error of the configuration. `line` counts from 1 (0: the whole file); `path` is the key's path or ""."""

    file: str
    line: int
    path: str
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        place = ": ".join(
            part for part in (f"{self.file}:{self.line}" if self.line else self.file, harmless(self.path)) if part
        )
        return f"{place}: {self.message}" + (f"; {self.suggestion}" if self.suggestion else "")


class YamlProblem(ConfigError):
    """The text is no YAML, so that nothing else in it can be read."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem), next_step="Nothing was sent. Correct this; `trigger hosts --check` lists more.")
        self.problem = problem


class Branch(NamedTuple):
    """A node, and where it is: `line` is that of its key, `path` the keys that lead to it."""

    node: Node
    file: str
    line: int
    path: str
    first_line: int = 1  # the line of the file at which the composed text begins

    def line_of(self, node: Node) -> int:
        """Return the line of the file at which `node` begins."""
        return int(node.start_mark.line) + self.first_line

    def below(self, node: Node, step: str, line: int) -> Branch:
        """Return the branch of a child: `step` is ".key" or "[0]"."""
        return Branch(node, self.file, line, (self.path + step).removeprefix("."), self.first_line)


class Problems:
    """Collects problems, each once, in the order in which they were found."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}

    def add(self, branch: Branch, message: str, suggestion: str = "", *, line: int = 0) -> None:
        """Add a problem at the place of `branch`, or at `line`."""
        self._found[Problem(branch.file, line or branch.line, branch.path, message, suggestion)] = None

    def extend(self, problems: Iterable[Problem]) -> None:
        """Add problems found elsewhere."""
        self._found.update(dict.fromkeys(problems))

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


class _Composer(CParser):
    """libyaml's parser without PyYAML's resolver, which is Python: faster, and nothing is turned into anything."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)

    def descend_resolver(self, parent: Node | None, index: object) -> None:
        """Do nothing: called by the parser for each level."""

    def ascend_resolver(self) -> None:
        """Do nothing: called by the parser for each level."""

    def resolve(self, kind: type, value: str, implicit: tuple[bool, bool]) -> str:
        """Leave the tag empty: `plain_kind` looks at the text when somebody asks."""
        return ""


def compose(text: str, file: str, first_line: int = 1) -> Branch | None:
    """Return the one document in `text`, None when there is none; raises YamlProblem for what is no YAML.

    `first_line` is the line of the file at which `text` begins.
    """
    if line := _too_deep_at(text):
        raise YamlProblem(Problem(file, line + first_line - 1, "", f"is nested more than {_MAX_DEPTH} levels deep"))
    try:
        with collector_off():
            node = _Composer(text.encode()).get_single_node()
    except yaml.YAMLError as error:
        raise YamlProblem(_syntax_problem(error, file, first_line)) from None
    return None if node is None else Branch(node, file, first_line, "", first_line)


@contextlib.contextmanager
def collector_off() -> Iterator[None]:
    """Keep Python's garbage collector from looking at a million new nodes again and again: it finds no garbage."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def well_formed(pieces: Iterable[str]) -> bool:
    """Return whether each piece is YAML by itself. Builds nothing, so it costs a fifth of composing.

    The pieces are parsed as documents of one stream: a quote, bracket or block that is still open at the end of a
    document is an error.
    """
    stream = []
    for piece in pieces:
        if piece.count("[") + piece.count("{") > _MAX_DEPTH:
            return False  # libyaml's time grows with the square of the depth
        stream.append(piece)
    try:
        _Composer("\n---\n".join(stream).encode()).raw_parse()
    except yaml.YAMLError:
        return False
    return True


def _too_deep_at(text: str) -> int:
    """Return the line (from 1) at which `text` is nested too deeply to compose, 0 for nowhere.

    Flow levels cost a bracket each, block levels a column each. Only when those could be too many, brackets in
    quotes and comments included, the tokens are counted.
    """
    deep = re.search(rf"(?m)^[ \t?-]{{{_MAX_DEPTH},}}", text) is not None
    if text.count("[") + text.count("{") > _MAX_DEPTH:
        depth = deepest = 0
        for bracket in re.finditer(r"[\[\]{}]", text):
            depth = depth + 1 if bracket[0] in "[{" else max(0, depth - 1)
            deepest = max(deepest, depth)
        deep = deep or deepest > _MAX_DEPTH
    return _line_of_depth(text) if deep else 0


def _line_of_depth(text: str) -> int:
    """Return the line of the first token that is too deep, 0 when there is none; does not recurse."""
    depth = 0
    try:
        for token in _tokens(text):
            depth += isinstance(token, _OPENS)
            depth -= isinstance(token, _CLOSES)
            if depth > _MAX_DEPTH:
                return int(token.start_mark.line) + 1
    except yaml.YAMLError:
        pass  # composing stops there as well, and says why
    return 0


_OPENS = (
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
)
_CLOSES = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)


def _tokens(text: str) -> Iterator[yaml.Token]:
    parser = _Composer(text.encode())
    while (token := parser.get_token()) is not None:
        yield token


# libyaml's own words, what they mean here, and the remedy. Names in its messages are never repeated: somebody may
# have typed a password there.
_NO_ALIAS = "uses an alias (*), which is not allowed"
_REPEAT = "repeat the value, or put it under `defaults:`; quote a text that begins with"
_SYNTAX = (
    ("found another document", "has a second document (---)", "keep one document in a file"),
    ("alias", _NO_ALIAS, f"{_REPEAT} *"),
    ("anchor", "uses an anchor (&) twice, and none is allowed", f"{_REPEAT} &"),
    ("tag", "uses a tag (!), which is not allowed", "quote a text that begins with !"),
    ("cannot start any token", "has a tab or a special character here", "indent with spaces; quote @ ` % at the start"),
    ("mapping values", 'has a ": " where none can be', 'quote a text that has ": " in it; check the indentation'),
    ("could not find expected ':'", "has a key without a ':'", "write `key: value`, with a space behind the colon"),
    ("escape", "has an unknown \\ in a double-quoted text", "use single quotes, or write \\\\"),
    ("quoted scalar", "has a quote that is not closed", "close the quote"),
    ("flow", "has a [ or { that is not closed", "close it, and put commas between the items"),
    ("block", "is indented differently from the lines above", "line it up with its neighbours"),
)


def _syntax_problem(error: yaml.YAMLError, file: str, first_line: int) -> Problem:
    """Return libyaml's error as a sentence with its line."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return Problem(file, 0, "", "is not YAML", "begin with a copy of config.example.yaml")
    mark = error.problem_mark or error.context_mark
    words = f"{error.problem} {error.context}"
    found = [(message, remedy) for known, message, remedy in _SYNTAX if known in words]
    message, remedy = found[0] if found else ("cannot be read here", "check the lines above")
    return Problem(file, mark.line + first_line if mark else 0, "", message, remedy)


# --- what makes places of a file depend on each other ----------------------------------------------------------

_MAY_BE_SPECIAL = re.compile(r"(?<![^\s\[{,])[&*!%]")
_SPECIAL = {
    yaml.AnchorToken: ("uses an anchor (&), which is not allowed", f"{_REPEAT} &"),
    yaml.AliasToken: (_NO_ALIAS, f"{_REPEAT} *"),
    yaml.TagToken: ("uses a tag (!), which is not allowed", "remove it; quote a text that begins with !"),
    yaml.DirectiveToken: ("uses a directive (%), which is not allowed", "remove the line"),
}


def special_tokens(text: str, root: Branch) -> Iterator[Problem]:
    """Yield a problem for each anchor, alias, tag and directive in `text`, of which `root` was composed."""
    if not _MAY_BE_SPECIAL.search(text):
        return
    for token in _tokens(text):
        if type(token) in _SPECIAL:
            message, remedy = _SPECIAL[type(token)]
            line, column = token.start_mark.line, token.start_mark.column
            path = _path_at(root, line, column)
            yield Problem(root.file, line + root.first_line, path, message, remedy)


def _path_at(root: Branch, line: int, column: int) -> str:
    """Return the path of keys that leads to a position, counted from 0 in the composed text."""
    branch, seen = root, {id(root.node)}
    while children := [
        (key, step, node)
        for key, step, node in _steps(branch.node)
        if (key.start_mark.line, key.start_mark.column) <= (line, column)
    ]:
        key, step, node = children[-1]
        branch = branch.below(node, step, branch.line_of(key))
        ends_before = (node.end_mark.line, node.end_mark.column) < (line, column)
        if ends_before or id(node) in seen or step == ".password":
            break  # an alias, whose node is elsewhere; and keys below a password may be passwords
        seen.add(id(node))
    return branch.path


def _steps(node: Node) -> list[tuple[Node, str, Node]]:
    """Return (node where the child begins, its step of the path, the child)."""
    if isinstance(node, MappingNode):
        return [(key, f".{key.value}" if isinstance(key, ScalarNode) else "", value) for key, value in node.value]
    if isinstance(node, SequenceNode):
        return [(item, f"[{index}]", item) for index, item in enumerate(node.value)]
    return []
