"""Serial-over-LAN (IPMI 2.0 section 15) by pyghmi's Console, which is the only library that has it.

pyghmi keeps its sessions, sockets and event loop in globals of the process, and whoever waits for one answer runs
everybody's callbacks. So one thread owns pyghmi from the login to the logout, there is one SOL console at a time in a
process, and callers talk to that thread by queues. What pyghmi does and we do not want is overridden below: it sends a
BREAK again when no acknowledgement comes, forgets a BREAK that was refused, and never logs out.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from trigger.clock import Deadline
from trigger.driver import Answers, Console
from trigger.errors import ConsoleBusy, DriverError, LoginFailed, Refused, TriggerError, Unreachable
from trigger.host import Controller
from trigger.text import harmless, without_secrets

PORT = 623
_BREAK_S = 3.5  # drivers/ipmi_sol_pyghmi.py waits 3 s for its acknowledgement
_WRITE_S = 3.5  # pyghmi repeats characters after 0.5, 1.5 and 2.5 s, under the same sequence number
_CLOSE_S = 2.0
_TURN_S = 0.5  # pyghmi is asked so often at least whether anything is to be repeated; every turn wakes two threads
_KNOCK_S = 0.05  # a waiting order ends the turn; a knock that came between two turns is lost, hence again
_ONE = threading.Lock()

# pyghmi's words -> ours. Anything else is passed on as it is.
_BUSY = "SOL Session active for another client"
_REJECTED = ("password", "unauthorized name", "insufficient privilege", "integrity check")


def open_sol(controller: Controller, answers: Answers, deadline: Deadline, *, steal: bool = False) -> Console:
    """Open SOL payload 1 and return the console; with `steal` somebody else's is deactivated first.

    Raises ConsoleBusy, LoginFailed, Unreachable or DriverError before `deadline`; whatever a late answer opens is
    closed again.
    """
    console = SolConsole(controller, answers.password(), steal)
    console.start(deadline)
    return console


class SolConsole:
    """One SOL console and the thread that owns it. See trigger.driver.Console."""

    def __init__(self, controller: Controller, password: str, steal: bool) -> None:
        self._controller, self._password, self._steal = controller, password, steal
        self._where = f"{controller.name}: {controller.address}:{controller.port or PORT}"
        self._heard: queue.Queue[bytes | None] = queue.Queue()
        self._orders: queue.Queue[_Order] = queue.Queue()
        self._opened, self._closing, self._closed = threading.Event(), threading.Event(), threading.Event()
        self._error: TriggerError | None = None
        self._lost = self._hint = ""
        self._knock: Callable[[], None] = lambda: None  # ends a turn of the thread that owns pyghmi

    def start(self, deadline: Deadline) -> None:
        """Log in and activate the payload; see `open_sol`."""
        threading.Thread(target=self._own, args=(deadline,), name="sol", daemon=True).start()
        if not self._opened.wait(deadline.left()):
            self._closing.set()
            raise Unreachable(
                f"{self._where}: the serial console was not opened in time; nothing was sent to the host.",
                next_step="Try again; a BMC that was just restarted needs a minute.",
            )
        if self._error is not None:
            raise self._error

    def read(self, deadline: Deadline) -> bytes:
        """See Console.read."""
        try:
            said = self._heard.get(timeout=deadline.left()) if not deadline.passed() else self._heard.get_nowait()
            while said is not None and not self._heard.empty():
                more = self._heard.get_nowait()
                if more is None:
                    self._heard.put(None)
                    break
                said += more
        except queue.Empty:
            return b""
        if said is None:
            self._heard.put(None)
            raise EOFError(self._lost or "the console is closed")
        return said

    def write(self, data: bytes) -> None:
        """See Console.write. One datagram per piece, repeated under the same sequence number until acknowledged."""
        self._order(lambda sol: sol.type(data), _WRITE_S, "what was typed was not acknowledged")

    def send_break(self) -> None:
        """Send exactly one SOL packet with the BREAK bit; it is never repeated. See Console.send_break."""
        self._order(lambda sol: sol.send_one_break(), _BREAK_S, "the BREAK was not acknowledged")

    def close(self) -> None:
        """Deactivate the payload and log out, in two seconds. See Console.close."""
        self._closing.set()
        end = monotonic() + _CLOSE_S
        while not self._closed.wait(_KNOCK_S) and monotonic() < end:
            self._knock()

    def _order(self, do: Callable[[Any], None], seconds: float, otherwise: str) -> None:
        order = _Order(do)
        self._orders.put(order)
        end = monotonic() + seconds
        self._knock()
        while not order.done.wait(_KNOCK_S):
            if not order.begun:
                self._knock()
            if self._closed.is_set() or monotonic() > end:
                why = self._lost or otherwise
                sent = "; it was not sent" if order.give_up() else ""
                raise DriverError(f"{self._where}: {why}{sent}{self._hint}")
        if order.error is not None:
            text = harmless(without_secrets(str(order.error))) or type(order.error).__name__
            kind = Refused if isinstance(order.error, Refused) else DriverError
            raise kind(f"{self._where}: {text}{'' if kind is Refused else self._hint}")

    # --- the thread that owns pyghmi -----------------------------------------------------------------

    def _own(self, deadline: Deadline) -> None:
        if not _ONE.acquire(timeout=max(0.0, deadline.left() - 0.2)):
            self._fail(DriverError(f"{self._where}: another SOL console is open in this program. Nothing was sent."))
            self._closed.set()
            return
        try:
            self._serve(deadline)
        except Exception as error:
            self._ended(harmless(without_secrets(f"{type(error).__name__}: {error}")))
        finally:
            _ONE.release()
            self._closed.set()

    def _serve(self, deadline: Deadline) -> None:
        from drivers.ipmi_sol_pyghmi import Sol, knock

        said = _Said(self)
        sol = Sol(self._controller, self._password, said, force=self._steal)
        self._password, self._knock = "", knock
        try:
            while not (sol.connected or sol.broken or deadline.passed() or self._closing.is_set()):
                sol.turn(_TURN_S)
            if sol.connected and not sol.broken:
                if sol.named_port:
                    self._hint = f"; the BMC named port {sol.named_port} for serial-over-LAN, which was not used"
                self._opened.set()
            while not (sol.broken or self._closing.is_set()) and self._opened.is_set():
                self._turn(sol)
        finally:
            sol.leave()
        self._ended(said.error or "the console is closed")

    def _turn(self, sol: Any) -> None:
        try:
            order = self._orders.get_nowait()
        except queue.Empty:
            sol.turn(_TURN_S)
            return
        order.carry_out(sol)

    def _ended(self, why: str) -> None:
        """Tell whoever waits that the console is gone, or that it could not be opened."""
        self._lost = why
        if not self._opened.is_set():
            self._fail(_not_opened(self._where, why))
        self._heard.put(None)

    def _fail(self, error: TriggerError) -> None:
        if not self._opened.is_set():
            self._error = error
            self._opened.set()


class _Order:
    """Something that the owning thread is to do, unless its caller gave up before it began."""

    def __init__(self, do: Callable[[Any], None]) -> None:
        self._do, self._one = do, threading.Lock()
        self.begun = False
        self.done, self.error = threading.Event(), None

    error: Exception | None

    def carry_out(self, sol: Any) -> None:
        """Do it, in the thread that owns `sol`."""
        with self._one:
            if self.begun:
                return
            self.begun = True
        try:
            self._do(sol)
        except Exception as error:
            self.error = error
        self.done.set()

    def give_up(self) -> bool:
        """Return whether it had not begun; then it never will."""
        with self._one:
            begun, self.begun = self.begun, True
        return not begun


class _Said:
    """What pyghmi passes on: bytes of the host, and dictionaries of its own."""

    def __init__(self, console: SolConsole) -> None:
        self._console = console
        self.error = ""

    def __call__(self, data: object) -> None:
        if isinstance(data, dict):
            self.error = self.error or str(data.get("error", ""))
        elif isinstance(data, bytes | bytearray):
            self._console._heard.put(bytes(data))


def _not_opened(where: str, why: str) -> TriggerError:
    """Return the error for pyghmi's words `why`. Nothing has been sent to the host."""
    text = harmless(without_secrets(why))
    if why == _BUSY:
        return ConsoleBusy(
            f"{where}: somebody else has the serial console; the BMC does not say who. They were not disturbed.",
            next_step="Ask them to leave, or take it from them: --steal deactivates their SOL session.",
        )
    if any(word in why.casefold() for word in _REJECTED):
        return LoginFailed(
            f"{where}: the BMC rejected the login for the console: {text}. Nothing was sent.", rejected=True
        )
    if why in ("timeout", "Session failed to initialize"):
        return Unreachable(f"{where}: no answer from the BMC for the console. Nothing was sent.")
    return DriverError(f"{where}: the serial console cannot be opened: {text}. Nothing was sent.")
