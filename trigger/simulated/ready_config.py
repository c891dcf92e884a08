"""Writes a configuration of `trigger` that is ready for a simulated machine, and the files that it refers to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path


def write_password(directory: Path, password: str) -> Path:
    """Write the BMC's password to a file that only its owner reads; return its path."""
    path = directory / "bmc-password"
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(password + "\n")
    return path


def config_text(hosts: Mapping[str, Mapping[str, object]]) -> str:
    """Return the configuration's YAML: each host's keys on a line of their own, values in flow style."""
    lines = ["hosts:"]
    for name, keys in hosts.items():
        lines.append(f"  {json.dumps(name)}:")
        lines += [f"    {key}: {json.dumps(value)}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"
