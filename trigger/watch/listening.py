"""Listening to the console around a fire: it is opened between the guard's word and the request.

It is opened after the firing session is logged in, since it may take the BMC's last session, and is waited for
`WAIT_S` at most. It is not opened for `--until accepted`, which watches nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trigger.console_opening import Opener
from trigger.errors import GuardRefused
from trigger.events import Guarded
from trigger.host import Controller
from trigger.plan import Plan, Route
from trigger.recording import Recording
from trigger.secrets import ControllerSecrets
from trigger.state import StateFolder
from trigger.watch.console import ConsoleWatch

if TYPE_CHECKING:
    from trigger.driver import Answers
    from trigger.known import Known
    from trigger.run import Run
    from trigger.shot import Opened, Surroundings


class Ears:
    """The console of one run around its shots: opened by the hook of `around`, watched by follow.py, closed at the end.

    `console` is None until a shot is about to be fired; `shot` is what was fired, in words.
    """

    def __init__(self, plan: Plan, known: Known, around: Surroundings, run: Run) -> None:
        self._plan, self._known, self._run = plan, known, run
        self._before = around
        self.console: ConsoleWatch | None = None
        self.shot = shot_words(plan.routes[0].ability)
        self.around = around._replace(before_firing=self.before_firing, free_console=self.close)

    def before_firing(self, opened: Opened, run: Run) -> tuple[str, ...]:
        """Open the console, or take over the one that will fire; return warnings.

        Raises GuardRefused (rule `dump-in-progress`) when the console shows a crash kernel at work.
        """
        warnings = self._before.before_firing(opened, run)
        self.shot = shot_words(opened.route.ability)
        if self.console is None:
            self.console = self._new()
        hand_over = getattr(opened.driver, "hand_over", None)
        if hand_over is not None:
            hand_over(self.console.adopt)
            return warnings
        self.console.start()
        problem = self.console.ready()
        self._refuse_while_dumping(self.console.dump_in_progress())
        self.console.fired()
        return (*warnings, problem) if problem else warnings

    def close(self) -> None:
        """Give the console back, so that a crash by SysRq can open it, and finish its recording; raises nothing."""
        console, self.console = self.console, None
        if console is not None:
            console.close()

    def _refuse_while_dumping(self, dumping: str) -> None:
        if not dumping:
            return
        host = self._plan.host.name
        message = f"A dump of {host} seems to be being written: {dumping}. A shot would destroy it."
        self._run.emit(Guarded(False, "dump-in-progress", message))
        next_step = f"Wait for it: trigger wait {host}"
        raise GuardRefused(f"{message} Nothing was sent.", rule="dump-in-progress", next_step=next_step)

    def _new(self) -> ConsoleWatch:
        host, around, run = self._plan.host, self._before, self._run
        return console_of(self._plan, self._known, _answers(self._plan, around), around.state, host.name, run)


def shot_words(ability: str) -> str:
    """Return what is sent, for a sentence."""
    return "SysRq c" if ability == "send_sysrq_crash" else "NMI"


def console_of(
    plan: Plan, known: Known, answers: Callable[[Controller], Answers], state: StateFolder, host: str, run: Run
) -> ConsoleWatch:
    """Return the console of a run, not opened yet: of any controller of the plan, the one that was proved first."""
    proved = known.record.console.controller if known.record is not None else ""
    controllers = {route.controller.name: route.controller for route in plan.routes}
    ordered = sorted(controllers.values(), key=lambda controller: controller.name != proved)
    opener = Opener(plan._replace(routes=tuple(Route(c, "open_console") for c in ordered)), known, answers, run.clock)
    return ConsoleWatch(opener, lambda: Recording(state, host, run.id, run.clock), run.clock)


def _answers(plan: Plan, around: Surroundings) -> Callable[[Controller], Answers]:
    """Return where passwords come from: nobody is asked for another one while a shot is on its way."""

    def answers(controller: Controller) -> Answers:
        typed = controller.password is None or controller.password.kind == "prompt"
        if typed and controller.name == plan.routes[0].controller.name:
            return around.answers(controller)  # for the login that fires
        return ControllerSecrets(plan.host, controller)

    return answers
