"""The main job against the simulated machine, in a folder of its own."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

from trigger.action import Choices, act
from trigger.simulated.machine import SimulatedMachine
from trigger.simulated.switches import Switches

HOST = "server42"


def demo(folder: Path, as_json: bool) -> int:
    """Hang a simulated server42, run `trigger nmi server42` for it, and return its exit code.

    Everything is written below `folder`; the real state and configuration are not touched.
    """
    config = folder / "config.yaml"
    with SimulatedMachine(Switches(dump_seconds=2.0, reboot_seconds=1.0), folder / "machine") as machine:
        machine.write_config(config)
        with config.open("a") as file:  # else it would be /var/lib/trigger where that is: the journal of real fires
            file.write(f"state_dir: {json.dumps(str(folder / 'state'))}\n")
        words = ["trigger", "nmi", HOST, "--config", str(config), "--confirm", HOST]
        words += ["--override", "no-record", "--reason", "demo"]
        _say(f"A simulated {HOST} hangs: TCP connects, SSH says nothing. Its BMC answers at "
             f"{machine.bmc_address} port {machine.bmc_port}.")  # fmt: skip
        _say(f"$ {shlex.join(words)}")
        choices = Choices(
            "nmi", config, confirm=HOST, overrides=("no-record",), reason="demo", deadline_s=60.0, as_json=as_json
        )
        code = act(HOST, choices)
        _say(f"The simulated BMC counted {machine.delivered()} NMI. The same for a real host: trigger nmi HOST")
    return code


def _say(text: str) -> None:
    print(text, file=sys.stderr)
