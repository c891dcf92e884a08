"""`trigger wait HOST`: go on watching where a run stopped."""

from __future__ import annotations

from pathlib import Path

import click

from trigger.commands.options import common, host_argument


@click.command("wait")
@host_argument
@click.option(
    "--run", "run_id", default="", metavar="RUN", help="The run to wait for [the newest that sent something]."
)
@common
@click.pass_context
def command(
    ctx: click.Context,
    host: str,
    run_id: str,
    config: Path | None,
    until: str,
    deadline: float | None,
    as_json: bool,
    verbose: int,
) -> None:
    """Wait for the dump of HOST's last shot and prove it. Sends nothing; several waits at once do no harm.

    Exit codes as of the run itself: 0 complete dump, 7 nothing seen, 8 no crash, 9 no dump, 10 pending.
    """
    from trigger.resume import resume

    ctx.exit(resume(host, config, run_id=run_id, until=until, deadline_s=deadline, as_json=as_json, verbose=verbose))
