"""`trigger history [HOST]`: what was done to which host, when, by whom, and what came of it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from trigger.commands.options import complete_host, config_option


@click.command("history")
@click.argument("host", metavar="[HOST]", required=False, default="", shell_complete=complete_host)
@click.option("--run", "run_id", default="", metavar="RUN", help="Show every event of this run.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="The newest N runs.")
@click.option("--json", "as_json", is_flag=True, help="One run (or with --run, one event) a line as JSON.")
@config_option
def command(host: str, run_id: str, limit: int, as_json: bool, config: Path | None) -> None:
    """Show the runs of HOST, or of every host, oldest first; with --run, every event of one."""
    from trigger.config import load
    from trigger.history import events_of, runs_of
    from trigger.state import StateFolder

    state = StateFolder.choose(load(config).state_dir)
    hosts = [host] if host else state.host_names()
    if run_id:
        for line, text in events_of(state, hosts, run_id):
            click.echo(json.dumps(line.raw) if as_json else text)
        return
    runs = sorted((run for name in hosts for run in runs_of(state, name)), key=lambda run: run.started)[-limit:]
    for run in runs:
        click.echo(json.dumps(run.to_json()) if as_json else run.line())
    if not runs:
        click.echo(f"no runs{' of ' + host if host else ''} in {state.path}", err=True)
