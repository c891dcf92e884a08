"""Listening to the console around a fire: it is opened between the guard's word and the request.

It is opened after the firing session is logged in, since it may take the BMC's last session, and is waited for
`WAIT_S` at most. It is not opened for `--until accepted`, which watches nothing.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from trigger.console.opening import Opener
from trigger.console.recording import Recording
from trigger.driver import Driver, DriverOptions
from trigger.errors import ConfigError, GuardRefused
from trigger.events import Guarded
from trigger.guard import dump_seen
from trigger.host import Controller, Host
from trigger.plan import Plan, Route, shot_words
from trigger.registry import abilities_of, load_driver
from trigger.secrets import ControllerSecrets
from trigger.watch.console import ConsoleWatch
from trigger.watch.controller import ControllerWatch

if TYPE_CHECKING:
    from trigger.driver import Answers
    from trigger.known import Known
    from trigger.run import Run
    from trigger.shot import Opened, Surroundings
    from trigger.watch.fence_kdump import FenceKdumpListener

# The host over its own SSH is no console of a host that hangs.
_NO_WITNESSES = ("host",)


class Ears:
    """The lesser witnesses of one run: its console, fence_kdump packets, the controller's log.

    The console is opened by the hook of `around`, after the firing session is logged in, and is closed at the end.
    `console` and `controller` are None until a shot is about to be fired; `shot` is what was fired, in words.
    """

    def __init__(self, plan: Plan, known: Known, around: Surroundings, run: Run) -> None:
        self._plan, self._known, self._run = plan, known, run
        self._before = around
        self.console: ConsoleWatch | None = None
        self.controller: ControllerWatch | None = None
        self.fence = _fence_of(plan.host)
        self.shot = shot_words(plan.routes[0].ability)
        self._logged_in = ""  # the controller whose password was typed, where one had to be
        self.around = around._replace(before_firing=self.before_firing, free_console=self.free_console)

    def before_firing(self, opened: Opened, run: Run) -> tuple[str, ...]:
        """Open the console, or take over the one that will fire; return warnings.

        Raises GuardRefused (rule `dump-in-progress`) when a crash kernel is seen at work.
        """
        warnings = self._before.before_firing(opened, run)
        self.shot = shot_words(opened.route.ability)
        self._logged_in = opened.route.controller.name
        self.controller = self._witness(opened.route.controller, run.clock.time())
        if self.console is None:
            self.console = self._new_console()
        hand_over = getattr(opened.driver, "hand_over", None)
        if hand_over is not None:
            hand_over(self.console.adopt)
            problem = ""
        else:
            self.console.start()
            problem = self.console.ready()
        self._refuse_while_dumping()
        self.console.fired()
        return (*warnings, problem) if problem else warnings

    def resume(self, controller: str, fired_at: float) -> None:
        """Listen to a host at which `controller` fired, at `fired_at` seconds since the epoch, in a run before this."""
        route = next((route for route in self._plan.routes if route.controller.name == controller), None)
        if route is not None:
            self.controller = self._witness(route.controller, fired_at)
        self.console = self._new_console()
        self.console.fired()
        self.console.start()

    def free_console(self) -> None:
        """Give the console back, so that a crash by SysRq can open it, and finish its recording; raises nothing."""
        console, self.console = self.console, None
        if console is not None:
            console.close()

    def close(self) -> None:
        """Stop listening; raises nothing."""
        self.free_console()
        if self.fence is not None:
            self.fence.close()

    def _refuse_while_dumping(self) -> None:
        seen = self.console.dump_in_progress() if self.console is not None else ""
        seen = seen or (self.fence.dump_in_progress() if self.fence is not None else "")
        if not seen:
            return
        found = dump_seen(self._plan.host.name, seen)
        self._run.emit(Guarded(False, found.rule, found.message))
        raise GuardRefused(f"{found.message} Nothing was sent.", rule=found.rule, next_step=found.next_step)

    def _witness(self, controller: Controller, fired_at: float) -> ControllerWatch:
        options = self._known.options(controller, self._answers(controller), self._run.clock)
        make = partial(_make_driver, controller, options)
        return ControllerWatch(make, controller.name, fired_at, self._run.clock)

    def _new_console(self) -> ConsoleWatch:
        """Return the console, not opened yet."""
        run, state, host = self._run, self._before.state, self._plan.host.name
        return ConsoleWatch(self._opener, lambda: Recording(state, host, run.id, run.clock), run.clock)

    def _opener(self) -> Opener:
        """Return what opens a console: one of the plan's controllers, or any of the host's that is a console only.

        The one that was proved comes first, then those that cost the BMC no session. Loads the drivers. Raises
        ConfigError when there is none to try.
        """
        proved = self._known.record.console.controller if self._known.record is not None else ""
        routes = {route.controller.name for route in self._plan.routes}
        ranked: list[tuple[bool, bool, int, Controller]] = []
        for controller in self._plan.host.controllers:
            able = abilities_of(controller.driver)
            alone = "open_console" in able and "send_nmi" not in able
            if controller.driver not in _NO_WITNESSES and (alone or controller.name in routes):
                ranked.append((controller.name != proved, not alone, len(ranked), controller))
        if not ranked:
            raise ConfigError("none of the controllers can have one")
        plan = self._plan._replace(routes=tuple(Route(found[3], "open_console") for found in sorted(ranked)))
        return Opener(plan, self._known, self._answers, self._run.clock)

    def _answers(self, controller: Controller) -> Answers:
        """Return where a password comes from: nobody is asked for another one while a shot is on its way."""
        typed = controller.password is None or controller.password.kind == "prompt"
        if typed and controller.name == self._logged_in:
            return self._before.answers(controller)
        return ControllerSecrets(self._plan.host, controller)


def _make_driver(controller: Controller, options: DriverOptions) -> Driver:
    return load_driver(controller.driver)(controller, options)


def _fence_of(host: Host) -> FenceKdumpListener | None:
    """Return the listener for the host's fence_kdump packets, listening, None where none is configured."""
    if host.fence_kdump is None:
        return None
    from trigger.watch.fence_kdump import FenceKdumpListener

    listener = FenceKdumpListener(host.fence_kdump, (host.ssh.host if host.ssh is not None else host.name,))
    listener.start()
    return listener
