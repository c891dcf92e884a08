"""Fails the whole run when a secret of any test was seen anywhere (tests/leaks.py)."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.leaks import Leaks, ProcessWatch, watch_subprocesses
from trigger.redaction import LIVE, Redactor
from trigger.simulated.machine import SimulatedMachine
from trigger.state import SHARED

# Those that no simulated machine makes up and no resolver sees: what tests give to drivers and far ends directly.
CONSTANTS = (
    ("crash", 'made-up "secret\\ 42'),  # tests/drivers/simulators
    ("crash", "Ap%2-&s3cret"),  # tests/e2e/test_secrets.py
    ("crash", "kT7-made-up/value+9="),  # tests/unit/resolved.py
    ("kdump", "made-up-3141"),  # tests/unit/post/test_remote.py
)
LEAKS = Leaks()
_WATCH = ProcessWatch(LEAKS)


def pytest_configure(config: pytest.Config) -> None:
    """Begin to look; let signals act, which a shell has its background jobs ignore, and those theirs."""
    if SHARED.exists():
        pytest.exit(f"{SHARED} is there: tests would write to the journal of real fires. Run them elsewhere.", 3)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    from tests.drivers.ipmi_bmcs import PASSWORD

    for user, secret in (*CONSTANTS, ("crash", PASSWORD)):
        LEAKS.add(secret, user)
    _learn_from_machines()
    watch_subprocesses(LEAKS)
    _WATCH.start()


def _learn_from_machines() -> None:
    start, add = SimulatedMachine.start, Redactor.add

    def started(machine: SimulatedMachine) -> None:
        start(machine)
        LEAKS.add(machine.password, machine.user)

    def added(redactor: Redactor, value: str, user: str = "") -> None:
        add(redactor, value, user)
        if redactor is LIVE and user:  # as trigger/secrets.py tells it
            LEAKS.add(value, user)

    SimulatedMachine.start = started  # type: ignore[method-assign, assignment]
    Redactor.add = added  # type: ignore[method-assign, assignment]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Look through what a test printed and logged, and through the traceback of one that failed."""
    text = "\n".join((report.capstdout, report.capstderr, report.caplog, report.longreprtext))
    if text.strip():
        LEAKS.search("reports", text.encode(errors="surrogateescape"), report.nodeid)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Look through the files, and fail the run when anything was found."""
    _WATCH.stop()
    factory = getattr(session.config, "_tmp_path_factory", None)
    base = getattr(factory, "_basetemp", None)
    if isinstance(base, Path):
        LEAKS.files(base)
    if LEAKS.hits:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if hasattr(session.config, "workeroutput"):  # one of several processes (pytest-xdist): the first one tells
        session.config.workeroutput["leaks"] = (LEAKS.hits, LEAKS.looked_at, list(LEAKS.forms))
    return (yield)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take over what a worker found, before the session ends."""
    hits, looked_at, secrets = getattr(node, "workeroutput", {}).get("leaks", ((), {}, ()))
    LEAKS.hits.extend(hits)
    for kind, count in looked_at.items():
        LEAKS.looked_at[kind] += count
    for secret in secrets:
        LEAKS.add(secret)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was looked through, and every hit."""
    counts = ", ".join(f"{count} {kind}" for kind, count in LEAKS.looked_at.items())
    terminalreporter.write_line(f"secrets: {len(LEAKS.forms)} looked for in {counts}: {len(LEAKS.hits)} hits")
    for hit in dict.fromkeys(LEAKS.hits):
        terminalreporter.write_line(f"  LEAK {hit}", red=True)
