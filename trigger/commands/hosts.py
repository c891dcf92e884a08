"""`trigger hosts`: what is configured, how fresh its records are, which fires are open; `--check` is strict."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trigger.commands.options import complete_host, config_option

if TYPE_CHECKING:
    from trigger.config.loading import Config
    from trigger.state import StateFolder


@click.command("hosts")
@click.argument("patterns", nargs=-1, metavar="[HOST|PATTERN|@TAG]...", shell_complete=complete_host)
@click.option(
    "--check", is_flag=True, help="Check the whole configuration, and policies, strictly; 3 when anything is wrong."
)
@click.option("--json", "as_json", is_flag=True, help="One host a line as JSON.")
@config_option
@click.pass_context
def command(ctx: click.Context, patterns: tuple[str, ...], check: bool, as_json: bool, config: Path | None) -> None:
    """List hosts with their controllers, the age of their records and their open fires. Contacts nobody."""
    from trigger.config.loading import load
    from trigger.state import StateFolder

    loaded = load(config)
    loaded.require_file()
    if check:
        code = _check(loaded)
        if patterns and not code:
            loaded.select(patterns)  # raises for a host that is not there
        ctx.exit(code)
    state = StateFolder.choose(loaded.state_dir)
    names = loaded.select(patterns) if patterns else loaded.host_names()
    for name in names:
        row = _row(loaded, state, name)
        click.echo(json.dumps(row) if as_json else _line(row))
    if not names:
        click.echo(f"{loaded.path}: no hosts are configured", err=True)


def _check(config: Config) -> int:
    from trigger.policy.file import problems_of_policies
    from trigger.registry import contested, registered

    entries = registered()
    problems = [str(problem) for problem in config.check({entry.name for entry in entries})] + contested(entries)
    problems = problems or _problems_of_drivers(config) + problems_of_policies(config.policy)
    for problem in problems:
        click.echo(problem)
    hosts = "" if problems else f"{_counted(len(config.host_names()), 'host')}, no problems"
    click.echo(f"{config.path}: {hosts or _counted(len(problems), 'problem')}", err=True)
    return 3 if problems else 0


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _problems_of_drivers(config: Config) -> list[str]:
    """Return what the drivers themselves say of their controllers: a constructor checks options and opens nothing."""
    from trigger.driver import DriverOptions
    from trigger.errors import ConfigError
    from trigger.registry import load_driver

    problems = []
    for name in config.host_names():
        for controller in config.host(name).controllers:
            try:
                driver = load_driver(controller.driver)
                driver(controller, DriverOptions(_NoPassword()))
                takes = getattr(driver, "OPTIONS", None)  # other people's drivers may not say
                found = [] if takes is None else _problems_of_options(controller.options, takes)
            except ConfigError as error:
                found = [error.message]
            problems += [f"{controller.where}: {name}: {problem}" for problem in found]
    return list(dict.fromkeys(problems))


def _problems_of_options(options: Mapping[str, object], known: Mapping[str, type]) -> list[str]:
    """Return what is wrong with `options:` of a controller whose driver takes `known`."""
    from trigger.config.yaml_values import shown, suggest

    problems = []
    for option, value in options.items():
        if option not in known:
            takes = f"its driver takes {', '.join(known)}" if known else "its driver takes none"
            problems.append(f"unknown option {shown(option)}; {suggest(option, known) or takes}")
        elif known[option] is bool and not isinstance(value, bool):
            problems.append(f"option {option} must be true or false, without quotes")
    return problems


class _NoPassword:
    """What a driver that is only checked gets for a password; none asks before its probe."""

    def password(self) -> str:
        """Return none."""
        return ""


def _row(config: Config, state: StateFolder, name: str) -> dict[str, object]:
    from trigger.errors import TriggerError
    from trigger.fires import open_fires
    from trigger.journal import read_journal
    from trigger.known import known_of

    row: dict[str, object] = {
        "host": name,
        "controllers": [],
        "record_age_s": None,
        "open_fire": "",
        "open_fire_age_s": None,
        "open_fire_until": None,
        "error": "",
    }
    try:
        host = config.host(name)
        row["controllers"] = [f"{c.name} {c.address}" for c in host.controllers]
        known = known_of(state, config, host)
        row["record_age_s"] = round(time.time() - known.record.written_at) if known.record else None
        fires = open_fires(read_journal(state, name), time.time())
        if fires:
            fire = fires[-1]
            row |= {"open_fire": fire.run, "open_fire_until": fire.deadline_at}
            row["open_fire_age_s"] = round(time.time() - fire.fired_at)
    except TriggerError as error:
        row["error"] = error.message
    return row


def _line(row: dict[str, object]) -> str:
    age = row["record_age_s"]
    record = "no record" if not isinstance(age, int) else f"record {_age(age)} old"
    controllers = row["controllers"]
    assert isinstance(controllers, list)
    fired, until = row["open_fire_age_s"], row["open_fire_until"]
    fire = ""
    if isinstance(fired, int) and isinstance(until, float):
        end = time.strftime("%Y-%m-%d %H:%M", time.localtime(until))
        fire = f"  OPEN FIRE {row['open_fire']}, {_age(fired)} old, until {end}: trigger wait {row['host']}"
    error = f"  ERROR {row['error']}" if row["error"] else ""
    return f"{row['host']}  {', '.join(controllers)}  {record}{fire}{error}"


def _age(seconds: int) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
