"""Runs the command that prints a password: no shell, a clean environment, and never longer than its deadline."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess

from trigger.clock import Deadline
from trigger.text import harmless

COMMAND_SECONDS = 10.0
_POLL_SECONDS = 0.05


class CommandError(Exception):
    """The command gave no password; the text is a clause that says why."""


def run(argv: list[str], environment: dict[str, str], deadline: Deadline, limit: int) -> bytes:
    """Return what the command printed, at most `limit` bytes; raises CommandError.

    It gets no standard input, and a session of its own, so that it and its children can be ended together.
    """
    program = find_program(argv[0], environment["PATH"])
    name = harmless(argv[0])
    try:
        process = subprocess.Popen(
            [program, *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "an argument cannot be passed on"
        raise CommandError(f"{name} cannot be run: {reason}") from None
    try:
        output, errors = _collect(process, deadline, limit)
    except BaseException:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()
        process.wait()
    if process.returncode:
        first = harmless(errors.decode(errors="replace").strip().split("\n")[0], limit=200)
        raise CommandError(f"{name} ended with status {process.returncode}" + (f": {first}" if first else ""))
    return output


def find_program(name: str, path: str) -> str:
    """Return the program: `name` if absolute, else the first of that name in `path`. Raises CommandError."""
    if name.startswith("/"):
        return name
    for directory in path.split(":"):
        program = f"{directory}/{name}"
        if os.path.isfile(program) and os.access(program, os.X_OK):  # noqa: PTH113 - pathlib costs more than this
            return program
    raise CommandError(f"{harmless(name)} is not in {path}; name it by its absolute path")


def _collect(process: subprocess.Popen[bytes], deadline: Deadline, limit: int) -> tuple[bytes, bytes]:
    """Return standard output and error when the process has ended. A child that keeps them open is not waited for."""
    assert process.stdout is not None and process.stderr is not None
    out, err = process.stdout.fileno(), process.stderr.fileno()
    collected = {out: b"", err: b""}
    open_pipes = select.poll()
    open_pipes.register(out, select.POLLIN)
    open_pipes.register(err, select.POLLIN)
    while True:
        ended = process.poll() is not None
        ready = open_pipes.poll(0 if ended else min(_POLL_SECONDS, deadline.left()) * 1000)
        for pipe, _ in ready:
            data = os.read(pipe, 4096)
            collected[pipe] += data
            if not data:
                open_pipes.unregister(pipe)
        if len(collected[out]) > limit:
            raise CommandError(f"the command printed more than {limit} bytes, which no password is")
        collected[err] = collected[err][:limit]
        if ended and not ready:
            return collected[out], collected[err]
        if deadline.passed():
            raise CommandError(f"the command did not end within {COMMAND_SECONDS:.0f} s and was ended")
