"""`trigger sysrq HOST KEY...` and `trigger sysrq --list`: parse, and hand over."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from trigger.commands.options import (
    complete_host,
    config_option,
    json_option,
    one_host,
    plain_option,
    until_option,
    verbose_option,
)
from trigger.commands.options import deadline_option as deadline
from trigger.console.sysrq import ANY, CRASH, KEYS, ONLY_ALL
from trigger.guard import OVERRIDABLE


def _keys(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    for key in value:
        if key not in KEYS:
            raise click.BadParameter(f"{key!r} is no SysRq key; `trigger sysrq --list` shows them")
    if CRASH in value and len(value) > 1:
        raise click.BadParameter(f"{CRASH!r} stands alone: it ends the running kernel")
    return value


@click.command("sysrq")
@click.argument("host", metavar="HOST", required=False, callback=lambda c, p, v: v and one_host(c, p, v),
                shell_complete=complete_host)  # fmt: skip
@click.argument("keys", metavar="KEY...", nargs=-1, callback=_keys)
@click.option("--list", "show_list", is_flag=True, help="List every key, the mask it needs and what it may do.")
@click.option("--via", default="", metavar="NAME", help="Use only this controller (its `name:`); host: its own SSH.")
@click.option("--confirm", default="", metavar="NAME", help="The host's name again, for every key but harmless ones.")
@click.option("--reason", default="", metavar="TEXT", help="Why; kept in the journal.")
@click.option("--steal", is_flag=True, help="Take the console from whoever has it. Not for c.")
@click.option("--override", "overrides", multiple=True, type=click.Choice(OVERRIDABLE), help="For c: pass this rule.")
@click.option("--no-wait", is_flag=True, help="For c: the same as --until accepted.")
@click.option("--dry-run", is_flag=True, help="For c: print the plan, probe, type nothing; exit as the guard would.")
@config_option
@until_option
@deadline
@json_option
@plain_option
@verbose_option
@click.pass_context
def command(
    ctx: click.Context, /, host: str | None, keys: tuple[str, ...], show_list: bool, steal: bool, no_wait: bool,
    until: str, deadline: float | None, **rest: Any,
) -> None:  # fmt: skip
    """Press SysRq KEYs on HOST's serial console, each once, and print what its kernel answers.

    A BREAK and one character per key, after a BREAK and h have proved that the kernel listens. Keys that are not
    harmless need --confirm HOST. c crashes the host: at most once, journal first, then the dump is watched and
    proved, as by `trigger nmi`. Exit code 6: a key was not taken, and why.
    """
    if show_list:
        _list(rest["as_json"])
        return
    if host is None or not keys:
        raise click.UsageError("HOST and KEY are needed, as in: trigger sysrq server42 w l m", ctx)
    from trigger.action import Choices, act

    action = "sysrq-c" if keys == (CRASH,) else "sysrq"
    choices = Choices(action, until="accepted" if no_wait else until, deadline_s=deadline, **rest)
    if keys == (CRASH,):
        if steal:
            raise click.UsageError("--steal is not for c: whoever has the console may be looking at the crash", ctx)
        ctx.exit(act(host, choices))
    if choices.dry_run or no_wait or choices.overrides:
        raise click.UsageError("--dry-run, --no-wait and --override are for c only", ctx)
    from trigger.console.sysrq_ask import ask_kernel

    ctx.exit(ask_kernel(host, keys, choices, steal=steal))


def _list(as_json: bool) -> None:
    for row in KEYS.values():
        need = {ONLY_ALL: "1", ANY: "any"}.get(row.need, str(row.need))
        if as_json:
            click.echo(json.dumps({**asdict(row), "need": need}))
            continue
        note = f" ({row.note})" if row.note else ""
        click.echo(f"{row.key}  {row.danger:<12} {need:>4}  {row.meaning}{note}")
    if not as_json:
        click.echo("\nThe number is the bit that kernel.sysrq must have; 1 allows every key, 0 none.")
