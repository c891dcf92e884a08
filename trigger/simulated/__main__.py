"""`python -m trigger.simulated`: one simulated machine, until Ctrl-C; its switches are the options."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import signal
import tempfile
from pathlib import Path
from typing import Any

from trigger.simulated.machine import host_entry
from trigger.simulated.process import MachineProcess, filled_in, serve_requests
from trigger.simulated.ready_config import config_text
from trigger.simulated.switches import CHOICES, Switches, changed


def parser() -> argparse.ArgumentParser:
    """Return the command line: one option for each switch but the password, which is made up."""
    options = argparse.ArgumentParser(prog="python -m trigger.simulated", description=__doc__)
    options.add_argument("--directory", type=Path, help="where it keeps its files (default: a temporary one)")
    options.add_argument("--control", action="store_true", help=argparse.SUPPRESS)
    for switch in dataclasses.fields(Switches):
        if switch.name == "password":
            continue
        default = switch.default
        about = f"{switch.metadata['help']} (default: {default!r})"
        option = f"--{switch.name.replace('_', '-')}"
        if isinstance(default, bool):
            options.add_argument(option, action="store_true", help=about, default=argparse.SUPPRESS)
        elif isinstance(default, tuple):
            kind: Any = int if switch.name == "cipher_suites" else str
            options.add_argument(option, type=kind, nargs="+", help=about, default=argparse.SUPPRESS)
        else:
            kind = _number if isinstance(default, int) else type(default)
            choices = CHOICES.get(switch.name)
            options.add_argument(option, type=kind, choices=choices, help=about, default=argparse.SUPPRESS)
    return options


def _number(text: str) -> int:
    """Read a whole number, 0xD5 too."""
    return int(text, 0)


async def run(switches: Switches, directory: Path) -> None:
    """Run one machine until SIGINT or SIGTERM; print where it listens as one line of JSON."""
    done = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, done.set)
    machine = MachineProcess(filled_in(switches), directory)
    await machine.start()
    try:
        greeting = machine.greeting()
        config = directory / "trigger.yaml"
        config.write_text(config_text({switches.hostname: host_entry(greeting)}))
        print(json.dumps({**greeting, "config": str(config)}), flush=True)
        await done.wait()
    finally:
        await machine.close()


def main() -> None:
    """Parse the options and run."""
    options = parser()
    arguments = vars(options.parse_args())
    directory, control = arguments.pop("directory"), arguments.pop("control")
    if control:
        asyncio.run(serve_requests())
        return
    try:
        switches = changed(Switches(), arguments)
    except ValueError as error:
        options.error(str(error))
    with tempfile.TemporaryDirectory(prefix="trigger-simulated-") as temporary:
        asyncio.run(run(switches, (directory or Path(temporary)).absolute()))


if __name__ == "__main__":
    main()
