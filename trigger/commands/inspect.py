"""`trigger inspect FILE-or-URL`: the proof of any dump, anywhere, and a first look inside."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trigger.commands.options import config_option

if TYPE_CHECKING:
    from trigger.post.inspection import Inspection


@click.command("inspect")
@click.argument("where", metavar="FILE-or-URL")
@click.option("--deep", is_flag=True, help="Read a gzipped dump to its end, however long it is.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
@config_option
@click.pass_context
def command(ctx: click.Context, where: str, deep: bool, as_json: bool, config: Path | None) -> None:
    """Say of a dump whether it is complete, of which host, kernel and crash it is, and why it crashed.

    FILE-or-URL is a dump, or the folder that a saver left: a path, HOST:/path (over its `ssh:`), file://,
    sftp://[user@]host/path, or what `dump_stores:` maps.

    Exit code 0: proved complete; 4: not complete, or it cannot be told; 6: unreadable.
    """
    from trigger.post.facts import Complete

    if not where:
        raise click.BadParameter("is empty", param_hint="'FILE-or-URL'")
    try:
        found = _inspect(where, config, deep)
    except OSError as error:
        from trigger.errors import DriverError

        missing = isinstance(error, FileNotFoundError)
        raise DriverError(
            f"{where} {'does not exist' if missing else f'cannot be read: {error.strerror or error}'}."
        ) from error
    if as_json:
        click.echo(json.dumps(as_dict(found)))
    else:
        from trigger.post.rows import rows

        for name, text in rows(found):
            click.echo(f"{name:<10} {text}" if name else text)
        _show_second_opinion(found)
    ctx.exit(0 if found.facts.complete is Complete.YES else 4)


def _inspect(where: str, config: Path | None, deep: bool) -> Inspection:
    from trigger.post.inspection import inspect_in, inspect_url

    host, path = _of_host(where)
    if not host:
        return inspect_url(where, dump_stores=_stores(config, where), deep=deep)
    from contextlib import closing

    from trigger.config.loading import load
    from trigger.errors import ConfigError
    from trigger.post.target import own_directory

    ssh = load(config).host(host).ssh
    if ssh is None:
        raise ConfigError(f"{host} has no `ssh:` in the configuration, so its files cannot be read.")
    target = own_directory(ssh, path)
    with closing(target.open()) as store:
        return inspect_in(store, target.path, deep=deep)


def _of_host(where: str) -> tuple[str, str]:
    """Return host and path of HOST:/path, ("", "") for anything else."""
    match = re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._-]*):(/(?!/).*)", where)
    return (match[1], match[2]) if match else ("", "")


def _stores(config: Path | None, where: str) -> dict[str, str]:
    """Return `dump_stores:` of the configuration; a plain path or sftp:// needs none, and no configuration."""
    plain = "://" not in where or where.startswith(("file:", "sftp:"))
    if plain and config is None:
        return {}
    from trigger.config.loading import load

    return dict(load(config).dump_stores)


def _show_second_opinion(found: Inspection) -> None:
    """Where drgn is installed, let it open a local dump that is complete, and show the stack if it can."""
    from trigger.clock import Deadline
    from trigger.post.facts import Complete
    from trigger.post.with_drgn import second_opinion

    if found.facts.complete is not Complete.YES or found.facts.wrapper or not found.local:
        return
    opinion = second_opinion(found.path, Deadline(30.0))
    if opinion is not None:
        click.echo(f"{'checked':<10} {opinion.text}")
        for line in opinion.stack:
            click.echo(f"{'':<10} {line}")


def as_dict(found: Inspection) -> dict[str, Any]:
    """Return the JSON form. Strings are the dump's own, as they are; absent values are null or empty."""
    from dataclasses import asdict

    from trigger.post.debugging import go_on

    facts = asdict(found.facts)
    facts["complete"] = found.facts.complete.value
    return {
        "path": found.path,
        **{name: value for name, value in facts.items() if name != "name"},
        "dmesg": found.dmesg,
        "first_look": asdict(found.look) if found.look else None,
        "go_on": asdict(go_on(found.facts, found.path)),
    }
