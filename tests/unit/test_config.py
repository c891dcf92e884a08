"""Loading: which file, which host, what is inherited, and the hosts that a command line names."""

from __future__ import annotations

import re
import sys
import textwrap
import time
from pathlib import Path

import pytest

from trigger.config import file as config_file
from trigger.config.loading import Config, load
from trigger.errors import ConfigError
from trigger.host import Controller, ExpectedIdentity, Host, SecretReference, Ssh, Tls
from trigger.registry import OURS

ISSUE = """
    defaults: {ssh: {user: root}}
    hosts:
      "server[01-48]":
        tags: [web, site-fra]
        ssh: {host: "{host}.example.com", port: 22, user: root, key: ~/.ssh/id_ed25519}
        controllers:                       # tried in this order
          - {driver: ilo, address: "{host}-ilo.example.com", user: crash, password: {command: [pass, show, bmc]}}
          - {driver: ipmi, address: "{host}-ipmi.example.com", port: 623, user: crash, password: {env: BMC_PASSWORD}}
        dump: {target: auto}               # or a path or URL
"""


def config(tmp_path: Path, text: str, name: str = "config.yaml") -> Config:
    file = tmp_path / name
    file.write_text(textwrap.dedent(text))
    return load(file, environ={"HOME": "/home/ada"})


def host(tmp_path: Path, text: str, name: str = "server42") -> Host:
    return config(tmp_path, text).host(name)


def test_the_shape_of_the_issue(tmp_path: Path) -> None:
    file = f"{tmp_path}/config.yaml"
    assert host(tmp_path, ISSUE) == Host(
        name="server42",
        controllers=(
            Controller(
                name="ilo",
                driver="ilo",
                address="server42-ilo.example.com",
                user="crash",
                password=SecretReference("command", ("pass", "show", "bmc"), f"{file}:8"),
                where=f"{file}:8",
            ),
            Controller(
                name="ipmi",
                driver="ipmi",
                address="server42-ipmi.example.com",
                port=623,
                user="crash",
                password=SecretReference("env", "BMC_PASSWORD", f"{file}:9"),
                where=f"{file}:9",
            ),
        ),
        ssh=Ssh("server42.example.com", 22, "root", "/home/ada/.ssh/id_ed25519"),
        dump_target="auto",
        tags=("web", "site-fra"),
        where=f"{file}:4",
    )
    assert config(tmp_path, ISSUE).check({"ilo", "ipmi"}) == []


def test_every_key_of_a_host(tmp_path: Path) -> None:
    found = host(
        tmp_path,
        """
        hosts:
          server42:
            protected: true
            identity: {uuid: 4c4c4544-0042-3510-8052-b4c04f4d3132, serial: CN7792}
            ssh: {known_hosts: ~/known, engine: asyncssh}
            dump: {target: "sftp://dumps.example.com/srv/{host}"}
            controllers:
              - driver: redfish
                name: chassis
                address: "[2001:db8::7]"
                system: "node-{host}"
                user: DOMAIN\\crash
                privilege: administrator
                cipher_suite: 3
                tls: {ca_file: /etc/ssl/bmc.pem}
                password: {file: "~/bmc/{host}"}
                options: {login: basic, legacy_tls: true, baud: 115200, console: "{host}-console"}
              - {driver: redfish, name: pinned, address: 10.1.0.7, tls: {fingerprint: "SHA256:AB:CD%s"}}
        """.replace("%s", "00" * 30),
    )
    chassis, pinned = found.controllers
    assert (found.protected, found.dump_target) == (True, "sftp://dumps.example.com/srv/server42")
    assert found.identity == ExpectedIdentity("4c4c4544-0042-3510-8052-b4c04f4d3132", "CN7792")
    assert found.ssh == Ssh("server42", known_hosts="/home/ada/known")
    assert (chassis.name, chassis.address, chassis.system) == ("chassis", "2001:db8::7", "node-server42")
    assert (chassis.user, chassis.privilege, chassis.cipher_suite) == ("DOMAIN\\crash", "administrator", 3)
    assert chassis.tls == Tls(ca_file="/etc/ssl/bmc.pem")
    assert chassis.password == SecretReference("file", "/home/ada/bmc/server42", f"{tmp_path}/config.yaml:17")
    assert chassis.options == {"login": "basic", "legacy_tls": True, "baud": 115200, "console": "server42-console"}
    assert pinned.tls == Tls(fingerprint="abcd" + "00" * 30)


def test_defaults_are_below_what_a_host_says(tmp_path: Path) -> None:
    text = """
        defaults:
          ssh: {user: root, port: 2222, host: "{host}.example.com"}
          controller: {user: crash, driver: ipmi, address: "{host}-ipmi", password: {env: BMC}, cipher_suite: 3}
          dump: {target: /srv/crash}
        hosts:
          plain: {controllers: [{}]}
          own:
            ssh: {user: ada}
            dump: {target: auto}
            controllers: [{driver: redfish, address: own-bmc, user: bob, password: {prompt: true}}]
        """
    plain, own = host(tmp_path, text, "plain"), host(tmp_path, text, "own")
    assert plain.ssh == Ssh("plain.example.com", 2222, "root")
    assert own.ssh == Ssh("own.example.com", 2222, "ada")
    assert (plain.dump_target, own.dump_target) == ("/srv/crash", "auto")
    assert [(c.driver, c.address, c.user, c.cipher_suite) for c in plain.controllers] == [
        ("ipmi", "plain-ipmi", "crash", 3)
    ]
    assert [(c.driver, c.address, c.user, c.cipher_suite) for c in own.controllers] == [
        ("redfish", "own-bmc", "bob", 3)
    ]
    assert own.controllers[0].password == SecretReference("prompt", "", f"{tmp_path}/config.yaml:11")


def test_a_host_without_ssh_and_controllers_is_a_host(tmp_path: Path) -> None:
    assert host(tmp_path, "hosts: {server42: {tags: [web]}}").ssh is None
    assert host(tmp_path, "hosts: {server42: {tags: [web]}}").controllers == ()


def test_settings(tmp_path: Path) -> None:
    found = config(
        tmp_path,
        """
        state_dir: ~/state
        record_dirs: [/srv/records, ~/records]
        dump_stores: {"nfs:/export": /mnt/export}
        """,
    )
    assert found.state_dir == "/home/ada/state"
    assert found.record_dirs == ("/srv/records", "/home/ada/records")
    assert found.dump_stores == {"nfs:/export": "/mnt/export"}


def test_settings_when_not_given(tmp_path: Path) -> None:
    found = config(tmp_path, ISSUE)
    assert (found.state_dir, found.record_dirs, found.dump_stores) == ("", (), {})


def test_a_wrong_setting_is_not_ignored(tmp_path: Path) -> None:
    found = config(tmp_path, "state_dir: here\nhosts: {server42: {}}\n")
    for use in (lambda: found.state_dir, lambda: found.host("server42")):
        with pytest.raises(ConfigError) as caught:
            use()
        assert (
            str(caught.value) == f"{tmp_path}/config.yaml:1: state_dir: must be an absolute path; begin it with / or ~/"
        )


# --- which file -----------------------------------------------------------------------------------------------


def test_the_order_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    (home / ".config/trigger").mkdir(parents=True)
    named, variable, of_user = tmp_path / "a.yaml", tmp_path / "b.yaml", home / ".config/trigger/config.yaml"
    for file in (named, variable, of_user):
        file.write_text("hosts: {}\n")
    environ = {"HOME": str(home), "TRIGGER_CONFIG": str(variable)}
    assert load(named, environ=environ).path == named
    assert load(environ=environ).path == variable
    assert load(environ={**environ, "TRIGGER_CONFIG": ""}).path == of_user
    of_user.unlink()
    monkeypatch.setattr(config_file, "SYSTEM_FILE", named)
    assert load(environ={"HOME": str(home)}).path == named


def test_a_tilde_in_a_named_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("hosts: {}\n")
    assert load(Path("~/a.yaml"), environ={"HOME": str(tmp_path)}).path == tmp_path / "a.yaml"


def test_no_file_is_an_empty_configuration_that_says_how_to_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_file, "SYSTEM_FILE", tmp_path / "etc.yaml")
    found = load(environ={"HOME": str(tmp_path)})
    assert (found.path, found.host_names(), found.check(), found.state_dir) == (None, [], [], "")
    assert "server42" not in found
    assert found.warnings_for("server42") == []
    with pytest.raises(ConfigError) as caught:
        found.host("server42")
    places = f"{tmp_path}/.config/trigger/config.yaml and {tmp_path}/etc.yaml"
    assert str(caught.value) == f"server42: there is no configuration (looked at {places})"
    assert "config.example.yaml" in caught.value.next_step
    assert "--controller ipmi://USER@ADDRESS" in caught.value.next_step


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    missing = tmp_path / "missing.yaml"
    with pytest.raises(ConfigError, match="there is no such file; --config names it"):
        load(missing, environ={})
    with pytest.raises(ConfigError, match="there is no such file; TRIGGER_CONFIG names it"):
        load(environ={"TRIGGER_CONFIG": str(missing)})


# --- hosts by name and pattern --------------------------------------------------------------------------------

MANY = """
    hosts:
      "server[01-04]": {tags: [web, fra], controllers: [{driver: ipmi, address: "{host}-ipmi"}]}
      "db[1-2],spare": {tags: [db, fra], controllers: [{driver: ipmi, address: "{host}-ipmi"}]}
      lone.example.com: {tags: [db]}
"""


def test_names_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = config(tmp_path, MANY)
    assert found.host_names() == [*(f"server0{n}" for n in range(1, 5)), "db1", "db2", "spare", "lone.example.com"]
    assert "spare" in found
    assert "db3" not in found
    assert found.host("spare").controllers[0].address == "spare-ipmi"


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["server01"], ["server01"]),
        (["server[03-04]", "server04", "db1"], ["server03", "server04", "db1"]),
        (["@web"], ["server01", "server02", "server03", "server04"]),
        (["@db&@fra"], ["db1", "db2", "spare"]),
        (["@fra!server[01-03]!@db"], ["server04"]),
        (["db*"], ["db1", "db2"]),
        (["spare,db2"], ["db2", "spare"]),
        (["lone.example.com"], ["lone.example.com"]),
    ],
)
def test_select(tmp_path: Path, patterns: list[str], expected: list[str]) -> None:
    assert sorted(config(tmp_path, MANY).select(patterns)) == sorted(expected)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("server05", "hosts: no host is named 'server05'; did you mean 'server0"),
        ("server[03-05]", "hosts: no host is named 'server05'; did you mean 'server0"),
        ("@wbe", "no host has the tag 'wbe'; did you mean 'web'?"),
        ("@web&@dbb", "no host has the tag 'dbb'; did you mean 'db'?"),
        ("@web&@db", "'@web&@db' names no host"),
        ("x*", "'x*' names no host"),
        ("server[03", "'server[03' is no pattern of hosts"),
        ("server[3-]", "'server[3-]' is no pattern of hosts"),
        ("", "'' "),
    ],
)
def test_select_refuses(tmp_path: Path, pattern: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(tmp_path, MANY).select([pattern])
    assert message in str(caught.value)


def test_an_unknown_host(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        host(tmp_path, ISSUE, "sever42")
    assert str(caught.value) == f"{tmp_path}/config.yaml: hosts: no host is named 'sever42'; did you mean 'server42'?"
    assert "Nothing was sent" in caught.value.next_step
    with pytest.raises(ConfigError, match=r"no host is named 'xyz'$"):
        host(tmp_path, ISSUE, "xyz")


def test_a_name_is_shown_harmlessly(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        host(tmp_path, ISSUE, "server\x1b[31m")
    assert "\x1b" not in str(caught.value)


def test_an_entry_that_cannot_be_read_may_be_the_one(tmp_path: Path) -> None:
    found = config(tmp_path, "hosts:\n  server[01-48: {tags: [web]}\n  db1: {}\n")
    with pytest.raises(ConfigError) as caught:
        found.host("server42")
    assert f"{tmp_path}/config.yaml:2: hosts.server[01-48: has a bracket without its partner" in str(caught.value)
    assert found.host("db1").name == "db1"


# --- cost -----------------------------------------------------------------------------------------------------


def written_out(count: int) -> str:
    entry = """  server%05d:
    tags: [web, site-fra]
    ssh: {host: "server%05d.example.com", port: 22, user: root, key: ~/.ssh/id_ed25519}
    controllers:
      - {driver: ilo, address: "server%05d-ilo.example.com", user: crash, password: {command: [pass, show, bmc]}}
      - {driver: ipmi, address: "server%05d-ipmi.example.com", port: 623, user: crash, password: {env: BMC_PASSWORD}}
    dump: {target: auto}
"""
    return "hosts:\n" + "".join(entry % ((number,) * 4) for number in range(count))


def test_ten_thousand_hosts_written_out(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(written_out(10_000))
    begin = time.process_time()
    found = load(file).host("server04242")
    taken = time.process_time() - begin
    assert found.controllers[1].address == "server04242-ipmi.example.com"
    assert taken < 1.0, "a host among 10,000 written out is to be found in a second"


def test_every_host_of_a_fleet_written_out(tmp_path: Path) -> None:
    """An audit asks for all of them: the time of one host must not grow with the fleet."""
    file = tmp_path / "config.yaml"
    file.write_text(written_out(2_000))
    found = load(file)
    begin = time.process_time()
    assert len([found.host(name) for name in found.host_names()]) == 2_000
    assert time.process_time() - begin < 8.0, "2,000 hosts that each search 2,000 texts would take 20 s"


def test_a_pattern_of_ten_thousand_hosts_is_not_expanded(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(textwrap.dedent(ISSUE).replace("[01-48]", "[000000-999999]"))
    begin = time.process_time()
    loaded = load(file)
    assert loaded.host("server004242").name == "server004242"
    assert loaded.warnings_for("server004242") == []
    assert time.process_time() - begin < 0.1, "a million names would take a second"


def test_a_fire_imports_no_clustershell(tmp_path: Path) -> None:
    import subprocess

    file = tmp_path / "config.yaml"
    file.write_text(textwrap.dedent(ISSUE))
    code = (
        "import sys; from pathlib import Path; from trigger.config.loading import load, ad_hoc_controller\n"
        "load(Path(sys.argv[1])).host('server42'); ad_hoc_controller('ipmi://crash@10.1.0.7')\n"
        "import trigger.secrets\n"
        "slow = ['ClusterShell', 'difflib', 'subprocess', 'getpass', 'keyring', 'importlib.metadata']\n"
        "print([name for name in slow if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")


# --- the example ----------------------------------------------------------------------------------------------

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"


def test_the_example_has_no_problems() -> None:
    found = load(EXAMPLE)
    assert found.check(set(OURS)) == []
    assert len(found.host_names()) == 49
    for name in ("server01", "db7"):
        assert found.host(name, known_drivers=set(OURS)).controllers
        assert found.warnings_for(name) == []


def test_what_the_example_has_as_a_comment_has_no_problems_either(tmp_path: Path) -> None:
    text = re.sub(r"(?m)^# ((policy|state_dir|notify):|  \w+: )", r"\1", EXAMPLE.read_text())
    found = config(tmp_path, text)
    assert found.check(set(OURS)) == []
    assert (found.policy, found.state_dir) == ("/srv/trigger/policy.yaml", "/srv/trigger/state")
    assert found.notify.command[1:] == ("--team", "platform")


def test_the_example_shows_every_key() -> None:
    from trigger.config.keys import TABLES

    text = EXAMPLE.read_text()
    missing = [f"{table}.{key}" for table, keys in TABLES.items() for key in keys if f"{key}:" not in text]
    assert missing == []
    assert all(key.doc.endswith(".") for keys in TABLES.values() for key in keys.values())
