"""`trigger crash`: one rung after the other, and never one after a crash.

The next rung is fired only after this one was refused or could not log in (trigger/shot.py), after positive proof
that it had no effect, or when a person says so at a prompt with the evidence in view. Silence climbs nothing, and
nothing climbs where any witness has seen a crash: one that contradicts the proof may be the one that is right.
"""

from __future__ import annotations

from collections.abc import Callable

from trigger.errors import TriggerError
from trigger.events import DumpFound, Finished, Firing, Observed
from trigger.journal import Line, read_journal
from trigger.known import Known
from trigger.no_effect import CRASHED
from trigger.plan import Plan, Route
from trigger.run import Run
from trigger.shot import Shot, Surroundings, Wish, shoot
from trigger.state import StateFolder

# What a run knows after its deadline, or after Ctrl-C: only then is a person asked.
_OPEN = (7, 10)
_NO_DUMP_YET = ("waiting", "unreadable", "timed out")

Watch = Callable[[Shot], Finished]
# (what the watch ended with, what was seen since the shot, the next rung) -> whether a person says to fire it
Ask = Callable[[Finished, list[Line], Route], bool]


def climb(
    shot: Shot, plan: Plan, known: Known, wish: Wish, around: Surroundings, run: Run, watch: Watch, ask: Ask | None
) -> Finished:
    """Watch `shot`; fire the next rung where that is allowed, and watch it, until there is an end. Return it.

    `ask` is None where there is no terminal: then only proof climbs. Raises nothing but what `watch` raises:
    whatever stops the next rung, the end of the one before stands.
    """
    while True:
        finished = watch(shot)
        rest = plan._replace(routes=plan.routes[shot.route + 1 :])
        if not rest.routes:
            return finished
        try:
            if proved_without_effect(finished) and not effective(seen_since_firing(around.state, run)):
                run.emit(Observed("no-crash", "host", "proof", finished.text))
                run.next_rung()
            else:
                run.next_rung()  # at the prompt Ctrl-C means no
                if not _said_so(finished, rest.routes[0], around.state, run, ask):
                    run.stage = "after"
                    return finished
            shot, plan = shoot(rest, known, wish, around, run), rest
        except (TriggerError, KeyboardInterrupt) as error:
            run.stage = "after"
            return stopped(finished, error)


def proved_without_effect(finished: Finished) -> bool:
    """Return whether the watch ended with positive proof that the shot had no effect."""
    return finished.exit_code == 8 and finished.ends_fire


def stopped(finished: Finished, error: BaseException) -> Finished:
    """Return the end of the rung before, with why the next one was not fired."""
    # "Nothing was sent" is true of the next rung, and misleading after one that was.
    why = error.message.replace(" Nothing was sent.", "") if isinstance(error, TriggerError) else "stopped by a person."
    more = f" Next step of that: {error.next_step}" if isinstance(error, TriggerError) and error.next_step else ""
    return finished._replace(text=f"{finished.text} The next rung was not fired: {why}{more}")


def seen_since_firing(state: StateFolder, run: Run) -> list[Line]:
    """Return the journal's lines of this run since its last shot."""
    lines = [line for line in read_journal(state, run.journal.host) if line.run == run.id]
    last = max((n for n, line in enumerate(lines) if isinstance(line.event, Firing)), default=0)
    return lines[last:]


def effective(lines: list[Line]) -> bool:
    """Return whether anything of a crash was seen: then no rung follows, whoever says so."""
    return any(
        (isinstance(line.event, DumpFound) and line.event.state not in _NO_DUMP_YET)
        or (isinstance(line.event, Observed) and line.event.phase in CRASHED)
        for line in lines
    )


def _said_so(finished: Finished, route: Route, state: StateFolder, run: Run, ask: Ask | None) -> bool:
    if ask is None or finished.exit_code not in _OPEN or finished.ends_fire or run.journal_broken:
        return False  # what a broken journal does not hold may have been a crash
    lines = seen_since_firing(state, run)
    return not effective(lines) and ask(finished, lines, route)
