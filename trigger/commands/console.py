"""`trigger console HOST`: parse, and hand over."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from trigger.commands.options import config_option, host_argument, json_option, verbose_option


def _escape(ctx: click.Context, param: click.Parameter, value: str) -> bytes:
    if value == "none":
        return b""
    if value.startswith("^") and len(value) == 2 and "@" <= value[1].upper() <= "_":
        return bytes((ord(value[1].upper()) - 64,))
    if len(value) == 1 and value.isascii() and value not in ".\r\n":
        return value.encode()
    raise click.BadParameter(f"{value!r}: give one character such as ~, a control character such as ^], or none")


@click.command("console")
@host_argument
@click.option("--via", default="", metavar="NAME", help="Use only this controller (its `name:`, default its driver).")
@click.option("--steal", is_flag=True, help="Take the console from whoever has it.")
@click.option(
    "--escape",
    default="~",
    show_default=True,
    metavar="CHAR",
    callback=_escape,
    help="The escape character at the beginning of a line: one character, ^] and the like, or none.",
)
@click.option("--log", "log_only", is_flag=True, help="Only record, until Ctrl-C; needs no terminal and sends nothing.")
@config_option
@json_option
@verbose_option
@click.pass_context
def command(
    ctx: click.Context, /, host: str, via: str, steal: bool, escape: bytes, log_only: bool, config: Path | None,
    as_json: bool, verbose: int,
) -> None:  # fmt: skip
    """Open HOST's serial console on this terminal, and record what it says in the run's folder.

    At the beginning of a line: ~. leaves, ~B sends a BREAK, ~s KEY a SysRq key, ~? helps; BREAKs are asked about
    first, and c is left to `trigger sysrq HOST c`. What the host says is passed through as it is. A console that is
    lost is opened again, and nothing is sent by that.
    """
    from trigger.console.interactive import ConsoleChoices, console

    if as_json and not log_only:
        raise click.UsageError("--json is for --log only", ctx)
    if not log_only and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError(
            "a console needs a terminal; --log only records, and `trigger sysrq HOST KEY` presses keys without one", ctx
        )
    ctx.exit(console(host, ConsoleChoices(config, via, steal, escape, log_only, as_json, verbose)))
