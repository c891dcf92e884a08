"""A budget of time for one target: hypothesis runs seed after seed until it is spent, and says how far it came.

Seconds in `make test`; 600 for each target with TRIGGER_SOAK=1, or what TRIGGER_FUZZ_SECONDS says. TRIGGER_SEED is the
first seed: a failure is found again by the seed that the report names.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import SearchStrategy

SECONDS = float(os.environ.get("TRIGGER_FUZZ_SECONDS", "600" if os.environ.get("TRIGGER_SOAK") == "1" else "1"))
FIRST_SEED = int(os.environ.get("TRIGGER_SEED", "1"))
ROUND = 100  # examples of one seed
# Of processor time, so that a loaded machine is not taken for a hang.
HANG_SECONDS = 1.0


def fuzz(name: str, strategy: SearchStrategy[Any], target: Callable[[Any], None], *, limit_s: float = 0.0) -> None:
    """Feed examples to `target` until the time is spent; an uncaught error fails, and so does a slow example.

    `limit_s` is for targets that wait: the wall time that one example may take. Raises what `target` raises.
    """
    counted, slowest, number = 0, 0.0, FIRST_SEED
    end = time.monotonic() + SECONDS

    def timed(example: Any) -> None:
        nonlocal counted, slowest
        clock = time.monotonic if limit_s else time.process_time
        begun = clock()
        target(example)
        took = clock() - begun
        counted, slowest = counted + 1, max(slowest, took)
        assert took < (limit_s or HANG_SECONDS), f"one example took {took:.1f} s"

    while number == FIRST_SEED or time.monotonic() < end:
        once = settings(
            max_examples=10 if limit_s else ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        seed(number)(once(given(strategy)(timed)))()
        number += 1
    print(f"fuzz {name}: {counted} examples, seeds {FIRST_SEED} to {number - 1}, slowest {slowest * 1000:.0f} ms")
