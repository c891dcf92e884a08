"""What policies mean for one run: looked for, applied to its plan, held while it lasts. Costs one stat without any."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trigger.text import harmless

if TYPE_CHECKING:
    from trigger.config.loading import Config
    from trigger.fires import OpenFire
    from trigger.plan import Plan
    from trigger.policy.hold import Hold
    from trigger.policy.rules import Policy
    from trigger.run import Run
    from trigger.shot import Surroundings, Wish
    from trigger.state import StateFolder


def policies_of(config: Config) -> tuple[Policy, ...]:
    """Return the policies in force. Raises ConfigError for a wrong one, GuardRefused for one not to be trusted."""
    from trigger.config import file as config_file

    if not config.policy and not os.path.lexists(config_file.SYSTEM_POLICY):
        return ()
    from trigger.policy.file import policies_in_force

    return policies_in_force(config.policy)


def under(policies: tuple[Policy, ...], plan: Plan, wish: Wish, around: Surroundings) -> tuple[Plan, Surroundings]:
    """Return the plan and the surroundings as the policies leave them. Raises GuardRefused; nothing was sent then."""
    from trigger.policy.file import this_person
    from trigger.policy.rules import enforce

    plan, findings, notes = enforce(policies, plan, this_person(), wish.reason, wish.command)
    for note in notes:
        _note(note)
    return plan, around._replace(policy=findings)


@contextmanager
def held(policies: tuple[Policy, ...], plan: Plan, state: StateFolder, run: Run) -> Iterator[Hold | None]:
    """Give what policies hold during a run; let go of it when nothing was sent, or when the fire is over.

    While a dump may be being written what was paused stays paused: `trigger wait` resumes it.
    """
    if not policies:
        yield None
        return
    from trigger.policy.hold import Hold

    hold = Hold(policies, state, plan.host.name, run.id, plan.deadline_s)
    try:
        yield hold
    finally:
        warnings = hold.end() if hold.over or run.stage == "before" else hold.still_paused()
        for warning in warnings:
            _note(warning)


def resume_paused(config: Config, state: StateFolder, fire: OpenFire) -> None:
    """Resume what the run of `fire` has paused, now that it is over; says on standard error what went wrong."""
    policies = policies_of(config)
    if not policies:
        return
    from trigger.policy.hold import Hold

    hold = Hold(policies, state, fire.host, fire.run, 0.0)
    hold.take_over()
    for warning in hold.end():
        _note(warning)


def _note(text: str) -> None:
    print(f"trigger: note: {harmless(text)}", file=sys.stderr)
