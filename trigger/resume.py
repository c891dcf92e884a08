"""`trigger wait`: find the shot in the journal and watch it to its end. Sends nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trigger.action import answers_of, watch
from trigger.clock import Clock, SystemClock
from trigger.display import People, print_json
from trigger.errors import ConfigError
from trigger.events import Finished, Firing
from trigger.fires import OpenFire, fires
from trigger.host import Host
from trigger.interrupts import Interrupts
from trigger.journal import read_journal
from trigger.known import Known, known_of
from trigger.plan import dump_target_of, make_plan, shot_words
from trigger.policy.under import resume_paused
from trigger.report.aftermath import Aftermath
from trigger.run import Listener, Run
from trigger.shot import Surroundings
from trigger.state import StateFolder
from trigger.watch.listening import Ears
from trigger.watch.watched import Watched

if TYPE_CHECKING:
    from trigger.config.loading import Config

# A wait whose deadline has passed still looks, once and properly.
LAST_LOOK_S = 60.0


def resume(
    host_name: str,
    config_path: Path | None,
    *,
    run_id: str,
    until: str,
    deadline_s: float | None,
    as_json: bool,
    verbose: int,
    clock: Clock | None = None,
) -> int:
    """Watch the newest shot of a host (or the one of `run_id`) and return the exit code.

    Raises ConfigError when there is none.
    """
    from trigger.config.loading import load
    from trigger.logs import set_up_logging

    set_up_logging(verbose)
    clock = clock or SystemClock()
    config = load(config_path)
    state = StateFolder.choose(config.state_dir)
    host = _host(config, state, host_name)
    fire, seq = _find(state, host_name, run_id)
    known = known_of(state, config, host)
    around = Surroundings(state, clock, answers_of(host), config.dump_stores, notify=config.notify)
    end = clock.time() + deadline_s if deadline_s else max(fire.deadline_at, clock.time() + LAST_LOOK_S)
    watched = _watched(host, known, fire, end, until, around)
    after = Aftermath(around, host, known)
    after.goes_on(fire.controller, watched.outcome, fire.fired_at)
    listeners: list[Listener] = [people := People(), *([print_json] if as_json else []), after]
    run = Run(state, host_name, clock, listeners, run_id=fire.run, seq=seq, syslog=config.syslog)
    run.stage = "after"
    try:
        return _listen_and_watch(watched, around, run, people, fire, config).exit_code
    finally:
        run.close()
        after.conclude()
        people.close()


def _watched(host: Host, known: Known, fire: OpenFire, end: float, until: str, around: Surroundings) -> Watched:
    """Return what is to be watched until `end`, in seconds since the epoch."""
    return Watched(
        host,
        dump_target_of(host, known.dump_target),
        known,
        fire.outcome or "unknown",
        fire.fired_at,
        end,
        until,
        dump_stores=around.dump_stores,
        shot=_shot(around.state, fire),
    )


def _listen_and_watch(
    watched: Watched, around: Surroundings, run: Run, people: People, fire: OpenFire, config: Config
) -> Finished:
    """Watch to the end, with the lesser witnesses where there are any, and return it."""
    host = watched.host
    ears: Ears | None = None
    try:
        with Interrupts(run) as interrupts:
            if host.controllers and watched.until != "accepted":
                ears = Ears(make_plan(host, "nmi"), watched.known, around, run)
                ears.resume(fire.controller, fire.fired_at)
                watched = watched._replace(console=ears.console, controller=ears.controller, fence=ears.fence)
            finished = watch(watched, run, interrupts.detach, people)
            run.emit(finished)
            if finished.ends_fire:
                resume_paused(config, around.state, fire)
            return finished
    finally:
        if ears is not None:
            ears.close()


def _shot(state: StateFolder, fire: OpenFire) -> str:
    """Return what the fire sent, in words, by its journal."""
    firings = [line.event for line in read_journal(state, fire.host) if line.run == fire.run]
    last = [event for event in firings if isinstance(event, Firing)][-1:]
    return shot_words("send_sysrq_crash" if last and last[0].request.startswith("SysRq") else "send_nmi")


def _host(config: Config, state: StateFolder, name: str) -> Host:
    """Return the host; one that was fired at with --controller alone is in the journal, and may be nowhere else."""
    if name in config or name not in state.host_names() or not fires(read_journal(state, name)):
        return config.host(name)
    return Host(name, (), where="the journal")


def _find(state: StateFolder, host: str, run_id: str) -> tuple[OpenFire, int]:
    lines = read_journal(state, host)
    found = [fire for fire in fires(lines) if not run_id or fire.run == run_id]
    if not found:
        which = f"there is no run {run_id}" if run_id else "no run sent anything"
        if any(line.run == run_id for line in lines):
            which = f"run {run_id} sent nothing"
        raise ConfigError(
            f"{host}: {which} (journal: {state.host_folder(host)}); there is nothing to wait for.",
            next_step=f"trigger history {host} shows its runs.",
        )
    fire = found[-1]
    return fire, 1 + max(line.seq for line in lines if line.run == fire.run)
