"""What happens in a run, as frozen values: the lines of the journal and of `--json`.

A run is a fold over its events; there is no other state. Every value is plain JSON. Names and fields are an
interface (docs/events.md): fields are added, never renamed. Texts are harmless already (trigger/text.py).

They are named tuples: a dataclass costs ten times as much to define, and a fire defines them all between Enter and
the request (docs/decisions/0006).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

VERSION = 1


class Planned(NamedTuple):
    """What would be done: the routes in order, each `{controller, driver, address, shot}` (NMI or SysRq c)."""

    action: str
    routes: tuple[Mapping[str, str], ...]
    deadline_s: float
    dump_target: str
    actor: str
    reason: str = ""


class Probed(NamedTuple):
    """What one controller said before the fire. `error` is empty when it could be used."""

    controller: str
    uuid: str = ""
    serial: str = ""
    power: str = "unknown"
    learned: Mapping[str, object] | None = None
    warnings: tuple[str, ...] = ()
    error: str = ""


class Guarded(NamedTuple):
    """The guard's word: `go`, with the rules that were overridden, or the rule that refused and why."""

    go: bool
    rule: str = ""
    message: str = ""
    overridden: tuple[str, ...] = ()
    reason: str = ""
    warnings: tuple[str, ...] = ()


class Firing(NamedTuple):
    """The intent, on disk before the request leaves. `deadline_at` is in seconds since the epoch."""

    controller: str
    driver: str
    address: str
    request: str
    keys: tuple[str, ...]
    deadline_at: float
    boot_id: str = ""


class Fired(NamedTuple):
    """What became of the request: accepted, refused or unknown. `answer` is the controller's, in words."""

    controller: str
    outcome: str
    answer: str


class Observed(NamedTuple):
    """Something seen while watching. `grade` is proof, strong or weak; `phase` as in trigger/watch/phases.py.

    For the console `pattern` names what matched and `offset` counts the bytes of the recording before it; the bytes
    themselves are only there. `percent` is makedumpfile's.
    """

    phase: str
    source: str
    grade: str
    text: str
    pattern: str = ""
    offset: int | None = None
    percent: float | None = None


class DumpFound(NamedTuple):
    """The state of the dump at its target: waiting, writing, landed, verified, incomplete, failed, unreadable."""

    state: str
    path: str = ""
    size: int = 0
    format: str = ""
    complete: str = ""
    release: str = ""
    crash_time: float | None = None
    panic: str = ""
    text: str = ""


class Finished(NamedTuple):
    """The end of a run. `sent` is yes, no or maybe; `safe_to_power_cycle` is yes, no or unknown."""

    exit_code: int
    sent: str
    text: str
    dump: str = ""
    safe_to_power_cycle: str = "unknown"
    safe_reason: str = ""
    next: str = ""
    ends_fire: bool = False


Event = Planned | Probed | Guarded | Firing | Fired | Observed | DumpFound | Finished

BY_NAME: dict[str, type[Any]] = {
    cls.__name__: cls for cls in (Planned, Probed, Guarded, Firing, Fired, Observed, DumpFound, Finished)
}


def to_json(event: Event) -> dict[str, Any]:
    """Return the event's fields with its kind under `event`."""
    return {"event": type(event).__name__, **event._asdict()}


def from_json(data: Mapping[str, Any]) -> Event | None:
    """Return the event of one journal line, or None for a kind that this version does not know.

    Unknown fields are passed over, so that an older program reads a newer journal. Raises ValueError when a
    known kind lacks a field, or has one of another type: everybody may rely on the types above.
    """
    cls = BY_NAME.get(str(data.get("event")))
    if cls is None:
        return None
    values = {key: _frozen(value) for key, value in data.items() if key in cls._fields}
    for key, value in values.items():
        if not _TYPES[cls.__annotations__[key].__forward_arg__](value):
            raise ValueError(f"{data.get('event')}: {key} is of another type")
    try:
        event: Event = cls(**values)
    except TypeError as error:
        raise ValueError(f"{data.get('event')}: {error}") from None
    return event


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def is_number(value: object) -> bool:
    """Return whether `value` is a number that times and sizes can be: finite, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e15 < value < 1e15


def _texts(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(item, str) for item in value)


# What every route of Planned has, and whoever shows a plan relies on.
_ROUTE = {"controller", "driver", "address"}


def _routes(value: Any) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(route, dict) and route.keys() >= _ROUTE and _texts((*route, *route.values())) for route in value
    )


# By annotation, as it is written above.
_TYPES: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: isinstance(value, int) and is_number(value),
    "int | None": lambda value: value is None or (isinstance(value, int) and is_number(value)),
    "float": is_number,
    "float | None": lambda value: value is None or is_number(value),
    "tuple[str, ...]": _texts,
    "tuple[Mapping[str, str], ...]": _routes,
    "Mapping[str, object] | None": lambda value: value is None or isinstance(value, dict),
}
