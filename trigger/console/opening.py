"""Open the serial console of the first controller that gives one, for commands that talk to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trigger.clock import Clock, Deadline
from trigger.driver import Console, Driver, HasConsole
from trigger.errors import ConfigError, ConsoleBusy, DriverError, GuardRefused, TriggerError
from trigger.identity import Match, compare_identities
from trigger.plan import LOGIN_DEADLINE_S, Plan
from trigger.registry import load_driver
from trigger.text import harmless

if TYPE_CHECKING:
    from trigger.driver import Answers
    from trigger.host import Controller
    from trigger.known import Known


class Opener:
    """The consoles of one host. One thread at a time."""

    def __init__(self, plan: Plan, known: Known, answers: Callable[[Controller], Answers], clock: Clock) -> None:
        self._plan, self._known, self._answers, self._clock = plan, known, answers, clock
        self._opened: list[Driver | Console] = []
        self.controller = ""  # the name of the one whose console was opened last

    def open(self, *, steal: bool = False, check_identity: bool = False) -> Console:
        """Return the console of the first controller that gives one; raises what says most of why none did.

        With `check_identity` the controller is asked who it is, which costs a login: see `refuse_another_machine`.
        """
        failures: list[TriggerError] = []
        for route in self._plan.routes:
            try:
                return self._open_one(route.controller, steal, check_identity)
            except (DriverError, ConfigError) as error:
                failures.append(error)
        # One that could be used but for somebody else says more than one that never could.
        busy = next((error for error in failures if isinstance(error, ConsoleBusy)), None)
        raise busy or next((error for error in failures if isinstance(error, DriverError)), failures[-1])

    def keep_to_this(self) -> None:
        """From now on open the console of this controller only: no other one's password is asked for meanwhile."""
        routes = tuple(route for route in self._plan.routes if route.controller.name == self.controller)
        self._plan = self._plan._replace(routes=routes)

    def refuse_another_machine(self) -> None:
        """Ask the controller whose console is open who it is; see the function of the same name."""
        driver = next((opened for opened in list(self._opened) if isinstance(opened, Driver)), None)
        if driver is None:
            raise DriverError("The console is lost at the moment. Nothing was sent.")
        refuse_another_machine(self._plan, self._known, driver, Deadline(LOGIN_DEADLINE_S))

    def close(self) -> None:
        """Give every console and login back; raises nothing."""
        while self._opened:
            self._opened.pop().close()

    def _open_one(self, controller: Controller, steal: bool, check_identity: bool) -> Console:
        options = self._known.options(controller, self._answers(controller), self._clock)
        driver = load_driver(controller.driver)(controller, options)
        if not isinstance(driver, HasConsole):
            raise ConfigError(
                f"{controller.name}: driver {controller.driver!r} has no console. Nothing was sent.",
                next_step="trigger drivers shows what each can do.",
            )
        self.close()
        self._opened.append(driver)
        deadline = Deadline(LOGIN_DEADLINE_S)
        if check_identity:
            refuse_another_machine(self._plan, self._known, driver, deadline)
        console = driver.open_console(deadline, steal=steal)
        self._opened.append(console)
        self.controller = controller.name
        return console


def refuse_another_machine(plan: Plan, known: Known, driver: Driver, deadline: Deadline) -> None:
    """Raise GuardRefused (rule `identity-mismatch`) when the controller is proved to be another machine's."""
    host = plan.host
    found = driver.probe(deadline).identity
    for expected in known.expected(host, driver.controller.name):
        match, why = compare_identities(expected, found)
        if match is Match.DIFFERENT:
            raise GuardRefused(
                f"The controller is not the one of {host.name}: {harmless(why)}. Nothing was sent.",
                rule="identity-mismatch",
                next_step=f"Check the address of {host.name}'s controller: trigger preflight {host.name}",
            )
