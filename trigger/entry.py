"""The console script: begins quickly and ends quickly.

Collecting garbage while modules load, and tearing them down at the end, took 60 of 330 ms from Enter to the prompt's
return (measured). A command that watches switches collection on again (trigger/action.py).
"""

import gc

gc.disable()  # before the imports below, which is the point

import contextlib  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402

from trigger.cli import main  # noqa: E402
from trigger.private_memory import keep_memory_private  # noqa: E402


def entry() -> None:
    """Run the command line and exit with its code; everything that is buffered is written first."""
    keep_memory_private()
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
