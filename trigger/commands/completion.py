"""`trigger completion SHELL`: print the script that makes a shell complete commands, options and hosts."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash:  eval "$(trigger completion bash)"      in ~/.bashrc
    zsh:   eval "$(trigger completion zsh)"       in ~/.zshrc
    fish:  trigger completion fish > ~/.config/fish/completions/trigger.fish
    """
    from trigger.cli import trigger

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(trigger, {}, "trigger", "_TRIGGER_COMPLETE").source())
