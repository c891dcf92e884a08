"""A host whose only controller is a telnet port: its configuration, and the environment of a `trigger` of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.drivers.serial_port import SerialPort


class TelnetHost:
    """Everything lies in `folder`. `host` is a name of its own, since locks are the machine's."""

    def __init__(self, folder: Path, port: SerialPort, prefix: str) -> None:
        self.folder, self.host = folder, f"{prefix}{port.port}"
        config = folder / "config.yaml"
        controller = {"driver": "telnet", "address": "127.0.0.1", "port": port.port}
        config.write_text(f"hosts:\n  {self.host}:\n    controllers: [{json.dumps(controller)}]\n")
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
            "TRIGGER_CONFIG": str(config),
        }
