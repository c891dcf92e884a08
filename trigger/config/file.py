"""The configuration file: found, read, and cut into host entries without composing all of them.

Ten thousand hosts written out are 4 MB of YAML, and a second of work for libyaml's composer; finding one of them
must not cost that. So the lines below `hosts:` are cut where a key stands at the entries' own indentation, each
piece is checked to be YAML by itself (which proves that no quote, bracket or block runs across a cut), and only
the pieces that somebody asks for are composed. A file written in another way is composed whole: slower, same
result. The tests compare the two ways.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from yaml.nodes import MappingNode, ScalarNode

from trigger.config import yaml_nodes, yaml_values
from trigger.config.yaml_nodes import Branch, Problem, Problems, YamlProblem
from trigger.errors import ConfigError

SYSTEM_FILE = Path("/etc/trigger/config.yaml")
SYSTEM_POLICY = "/etc/trigger/policy.yaml"  # always in force; text, since every fire looks whether it is there
_MAX_BYTES = 64 * 1024 * 1024
_PIPE_SECONDS = 10.0  # for the first byte of a pipe: `--config <(sops -d config.yaml)`
_NEXT = "Nothing was sent. Name the right file with --config or TRIGGER_CONFIG."
_KEY = r"""(?:[A-Za-z0-9][A-Za-z0-9._-]*|"[^"\\\n]+"|'[^'\n]+')"""
# Control characters, and the line breaks that YAML 1.1 knows and no editor shows (U+0085, U+2028, U+2029).
_UNREADABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]")


class Entry(NamedTuple):
    """One entry below `hosts:`. `key` is its text as written, without quotes; `line` counts from 1.

    `text` is the piece of the file that holds it; `whole` and `specials` are set instead when the file was
    composed at once.
    """

    key: str
    line: int
    file: str
    text: str = ""
    whole: Branch | None = None
    specials: tuple[Problem, ...] = ()

    def compose(self, problems: Problems) -> Branch | None:
        """Return the entry's value with path `hosts.KEY`; adds problems with its key and with anchors or tags."""
        root = self.whole
        if root is None:
            try:
                composed = yaml_nodes.compose(self.text, self.file, self.line)
            except YamlProblem as error:  # an alias of something outside of this piece
                problems.extend([error.problem._replace(path=f"hosts.{self.key}")])
                return None
            assert composed is not None  # a piece begins with a key
            root = Branch(composed.node, self.file, self.line, "hosts", self.line)
            problems.extend(yaml_nodes.special_tokens(self.text, root))
        problems.extend(self.specials)
        return (yaml_values.mapping(root, problems) or {}).get(self.key)


@dataclass(slots=True)
class ConfigFile:
    """What a file holds: its top-level values by key, and the entries below `hosts:`.

    `problems` are those of the file as a whole; `warnings` those that concern no host, such as its mode.
    """

    name: str
    top: Mapping[str, Branch] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    problems: Problems = field(default_factory=Problems)
    warnings: Problems = field(default_factory=Problems)


def find(path: Path | None, environ: Mapping[str, str]) -> tuple[Path | None, list[str]]:
    """Return the file to read, or None and the places that were looked at.

    A file named by `path` (--config) or TRIGGER_CONFIG must exist; raises ConfigError.
    """
    home = environ.get("HOME", "")
    named = path or (Path(environ["TRIGGER_CONFIG"]) if environ.get("TRIGGER_CONFIG") else None)
    if named is not None:
        named = Path(expand_home(str(named), home))
        if not _exists(named):
            by = "--config" if path else "TRIGGER_CONFIG"
            raise ConfigError(f"{named}: there is no such file; {by} names it", next_step=_NEXT)
        return named, []
    places = [Path(home) / ".config/trigger/config.yaml"] if home else []
    places.append(SYSTEM_FILE)
    return next((place for place in places if _exists(place)), None), [str(place) for place in places]


def _exists(path: Path) -> bool:
    """Return whether something is there; what may not be looked at is there, so that reading it says why not."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True
    return True


def expand_home(text: str, home: str) -> str:
    """Return `text` with a leading `~/` or `~` replaced by the home folder; `~other` by that user's."""
    if text == "~" or text.startswith("~/"):
        return home + text[1:] if home else os.path.expanduser(text)  # noqa: PTH111 - the text may be a URL
    return os.path.expanduser(text) if text.startswith("~") else text  # noqa: PTH111


def read(path: Path) -> ConfigFile:
    """Return what the file holds; raises ConfigError for what cannot be read or is no YAML."""
    content, mode = _content(path)
    text = _decoded(content, str(path))
    with yaml_nodes.collector_off():
        parsed = in_pieces(text, str(path)) or whole(text, str(path))
    if stat.S_ISREG(mode) and mode & 0o002:
        parsed.warnings.extend(
            [Problem(str(path), 0, "", "every user of this machine may change this file", f"chmod o-w {path}")]
        )
    return parsed


def _content(path: Path) -> tuple[bytes, int]:
    """Return the bytes of the file and its mode."""
    try:
        # A named pipe that nobody writes to would hold up whoever opens it, for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISFIFO(mode):
                _await_writer(descriptor, path)
            os.set_blocking(descriptor, True)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(_MAX_BYTES + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}", next_step=_NEXT) from None
    except ValueError:
        raise ConfigError("the configuration's path has a NUL character in it", next_step=_NEXT) from None
    if len(content) > _MAX_BYTES:
        raise ConfigError(
            f"{path}: is larger than {_MAX_BYTES >> 20} MiB and was not read; is this the configuration?",
            next_step="Write hosts as patterns such as server[01-48], or name the right file with --config.",
        )
    return content, mode


def _await_writer(descriptor: int, path: Path) -> None:
    import select

    if not select.select([descriptor], [], [], _PIPE_SECONDS)[0]:
        raise ConfigError(f"{path}: is a pipe, and nobody wrote to it within {_PIPE_SECONDS:.0f} s", next_step=_NEXT)


def _decoded(content: bytes, name: str) -> str:
    """Return the text with "\\n" between lines and without a byte order mark."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError(f"{name}:1: is UTF-16, not UTF-8", next_step="Save the file as UTF-8.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = "is a binary file" if b"\0" in content else "is not UTF-8 text"
        raise ConfigError(f"{name}:{line}: {what}", next_step="Save the file as UTF-8. Nothing was sent.") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ConfigError(f"{name}:{line}: is a binary file", next_step="Name the right file. Nothing was sent.")
    if found := _UNREADABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        what = f"has the invisible character U+{ord(found[0]):04X} in it"
        raise ConfigError(f"{name}:{line}: {what}", next_step="Remove it. Nothing was sent.")
    return text


# --- in pieces ------------------------------------------------------------------------------------------------


def in_pieces(text: str, name: str) -> ConfigFile | None:
    """Return the file cut into entries, or None when it is written in a way that cannot be cut safely."""
    lines = text.split("\n")
    at = next((index for index, line in enumerate(lines) if re.fullmatch(r"hosts:(?: +#.*| *)", line)), None)
    if at is None:
        return None
    starts, end = _cut(lines, at + 1)
    stops = [start for start, _ in starts[1:]] + [end]
    entries = [
        Entry(key[1:-1] if key[0] in "\"'" else key, start + 1, name, _joined(lines, start, stop))
        for (start, key), stop in zip(starts, stops, strict=False)
    ]
    if not entries or not yaml_nodes.well_formed(entry.text for entry in entries):
        return None
    # The rest, with the entries' lines left empty, must have `hosts` at that very line and nothing in it.
    rest = [*lines[: at + 1], *[""] * (end - at - 1), *lines[end:]]
    try:
        parsed = _top("\n".join(rest), name)
    except ConfigError:
        return None
    empty = parsed.top.get("hosts")
    if empty is None or empty.line != at + 1 or len(parsed.problems):
        return None
    # A style: `|` or "" stands on the line behind the entries, and is their value.
    if empty.node.value != "" or getattr(empty.node, "style", None):
        return None  # also for two `hosts:` and the like: composing the whole file explains it better
    parsed.entries = entries
    return parsed


def _joined(lines: list[str], start: int, stop: int) -> str:
    """Return the lines as they stood in the file, the line's end of the last included."""
    return "\n".join(lines[start:stop]) + ("\n" if stop < len(lines) else "")


def _cut(lines: list[str], begin: int) -> tuple[list[tuple[int, str]], int]:
    """Return (line, key) of each entry from line `begin` on, counted from 0, and the line behind the last entry.

    No entries when a line is neither an entry's key, nor further in, nor empty, nor a comment.
    """
    starts: list[tuple[int, str]] = []
    indent = 0
    for index in range(begin, len(lines)):
        rest = lines[index].lstrip(" ")
        column = len(lines[index]) - len(rest)
        if not rest or rest[0] == "#" or 0 < indent < column:
            continue
        if not column:
            return starts, index
        indent = indent or column
        key = re.match(rf"({_KEY}):(?: |$)", rest)
        if key is None or column != indent:
            return [], index
        starts.append((index, key[1]))
    return starts, len(lines)


# --- whole ----------------------------------------------------------------------------------------------------


def _top(text: str, name: str) -> ConfigFile:
    """Return the file's top-level values; raises ConfigError when it is no YAML or no mapping."""
    parsed = ConfigFile(name)
    root = yaml_nodes.compose(text, name)
    if root is None:
        parsed.warnings.extend([Problem(name, 0, "", "is empty", "begin with a copy of config.example.yaml")])
        return parsed
    if not isinstance(root.node, MappingNode):
        raise ConfigError(
            f"{name}:{root.line_of(root.node)}: must be a mapping with the key `hosts`, not a list or a text",
            next_step="Begin with a copy of config.example.yaml. Nothing was sent.",
        )
    parsed.top = yaml_values.mapping(root, parsed.problems) or {}
    parsed.problems.extend(yaml_nodes.special_tokens(text, root))
    return parsed


def whole(text: str, name: str) -> ConfigFile:
    """Return the whole file, composed at once; raises ConfigError when it is no YAML or no mapping."""
    parsed = _top(text, name)
    hosts = parsed.top.get("hosts")
    if hosts is None or (isinstance(hosts.node, ScalarNode) and hosts.node.value in ("", "~", "null")):
        return parsed
    if not isinstance(hosts.node, MappingNode):
        yaml_values.mapping(hosts, parsed.problems)
        return parsed
    specials = [problem for problem in parsed.problems if problem.path.startswith("hosts.")]
    for key, value in hosts.node.value:
        pair = MappingNode("", [(key, value)], key.start_mark, value.end_mark)
        line = key.start_mark.line + 1
        name_of_host = key.value if isinstance(key, ScalarNode) else ""
        path = f"hosts.{name_of_host}"
        inside = (path + ".", path + "[")
        of_entry = tuple(p for p in specials if p.line >= line and (p.path == path or p.path.startswith(inside)))
        parsed.entries.append(Entry(name_of_host, line, name, "", Branch(pair, name, line, "hosts"), of_entry))
    belong = {problem for entry in parsed.entries for problem in entry.specials}
    others = [problem for problem in parsed.problems if problem not in belong]
    parsed.problems = Problems()
    parsed.problems.extend(others)
    return parsed
