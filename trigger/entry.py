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


def open_standard_streams() -> None:
    """Give a standard stream that was closed (`>&-`) a place: the next file opened, the journal, would take its number.

    What anything then prints, or a library writes to descriptor 2, would go into that file.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115


def entry() -> None:
    """Run the command line and exit with its code; everything that is buffered is written first."""
    open_standard_streams()
    keep_memory_private()
    code = main()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
