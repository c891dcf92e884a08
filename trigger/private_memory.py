"""No core dump of ours, and no debugger of another process of the same user: our memory holds passwords.

PR_SET_DUMPABLE 0 (prctl(2)) forbids the core file, one piped to a handler as well, and ptrace and /proc/PID/mem of
others; /proc/PID/environ then belongs to root. exec sets it back, so that children are as they would be without us.
Python has no prctl before 3.15; `ctypes` costs 5 to 10 ms to import and the C module below it 2 (measured), which a
fire waits for. Root can still read everything.
"""

from __future__ import annotations

from pathlib import Path

_PR_SET_DUMPABLE = 4  # linux/prctl.h


def keep_memory_private() -> bool:
    """Forbid it from now on; return whether the kernel agreed. Costs 2 ms, raises nothing.

    A Python without libffi still leaves its memory out of cores (core(5), coredump_filter), and so do its children.
    """
    try:
        import _ctypes

        prctl = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type]  # None: what is loaded
        return bool(_ctypes.call_function(prctl, (_PR_SET_DUMPABLE, 0, 0, 0, 0)) == 0)
    except (ImportError, AttributeError, OSError):
        return _empty_cores()


def _empty_cores() -> bool:
    try:
        Path("/proc/self/coredump_filter").write_text("0")
    except OSError:
        return False
    return True
