"""Options and arguments that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


class Duration(click.ParamType[float]):
    """Seconds, written as 90, 90s, 15m or 4h."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds."""
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", str(value).strip())
        if not match or match[2] not in _UNITS or not 0 < float(match[1]) * _UNITS[match[2]] <= 7 * 86400:
            self.fail(f"{value!r} is not a duration: write 90, 90s, 15m or 4h, at most 168h", param, ctx)
        return float(match[1]) * _UNITS[match[2]]


def complete_host(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the configured host names that begin with `incomplete`, for shell completion."""
    from trigger.config.loading import load
    from trigger.errors import TriggerError

    try:
        names = load(ctx.params.get("config")).host_names()
    except (TriggerError, OSError):
        return []
    return [name for name in names if name.startswith(incomplete)]


def one_host(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Refuse a pattern: a fire takes exactly one host."""
    if re.search(r"[\[\]*?,@!&]", value):
        raise click.BadParameter(f"{value!r} is a pattern; a fire takes exactly one host by its name")
    return value


host_argument = click.argument("host", metavar="HOST", callback=one_host, shell_complete=complete_host)
config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, readable=False),  # whether it can be read, reading it says: exit code 3
    help="Configuration file [TRIGGER_CONFIG, ~/.config/trigger/config.yaml, /etc/trigger/config.yaml].",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Events as JSON, one a line, on standard output.")
verbose_option = click.option("-v", "--verbose", count=True, help="Log more on standard error; -vv for protocols.")
deadline_option = click.option(
    "--deadline",
    type=Duration(),
    help="How long to watch [15 min + memory at 50 MB/s + 30 min; 4h without a record].",
)
until_option = click.option(
    "--until",
    type=click.Choice(["accepted", "crashed", "landed", "verified"]),
    default="verified",
    show_default=True,
    help="What to wait for.",
)


def _plain(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from trigger.display import People

        People.plain = True  # of the whole process: how the screen is drawn is no part of what is done


plain_option = click.option(
    "--plain",
    is_flag=True,
    expose_value=False,
    callback=_plain,
    help="Only lines, one after the other, also on a terminal: for screen readers and logs.",
)


def common(function: Decorated) -> Decorated:
    """Add the options that every command which watches has."""
    for option in (plain_option, verbose_option, json_option, deadline_option, until_option, config_option):
        function = option(function)
    return function
