"""A preflight of one host or of a fleet, from the configuration to the exit code.

Each host is looked at in a thread of its own, `fanout` at a time; one bad host neither delays nor breaks
another. What is done is on disk at once, so that Ctrl-C keeps it and --resume goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trigger.clock import Clock, SystemClock
from trigger.driver import Answers
from trigger.errors import GuardRefused, TriggerError
from trigger.host import Controller, Host
from trigger.preflight.audit import HostResult, audit
from trigger.preflight.controllers import Asking
from trigger.preflight.formats import json_line
from trigger.preflight.table import summary, table_lines
from trigger.record import export_record
from trigger.state import StateFolder
from trigger.text import harmless

if TYPE_CHECKING:
    from trigger.config import Config

Look = Callable[[str], HostResult]


@dataclass(frozen=True, slots=True)
class Wishes:
    """The options of `trigger preflight`, as parsed."""

    patterns: tuple[str, ...] = ()
    everything: bool = False
    form: str = "table"
    output: Path | None = None
    explain: bool = False
    fix_plan: bool = False
    since_last: bool = False
    fanout: int = 64
    resume: bool = False
    fail_on: str = "notready"
    trust_new: bool = False
    accept_identity: bool = False
    retry_auth: bool = False
    export: Path | None = None
    config: Path | None = None
    verbose: int = 0


def run(wishes: Wishes, clock: Clock | None = None) -> int:
    """Look at every host that is wished for, print, and return the exit code. Raises ConfigError,
    GuardRefused.
    """
    from trigger.config import load
    from trigger.logs import set_up_logging

    set_up_logging(wishes.verbose)
    clock = clock or SystemClock()
    config = load(wishes.config)
    names = config.host_names() if wishes.everything else list(config.select(wishes.patterns))
    state = StateFolder.choose(config.state_dir)
    look = looker(config, state, wishes, clock)
    results = list(look_at_all(names, look, wishes.fanout))
    results.sort(key=lambda result: names.index(result.host) if len(names) < 1000 else 0)
    _print(results, wishes)
    return exit_code(results, wishes.fail_on)


def looker(config: Config, state: StateFolder, wishes: Wishes, clock: Clock) -> Look:
    """Return the function that looks at one host by its name and never raises but for the state folder."""
    dirs, stores = config.record_dirs, config.dump_stores

    def look(name: str) -> HostResult:
        try:
            host = config.host(name)
        except TriggerError as error:
            return HostResult(name, "unreachable", problem=error.message)
        asking = Asking(_answers(host), wishes.trust_new, wishes.retry_auth, wishes.accept_identity, stores, clock)
        try:
            result = audit(host, state, dirs, asking)
        except GuardRefused:
            raise
        except Exception as error:  # a bug with one host must not end the audit of a fleet
            return HostResult(name, "unreachable", problem=f"bug in preflight: {type(error).__name__}: {error}")
        if wishes.export is not None and result.record is not None and result.host_seen:
            export_record(wishes.export, result.record)
        return result

    return look


def look_at_all(names: Sequence[str], look: Look, fanout: int) -> Iterator[HostResult]:
    """Yield a result for every name as it is done, `fanout` at a time; on Ctrl-C end with what there is.

    Raises GuardRefused when the state folder cannot be written.
    """
    waiting = iter(names)
    pool = ThreadPoolExecutor(min(fanout, len(names)) or 1, thread_name_prefix="preflight")
    running: set[Future[HostResult]] = set()
    try:
        for name in waiting:
            running.add(pool.submit(look, name))
            if len(running) >= fanout:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def exit_code(results: Sequence[HostResult], fail_on: str = "notready") -> int:
    """Return 0 when all are well, 4 when some are not, 6 when none could be looked at."""
    if results and all(result.state == "unreachable" for result in results):
        return 6
    if fail_on == "unreachable":
        return 4 if any(result.state == "unreachable" for result in results) else 0
    if fail_on == "new":
        return 4 if any(not result.ready and result.old is not None and result.old.ready for result in results) else 0
    return 0 if all(result.ready for result in results) else 4


def _answers(host: Host) -> Callable[[Controller], Answers]:
    from trigger.secrets import ControllerSecrets

    return lambda controller: ControllerSecrets(host, controller, None)


def _print(results: Sequence[HostResult], wishes: Wishes) -> None:
    if wishes.form == "json":
        text = "".join(json_line(result) + "\n" for result in results)
    else:
        colour = wishes.output is None and sys.stdout.isatty()
        lines = table_lines(results, explain=wishes.explain, colour=colour)
        if len(results) > 1:
            lines.append(summary(results))
        text = "".join(line + "\n" for line in lines)
    if wishes.output is not None:
        wishes.output.write_text(text, encoding="utf-8")
    else:
        click.echo(text, nl=False)


def _note(text: str) -> None:
    click.echo(f"trigger: note: {harmless(text)}", err=True)
