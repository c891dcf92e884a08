"""From the last rename of the saver to "landed" on the screen: three seconds at most."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.program import Bench, finish

PROMISED_S = 3.0
SLACK_S = 3.0  # for a machine that has other things to do


@pytest.mark.parametrize(("style", "final"), [("rhel", "vmcore"), ("debian", "dump.*")])
def test_landed_is_on_the_screen_soon_after_the_rename(bench: Callable[..., Bench], style: str, final: str) -> None:
    machine = bench(style=style, dump_seconds=4.0, reboot_seconds=20.0)
    process = machine.start("nmi", machine.host, *machine.confirmed())
    shown: list[float] = []

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            if "dump: landed" in line:
                shown.append(time.monotonic())
                return

    reader = threading.Thread(target=read)
    reader.start()
    try:
        renamed = wait_for(machine.machine.dump_dir, f"*/{final}")
        reader.join(60)
        assert shown, "it was never shown as landed"
        print(f"{style}: on the screen {shown[0] - renamed:.2f} s after the rename")
        assert shown[0] - renamed < PROMISED_S + SLACK_S
    finally:
        finish(process)


def wait_for(folder: Path, pattern: str) -> float:
    """Return when a file of that name was first seen."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if any(folder.glob(pattern)):
            return time.monotonic()
        time.sleep(0.01)
    raise AssertionError(f"nothing like {pattern} appeared in {folder}")
