"""The whole command on real logins and BMC simulations: passwords once, exports, shared UUIDs, ~/.ssh/config."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.unit.preflight.cases import all_cases, printed
from tests.unit.preflight.host_server import HostServer, _loop, serve
from trigger.simulated.machine import SimulatedMachine
from trigger.simulated.switches import Switches

GUID = "4c4c4544-0042-3510-8053-b4c04f4d3432"  # of tests/checks/x86-server.yaml
READY = next((name, case) for name, case in all_cases() if case["name"] == "prepared for good")


@pytest.fixture(scope="module")
def bmc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedMachine]:
    with SimulatedMachine(Switches(guid=GUID), tmp_path_factory.mktemp("bmc")) as machine:
        yield machine


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostServer]:
    ready = printed(*READY)
    with serve(tmp_path_factory.mktemp("hosts"), {"one": ready, "two": ready, "env": ready}) as server:
        yield server


class Fleet:
    """A configuration in a folder of its own, and the program."""

    def __init__(self, folder: Path, hosts: HostServer, bmc: SimulatedMachine) -> None:
        self.folder = folder
        (folder / "password").write_text(bmc.password)
        counting = f"echo asked >>{folder / 'asked'}; cat {folder / 'password'}"
        controller = {
            "driver": "ipmi", "address": bmc.bmc_address, "port": bmc.bmc_port, "user": bmc.user,
            "password": {"command": ["sh", "-c", counting]},
        }  # fmt: skip
        self.config: dict[str, Any] = {"state_dir": str(folder / "state"), "hosts": {}}
        for name in ("one", "two"):
            ssh = {"host": "127.0.0.1", "port": hosts.port, "user": name, "key": str(hosts.folder / "id")}
            ssh["known_hosts"] = str(hosts.folder / "known_hosts")
            self.config["hosts"][name] = {"ssh": ssh}
        self.config["hosts"]["one"]["controllers"] = [controller]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        (self.folder / "config.yaml").write_text(json.dumps(self.config))
        command = [sys.executable, "-m", "trigger", "preflight", "--config", str(self.folder / "config.yaml"), *words]
        environment = {**os.environ, "HOME": str(self.folder)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    def record(self, name: str, folder: str = "state") -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / folder / "hosts" / name / "record.json").read_text())
        return found


@pytest.fixture
def fleet(tmp_path: Path, hosts: HostServer, bmc: SimulatedMachine) -> Fleet:
    return Fleet(tmp_path, hosts, bmc)


def test_a_password_command_runs_once(fleet: Fleet) -> None:
    done = fleet.run("one", "--explain")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "  ok    controller-identity" in done.stdout
    assert (fleet.folder / "asked").read_text() == "asked\n"


def test_a_uuid_that_two_hosts_have_is_said_marked_exported_and_believed_no_more(fleet: Fleet) -> None:
    done = fleet.run("--all", "--export", str(fleet.folder / "export"))
    assert "The UUID of one, two stands in another host's record, too, so it proves nothing" in done.stderr
    for place in ("state", "export"):
        assert fleet.record("one", place)["uuid_shared"] is True
        assert fleet.record("one", place)["identity"]["uuid"] == GUID
    again = fleet.run("one", "--explain")
    assert "warn  controller-identity" in again.stdout
    assert "another host has the same" in again.stdout
    fleet.config["hosts"]["one"]["identity"] = {"uuid": GUID}
    owner = fleet.run("one", "--explain")
    assert "ok    controller-identity" in owner.stdout, "its owner may know better"


def test_an_exported_record_serves_another_jump_host(fleet: Fleet) -> None:
    assert fleet.run("one", "--export", str(fleet.folder / "export")).returncode == 0
    exported = fleet.folder / "export" / "hosts" / "one" / "record.json"
    assert exported.stat().st_mode & 0o077 == 0
    fleet.config |= {"state_dir": str(fleet.folder / "elsewhere"), "record_dirs": [str(fleet.folder / "export")]}
    done = fleet.run("one", "--json")
    assert json.loads(done.stdout)["was_ready"] is True


def test_the_systems_ssh_gets_none_of_our_secrets(fleet: Fleet, hosts: HostServer) -> None:
    """Whatever ~/.ssh/config runs (here: Match exec) sees a clean environment, and ssh its agent all the same."""
    seen = fleet.folder / "environment"
    (fleet.folder / "ssh").write_text(f'#!/bin/sh\nenv >{seen}\nexec /usr/bin/ssh "$@"\n')
    (fleet.folder / "ssh").chmod(0o755)
    secret = {"BMC_PASSWORD": "made-up-hunter2", "SSH_AUTH_SOCK": "/nowhere/agent"}
    code = (
        "import sys; from trigger import secrets; secrets.CLEAN_PATH = sys.argv[1] + ':' + secrets.CLEAN_PATH\n"
        "from trigger.clock import Deadline; from trigger.host import Ssh; from trigger.ssh.openssh import run\n"
        "ssh = Ssh('127.0.0.1', int(sys.argv[2]), 'env', sys.argv[3] + '/id', sys.argv[3] + '/known_hosts')\n"
        "print(len(run(ssh, 'x', Deadline(30))))"
    )
    command = [sys.executable, "-c", code, str(fleet.folder), str(hosts.port), str(hosts.folder)]
    environment = {**os.environ, **secret, "HOME": str(fleet.folder), "PATH": f"{fleet.folder}:{os.environ['PATH']}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    variables = seen.read_text()
    assert "hunter2" not in variables
    assert "SSH_AUTH_SOCK=/nowhere/agent" in variables


def test_a_jump_host_of_ssh_config_is_used(fleet: Fleet, hosts: HostServer) -> None:
    class Jump(asyncssh.SSHServer):
        def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
            went.append((dest_host, dest_port))
            return True

    went: list[tuple[str, int]] = []
    host_key = asyncssh.generate_private_key("ssh-ed25519")

    async def listen() -> Any:
        return await asyncssh.listen(
            "127.0.0.1", 0, server_factory=Jump, server_host_keys=[host_key],
            authorized_client_keys=str(hosts.folder / "authorized"),
        )  # fmt: skip

    async def close(listener: Any) -> None:
        listener.close()
        await listener.wait_closed()
        await asyncio.sleep(0)

    dot = fleet.folder / ".ssh"
    dot.mkdir(mode=0o700)
    with _loop() as on_loop:
        listener = on_loop(listen)
        known = (hosts.folder / "known_hosts").read_text().replace("[127.0.0.1]:", "[server-one]:")
        public = host_key.export_public_key("openssh").decode()
        (dot / "known_hosts").write_text(f"{known}\n[127.0.0.1]:{listener.get_port()} {public}")
        (dot / "config").write_text(
            f"Host server-one\n  ProxyJump one@127.0.0.1:{listener.get_port()}\n  Port {hosts.port}\n  User one\n"
            f"Host *\n  IdentityFile {hosts.folder / 'id'}\n  ForwardAgent yes\n  RemoteCommand touch /nowhere\n"
        )
        # the jump host resolves the name; here it is a name of this machine
        fleet.config["hosts"] = {"one": {"ssh": {"host": "server-one"}}}
        done = fleet.run("one")
        on_loop(lambda: close(listener))
    assert went == [("server-one", hosts.port)], done.stdout
