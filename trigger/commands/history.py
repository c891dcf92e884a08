"""`trigger history [HOST]`: what was done to which host, when, by whom, and what came of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trigger.commands.options import complete_host, config_option

if TYPE_CHECKING:
    from trigger.state import StateFolder


@click.command("history")
@click.argument("host", metavar="[HOST]", required=False, default="", shell_complete=complete_host)
@click.option("--run", "run_id", default="", metavar="RUN", help="Show every event of this run.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="The newest N runs.")
@click.option("--verify", is_flag=True, help="Find changed, inserted or removed lines in the journal; 5 if there are.")
@click.option(
    "--anchors",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --verify: a file of collected --json lines or syslog messages; also finds a cut end and a removed run.",
)
@click.option("--json", "as_json", is_flag=True, help="One run (or with --run, one event) a line as JSON.")
@config_option
@click.pass_context
def command(
    ctx: click.Context,
    host: str,
    run_id: str,
    limit: int,
    verify: bool,
    anchors: Path | None,
    as_json: bool,
    config: Path | None,
) -> None:
    """Show the runs of HOST, or of every host, oldest first; with --run, every event of one.

    `trigger report RUN` sums one up.

    With --verify, say whether the journal is as it was written, and what cannot be excluded.
    """
    from trigger.config.loading import load
    from trigger.history import events_of, runs_of, runs_of_all
    from trigger.run_files import REPORT_PAGE
    from trigger.state import StateFolder
    from trigger.text import harmless

    if anchors is not None and not verify:
        raise click.UsageError("--anchors needs --verify.")
    state = StateFolder.choose(load(config).state_dir)
    hosts = [host] if host else state.host_names()
    if verify:
        ctx.exit(verify_journals(state, hosts, anchors, only=bool(host), as_json=as_json))
    if run_id:
        for line, text in events_of(state, hosts, run_id):
            click.echo(json.dumps(line.raw) if as_json else text)
        return
    runs, unread = ((*runs_of(state, host),), ()) if host else runs_of_all(state, hosts)
    for run in sorted(runs, key=lambda run: run.started)[-limit:]:
        page = state.host_folder(run.host) / "runs" / run.run / REPORT_PAGE
        plain = {**run.to_json(), "report": str(page) if page.is_file() else ""}
        click.echo(json.dumps(plain) if as_json else run.line())
    for error in unread:
        click.echo(f"trigger: {harmless(error.message)}", err=True)
    if unread:
        ctx.exit(unread[0].exit_code)
    if not runs:
        click.echo(f"no runs{' of ' + host if host else ''} in {state.path}", err=True)


def verify_journals(state: StateFolder, hosts: list[str], anchors: Path | None, *, only: bool, as_json: bool) -> int:
    """Verify the journals of `hosts`, and of every host that `anchors` name unless `only`; return the exit code."""
    from trigger.chain import read_anchors, verify
    from trigger.state import JOURNAL
    from trigger.text import harmless

    known = None if anchors is None else read_anchors(anchors)
    named = {anchor.host for anchor in known or ()}
    wanted = [host for host in hosts if host in named or state.has(host, JOURNAL)]
    faults = 0
    for host in (*wanted, *(() if only else sorted(named - set(wanted)))):
        found = verify(state, host, known)
        faults += len(found.faults)
        click.echo(json.dumps(found.to_json()) if as_json else "\n".join(found.sentences()))
    if not wanted and (only or not named):
        click.echo(
            f"no journal{' of ' + harmless(hosts[0]) if only else 's'} in {state.path}: nothing to verify", err=True
        )
    return 5 if faults else 0
