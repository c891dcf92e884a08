"""A preflight of one host or of a fleet, from the configuration to the exit code."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trigger.clock import Clock, SystemClock
from trigger.driver import Answers
from trigger.errors import GuardRefused, TriggerError
from trigger.host import Controller, Host
from trigger.preflight import formats
from trigger.preflight.audit import HostResult, audit
from trigger.preflight.audit_file import AuditFile
from trigger.preflight.controllers import Asking
from trigger.preflight.fix_plan import fix_plan
from trigger.preflight.fleet import Progress, all_of
from trigger.preflight.reading import Reader
from trigger.preflight.rows import Row, row_of
from trigger.preflight.table import summary, table_lines
from trigger.preflight.uniqueness import Records
from trigger.record import export_record, find_record
from trigger.state import StateFolder

if TYPE_CHECKING:
    from trigger.config.loading import Config

Look = Callable[[str], HostResult]
_FEW = 8  # hosts; more are an audit that is worth a file of its own


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
    probe_target: bool = False
    rehearse: bool = False
    retry_auth: bool = False
    export: Path | None = None
    config: Path | None = None
    verbose: int = 0


def run(wishes: Wishes, clock: Clock | None = None, look: Look | None = None) -> int:
    """Look at every host that is wished for, print, and return the exit code. Raises ConfigError,
    GuardRefused.
    """
    from trigger.config.loading import load
    from trigger.logs import set_up_logging
    from trigger.policy.file import problems_of_policies

    set_up_logging(wishes.verbose)
    clock = clock or SystemClock()
    config = load(wishes.config)
    for problem in problems_of_policies(config.policy):
        click.echo(f"trigger: note: every fire would be refused: {problem}", err=True)
    names = config.host_names() if wishes.everything else list(config.select(wishes.patterns))
    state = StateFolder.choose(config.state_dir)
    kept = _Kept(names, state, wishes, clock)
    records = Records(state)
    stopped = kept.fill(look or looker(config, state, wishes, clock, records))
    shared = records.write_marks(kept.written)
    if shared:
        click.echo(_about_shared(sorted(shared)), err=True)
    _export(kept.seen, state, wishes.export)
    if stopped:
        click.echo(f"Stopped; {len(kept.left())} hosts were not looked at. Go on: --resume", err=True)
    _print(kept, wishes, clock)
    return kept.exit_code(wishes.fail_on)


class _Kept:
    """The rows of this run: in memory for a few hosts, in audits/ for a fleet."""

    def __init__(self, names: list[str], state: StateFolder, wishes: Wishes, clock: Clock) -> None:
        self.names = names
        self._wanted = set(names)
        self._clock = clock
        self._fanout = wishes.fanout
        self._memory: list[Row] = []
        self.states: Counter[str] = Counter()
        self._seen: set[str] = set()
        self._fell = 0
        self.changed = 0
        self.written: list[str] = []
        self.seen: list[str] = []
        self._file: AuditFile | None = None
        if wishes.resume:
            self._file = AuditFile.last(state)
            for row in self._file.rows(self._wanted):
                self._count(row)
        elif len(names) > _FEW:
            self._file = AuditFile.new(state, clock.time())

    def fill(self, look: Look) -> bool:
        """Look at every host that is not there yet; return whether the operator stopped it."""
        left = self.left()
        progress = Progress(len(left), self._clock)
        try:
            for result in all_of(left, look, self._fanout):
                if isinstance(result, BaseException):
                    raise result
                if result.written:
                    self.written.append(result.host)
                if result.written and result.host_seen:
                    self.seen.append(result.host)
                row = row_of(result)
                self._keep(row)
                progress.add(row["state"])
        except KeyboardInterrupt:
            return True
        finally:
            progress.end()
        return False

    def left(self) -> list[str]:
        """Return the hosts that were not looked at."""
        return [name for name in self.names if name not in self._seen]

    def rows(self) -> Iterator[Row]:
        """Yield the rows; in the order of the names where that is cheap."""
        if self._file is not None:
            yield from self._file.rows(self._wanted)
            return
        place = {name: number for number, name in enumerate(self.names)}
        yield from sorted(self._memory, key=lambda row: place.get(row["host"], 0))

    def _keep(self, row: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.add(row)
        else:
            self._memory.append(row)
        self._count(row)

    def _count(self, row: Row) -> None:
        self._seen.add(row["host"])
        self.states[row["state"]] += 1
        self.changed += bool(row["changed"]) or row["was_ready"] != row["ready"]
        self._fell += row["was_ready"] is True and not row["ready"]

    def exit_code(self, fail_on: str) -> int:
        """Return 0 when all are well, 4 when some are not or were not seen, 6 when none could be looked
        at.
        """
        unseen = len(self.left()) + self.states["unreachable"]
        if self.names and unseen == len(self.names):
            return 6
        bad = {"unreachable": unseen, "new": self._fell}.get(fail_on, len(self.names) - self.states["ready"])
        return 4 if bad else 0


def _export(hosts: list[str], state: StateFolder, directory: Path | None) -> None:
    """Write the records of these hosts for another jump host: last, when it is known what several of them share."""
    for host in hosts if directory is not None else ():
        record = find_record(state, host)
        if record is not None and directory is not None:
            export_record(directory, record)


def _about_shared(hosts: list[str]) -> str:
    names = ", ".join(hosts[:5]) + (f" and {len(hosts) - 5} more" if len(hosts) > 5 else "")
    return (
        f"The UUID of {names} stands in another host's record, too, so it proves nothing: write the serial number of"
        " each into the configuration (`identity:`)."
    )


def looker(config: Config, state: StateFolder, wishes: Wishes, clock: Clock, records: Records) -> Look:
    """Return the function that looks at one host by its name and raises nothing but GuardRefused."""
    dirs, stores = config.record_dirs, config.dump_stores
    _load_before_the_threads()
    reader = Reader(stores)
    one_at_a_time = threading.Lock()  # a Config is not for several threads

    def look(name: str) -> HostResult:
        try:
            with one_at_a_time:
                host = config.host(name)
            asking = Asking(
                _answers(host),
                trust_new=wishes.trust_new,
                retry_auth=wishes.retry_auth,
                accept_identity=wishes.accept_identity,
                probe_target=wishes.probe_target,
                rehearse=wishes.rehearse,
                dump_stores=stores,
                reader=reader,
                clock=clock,
                shared=records.is_shared,
            )
            return audit(host, state, dirs, asking)
        except GuardRefused:
            raise
        except TriggerError as error:
            return HostResult(name, "unreachable", problem=error.message)
        except Exception as error:  # a bug with one host must not end the audit of a fleet
            return HostResult(name, "unreachable", problem=f"bug in preflight: {type(error).__name__}: {error}")

    return look


def _load_before_the_threads() -> None:
    """Import what every look needs, so that many threads do not wait for one another's imports."""
    import asyncssh  # noqa: F401
    import fsspec.asyn  # noqa: F401

    import trigger.ssh.openssh  # noqa: F401


def _answers(host: Host) -> Callable[[Controller], Answers]:
    """Return where the passwords of the host's controllers come from; each source is used once, nobody is asked."""
    from trigger.secrets import ControllerSecrets

    made: dict[str, Answers] = {}
    return lambda controller: made.setdefault(controller.name, ControllerSecrets(host, controller, None))


def _print(kept: _Kept, wishes: Wishes, clock: Clock) -> None:
    lines = _lines(kept, wishes, clock)
    if wishes.output is None:
        for line in lines:
            click.echo(line)
        return
    with wishes.output.open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)


def _lines(kept: _Kept, wishes: Wishes, clock: Clock) -> Iterable[str]:
    if wishes.fix_plan:
        return fix_plan(kept.rows(), clock.time())
    if wishes.form == "html":
        from trigger.preflight.page import page_lines

        return page_lines(kept.rows, clock.time())
    machine = {
        "json": formats.json_lines,
        "csv": formats.csv_lines,
        "junit": formats.junit_lines,
        "prometheus": formats.prometheus_lines,
    }.get(wishes.form)
    return _table(kept, wishes) if machine is None else machine(kept.rows())


def _table(kept: _Kept, wishes: Wishes) -> Iterator[str]:
    colour = wishes.output is None and sys.stdout.isatty()
    width = max((len(name) for name in kept.names), default=0)
    yield from table_lines(kept.rows(), width, explain=wishes.explain, colour=colour, since_last=wishes.since_last)
    if wishes.since_last and not kept.changed:
        yield "Nothing has changed since the last preflight."
    for name in kept.left():
        yield f"{name:<{width}}  NOT SEEN     not looked at"
    if len(kept.names) > 1:
        yield summary(kept.states)
