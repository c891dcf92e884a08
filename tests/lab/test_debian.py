"""The distribution's own kdump-tools writes for real: over SSH, FTP and NFS to servers here, and to its own disk.

All of it with TRIGGER_SOAK=1 only (tests/lab/conftest.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.lab import debian, packages, servers
from tests.lab.chain import Lab
from tests.lab.debian import DebianImage
from tests.lab.debian_guest import PATIENCE, Files, key_pair, on_its_own_disk, over_ftp, over_nfs, over_ssh
from tests.lab.debian_guest import debian as full_guest
from tests.lab.test_nmi import Program

pytestmark = pytest.mark.lab

# A fire locks its host's name on the whole machine, and somebody else may run these tests on it too.
NAME = f"debian-{secrets.token_hex(3)}"
# Without nc the guest cannot ask an FTP or NFS server whether it answers, so that preflight cannot say "ready".
SHOT = ("nmi", NAME, "--confirm", NAME, "--override", "not-ready", "--reason", "lab", "--json")
OTHERS = ["no-wait", "disk", "ftp", "nfs"]


@pytest.fixture(scope="module")
def image() -> DebianImage:
    packages.install(print)
    return debian.build(print)


class Target(NamedTuple):
    """One kind of target: what the guest needs, how it is read from here, and the server behind it."""

    files: Files
    stores: dict[str, str]
    server: servers.Server | None = None


@contextlib.contextmanager
def guest(image: DebianImage, folder: Path, target: Target) -> Iterator[tuple[Lab, Program]]:
    """Run the guest, with `trigger` configured to read its target, and preflight it."""
    boots = full_guest(image, target.files)
    with Lab.start(folder / NAME, name=NAME, report=print, boots=boots, patience=PATIENCE) as lab:
        if target.server is not None and target.server.public_key:  # the operator may read what lands there
            target.server.admit(lab.access.key.with_suffix(".pub").read_bytes())
            with lab.access.known_hosts.open("a") as file:
                file.write(f"[127.0.0.1]:{target.server.port} {target.server.public_key}\n")
            (folder / ".ssh").mkdir(0o700)
            for own in (lab.access.key, lab.access.known_hosts):
                shutil.copy(own, folder / ".ssh")
        lab.config_file.write_text(f"{lab.config()}dump_stores: {json.dumps(target.stores)}\n")
        program = Program(lab, folder)
        code, rows, said = program.run("preflight", NAME, "--json")
        wrong = [found for found in rows[0]["findings"] if found["verdict"] in ("fail", "unknown")]
        unasked = target.server is not None and not target.server.public_key
        assert [found["check"] for found in wrong] == (["target-reachable"] if unasked else []), (said, wrong)
        assert code == (4 if unasked else 0)
        yield lab, program


def proved(lab: Lab, code: int, events: list[dict[str, Any]], said: str) -> dict[str, Any]:
    """Check the end of a run that went well, and return what it says of the dump."""
    assert code == 0, said
    end, dump = events[-1], [event for event in events if event["event"] == "DumpFound"][-1]
    assert (end["event"], end["exit_code"], end["safe_to_power_cycle"]) == ("Finished", 0, "yes")
    assert (dump["state"], dump["complete"], dump["panic"]) == ("verified", "yes", "NMI: Not continuing")
    assert (end["dump"], lab.nmi_count()) == (dump["path"], 1)
    return dump


def tell(kind: str, dump: dict[str, Any], begun: float) -> None:
    took = time.monotonic() - begun
    print(f"{kind}: {dump['size']} bytes, {dump['format']}, verified {took:.0f} s after it was hung")


def first_look(program: Program, dump: dict[str, Any], name: str) -> None:
    """Check that the dump is found again as its path says, with a first look inside."""
    code, found, said = program.run("inspect", dump["path"], "--json")
    assert code == 0, said
    assert (found[0]["complete"], found[0]["nodename"], found[0]["release"]) == ("yes", name, dump["release"])
    assert found[0]["first_look"]["panic"] == "NMI: Not continuing"
    assert any("Uhhuh. NMI received" in line for line in found[0]["first_look"]["trigger"])
    assert found[0]["first_look"]["crash"]["command"] in ("sh", "bash")  # it was hung in a shell's loop


def target_of(image: DebianImage, folder: Path, stack: contextlib.ExitStack, kind: str) -> Target:
    """Start the server of a kind of target."""
    seen = servers.AS_THE_GUEST_SEES_IT
    if kind == "ssh":
        private, public = key_pair(folder)
        server = stack.enter_context(servers.sshd(image.tree, public))
        here = f"sftp://root@127.0.0.1:{server.port}{server.inside}"
        return Target(over_ssh(server, private), {f"ssh://{seen}{server.inside}": here}, server)
    if kind == "ftp":
        server = stack.enter_context(servers.vsftpd(image.tree))
        return Target(over_ftp(server), {f"ftp://{seen}": f"ftp://127.0.0.1:{server.port}"}, server)
    if kind == "nfs":
        server = stack.enter_context(servers.ganesha(image.tree))
        return Target(over_nfs(server), {f"{seen}:{server.inside}": str(server.dumps)}, server)
    return Target(on_its_own_disk(), {})


def shoot(lab: Lab, program: Program) -> tuple[int, list[dict[str, Any]], str]:
    lab.hang()
    return program.run(*SHOT, timeout=PATIENCE)


def kdump_switched_off_is_found_and_cured(lab: Lab, program: Program) -> None:
    """Judge the distribution's own kdump-tools before and after USE_KDUMP=0; the printed remedy cures it."""
    lab.ssh("sed -i 's/^USE_KDUMP=.*/USE_KDUMP=0/' /etc/default/kdump-tools")
    code, rows, said = program.run("preflight", NAME, "--json")
    assert (code, rows[0]["state"]) == (4, "not-ready"), said
    failed = {found["check"]: found for found in rows[0]["findings"] if found["verdict"] == "fail"}
    assert "USE_KDUMP is not 1" in failed["kdump-loaded"]["says"]
    for line in failed["kdump-loaded"]["remedy"]:
        lab.ssh(line, timeout=PATIENCE)
    code, rows, said = program.run("preflight", NAME, "--json")
    assert (code, rows[0]["state"]) == (0, "ready"), said


def test_a_dump_over_ssh(image: DebianImage, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        target = target_of(image, tmp_path, stack, "ssh")
        lab, program = stack.enter_context(guest(image, tmp_path, target))
        kdump_switched_off_is_found_and_cured(lab, program)
        begun = time.monotonic()
        dump = proved(lab, *shoot(lab, program))
        print(
            f"ssh: {dump['size']} bytes, {dump['format']}, verified {time.monotonic() - begun:.0f} s after it was hung"
        )
        first_look(program, dump, NAME)
        kept = json.loads(next(tmp_path.glob("state/trigger/hosts/*/runs/*/first-look.json")).read_text())
        assert kept["look"]["panic"] == "NMI: Not continuing"


def no_wait_then_wait(lab: Lab, program: Program) -> tuple[int, list[dict[str, Any]], str]:
    """Fire and leave; then wait, as one run would have."""
    lab.hang()
    code, events, said = program.run(*SHOT, "--no-wait")
    assert (code, events[-1]["event"]) == (0, "Finished"), said
    return program.run("wait", NAME, "--json", timeout=PATIENCE)


if os.environ.get("TRIGGER_SOAK") == "1":  # minutes each

    @pytest.mark.parametrize("kind", OTHERS)
    def test_every_other_target(image: DebianImage, tmp_path: Path, kind: str) -> None:
        how: Callable[[Lab, Program], tuple[int, list[dict[str, Any]], str]] = shoot
        if kind == "no-wait":
            kind, how = "ssh", no_wait_then_wait
        with contextlib.ExitStack() as stack:
            target = target_of(image, tmp_path, stack, kind)
            lab, program = stack.enter_context(guest(image, tmp_path, target))
            begun = time.monotonic()
            dump = proved(lab, *how(lab, program))
            tell(kind, dump, begun)
            first_look(program, dump, NAME)
