"""`trigger report [RUN]`: what happened in a run, for people and programs."""

from __future__ import annotations

from pathlib import Path

import click

from trigger.commands.options import complete_host, config_option

_SUFFIXES = {".md": "md", ".html": "html", ".htm": "html", ".json": "json", ".txt": "text"}


@click.command("report")
@click.argument("run", metavar="[RUN]", required=False, default="")
@click.option(
    "--host", default="", metavar="HOST", shell_complete=complete_host, help="Of this host; without RUN its newest."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "md", "html", "json"]),
    help="How it is written [by the name of the -o file, else text].",
)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file (mode 0600).")
@config_option
def command(run: str, host: str, form: str | None, output: Path | None, config: Path | None) -> None:
    """Report RUN (`trigger history` lists them), or the newest run: verdict, timeline, console, dump, next steps.

    The page (--format html) is one file that loads nothing. A run that sent something leaves report.html and
    report.md in its folder by itself.
    """
    from trigger.config.loading import load
    from trigger.report.files import find, rendered, write_private
    from trigger.state import StateFolder

    state = StateFolder.choose(load(config).state_dir)
    form = form or (_SUFFIXES.get(output.suffix.lower(), "text") if output else "text")
    text = rendered(find(state, host, run), form)
    if output is None:
        click.echo(text.encode("utf-8", "replace") if form == "html" else text)  # what the page says of itself
    else:
        write_private(output, text)
        click.echo(f"{form} report written to {output}", err=True)
