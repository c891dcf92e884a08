"""A watch of a target by a fast clock, while a saver takes its steps there."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.unit.post import vmcores
from tests.unit.post.savers import Step
from trigger.clock import Deadline, FastClock
from trigger.post.following import TargetState
from trigger.post.landing import Baseline
from trigger.post.poller import watch_target
from trigger.post.target import LocalStore, Store
from trigger.post.verify import Expectation

FIRE = vmcores.CRASH_TIME - 5.0
OURS = Expectation("server42", nodename="server42.example.com", clock_offset=0.0)


@functools.cache
def core_of(flattened: bool, nodename: str = "server42", crash_time: int = vmcores.CRASH_TIME) -> bytes:
    writes = vmcores.kdump_writes(vmcores.memory(60), nodename=nodename, crash_time=crash_time)
    return vmcores.flattened(writes) if flattened else vmcores.plain(writes)


def pieces(core: bytes, count: int = 4) -> list[bytes]:
    size = -(-len(core) // count)
    return [core[i : i + size] for i in range(0, len(core), size)]


class Stepping(FastClock):
    """A clock that takes one step of the saver every two seconds that are slept."""

    def __init__(self, steps: Sequence[Step], start: float = FIRE) -> None:
        super().__init__(start)
        self.steps = list(steps)
        self.due = 1.0

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        while self.steps and self.monotonic() >= self.due:
            self.steps.pop(0)()
            self.due += 2.0


def watch(
    target: Path, steps: Sequence[Step] = (), *, seconds: float = 120.0, before: Baseline | None = None,
    expectation: Expectation = OURS, factory: Callable[[], Store] = LocalStore, back: Callable[[], bool] | None = None,
    fire: float = FIRE,
) -> tuple[TargetState, list[TargetState]]:  # fmt: skip
    seen: list[TargetState] = []
    clock = Stepping(steps)
    last = watch_target(
        factory,
        before or Baseline(str(target), {}),
        fire,
        expectation,
        Deadline(seconds, clock),
        clock,
        seen.append,
        threading.Event(),
        host_back=back or (lambda: False),
    )
    return last, seen
