"""`trigger drivers`: which drivers there are, what each can do, and what is known of controllers' quirks."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import click

from trigger.registry import ABILITIES, Registered, contested, load_driver, methods_of, quirks, registered


@dataclass(frozen=True, slots=True)
class Row:
    """One driver as listed; `error` is "" when it can be loaded."""

    name: str
    package: str
    abilities: tuple[str, ...] = ()
    error: str = ""


@click.command("drivers")
@click.option(
    "--quirks", "show_quirks", is_flag=True, help="List what differs by vendor and firmware, with its source."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON on standard output.")
@click.pass_context
def command(ctx: click.Context, show_quirks: bool, as_json: bool) -> None:
    """List the drivers, ours and third parties', with what each can do. Contacts nobody.

    Exits 3 when a driver is broken or when two packages claim one name.
    """
    if show_quirks:
        _print_quirks(as_json)
        return
    entries = registered()
    rows = [_row(entry) for entry in entries]
    problems = contested(entries) + [row.error for row in rows if row.error and "claimed by" not in row.error]
    if as_json:
        click.echo(json.dumps({"drivers": [asdict(row) for row in rows], "problems": problems}))
    else:
        for row in rows:
            click.echo(f"{row.name:<12}{row.package:<20}{', '.join(row.abilities) or row.error}")
    for problem in problems:
        click.echo(f"trigger: {problem}", err=True)
    ctx.exit(3 if problems else 0)


def _row(entry: Registered) -> Row:
    from trigger.errors import ConfigError

    try:
        found = load_driver(entry.name)
    except ConfigError as error:
        return Row(entry.name, entry.package, error=error.message)
    methods = methods_of(found)
    return Row(entry.name, entry.package, tuple(name for name, method in ABILITIES.items() if method in methods))


def _print_quirks(as_json: bool) -> None:
    for row in quirks():
        if as_json:
            click.echo(json.dumps(row))
            continue
        click.echo(" | ".join(f"{value}" for value in row.values()))
