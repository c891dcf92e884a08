"""The lab's way into its guest: keys of its own, OpenSSH's client, and a look at the SSH banner."""

from __future__ import annotations

import re
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.lab.errors import LabError


@dataclass(frozen=True)
class Access:
    """How to reach the guest's sshd, and what proves that it is the guest's."""

    port: int
    key: Path
    known_hosts: Path
    host: str = "127.0.0.1"
    user: str = "root"

    def run(self, command: str, timeout: float) -> subprocess.CompletedProcess[str]:
        """Run a shell command in the guest; exit code 255 is ssh's own failure."""
        argv = ["ssh", "-F", "none", "-p", str(self.port), "-i", str(self.key), *self._options(), "-n"]
        return subprocess.run(
            [*argv, f"{self.user}@{self.host}", command],
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def _options(self) -> list[str]:
        options = {
            "UserKnownHostsFile": self.known_hosts,
            "StrictHostKeyChecking": "yes",
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "ConnectTimeout": "10",
            "LogLevel": "ERROR",
        }
        return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]

    def banner(self, timeout: float) -> str | None:
        """Return what sshd says first; None when nobody speaks or nobody is there."""
        try:
            return self._first_words(timeout)
        except OSError:
            return None

    def is_silent(self, timeout: float) -> bool:
        """Say whether TCP connects and then no banner comes, as on a hung host."""
        try:
            self._first_words(timeout)
        except TimeoutError:
            return True
        except OSError:
            return False
        return False

    def _first_words(self, timeout: float) -> str | None:
        with socket.create_connection((self.host, self.port), timeout) as connection:
            connection.settimeout(timeout)
            return connection.recv(256).decode(errors="replace").strip() or None


@dataclass(frozen=True)
class GuestKeys:
    """What goes into the guest: who may log in, and the host key that proves it."""

    authorized_keys: bytes
    host_key: bytes


def make_keys(workdir: Path, port: int) -> tuple[Access, GuestKeys]:
    """Generate the user's and the host's key pair and write a known_hosts file."""
    user_key, host_key = workdir / "id_ed25519", workdir / "host_key"
    known_hosts = workdir / "known_hosts"
    _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(user_key)])
    told = _run(["dropbearkey", "-t", "ed25519", "-f", str(host_key)])
    public = re.search(r"^ssh-ed25519 \S+", told, re.MULTILINE)
    if not public:
        raise LabError(f"dropbearkey told no public key: {told}")
    access = Access(port, user_key, known_hosts)
    known_hosts.write_text(f"[{access.host}]:{port} {public.group()}\n")
    authorized = user_key.with_suffix(".pub").read_bytes()
    return access, GuestKeys(authorized, host_key.read_bytes())


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout
