"""A second opinion by drgn, where it is installed (extra `bmc-trigger[drgn]`): it opens the dump, and shows the stack.

drgn parses hostile bytes in C, so it runs in a child that is given no secrets and little time. The stack needs
the debuginfo of exactly that kernel, installed here; nothing is downloaded.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass

from trigger.clock import Deadline
from trigger.text import harmless

_MAX_OUTPUT = 256 * 1024
_CHILD = """
import json, sys
import drgn
prog = drgn.Program()
prog.set_core_dump(sys.argv[1])
said = {"release": prog["UTS_RELEASE"].string_().decode("utf-8", "replace")}
try:
    prog.load_debug_info(main=True)
    thread = prog.crashed_thread()
    task = thread.object
    said["command"] = task.comm.string_().decode("utf-8", "replace")
    said["pid"] = int(task.pid)
    said["stack"] = str(thread.stack_trace()).splitlines()
except (LookupError, drgn.MissingDebugInfoError, drgn.FaultError, ValueError) as why:
    said["lacks"] = str(why)
print(json.dumps(said))
"""


@dataclass(frozen=True, slots=True)
class SecondOpinion:
    """What drgn said, harmless to print: `opened` and the release, or why not; the stack if debuginfo is here."""

    opened: bool
    text: str
    stack: tuple[str, ...] = ()


def second_opinion(path: str, deadline: Deadline) -> SecondOpinion | None:
    """Let drgn open the local dump at `path`; None where drgn is not installed. Raises nothing."""
    if importlib.util.find_spec("drgn") is None:
        return None
    kept = {name: os.environ[name] for name in ("PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, path],
            capture_output=True,
            timeout=max(0.1, deadline.left()),
            env={"PATH": "/usr/bin:/bin", **kept},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return SecondOpinion(False, "drgn did not finish in time")
    except OSError as error:
        return SecondOpinion(False, f"drgn could not be started: {error.strerror}")
    if done.returncode != 0:
        lines = done.stderr[-_MAX_OUTPUT:].decode("utf-8", "replace").strip().splitlines()
        return SecondOpinion(False, f"drgn cannot open it: {harmless(lines[-1] if lines else 'it crashed')[:300]}")
    return _read(done.stdout[:_MAX_OUTPUT])


def _read(output: bytes) -> SecondOpinion:
    try:
        said = json.loads(output)
        text = f"drgn opens it: Linux {harmless(str(said['release']))[:100]}"
        if "stack" in said:
            text += f", crashed in {harmless(str(said['command']))[:40]} ({int(said['pid'])})"
        stack = tuple(harmless(str(line))[:300] for line in said.get("stack", ())[:100])
        return SecondOpinion(True, text, stack)
    except (ValueError, KeyError, TypeError):
        return SecondOpinion(False, "drgn answered with something else than was asked")
