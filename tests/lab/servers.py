"""Where a dump can land: OpenSSH's sshd, vsftpd and nfs-ganesha on 127.0.0.1, out of the full guest's tree (chroot).

Nothing is installed on this machine, and no service is started on it: each server belongs to one test. The guest
reaches them at 10.0.2.2 (QEMU's user-mode network), trigger at 127.0.0.1.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab import processes
from tests.lab.errors import LabError
from tests.lab.guest import run

AS_THE_GUEST_SEES_IT = "10.0.2.2"
_START_SECONDS = 30.0


@dataclass(frozen=True)
class Server:
    """One running server: `inside` is the folder of the dumps as it sees it, `dumps` as this machine sees it.

    `public_key` is sshd's own.
    """

    port: int
    inside: str
    dumps: Path
    public_key: str = ""

    def admit(self, public_key: bytes) -> None:
        """Let one more key log in to sshd."""
        with (self.dumps.parent / "authorized_keys").open("ab") as file:
            file.write(public_key)


@contextlib.contextmanager
def sshd(tree: Path, authorized: bytes) -> Iterator[Server]:
    """Run OpenSSH's sshd; `authorized` are the public keys that may log in as root."""
    with _place(tree) as (place, inside):
        key = place / "host_key"
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "server", "-f", str(key)])
        (place / "authorized_keys").write_bytes(authorized)
        (place / "authorized_keys").chmod(0o600)
        [port] = processes.free_ports(1)
        (place / "config").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {inside}/host_key\nPidFile none\nUsePAM no\nUseDNS no\n"
            f"AuthorizedKeysFile {inside}/authorized_keys\nPasswordAuthentication no\nStrictModes no\n"
            "Subsystem sftp internal-sftp\n"
        )
        public = " ".join(key.with_suffix(".pub").read_text().split()[:2])
        command = ["/usr/sbin/sshd", "-D", "-e", "-f", f"{inside}/config"]
        with _running(tree, place, "sshd", command, port):
            yield Server(port, f"{inside}/dumps", place / "dumps", public)


@contextlib.contextmanager
def vsftpd(tree: Path) -> Iterator[Server]:
    """Run vsftpd, to which anybody may write; it has one port for data, so one transfer at a time."""
    with _place(tree) as (place, inside):
        port, data = processes.free_ports(2)
        shutil.chown(place / "dumps", *_account(tree, "ftp"))
        (place / "config").write_text(
            f"listen=YES\nlisten_address=127.0.0.1\nlisten_port={port}\nbackground=NO\nseccomp_sandbox=NO\n"
            f"pasv_min_port={data}\npasv_max_port={data + 20}\nanonymous_enable=YES\nlocal_enable=NO\n"
            f"write_enable=YES\nanon_upload_enable=YES\nanon_umask=077\nanon_world_readable_only=NO\n"
            f"anon_root={inside}\nsecure_chroot_dir={inside}\nftp_username=ftp\n"
        )
        place.chmod(0o755)
        with _running(tree, place, "vsftpd", ["/usr/sbin/vsftpd", f"{inside}/config"], port):
            yield Server(port, "/dumps", place / "dumps")


@contextlib.contextmanager
def ganesha(tree: Path) -> Iterator[Server]:
    """Run nfs-ganesha (NFSv4) on its VFS back end; it exports the folder as /dumps."""
    with _place(tree) as (place, inside):
        [port] = processes.free_ports(1)
        (place / "config").write_text(
            f"NFS_CORE_PARAM {{ NFS_Port = {port}; Bind_addr = 127.0.0.1; Protocols = 4; Enable_NLM = false;"
            " Enable_RQUOTA = false; }\n"
            "NFSV4 { Graceless = true; Minor_Versions = 1, 2; RecoveryBackend = fs; }\n"
            f'EXPORT {{ Export_Id = 1; Path = "{inside}/dumps"; Pseudo = "/dumps"; Access_Type = RW;'
            " Squash = No_Root_Squash; SecType = sys; Protocols = 4; Transports = TCP; FSAL { Name = VFS; } }\n"
        )
        command = ["/usr/bin/ganesha.nfsd", "-F", "-f", f"{inside}/config", "-L", f"{inside}/ganesha.log"]
        with _running(tree, place, "ganesha", [*command, "-p", f"{inside}/pid", "-N", "EVENT"], port):
            yield Server(port, "/dumps", place / "dumps")


@contextlib.contextmanager
def _place(tree: Path) -> Iterator[tuple[Path, str]]:
    """Make a folder of one server's own in the tree, and remove it with the dumps in it."""
    inside = f"/srv/lab-{secrets.token_hex(6)}"
    place = tree / inside.lstrip("/")
    (place / "dumps").mkdir(parents=True)
    try:
        yield place, inside
    finally:
        shutil.rmtree(place)


@contextlib.contextmanager
def _running(tree: Path, place: Path, name: str, command: list[str], port: int) -> Iterator[None]:
    log = place / "log"
    # A mount namespace of its own, so that nothing is mounted for others. Its root must be a mount (nfs-ganesha looks
    # for the file system that it exports), and it wants /proc.
    script = 'mount --bind "$1" "$1" && mount -t proc proc "$1/proc" && cd "$1" && shift && exec chroot . "$@"'
    whole = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", str(tree), *command]
    process = processes.start(name, whole, log, detached=False)
    try:
        end = time.monotonic() + _START_SECONDS
        while not _answers(port):
            if not process.is_running() or time.monotonic() > end:
                raise LabError(f"{name} does not start: {log.read_text(errors='replace').strip()}")
            time.sleep(0.1)
        yield
    finally:
        process.end()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
        return True
    return False


def _account(tree: Path, name: str) -> tuple[int, int]:
    """Return the user and group id of an account of the tree's."""
    for line in (tree / "etc/passwd").read_text().splitlines():
        words = line.split(":")
        if words[0] == name:
            return int(words[2]), int(words[3])
    raise LabError(f"the guest's tree has no account {name}")
