#!/usr/bin/env python3
"""The lab from the command line: a real server that really hangs, with a real kdump, for trying trigger.

python tests/lab/lab.py install     what it needs from Debian
python tests/lab/lab.py up          start it, leave it running, print a configuration for trigger
python tests/lab/lab.py hang        hang it
python tests/lab/lab.py down        end it
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

# Run as a script, this file's own folder is on the path and the repository is not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.lab import guest, packages
from tests.lab.chain import Lab
from tests.lab.errors import LabError


def _progress() -> Callable[[str], None]:
    begin = time.monotonic()

    def report(line: str) -> None:
        print(f"lab {time.monotonic() - begin:5.1f} s  {line}", file=sys.stderr, flush=True)

    return report


def _attached(options: argparse.Namespace) -> Lab:
    lab = Lab.attach(options.dir)
    lab.report = _progress()
    return lab


def _install(_options: argparse.Namespace) -> None:
    packages.install(_progress())


def _up(options: argparse.Namespace) -> None:
    report = _progress()
    lab = Lab.start(options.dir, name=options.name, kernel_words=options.append, detached=True, report=report)
    report(f"{lab.name} is up: kdump loaded, sshd answers, its BMC is at 127.0.0.1:{lab.bmc.lan_port}")
    report(f"this configuration is also in {lab.config_file}")
    print(lab.config(), end="")


def _hang(options: argparse.Namespace) -> None:
    lab = _attached(options)
    lab.hang()
    lab.report(f"{lab.name} is hung: TCP connects, no SSH banner comes")


def _status(options: argparse.Namespace) -> None:
    lab = _attached(options)
    for process in lab.running:
        print(f"{process.name:9} pid {process.pid} {'runs' if process.is_running() else 'has ended'}")
    if all(process.is_running() for process in lab.running):
        banner = lab.access.banner(3.0)
        print(f"ssh       127.0.0.1:{lab.access.port} {banner or 'no banner: booting, dumping or hung'}")
    print(f"bmc       127.0.0.1:{lab.bmc.lan_port} {lab.nmi_count()} NMI delivered")
    print(f"config    {lab.config_file}")


def _count(options: argparse.Namespace) -> None:
    print(_attached(options).nmi_count())


def _console(options: argparse.Namespace) -> None:
    sys.stdout.write(_attached(options).console_text())


def _down(options: argparse.Namespace) -> None:
    lab = _attached(options)
    lab.stop()
    lab.report(f"{lab.name} has ended; its logs are in {lab.workdir}")


_COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], None], str]] = {
    "install": (_install, "install the Debian packages that the lab needs"),
    "up": (_up, "start a guest and its BMC and leave them running"),
    "hang": (_hang, "hang the guest"),
    "status": (_status, "show what runs"),
    "count": (_count, "print how many NMIs the BMC has delivered"),
    "console": (_console, "print the guest's serial console"),
    "down": (_down, "end the guest and its BMC"),
}


def _options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lab.py", description=__doc__.splitlines()[0] if __doc__ else "")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (run, text) in _COMMANDS.items():
        command = commands.add_parser(name, help=text)
        command.set_defaults(run=run)
        if name != "install":
            default = guest.cache_folder() / "running"
            command.add_argument("--dir", type=Path, default=default, help=f"its folder ({default})")
        if name == "up":
            command.add_argument("--name", default="server42", help="the guest's host name (server42)")
            command.add_argument("--append", default="", help="more words for the kernel command line")
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    """Run one command and return its exit code."""
    options = _options(words)
    try:
        options.run(options)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
