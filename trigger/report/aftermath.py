"""What is done beside a run and after its end, none of which may change or delay it.

Once the request has left: notifications are queued. After `Finished`, when the verdict is on the screen and in the
journal: the controller's event log is read by a new login, the first look is kept, and the report is written. All of
it is bounded; what goes wrong is a note at the end. Ctrl-C ends the waiting, never the exit code.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from trigger.events import DumpFound, Finished, Fired, Firing, Planned
from trigger.text import harmless, without_secrets

if TYPE_CHECKING:
    from pathlib import Path

    from trigger.driver import EventLogEntry
    from trigger.host import Host
    from trigger.journal import Line
    from trigger.known import Known
    from trigger.notify import Notifier
    from trigger.post.inspection import Inspection
    from trigger.shot import Surroundings

LIMIT_S = 8.0  # for everything after the end
EVENT_LOG_S = 6.0
NOTIFY_S = 4.0  # for notifications that are still under way
NEWEST = 50
_CLOCK_S = 120.0  # how far the host's clock may be off where nobody has compared it
_STEP_S = 0.05
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Aftermath:
    """Listens to a run; `conclude` does the rest. Raises nothing."""

    def __init__(
        self,
        around: Surroundings,
        host: Host,
        known: Known,
        log: tuple[EventLogEntry, ...] = (),
        *,
        brief: bool = False,
    ) -> None:
        """`log` is the controller's event log as it was shown before the question.

        `brief`: nobody waits for more than the controller's answer; the folder is filled by `trigger wait`, and the
        report by it or by `trigger report`.
        """
        self._around, self._host, self._known, self._notify = around, host, known, around.notify
        self._run, self._brief, self._log = "", brief, log
        self._notifier: Notifier | None = None
        self._planned: Planned | None = None
        self._firing: Firing | None = None
        self._fired: Fired | None = None
        self._dump: DumpFound | None = None
        self._finished: Finished | None = None
        self._landed = False
        self._fired_at = 0.0
        self._notes: list[str] = []
        self._look: Inspection | None = None

    def __call__(self, line: Line) -> None:
        """Hear of one event; nothing is done before the request has left."""
        self._run = line.run
        match line.event:
            case Planned() as event:
                self._planned = event
            case Firing() as event:
                self._firing = event
            case Fired(outcome="accepted" | "unknown") as event:
                first, self._fired = self._fired is None, event
                self._fired_at = line.time
                if first:  # the ladder of `trigger crash` may fire again, after proof of no effect
                    self._tell("start", line)
            case DumpFound() as event:
                self._dump = event
                if event.state in ("landed", "verified") and not self._landed:
                    self._landed = True
                    self._tell("landed", line)
            case Finished() as event:
                self._finished = event
                self._tell("verdict", line)

    def goes_on(self, controller: str, outcome: str, fired_at: float) -> None:
        """Say that this run only goes on watching a shot that left before (`trigger wait`)."""
        self._fired_at = fired_at
        self._firing = Firing(controller, "", "", "", (), 0.0)
        self._fired = Fired(controller, outcome, "")

    def conclude(self) -> None:
        """Do what is left to do; at most about LIMIT_S."""
        if self._fired is None or self._finished is None:
            return
        end = time.monotonic() + LIMIT_S
        try:
            with _patience() as stopped:
                self._conclude(lambda: stopped.is_set() or time.monotonic() > end)
        except Exception as error:
            self._notes.append(f"what follows a run failed: {type(error).__name__}: {error}")
        for note in self._notes:
            _say(f"note: {note}")

    def _conclude(self, over: Callable[[], bool]) -> None:
        if self._notifier is not None:
            self._notifier.finish()
        keepers = [self._keep_log_before] if self._log else []
        if not self._brief:
            keepers += [self._keep_record, self._keep_look, self._keep_last_words, self._keep_event_log]
        threads = [_started(keep) for keep in keepers]
        notifier, notify_until = self._notifier, time.monotonic() + NOTIFY_S
        _wait(lambda: not any(thread.is_alive() for thread in threads), over)
        if notifier is not None:
            _wait(notifier.done, lambda: over() or time.monotonic() > notify_until)
            self._notes += notifier.failures()
            notifier.end()
        if not self._brief:
            self._show_look()
            self._report()
            self._say_again()

    def _show_look(self) -> None:
        """Say what panicked and what was wrong before, as `trigger inspect` does."""
        if self._look is None:
            return
        from trigger.post.rows import first_look

        for name, value in first_look(self._look):
            with suppress(OSError, ValueError):
                print(f"{name + ':' if name else '':<16}{harmless(without_secrets(value.strip()))}", file=sys.stderr)

    def _say_again(self) -> None:
        """Repeat the verdict in a line where the first look has pushed it off a screen of 24 rows."""
        end = self._finished
        if end is None or self._look is None:
            return
        from trigger.exit_codes import meaning

        title = meaning(end.exit_code, safe=end.safe_to_power_cycle == "yes").title
        safe = end.safe_to_power_cycle
        _say(f"{self._host.name}: exit code {end.exit_code}, {title}; safe to power-cycle: {safe}")

    def _report(self) -> None:
        from trigger.report.files import write_reports
        from trigger.run_files import NOTES

        try:
            if self._notes:
                self._files().write_json(NOTES, {"notes": [harmless(note) for note in self._notes]})
            path: Path = write_reports(self._around.state, self._host.name, self._run)
        except Exception as error:
            self._notes.append(f"the report could not be written: {error}")
        else:
            _say(f"report: {path}")

    def _keep_record(self) -> None:
        """Copy the preflight record that the fire worked from."""
        from trigger.run_files import PREFLIGHT

        record = self._known.record
        if record is not None and self._files().read(PREFLIGHT) is None:
            from trigger.record import as_plain

            self._files().write_json(PREFLIGHT, as_plain(record))

    def _keep_log_before(self) -> None:
        from trigger.controller_log import as_plain
        from trigger.run_files import LOG_BEFORE

        self._files().write_json(LOG_BEFORE, {"v": 1, "host": self._host.name, **as_plain(self._log)})

    def _keep_event_log(self) -> None:
        from trigger.controller_log import read_log
        from trigger.run_files import LOG_AFTER

        name = self._firing.controller if self._firing is not None else ""
        controller = next((c for c in self._host.controllers if c.name == name), None)
        if controller is None:
            return
        found = read_log(controller, self._around.answers(controller), self._known, EVENT_LOG_S, NEWEST)
        self._files().write_json(LOG_AFTER, {"host": self._host.name, "run": self._run, **found})

    def _keep_look(self) -> None:
        """Keep the first look where post has not: it needs the dump, which must be readable from here."""
        from trigger.run_files import FIRST_LOOK

        dump = self._dump
        if dump is None or dump.state not in ("verified", "landed") or self._files().read(FIRST_LOOK) is not None:
            return
        from trigger.report.kept_look import keep_look

        with suppress(Exception):  # `trigger inspect` says why
            self._look = keep_look(self._files(), self._host, dump.path, self._around.dump_stores)

    def _keep_last_words(self) -> None:
        """Where no dump will come, keep and say what the kernel left in pstore, which the host keeps over a reboot."""
        end, ssh, record = self._finished, self._host.ssh, self._known.record
        if end is None or end.exit_code != 9 or ssh is None:
            return
        from trigger.report.kept_look import keep_last_words

        ahead = record.clock_offset_s or 0.0 if record is not None else 0.0
        look = keep_last_words(self._files(), ssh, self._fired_at + ahead - _CLOCK_S)
        if look is not None:
            _say(f"no dump, but the kernel's last words are in pstore: {look.panic or 'they name no panic'}")

    def _files(self) -> Any:
        from trigger.run_files import RunFiles

        return RunFiles(self._around.state, self._host.name, self._run)

    def _tell(self, kind: str, line: Line) -> None:
        if not self._notify or self._fired is None:
            return
        if self._notifier is None:
            from trigger.notify import Notifier

            self._notifier = Notifier(self._notify)
        self._notifier.tell({name: _clean(value) for name, value in self._message(kind, line).items()})

    def _message(self, kind: str, line: Line) -> dict[str, Any]:
        """Return a notification. Without `include_console` it has only words of ours and the dump's path."""
        from trigger.exit_codes import meaning

        end, dump, plan = self._finished, self._dump, self._planned
        path = dump.path if dump is not None else ""
        safe = end is not None and end.safe_to_power_cycle == "yes"
        text = {
            "start": f"{line.host}: a crash dump was asked for; do not power-cycle it",
            "landed": f"{line.host}: a dump has landed: {path}",
            "verdict": f"{line.host}: {meaning(end.exit_code, safe=safe).title}" if end else "",
        }[kind]
        message: dict[str, Any] = {
            "v": 1, "kind": kind, "run": line.run, "host": line.host, "time": line.time, "text": text,
            "action": plan.action if plan else "", "actor": plan.actor if plan else "",
            "reason": plan.reason if plan else "", "outcome": self._fired.outcome if self._fired else "",
            "dump": path, "dump_state": dump.state if dump is not None else "",
        }  # fmt: skip
        if end is not None:
            message |= {
                "exit_code": end.exit_code, "sent": end.sent, "safe_to_power_cycle": end.safe_to_power_cycle,
                "next": end.next, "report": "" if self._brief else str(self._files().path / "report.html"),
            }  # fmt: skip
        if self._notify.include_console:
            message |= {
                "says": end.text if end else "",
                "panic": dump.panic if dump else "",
                "console": self._console(),
            }
        return message

    def _console(self) -> str:
        files = self._files()
        said = b""
        for name in files.recordings()[-1:]:
            said = files.read(name.replace(".cast", ".txt"), 4096, end=True) or b""
        return harmless(said.decode("utf-8", "replace"), lines=True)


def _clean(value: Any) -> Any:
    """Return `value` without any secret in use, and without the passwords of URLs that a console may have printed."""
    from trigger.report.console_excerpt import masked

    return masked(without_secrets(value)) if isinstance(value, str) else value


def _started(function: Callable[[], None]) -> threading.Thread:
    def work() -> None:
        with suppress(Exception):  # each is extra; the report says what is missing
            function()

    thread = threading.Thread(target=work, name=function.__name__, daemon=True)
    thread.start()
    return thread


def _wait(done: Callable[[], bool], over: Callable[[], bool]) -> None:
    while not done() and not over():
        time.sleep(_STEP_S)


@contextmanager
def _patience() -> Iterator[threading.Event]:
    """Yield an event that a signal sets instead of ending the program: the run's exit code stands already."""
    stopped = threading.Event()
    main = threading.current_thread() is threading.main_thread()
    handled = [n for n in _SIGNALS if main and signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in handled}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    with suppress(OSError, ValueError):
        print(f"trigger: {harmless(without_secrets(text))}", file=sys.stderr)
