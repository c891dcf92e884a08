"""`trigger demo`: the main job against the simulated machine, in a state folder of its own."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click


@click.command("demo")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Keep everything in this folder.")
@click.option("--json", "as_json", is_flag=True, help="Events as JSON, one a line, on standard output.")
@click.pass_context
def command(ctx: click.Context, keep: Path | None, as_json: bool) -> None:
    """Run `trigger nmi server42` against a simulated machine: no root, no hardware, a few seconds.

    A BMC that speaks RMCP+ and a host that hangs, crashes, writes a well-formed vmcore and comes back run in
    a process of their own on this machine. State and configuration are kept apart from the real ones.
    """
    from trigger.demo import demo

    if keep is not None:
        try:
            keep.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise click.BadParameter(f"{keep} cannot be made: {error.strerror}", param_hint="'--keep'") from None
        ctx.exit(demo(keep.absolute(), as_json))
    with tempfile.TemporaryDirectory(prefix="trigger-demo-") as folder:
        code = demo(Path(folder), as_json)
    click.echo(f"{folder} is gone again; --keep DIRECTORY keeps the dump and the report.", err=True)
    ctx.exit(code)
