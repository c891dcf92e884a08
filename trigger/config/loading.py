"""The configuration: which hosts there are, how each is reached, and everything that is wrong with it.

    config = load(path)            # raises ConfigError when the file cannot be read or is no YAML
    host = config.host("server42") # raises ConfigError for what concerns this host, and for nothing else
    config.warnings_for("server42")  # errors elsewhere, as sentences
    config.check()                 # every error at once, strictly

Only the host that is asked for is built; a pattern of 10,000 hosts is not expanded to find one of them. Keys and
their checks are in trigger/config/keys.py. An error of `defaults` or of the file as a whole concerns every host.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trigger.clock import Deadline
from trigger.config import file as config_file
from trigger.config import host_pattern, yaml_values
from trigger.config.address import ad_hoc_controller
from trigger.config.file import ConfigFile, Entry
from trigger.config.host_pattern import HostPattern, PatternError
from trigger.config.keys import TOP_KEYS, build_host, read
from trigger.config.shared_controllers import AllClaims, Neighbours, claims_in
from trigger.config.values import Reader, tags
from trigger.config.yaml_nodes import Branch, Problem, Problems, collector_off
from trigger.errors import ConfigError
from trigger.host import Host
from trigger.notify import Notify

__all__ = ["Config", "Problem", "ad_hoc_controller", "load"]

_BEGIN = (
    "Copy config.example.yaml to ~/.config/trigger/config.yaml and edit it, "
    "or do without one: trigger nmi HOST --controller ipmi://USER@ADDRESS"
)
_CHECK = "Nothing was sent. Correct this; `trigger hosts --check` lists every error."
_MAX_GUESSED = 20_000  # hosts that are looked through for "did you mean"


def load(path: Path | None = None, *, environ: Mapping[str, str] = os.environ) -> Config:
    """Return the configuration of `path`, TRIGGER_CONFIG, ~/.config/trigger/config.yaml or /etc/trigger/config.yaml.

    The first that is named or exists is read, alone. Without any the configuration is empty and its `path` None.
    Raises ConfigError when a named file does not exist, and when the file cannot be read or is no YAML.
    """
    found, places = config_file.find(path, environ)
    file = config_file.read(found) if found else ConfigFile("no configuration")
    return Config(file, found, places, environ.get("HOME", ""))


class Config:
    """A configuration that was read. Safe to share between threads."""

    def __init__(self, file: ConfigFile, path: Path | None, places: Sequence[str] = (), home: str = "") -> None:
        self.path = path
        self._file = file
        self._places = places
        self._home = home
        self._names: dict[str, list[Entry]] = {}
        for entry in file.entries:
            if not host_pattern.is_pattern(entry.key):
                self._names.setdefault(entry.key, []).append(entry)
        self._neighbours = Neighbours(file.entries, self._defaults("controller"))
        self._patterns = [entry for entry in file.entries if host_pattern.is_pattern(entry.key)]

    # --- settings of the file -----------------------------------------------------------------------------------

    @property
    def state_dir(self) -> str:
        """Folder for journals and records, "" for the default; raises ConfigError."""
        return str(self._setting("state_dir", ""))

    @property
    def policy(self) -> str:
        """One more policy file, "" for none; raises ConfigError."""
        return str(self._setting("policy", ""))

    @property
    def record_dirs(self) -> tuple[str, ...]:
        """More folders to read records from; raises ConfigError."""
        return tuple(self._setting("record_dirs", ()))

    @property
    def dump_stores(self) -> Mapping[str, str]:
        """What hosts write to -> where that is read from here; raises ConfigError."""
        return dict(self._setting("dump_stores", {}))

    @property
    def syslog(self) -> str:
        """Address of the syslog server that is told of shots, "" for none; raises ConfigError."""
        return str(self._setting("syslog", ""))

    @property
    def notify(self) -> Notify:
        """Who is told of a run; nobody where that is written wrongly: it never stops a run."""
        try:
            found: Notify = self._setting("notify", Notify())
        except ConfigError:
            return Notify()
        return found

    def _setting(self, key: str, otherwise: object) -> Any:
        if key not in self._file.top:
            return otherwise
        problems = Problems()
        values = read({key: self._file.top[key]}, TOP_KEYS, Reader(problems, self._home))
        if len(problems):
            raise _refusal("the configuration", problems)
        return values.get(key, otherwise)

    # --- one host -----------------------------------------------------------------------------------------------

    def __contains__(self, name: str) -> bool:
        return bool(self._entries_of(name))

    def host(self, name: str, *, known_drivers: Collection[str] | None = None) -> Host:
        """Return the host; raises ConfigError when there is none, or with every error that concerns it."""
        entries = self._entries_of(name)
        if not entries:
            raise self._no_host(name)
        problems = Problems()
        host = self._build(name, entries, problems, known_drivers)
        if host is None or len(problems):
            raise _refusal(name, problems)
        return host

    def _entries_of(self, name: str) -> list[Entry]:
        """Return the entries that name the host, in the order of the file; one, unless somebody made a mistake."""
        found = list(self._names.get(name, ()))
        for entry in self._patterns:
            # Most patterns need no parsing to see that they do not match.
            if "," not in entry.key and not name.startswith(entry.key.partition("[")[0]):
                continue
            pattern = _parsed(entry)
            if pattern is not None and pattern.matches(name):
                found.append(entry)
        return sorted(found, key=lambda entry: entry.line)

    def _build(
        self, name: str, entries: list[Entry], problems: Problems, known_drivers: Collection[str] | None
    ) -> Host | None:
        """Return the host of the first of `entries`; what concerns it goes to `problems`."""
        entry = entries[0]
        problems.extend(self._problems_of_all(known_drivers))
        problems.extend(_overlap(name, entry, other) for other in entries[1:])
        host = self._of_entry(entry, name, problems, known_drivers)
        problems.extend(self._neighbours.problems(name, entries))
        return host

    def _of_entry(
        self,
        entry: Entry,
        name: str,
        problems: Problems,
        known_drivers: Collection[str] | None,
        strict: bool = False,
        values: Mapping[str, Branch] | None = None,
    ) -> Host | None:
        """Return the host `name` as its entry (or its `values`, when composed before) and the defaults have it."""
        pattern = _parsed(entry, problems)
        values = values if values is not None else _values(entry, problems)
        if pattern is None or values is None:
            return None
        reader = Reader(problems, self._home, name, pattern.names_many(), known_drivers, strict)
        return build_host(values, self._file.top.get("defaults"), f"{entry.file}:{entry.line}", reader)

    def _defaults(self, section: str) -> dict[str, Branch]:
        ignored = Problems()
        defaults = self._file.top.get("defaults")
        sections = yaml_values.mapping(defaults, ignored) if defaults else None
        branch = (sections or {}).get(section)
        return (yaml_values.mapping(branch, ignored) if branch else None) or {}

    def _problems_of_all(self, known_drivers: Collection[str] | None) -> Iterator[Problem]:
        """Yield the problems that concern every host: of the file, its settings and its defaults."""
        yield from self._file.problems
        for problem in self._problems_of_top(known_drivers):
            if problem.path.partition(".")[0] == "notify":
                continue  # nobody is told then, which stops no run; warnings_for has it
            # A key that this version does not know is somebody's warning; one that was mistyped was meant for us.
            if (
                not problem.message.startswith("unknown key")
                or "did you mean" in problem.suggestion
                or "." in problem.path
            ):
                yield problem

    def _problems_of_top(self, known_drivers: Collection[str] | None) -> Problems:
        problems = Problems()
        read(self._file.top, TOP_KEYS, Reader(problems, self._home, known_drivers=known_drivers))
        return problems

    def _no_host(self, name: str) -> ConfigError:
        if self.path is None:
            return self._no_file(f"{name}: ")
        if not self._file.entries:
            return ConfigError(f"{self.path}: names no hosts, so not {name} either", next_step=_BEGIN)
        guess = yaml_values.suggest(name, itertools.islice(self._all_names(), _MAX_GUESSED))
        unread = [str(problem) for problem in self._unread_patterns()]
        message = f"{self.path}: hosts: no host is named {yaml_values.shown(name)}" + (f"; {guess}" if guess else "")
        if unread:
            message += "\nIt may be in an entry that cannot be read:\n  " + "\n  ".join(unread)
        return ConfigError(message, next_step="Nothing was sent. `trigger hosts` lists the hosts.")

    def _no_file(self, whose: str = "") -> ConfigError:
        places = " and ".join(self._places)
        return ConfigError(f"{whose}there is no configuration (looked at {places})", next_step=_BEGIN)

    def require_file(self) -> None:
        """Raise ConfigError when no configuration was found at all: nothing is wrong with it, and nothing right."""
        if self.path is None:
            raise self._no_file()

    # --- many hosts ---------------------------------------------------------------------------------------------

    def _all_names(self) -> Iterator[str]:
        for entry in self._file.entries:
            pattern = _parsed(entry)
            if pattern is not None:
                yield from pattern.names()

    def _unread_patterns(self) -> Problems:
        problems = Problems()
        for entry in self._file.entries:
            _parsed(entry, problems)
        return problems

    def host_names(self) -> list[str]:
        """Return every host's name once, in the order of the file; entries that cannot be read are left out."""
        return list(dict.fromkeys(self._all_names()))

    def select(self, patterns: Sequence[str]) -> list[str]:
        """Return the hosts that ClusterShell patterns name (`server[01-04]`, `@web`, `@web&@fra`, `db*`).

        Raises ConfigError for a pattern that cannot be read, and for one that names a host or tag that is not here.
        """
        from trigger.config.host_selection import select

        return select(patterns, self.host_names(), self._tags, self._no_host)

    def _tags(self) -> dict[str, list[str]]:
        """Return the hosts by tag. Composes every entry: 1 s for 10,000 written out."""
        found: dict[str, list[str]] = {}
        for entry in self._file.entries:
            ignored = Problems()
            values, pattern = _values(entry, ignored), _parsed(entry)
            if pattern is None or not values or "tags" not in values:
                continue
            for tag in tags(values["tags"], Reader(ignored)) or ():
                found.setdefault(tag, []).extend(pattern.names())
        return found

    # --- everything that is wrong -------------------------------------------------------------------------------

    def check(self, known_drivers: Collection[str] | None = None) -> list[Problem]:
        """Return every problem of the file, strictly, in the order of its lines. 10,000 hosts take some seconds."""
        problems = Problems()
        problems.extend(self._file.problems)
        problems.extend(self._problems_of_top(known_drivers))
        problems.extend(self._file.warnings)
        defaults, owners, claims = self._defaults("controller"), dict[str, Entry](), AllClaims()
        with collector_off():
            for entry in self._file.entries:
                pattern, values = _parsed(entry, problems), _values(entry, problems)
                if pattern is None or values is None:
                    continue
                self._of_entry(entry, pattern.first(), problems, known_drivers, True, values)
                names = list(pattern.names())
                twice = next((name for name in names if name in owners), None)
                if twice is not None:
                    problems.extend([_overlap(twice, owners[twice], entry)])
                owners.update((name, entry) for name in names if name not in owners)
                shared = (claims.add(claim, name) for claim in claims_in(values, defaults) for name in names)
                problems.extend(itertools.islice(filter(None, shared), 1))
        return sorted(problems, key=lambda problem: problem.line)

    def warnings_for(
        self, name: str, *, known_drivers: Collection[str] | None = None, seconds: float = 0.1
    ) -> list[str]:
        """Return what is wrong elsewhere, as sentences; none of it concerns this host.

        Each other entry is checked by itself, for at most `seconds`: a fire waits for this.
        """
        problems, concern = Problems(), set(self._problems_of_all(known_drivers))
        problems.extend(self._file.warnings)
        problems.extend(self._problems_of_top(known_drivers))
        mine = set(map(id, self._entries_of(name)))
        others = [entry for entry in self._file.entries if id(entry) not in mine]
        end, left = Deadline(seconds), len(others)
        for entry in others:
            if end.passed():
                break
            pattern = _parsed(entry, problems)
            if pattern is not None:
                self._of_entry(entry, pattern.first(), problems, known_drivers)
            left -= 1
        found = [str(problem) for problem in problems if problem not in concern]
        if left:
            found.append(f"{self.path}: {left:,} entries were not looked at: trigger hosts --check does")
        return found


def _parsed(entry: Entry, problems: Problems | None = None) -> HostPattern | None:
    """Return the entry's pattern, or None after adding a problem."""
    try:
        return host_pattern.parse(entry.key)
    except PatternError as error:
        if problems is not None:
            problems.extend([Problem(entry.file, entry.line, f"hosts.{entry.key}", str(error))])
        return None


def _values(entry: Entry, problems: Problems) -> dict[str, Branch] | None:
    """Return the entry's values by key, or None after adding a problem."""
    branch = entry.compose(problems)
    return yaml_values.mapping(branch, problems) if branch else None


def _overlap(name: str, first: Entry, second: Entry) -> Problem:
    return Problem(
        second.file,
        second.line,
        f"hosts.{second.key}",
        f"names {name}, which {yaml_values.shown(first.key)} on line {first.line} names as well",
        "a host stands in one entry",
    )


def _refusal(name: str, problems: Problems) -> ConfigError:
    found = [str(problem) for problem in problems]
    if len(found) == 1:
        return ConfigError(found[0], next_step=_CHECK)
    return ConfigError(f"{name}: {len(found)} errors:\n  " + "\n  ".join(found), next_step=_CHECK)
