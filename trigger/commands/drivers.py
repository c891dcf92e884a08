"""`trigger drivers`: which drivers there are, and what each can do."""

from __future__ import annotations

import json

import click

from trigger.registry import ABILITIES, Registered, contested, load_driver, registered


@click.command("drivers")
@click.option("--json", "as_json", is_flag=True, help="As JSON on standard output.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the drivers, ours and third parties', with what each can do. Contacts nobody.

    Exits 3 when a driver is broken or when two packages claim one name.
    """
    entries = registered()
    problems = contested(entries)
    rows = [_row(entry, problems) for entry in entries]
    if as_json:
        click.echo(json.dumps({"drivers": rows, "problems": problems}))
    else:
        for row in rows:
            able = ", ".join(str(ability) for ability in row["abilities"]) or row["error"]
            click.echo(f"{row['name']:<12}{row['package']:<20}{able}")
    for problem in problems:
        click.echo(f"trigger: {problem}", err=True)
    ctx.exit(3 if problems else 0)


def _row(entry: Registered, problems: list[str]) -> dict[str, object]:
    from trigger.errors import ConfigError

    try:
        found = load_driver(entry.name)
    except ConfigError as error:
        if error.message not in problems:
            problems.append(error.message)
        return {"name": entry.name, "package": entry.package, "abilities": [], "error": error.message}
    methods = {name: protocol.__protocol_attrs__ for name, protocol in ABILITIES.items()}  # type: ignore[attr-defined]
    able = [name for name, attributes in methods.items() if all(hasattr(found, a) for a in attributes)]
    return {"name": entry.name, "package": entry.package, "abilities": able, "error": ""}
