"""Debian's conserver in front of a telnet serial port: a SerialPort, or QEMU's."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

from tests.drivers.ipmi_bmcs import free_port

_CONFIG = """\
config * {{
    primaryport {port}; secondaryport 0; daemonmode no; passwdfile {folder}/passwd; defaultaccess rejected;
    sslrequired no;
}}
default * {{ rw *; master localhost; logfile ""; }}
console {name} {{ type host; host 127.0.0.1; port {behind}; protocol telnet; }}
access * {{ {access} 127.0.0.1; }}
"""


@contextlib.contextmanager
def conserver(folder: Path, name: str, behind: int, access: str = "trusted") -> Iterator[int]:
    """Run it with one console `name` at the telnet port `behind`, and give the port it listens on."""
    port = free_port()
    (folder / "conserver.cf").write_text(
        _CONFIG.format(port=port, folder=folder, name=name, behind=behind, access=access)
    )
    (folder / "passwd").write_text("*any*:\n")
    with (folder / "conserver.log").open("wb") as log:
        command = ["conserver", "-n", "-C", str(folder / "conserver.cf"), "-M", "127.0.0.1", "-p", str(port), "-b", "0"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _await_console(port, name, folder)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _await_console(port: int, name: str, folder: Path) -> None:
    """Wait until conserver answers for the console, and its line is up."""
    end = monotonic() + 60
    while monotonic() < end:
        asked = ["console", "-n", "-C", "/dev/null", "-M", "127.0.0.1", "-p", str(port), "-l", "test", "-i", name]
        done = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        if f"{name}:" in done.stdout and ":up:" in done.stdout:
            return
        sleep(0.1)
    raise AssertionError(f"conserver is not up: {(folder / 'conserver.log').read_text()}")
