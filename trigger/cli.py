"""The command line: which command is where, and which error is which exit code.

Commands are loaded only when they run; `--help` reads the table below and imports none of them.
"""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Sequence

import click

from trigger import __version__
from trigger.errors import TriggerError
from trigger.text import harmless, without_secrets

# name -> (section of --help, module below trigger.commands, one line)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "preflight": ("Before", "preflight", "Check, on a healthy host, that the button would work"),
    "hosts": ("Before", "hosts", "List the configured hosts, their records and open fires"),
    "drivers": ("Before", "drivers", "List the drivers and what each can do"),
    "nmi": ("Now", "nmi", "Make a hung host write its crash dump by an NMI through its BMC"),
    "sysrq": ("Now", "sysrq", "Press SysRq keys on the serial console; c crashes, as nmi does"),
    "crash": ("Now", "crash", "Crash a hung host by whatever works: NMIs, then SysRq c, one after the other"),
    "console": ("Now", "console", "Sit at the serial console of a host, recorded; --log only records"),
    "demo": ("Now", "demo", "Run `trigger nmi server42` against a simulated machine"),
    "wait": ("After", "wait", "Wait for the dump of an open fire, and prove it"),
    "inspect": ("After", "inspect", "Prove any dump: format, complete or not, host, kernel, panic"),
    "history": ("After", "history", "Show the runs of a host, or of all hosts"),
    "report": ("After", "report", "Report a run: verdict, timeline, console, dump, next steps"),
    "completion": ("Setup", "completion", "Print the completion script of bash, zsh or fish"),
}
SECTIONS = ("Before", "Now", "After", "Setup")


class Commands(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command's name, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; None when there is none of this name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        from importlib import import_module

        command = import_module(f"trigger.commands.{entry[1]}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve the command; an unknown one is answered with the nearest name."""
        if args and args[0] not in COMMANDS:
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by section, from the table alone."""
        for section in SECTIONS:
            rows = [(name, line) for name, (where, _, line) in COMMANDS.items() if where == section]
            with formatter.section(section):
                formatter.write_dl(rows)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="trigger")
def trigger() -> None:
    """Make a hung server write its crash dump through its BMC, and prove that it is complete.

    A host hangs and a reboot would destroy the evidence: `trigger nmi HOST`.

    Exit codes: 0 a complete dump has landed; 2 usage; 3 configuration; 4 not ready; 5 refused by a rule;
    6 controller unreachable or refused; 7 outcome unknown; 8 no crash; 9 no dump; 10 pending.
    1 to 6: nothing was delivered. 7 to 10: never power-cycle before reading what was printed.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error: hosts say what no locale can show
    try:
        result = trigger.main(args=arguments, prog_name="trigger", standalone_mode=False)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.Abort:
        return report_stop()
    except click.UsageError as error:
        error.show()
        return 2
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except TriggerError as error:
        report(error)
        return error.exit_code
    except SystemExit as end:
        if type(sys.stdout).__name__.endswith("PacifyFlushWrapper"):
            return 0  # nobody reads the output any more (`| head`), and click has seen to the stream
        return end.code if isinstance(end.code, int) else 1
    except OSError as error:
        if error.errno != errno.ENOSPC or something_sent():
            return report_bug(error)
        click.echo(f"trigger: {error.filename or 'the output'} cannot be written: {error.strerror}.", err=True)
        return 1
    except Exception as error:
        return report_bug(error)
    return result if isinstance(result, int) else 0


def something_sent() -> bool:
    """Return whether this process may have sent a shot; loads nothing to find out."""
    return "trigger.run" in sys.modules and bool(sys.modules["trigger.run"].Run.something_sent)


def report_stop() -> int:
    """Say on standard error what Ctrl-C stopped, and return the exit code: 5 before a shot, 10 after it."""
    sent = something_sent()
    what = "Something WAS sent before: do not power-cycle, use `trigger wait`." if sent else "Nothing was sent."
    click.echo(f"Stopped by the operator. {what}", err=True)
    return 10 if sent else 5


def report_bug(error: Exception) -> int:
    """Say on standard error that this is a bug, without any secret that was in use, and return the exit code.

    1 when nothing was sent; 7 when something was: a bug of ours must not look like "nothing happened".
    """
    import traceback

    text = without_secrets("".join(traceback.format_exception(error)))
    click.echo(harmless(text, lines=True), err=True)
    sent = something_sent()
    what = "something WAS sent before: do not power-cycle, use `trigger wait`" if sent else "nothing was sent"
    click.echo(f"trigger: this is a bug; {what}. Please report it with the lines above.", err=True)
    return 7 if sent else 1


def report(error: TriggerError) -> None:
    """Say on standard error what happened and what to do next."""
    click.echo(f"trigger: {harmless(without_secrets(error.message), lines=True)}", err=True)
    if error.next_step:
        click.echo(f"  next: {harmless(error.next_step, lines=True)}", err=True)
