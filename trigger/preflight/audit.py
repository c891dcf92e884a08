"""One host, looked at whole: the script over SSH, the controllers, the findings, the verdicts, the record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from trigger.clock import Deadline
from trigger.console.recording import Recording
from trigger.driver import HasConsole, Identity
from trigger.errors import ConfigError, DriverError, GuardRefused, TriggerError
from trigger.fires import open_fires_everywhere
from trigger.guard import judge_open_fires, refusal
from trigger.host import Host, Ssh
from trigger.lock import Locks
from trigger.plan import lock_keys
from trigger.preflight.check import Check, Finding, Route, Stage, Verdict, fail, finding, good
from trigger.preflight.checks import host_findings
from trigger.preflight.controllers import Asked, Asking, Rehearse, ask, controller_findings, judge_whose
from trigger.preflight.facts import Facts
from trigger.preflight.identity import host_identity
from trigger.preflight.learn import dump_targets, make_record
from trigger.preflight.proved import ProvedDump, last_proved
from trigger.preflight.readings import parse, script
from trigger.preflight.rehearse import TURN, Rehearsal, of_this_boot, rehearse, why_not
from trigger.preflight.verdict import READY_ROUTES, Matrix, is_ready, matrix
from trigger.record import Record, find_record, write_record
from trigger.run import new_run_id
from trigger.state import StateFolder

SCRIPT_S = 45.0
TRUST_S = 20.0
MAX_OUTPUT = 2 * 1024 * 1024

# The login's shell may be csh or fish: nothing in here means anything to them. sudo never asks (-n), and
# never gets the script's bytes before the shell does.
COMMAND = (
    'sh -c \'test "$(id -u)" = 0 && exec sh -s;'
    " sudo -n true </dev/null >/dev/null 2>&1 && exec sudo -n sh -s; exec sh -s'"
)

ReadHost = Callable[[Ssh, str], str]


@dataclass(frozen=True, slots=True)
class HostResult:
    """What a preflight says of one host.

    `state` is ready, not-ready, unknown (looked at, but what decides could not be read) or unreachable
    (neither the host nor any controller answered). `record` is what was `written`, or would have been.
    """

    host: str
    state: str
    findings: tuple[Finding, ...] = ()
    table: Matrix = field(default_factory=dict)
    record: Record | None = None
    old: Record | None = None
    host_seen: bool = False
    controllers_seen: int = 0
    problem: str = ""
    written: bool = False

    @property
    def ready(self) -> bool:
        """Whether the button would work."""
        return self.state == "ready"


def audit(
    host: Host, state: StateFolder, record_dirs: tuple[str, ...], asking: Asking, read: ReadHost | None = None
) -> HostResult:
    """Look at `host`, write its record, and return what was found; never raises for what a host did.

    Raises GuardRefused when the record cannot be written.
    """
    try:
        old = find_record(state, host.name, record_dirs)
        problem = ""
    except ConfigError as error:  # a damaged record is replaced, and said
        old, problem = None, error.message
    facts, login = read_facts(host, asking, read or read_over_ssh, last_proved(state, host.name))
    expected = host_identity(facts) if facts else (old.identity if old else Identity())
    rehearsing = _rehearsing(host, state, facts, old, asking, read or read_over_ssh) if asking.rehearse else None
    asked = [ask(controller, host, expected, old, asking, rehearsing) for controller in host.controllers]
    more = [login] if login is not None else []
    if facts is not None and asking.reader is not None:
        readable = asking.reader.finding(host, dump_targets(facts, asking.dump_stores), facts)
        more += [readable] if readable is not None else []
    result = judge(host, facts, more, asked, old, asking)
    written = result.record is not None and bool(result.host_seen or result.controllers_seen)
    if result.record is not None and written:
        write_record(state, result.record)
    return replace(result, problem=problem, written=written)


def _rehearsing(
    host: Host, state: StateFolder, facts: Facts | None, old: Record | None, asking: Asking, read: ReadHost
) -> Rehearse:
    """Return how a console of this host is rehearsed: under the locks of a fire, with none open, once per boot."""

    def make(driver: HasConsole, asked: Asked) -> Rehearsal:
        earlier = of_this_boot(facts, old, asked.controller.name) if facts is not None else None
        if earlier is not None:
            return earlier
        with TURN:
            # What SSH showed must have been shown just now, however long others took before.
            now, _ = read_facts(host, replace(asking, probe_target=False), read) if facts is not None else (None, None)
            whose = judge_whose(asked, host, facts, old, asking)
            refused = why_not(facts, now, whose)
            if refused:
                return Rehearsal("not-sent", refused, sent=False)
            try:
                with Locks(lock_keys(host, {asked.controller.address: asked.addresses}), host.name):
                    _refuse_open_fires(state, host, asked, asking)
                    mask = now.number("sysctl.sysrq") if now is not None else None
                    record = partial(Recording, state, host.name, new_run_id(asking.clock), asking.clock)
                    return rehearse(driver, asking.clock, mask, record)
            except GuardRefused as error:
                return Rehearsal("not-sent", error.message, sent=False)

    return make


def _refuse_open_fires(state: StateFolder, host: Host, asked: Asked, asking: Asking) -> None:
    keys = lock_keys(host, {asked.controller.address: asked.addresses})
    open_fires = open_fires_everywhere(state, host.name, keys, asking.clock.time())
    error = refusal(judge_open_fires(open_fires), (), "", "")
    if error is not None:
        raise error


def judge(
    host: Host,
    facts: Facts | None,
    more: Sequence[Finding],
    asked: list[Asked],
    old: Record | None,
    asking: Asking,
) -> HostResult:
    """Return the verdicts of what was read; `more` was found beside it. Pure, but for the clock."""
    findings = [*controller_findings(asked, host, facts, old, asking), *more]
    if facts is not None:
        findings += host_findings(facts)
    table = matrix(findings, seen=facts is not None)
    record = make_record(host, asking.clock.time(), facts, asked, findings, table, old, asking.dump_stores)
    answered = sum(answer.probe is not None for answer in asked)
    return HostResult(
        host.name, _state(table, facts is not None, answered), tuple(findings), table, record, old,
        facts is not None, answered,
    )  # fmt: skip


def _state(table: Matrix, host_seen: bool, controllers_seen: int) -> str:
    if is_ready(table):
        return "ready"
    if not host_seen and not controllers_seen:
        return "unreachable"
    hopeless = all(Verdict.FAIL in table[route].values() for route in READY_ROUTES)
    return "not-ready" if hopeless else "unknown"


def read_facts(
    host: Host, asking: Asking, read: ReadHost, proved: ProvedDump | None = None
) -> tuple[Facts | None, Finding | None]:
    """Run the script on the host; return its facts, and the finding about the login."""
    if host.ssh is None:
        return None, finding(LOGIN, fail("no `ssh:` is configured, so the host itself was not looked at"))
    asked_at = asking.clock.time()
    try:
        readings = parse(_read(host.ssh, text_for(host, asking), asking, read))
    except TriggerError as error:
        remedy = (f"# {error.next_step}",) if error.next_step else ()
        return None, finding(LOGIN, fail(error.message, *remedy))
    facts = Facts(readings, asked_at=asked_at, answered_at=asking.clock.time(), proved_dump=proved)
    return facts, finding(LOGIN, good(f"logged in as {'root' if facts.is_root else 'an ordinary user'}"))


def _read(ssh: Ssh, text: str, asking: Asking, read: ReadHost) -> str:
    """Run the script; with --trust-new, store a host key that was never seen and try once more."""
    try:
        return read(ssh, text)
    except DriverError as error:
        from trigger.ssh.connection import HostKeyNotTrusted

        if not (asking.trust_new and isinstance(error, HostKeyNotTrusted)):
            raise
        from trigger.ssh.host_keys import trust_new_key

        trust_new_key(ssh, Deadline(TRUST_S, asking.clock))
        return read(ssh, text)


def text_for(host: Host, asking: Asking) -> str:
    """Return the script, told of one more folder (`dump: {target: host:/PATH}`) and of --probe-target."""
    import shlex

    settings = ""
    if host.dump_target.startswith("host:/"):
        settings += f"wanted_folder={shlex.quote(host.dump_target.removeprefix('host:'))}\n"
    if asking.probe_target:
        settings += "probe_target=yes\n"
    return settings + script()


def read_over_ssh(ssh: Ssh, text: str) -> str:
    """Run the script on the host over SSH and return what it printed. Raises DriverError or ConfigError."""
    from trigger.ssh.connection import CommandFailed, run
    from trigger.ssh.openssh import run as run_openssh

    try:
        return (run_openssh if ssh.engine == "openssh" else run)(
            ssh, COMMAND, Deadline(SCRIPT_S), stdin=text, limit=MAX_OUTPUT
        )
    except CommandFailed as error:
        raise DriverError(
            f"{error.message} (the login's shell did not run the script)",
            next_step="Use an account whose shell runs commands, or install the script as a forced command:"
            " trigger preflight --print-script",
        ) from None


LOGIN = Check(
    "host-login",
    Stage.TRIGGER,
    (Route.SYSRQ_SSH,),
    "Everything about kdump is read on the host itself, once, over SSH.",
    "trigger/preflight/read_host.sh",
    lambda facts: None,
)
