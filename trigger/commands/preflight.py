"""`trigger preflight HOST...`: parse, and hand over."""

from __future__ import annotations

from pathlib import Path

import click

from trigger.commands.options import complete_host, config_option, verbose_option

FORMATS = ("table", "json", "csv", "junit", "prometheus", "html")


@click.command("preflight")
@click.argument("patterns", nargs=-1, metavar="[HOST|PATTERN|@TAG]...", shell_complete=complete_host)
@click.option("--all", "everything", is_flag=True, help="Every configured host.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="What to print.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json: one host a line.")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write there instead of standard output."
)
@click.option("--explain", is_flag=True, help="Show every check, why it matters and where that is written.")
@click.option(
    "--fix-plan", is_flag=True, help="Print a shell script of the remedies, for a person to review. Runs nothing."
)
@click.option("--since-last", is_flag=True, help="Show only what changed since the last preflight.")
@click.option("--fanout", type=click.IntRange(1, 1024), default=64, show_default=True, help="Hosts at the same time.")
@click.option("--resume", is_flag=True, help="Go on with the last audit that was stopped: leave out the hosts it has.")
@click.option(
    "--fail-on",
    type=click.Choice(["notready", "unreachable", "new"]),
    default="notready",
    show_default=True,
    help="What makes the exit code 4: any host that is not ready or not seen; only hosts that were not seen;"
    " only hosts that were ready at their last preflight.",
)
@click.option("--trust-new", is_flag=True, help="Accept certificates and SSH host keys that were never seen before.")
@click.option("--accept-identity", is_flag=True, help="Accept that a controller is another one than last time.")
@click.option("--retry-auth", is_flag=True, help="Try logins again that were rejected by the last preflight.")
@click.option(
    "--probe-target", is_flag=True, help="Also write one small file to the dump target and remove it, as proof."
)
@click.option(
    "--rehearse",
    is_flag=True,
    help="Also send a CR, then BREAK and h, on each console: the kernel's help proves that BREAK arrives. Once per"
    " boot, and only where SSH has just shown a running Linux.",
)
@click.option("--export", type=click.Path(path_type=Path, file_okay=False), help="Write the records there as well.")
@click.option("--print-script", is_flag=True, help="Print the read-only script that runs on the host, and end.")
@config_option
@verbose_option
@click.pass_context
def command(ctx: click.Context, /, print_script: bool, as_json: bool, **options: object) -> None:
    """Check, while hosts are healthy, that the button would work, and keep what the emergency needs.

    Reads each host once over SSH and logs in to its controllers; changes nothing, fires nothing.

    Exit codes: 0 all ready; 4 some are not ready or were not seen; 6 none could be looked at.
    """
    if print_script:
        from trigger.preflight.readings import script

        click.echo(script(), nl=False)
        return
    if not options["patterns"] and not options["everything"]:
        raise click.UsageError("Name a host, a pattern like 'server[01-40]', @TAG, or --all.")
    from trigger.preflight.run import Wishes, run

    if as_json:
        options["form"] = "json"
    ctx.exit(run(Wishes(**options)))  # type: ignore[arg-type]  # click has checked the values
