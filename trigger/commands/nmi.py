"""`trigger nmi HOST`: parse, and hand over."""

from __future__ import annotations

from pathlib import Path

import click

from trigger.commands.options import common, host_argument
from trigger.guard import OVERRIDABLE


@click.command("nmi")
@host_argument
@click.option("--via", default="", metavar="NAME", help="Use only this controller (its `name:`, default its driver).")
@click.option(
    "--controller",
    "ad_hoc",
    default="",
    metavar="URL",
    help="Use this controller: ipmi://USER@ADDRESS[:PORT].",
)
@click.option(
    "--confirm",
    default="",
    metavar="NAME",
    help="The host's name again, or the UUID or serial number"
    " that its controller must report. On a terminal it is asked for.",
)
@click.option("--reason", default="", metavar="TEXT", help="Why; kept in the journal. Needed with --override.")
@click.option(
    "--override",
    "overrides",
    multiple=True,
    type=click.Choice(OVERRIDABLE),
    help="Pass this rule of the guard.",
)
@click.option("--no-wait", is_flag=True, help="The same as --until accepted.")
@click.option("--dry-run", is_flag=True, help="Print the plan, probe read-only, send nothing; exit as the guard would.")
@common
@click.pass_context
def command(
    ctx: click.Context,
    host: str,
    via: str,
    ad_hoc: str,
    confirm: str,
    reason: str,
    overrides: tuple[str, ...],
    no_wait: bool,
    dry_run: bool,
    config: Path | None,
    until: str,
    deadline: float | None,
    as_json: bool,
    verbose: int,
) -> None:
    """Make HOST, which hangs, write its crash dump: one NMI through its BMC, then wait for the dump and prove it.

    The NMI is sent at most once. Without a terminal, --confirm HOST is needed. Ctrl-C while waiting stops
    only the watching (exit code 10); `trigger wait HOST` goes on.
    """
    from trigger.action import Choices, act

    choices = Choices(
        action="nmi",
        config=config,
        via=via,
        ad_hoc=ad_hoc,
        confirm=confirm,
        reason=reason,
        overrides=overrides,
        until="accepted" if no_wait else until,
        deadline_s=deadline,
        dry_run=dry_run,
        as_json=as_json,
        verbose=verbose,
    )
    ctx.exit(act(host, choices))
