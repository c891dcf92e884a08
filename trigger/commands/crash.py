"""`trigger crash HOST`: parse, and hand over."""

from __future__ import annotations

from typing import Any

import click

from trigger.commands.options import common, host_argument
from trigger.guard import OVERRIDABLE


@click.command("crash")
@host_argument
@click.option("--via", default="", metavar="NAME", help="Use only this controller (its `name:`, default its driver).")
@click.option("--confirm", default="", metavar="NAME",
              help="The host's name again, or the UUID or serial number that its controller must report.")  # fmt: skip
@click.option("--reason", default="", metavar="TEXT", help="Why; kept in the journal. Needed with --override.")
@click.option("--override", "overrides", multiple=True, type=click.Choice(OVERRIDABLE), help="Pass this rule.")
@click.option("--gather", is_flag=True, help="Before the crash have the kernel show on the console what it does:"
              " SysRq l, w and m (t on a fast line), where the console proves itself. Up to 30 s.")  # fmt: skip
@click.option("--no-wait", is_flag=True, help="The same as --until accepted: only a refusal is followed by a rung.")
@click.option("--dry-run", is_flag=True, help="Print the plan, probe read-only, send nothing; exit as the guard would.")
@common
@click.pass_context
def command(ctx: click.Context, /, host: str, no_wait: bool, until: str, deadline: float | None, **rest: Any) -> None:
    """Make HOST, which hangs, write its crash dump by whatever works: a ladder of NMIs and of SysRq c.

    First the NMI of every controller, IPMI's last, then BREAK and c on the consoles (`ladder:` names another order).
    The next rung is fired only when this one was refused or could not log in, when the host is proved to run on as
    before, or when you say so at the prompt, which --json has none of. Silence is no reason. Power is never cut.
    """
    from trigger.action import Choices, act

    ctx.exit(act(host, Choices("crash", until="accepted" if no_wait else until, deadline_s=deadline, **rest)))
