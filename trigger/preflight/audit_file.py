"""audits/TIME.jsonl: one line per host of a fleet's preflight, written as each is done.

Ctrl-C and a crash keep what there is; --resume reads it and goes on. A fleet is never held in memory.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from trigger.errors import ConfigError, GuardRefused
from trigger.preflight.rows import Row
from trigger.state import StateFolder

_FOLDER = "audits"


class AuditFile:
    """The rows of one audit, in the order in which they were done."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def new(cls, state: StateFolder, now: float) -> AuditFile:
        """Begin an audit. Raises GuardRefused (rule `state`) when it cannot be written."""
        folder = state.path / _FOLDER
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            name = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now))
            path = folder / f"{name}-{secrets.token_hex(3)}.jsonl"
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise _unwritable(folder, error) from None
        return cls(path)

    @classmethod
    def last(cls, state: StateFolder) -> AuditFile:
        """Return the newest audit. Raises ConfigError when there is none."""
        files = sorted((state.path / _FOLDER).glob("*.jsonl"))
        if not files:
            raise ConfigError("There is no audit to go on with.", next_step="Begin one: trigger preflight --all")
        return cls(files[-1])

    def add(self, row: Row) -> None:
        """Append one host. Raises GuardRefused (rule `state`) when it cannot be written."""
        data = json.dumps(row, separators=(",", ":")).encode() + b"\n"
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.write(handle, data)
            finally:
                os.close(handle)
        except OSError as error:
            raise _unwritable(self.path, error) from None

    def rows(self, wanted: Collection[str] | None = None) -> Iterator[dict[str, Any]]:
        """Yield the hosts, or those among `wanted`, in the order done; a line that was cut off is left
        out.
        """
        with self.path.open(encoding="utf-8") as file:
            for line in file:
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                if wanted is None or row["host"] in wanted:
                    yield row


def _unwritable(path: Path, error: OSError) -> GuardRefused:
    return GuardRefused(
        f"The audit cannot be written to {path}: {error.strerror}.",
        rule="state",
        next_step=f"Mend {path}, or name another folder with `state_dir:` in the configuration.",
    )
