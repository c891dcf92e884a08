"""The incident folder hosts/NAME/runs/ID/: what is kept of one run beside its journal, written whole or not at all.

    console.txt, console.cast   what the console said (trigger/console/recording.py); console-2 ... of `trigger wait`
    event-log-before.json       the controller's event log before the fire, where there was time to read it
    event-log-after.json        the same after the end of the run
    preflight.json              the record of the last preflight, as it was at the fire
    first-look.json             what the dump and the kernel log beside it say
    dmesg.txt                   the end of the kernel log that was saved beside the dump
    notes.json                  what went wrong beside the run: notifications, readings
    report.html, report.md      `trigger report`

Files are 0600, or readable for the group where the folder is. No symbolic link is followed.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from typing import Any

from trigger.errors import ConfigError, GuardRefused
from trigger.state import StateFolder

LOG_BEFORE, LOG_AFTER = "event-log-before.json", "event-log-after.json"
PREFLIGHT, FIRST_LOOK, DMESG, NOTES = "preflight.json", "first-look.json", "dmesg.txt", "notes.json"
REPORT_PAGE, REPORT_TEXT = "report.html", "report.md"
MOST_RECORDINGS = 4
LIMIT_BYTES = 8 * 1024 * 1024  # of one file that is read back


class RunFiles:
    """The files of one run. Reading what is not there is not an error: most of them are optional."""

    def __init__(self, state: StateFolder, host: str, run: str) -> None:
        """Name the folder; nothing is made before something is written. Raises ConfigError for no run's id."""
        if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}", run):
            raise ConfigError(f"{run!r} is not the id of a run", next_step="trigger history lists the runs.")
        self._state, self._host, self._run = state, host, run
        self.path = state.host_folder(host) / "runs" / run

    def write(self, name: str, data: bytes) -> None:
        """Replace one file atomically. Raises OSError, GuardRefused (rule `state`)."""
        with self._state.run(self._host, self._run) as folder:
            temporary = f".{name}.{os.getpid()}.{os.urandom(3).hex()}"
            file = self._state.open_file(folder, temporary, os.O_WRONLY | os.O_CREAT)
            try:
                with os.fdopen(file, "wb") as stream:
                    stream.write(data)
                os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise

    def write_json(self, name: str, value: object) -> None:
        """Replace one file by `value` as JSON. Raises what `write` raises."""
        self.write(name, json.dumps(value, indent=1).encode() + b"\n")

    def read(self, name: str, limit: int = LIMIT_BYTES, *, end: bool = False) -> bytes | None:
        """Return the first (with `end` the last) `limit` bytes of a file, None when it is not there or is not ours."""
        if not self.path.is_dir():
            return None
        try:
            with self._state.run(self._host, self._run) as folder:
                file = self._state.open_file(folder, name, os.O_RDONLY)
        except (OSError, GuardRefused):
            return None
        with os.fdopen(file, "rb") as stream:
            if end:
                stream.seek(max(0, os.fstat(file).st_size - limit))
            return stream.read(limit)

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Return the JSON object of a file, None when it is not there or is none."""
        try:
            found = json.loads(self.read(name) or b"null")
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def recordings(self) -> list[str]:
        """Return the names of the console's recordings (asciicast), oldest first; the newest MOST_RECORDINGS."""
        numbers = {
            name: found[1] for name in self.sizes() if (found := re.fullmatch(r"console(?:-(\d{1,4}))?\.cast", name))
        }
        return sorted(numbers, key=lambda name: int(numbers[name] or 1))[-MOST_RECORDINGS:]

    def sizes(self) -> dict[str, int]:
        """Return the files that are there, by name, with their bytes."""
        if not self.path.is_dir():
            return {}
        with self._state.run(self._host, self._run) as folder, os.scandir(folder) as entries:
            found = {e.name: e.stat(follow_symlinks=False).st_size for e in entries if e.is_file(follow_symlinks=False)}
        return {name: found[name] for name in sorted(found) if not name.startswith(".")}
