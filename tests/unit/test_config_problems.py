"""Every error of the configuration: its file, line, key path, sentence and remedy; and whom it concerns."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from trigger.config import Config, load
from trigger.errors import ConfigError

DRIVERS = {"ipmi", "redfish", "ilo"}
HOW = (
    "write `password: {env: BMC_PASSWORD}`, or {file: /path}, {command: [pass, show, bmc]}, {keyring: SERVICE}, "
    "{prompt: true}"
)


def config(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "config.yaml"
    file.write_text(textwrap.dedent(text))
    return load(file, environ={"HOME": "/home/ada"})


def problems(tmp_path: Path, text: str) -> list[str]:
    """Return what the strict check says, without the folder."""
    return [str(problem).removeprefix(f"{tmp_path}/") for problem in config(tmp_path, text).check(DRIVERS)]


def refusal(found: Config, name: str = "server42") -> str:
    with pytest.raises(ConfigError) as caught:
        found.host(name, known_drivers=DRIVERS)
    assert caught.value.exit_code == 3
    assert "Nothing was sent" in caught.value.next_step
    return str(caught.value)


# A controller's key, its value, and what is said of it.
CONTROLLER_VALUES = [
    ("driver: redfsh", "driver: unknown driver 'redfsh'; did you mean 'redfish'?"),
    ("driver: xyzzy", "driver: unknown driver 'xyzzy'; known drivers: ilo, ipmi, redfish"),
    ("driver: [ipmi]", "driver: must be text, not a sequence"),
    ("driver: a b", "driver: must be a word of letters, digits, '.', '_' and '-'"),
    ("name: a b", "name: must be a word of letters, digits, '.', '_' and '-'"),
    ("address: 10.1.0.7:623", "address: has a port in it; write `address: 10.1.0.7` and `port: 623`"),
    (
        'address: "{host}:623"',
        "address: has a port in it; write `address: {host}` and `port: 623`",
    ),
    (
        "address: https://10.1.0.7/redfish",
        "address: is a URL, and an address is wanted; write `address: 10.1.0.7` (https:// is decided by the driver)",
    ),
    ('address: "{hots}-ipmi"', "address: has braces in it that are not {host}; only {host} is replaced"),
    ("address: a b", "address: is neither a host name nor an IP address"),
    ("address: fe80::1::2", "address: is not an IPv6 address"),
    ("address: 10.1.0", "address: is not an IPv4 address; write four numbers from 0 to 255, as 10.1.0.7"),
    ('address: ""', "address: is empty"),
    ("address:", "address: has no value; write one, or remove the key"),
    ("address: ~", "address: has no value; write one, or remove the key"),
    ("address: 10", "address: must be text, but YAML reads '10' as a number; quote it: \"10\""),
    ("address: 1:2:3:4:5:6:7:8", None),
    ("port: 0", "port: must be a whole number from 1 to 65535"),
    ("port: 65536", "port: must be a whole number from 1 to 65535"),
    ("port: '623'", "port: must be a whole number from 1 to 65535, not text; remove the quotes"),
    (
        "port: 10:22",
        "port: must be a whole number from 1 to 65535; YAML reads '10:22' as a number of base 60; "
        "write it as a plain decimal number",
    ),
    (
        "port: 010",
        "port: must be a whole number from 1 to 65535; YAML reads '010' as an octal number; "
        "write it as a plain decimal number",
    ),
    (
        "port: 0x26f",
        "port: must be a whole number from 1 to 65535; YAML reads '0x26f' as a number of base 16 or 2; "
        "write it as a plain decimal number",
    ),
    (
        "port: 6_23",
        "port: must be a whole number from 1 to 65535; YAML reads '6_23' as a number; "
        "write it as a plain decimal number",
    ),
    (
        "port: 623.0",
        "port: must be a whole number from 1 to 65535; YAML reads '623.0' as a number; "
        "write it as a plain decimal number",
    ),
    ("port: " + "9" * 5000, "port: must be a whole number from 1 to 65535"),
    ("port: true", "port: must be a whole number from 1 to 65535"),
    ("user: yes", "user: must be text, but YAML reads 'yes' as true or false; quote it: \"yes\""),
    ("user: NO", "user: must be text, but YAML reads 'NO' as true or false; quote it: \"NO\""),
    ("user: on", "user: must be text, but YAML reads 'on' as true or false; quote it: \"on\""),
    ("user: y", "user: must be text, but YAML reads 'y' as true or false; quote it: \"y\""),
    ("user: true", "user: must be text, but YAML reads 'true' as true or false; quote it: \"true\""),
    ("user: 1e3", "user: must be text, but YAML reads '1e3' as a number; quote it: \"1e3\""),
    ("user: .inf", "user: must be text, but YAML reads '.inf' as a number; quote it: \".inf\""),
    ("user: 2026-11-23", "user: must be text, but YAML reads '2026-11-23' as a date; quote it: \"2026-11-23\""),
    ("user: null", "user: has no value; write one, or remove the key"),
    ('user: "a\\nb"', "user: has a control character or a line break in it"),
    ("user: a b", "user: must be a user's name, without ':' and spaces"),
    ("user: -oProxyCommand", "user: must be a user's name, without ':' and spaces"),
    ("privilege: adminstrator", "privilege: is 'adminstrator', which is not known; did you mean 'administrator'?"),
    ("privilege: root", "privilege: is 'root', which is not known; write operator or administrator"),
    (
        "cipher_suite: 0",
        "cipher_suite: cipher suite 0 logs in without a password, so that anybody can fire; "
        "use 17, or 3 for an older controller",
    ),
    (
        "cipher_suite: 1",
        "cipher_suite: cipher suite 1 neither signs nor encrypts requests; use 17, or 3 for an older controller",
    ),
    (
        "cipher_suite: 2",
        "cipher_suite: cipher suite 2 does not encrypt requests; use 17, or 3 for an older controller",
    ),
    (
        "cipher_suite: 8",
        "cipher_suite: cipher suite 8 signs with MD5, which is broken; use 17, or 3 for an older controller",
    ),
    (
        "cipher_suite: 4",
        "cipher_suite: cipher suite 4 encrypts with xRC4, which is broken; use 17, or 3 for an older controller",
    ),
    (
        "cipher_suite: 99",
        "cipher_suite: cipher suite 99 is not known here; use 17, or 3 for an older controller",
    ),
    ("cipher_suite: best", "cipher_suite: must be a whole number from 0 to 255"),
    ("tls: yes", "tls: must be a mapping (key: value)"),
    ("tls: {ca: /x}", "tls.ca: unknown key 'ca'; known keys: ca_file, fingerprint"),
    ("tls: {ca_file: bmc.pem}", "tls.ca_file: must be an absolute path; begin it with / or ~/"),
    (
        "tls: {fingerprint: abc}",
        "tls.fingerprint: must be a SHA-256 fingerprint of 64 hex digits; "
        "openssl x509 -noout -fingerprint -sha256 prints it",
    ),
    (
        f"tls: {{ca_file: /x, fingerprint: {'ab' * 32}}}",
        "tls: has both ca_file and fingerprint, and one would be ignored; keep one",
    ),
    ("options: [a]", "options: must be a mapping (key: value)"),
    ("options: {a: [1]}", "options.a: must be text, not a sequence"),
    ("options: {a: 1.5}", "options.a: must be text; quote it"),
    (
        "options: {password: hunter2}",
        "options.password: a secret never stands in this file; the controller's `password:` is for it",
    ),
    (
        "options: {snmp_community: hunter2}",
        "options.snmp_community: a secret never stands in this file; the controller's `password:` is for it",
    ),
    ("usr: crash", "usr: unknown key 'usr'; did you mean 'user'?"),
    (
        "password: hunter2",
        f"password: must say where the password is; a password never stands in this file; {HOW}; "
        "change the password that stands here",
    ),
    (
        "password: 010",
        f"password: must say where the password is; a password never stands in this file; {HOW}; "
        "change the password that stands here",
    ),
    (
        "password: [hunter2]",
        f"password: must say where the password is; a password never stands in this file; {HOW}; "
        "change the password that stands here",
    ),
    ("password:", f"password: has no value; {HOW}"),
    (
        "password: {hunter2}",
        f"password: must have exactly one of env, file, command, keyring and prompt; {HOW}",
    ),
    (
        "password: {env: A, file: /b}",
        f"password: must have exactly one of env, file, command, keyring and prompt; {HOW}",
    ),
    ("password: {}", f"password: must have exactly one of env, file, command, keyring and prompt; {HOW}"),
    (
        "password: {env: hunter-2}",
        "password.env: must be the name of an environment variable; write for example BMC_PASSWORD",
    ),
    ("password: {env: 0123}", "password.env: must be text; quote it"),
    ("password: {file: hunter2}", "password.file: must be an absolute path; begin it with / or ~/"),
    ("password: {command: pass show bmc}", "password.command: must be a list; write [pass, show, bmc]"),
    (
        "password: {command: []}",
        "password.command: is empty; write the command as a list of words; no shell is involved",
    ),
    (
        "password: {command: [./pass]}",
        "password.command[0]: must be an absolute path, or a name without a slash",
    ),
    ("password: {command: [pass, 12]}", "password.command[1]: must be text; quote it"),
    ("password: {prompt: yes}", "password.prompt: must be true or false; write true or false, without quotes"),
    ("password: {prompt: false}", "password.prompt: must be true; write `password: {prompt: true}`"),
]


@pytest.mark.parametrize(("line", "said"), [case for case in CONTROLLER_VALUES if case[1]])
def test_a_controller(tmp_path: Path, line: str, said: str) -> None:
    keys = {"driver": "driver: ipmi", "address": "address: 10.1.0.7", line.split(":")[0]: line}
    text = "hosts:\n  server42:\n    controllers:\n      -\n" + "".join(f"        {k}\n" for k in keys.values())
    number = 5 + list(keys).index(line.split(":")[0])
    expected = f"config.yaml:{number}: hosts.server42.controllers[0].{said}"
    if "command[" in said or said.startswith("tls."):
        assert problems(tmp_path, text)[0] == expected
    assert problems(tmp_path, text) == [expected]
    assert "hunter2" not in "".join(problems(tmp_path, text))
    assert refusal(config(tmp_path, text)) == f"{tmp_path}/{expected}"


HOSTS = [
    (
        "hosts: {server42: {tgas: [web]}}",
        ["1: hosts.server42.tgas: unknown key 'tgas'; did you mean 'tags'?"],
    ),
    ("hosts: {server42: {tags: web}}", ["1: hosts.server42.tags: must be a list; write [web, db]"]),
    (
        "hosts: {server42: {tags: [web, 010, on]}}",
        [
            "1: hosts.server42.tags[1]: must be text, but YAML reads '010' as an octal number; quote it: \"010\"",
            "1: hosts.server42.tags[2]: must be text, but YAML reads 'on' as true or false; quote it: \"on\"",
        ],
    ),
    (
        "hosts: {server42: {tags: ['a b']}}",
        ["1: hosts.server42.tags[0]: must be a word of letters, digits, '.', '_' and '-'"],
    ),
    (
        "hosts: {server42: {protected: yes}}",
        ["1: hosts.server42.protected: must be true or false; write true or false, without quotes"],
    ),
    (
        "hosts: {server42: {protcted: true}}",
        ["1: hosts.server42.protcted: unknown key 'protcted'; did you mean 'protected'?"],
    ),
    (
        "hosts: {server42: {controllers: {}}}",
        ["1: hosts.server42.controllers: must be a list; write [{driver: ..., address: ...}]"],
    ),
    ("hosts: {server42: {controllers: [ipmi]}}", ["1: hosts.server42.controllers[0]: must be a mapping (key: value)"]),
    (
        "hosts:\n  server42:\n    controllers:\n      - {user: crash}",
        [
            "4: hosts.server42.controllers[0].driver: is missing; add it",
            "4: hosts.server42.controllers[0].address: is missing; add it",
        ],
    ),
    (
        "hosts:\n  server42:\n    controllers:\n      - {driver: ipmi, address: a}\n      - {driver: ipmi, address: b}",
        [
            "5: hosts.server42.controllers[1].name: this host has two controllers named 'ipmi'; "
            "give one of them a name of its own, as in `name: ipmi-2`; --via takes it"
        ],
    ),
    ("hosts: {server42: {dump: /srv/crash}}", ["1: hosts.server42.dump: must be a mapping (key: value)"]),
    (
        "hosts: {server42: {dump: {target: crash}}}",
        [
            "1: hosts.server42.dump.target: is neither auto, nor an absolute path, nor a URL; "
            "write for example /srv/crash"
        ],
    ),
    (
        "hosts: {server42: {dump: {target: 'sftp://ada:hunter2@dumps/srv'}}}",
        ["1: hosts.server42.dump.target: has a password in its URL; remove it, use a key, and change the password"],
    ),
    (
        "hosts: {server42: {identity: {uuid: 4c4c4544}}}",
        ["1: hosts.server42.identity.uuid: must be a UUID of 32 hex digits; dmidecode -s system-uuid prints it"],
    ),
    (
        "hosts: {server42: {identity: {uuid: ffffffff-ffff-ffff-ffff-ffffffffffff}}}",
        ["1: hosts.server42.identity.uuid: is a UUID that identifies nothing; remove it, or give the serial number"],
    ),
    (
        "hosts: {server42: {identity: {serial: 00012345}}}",
        [
            "1: hosts.server42.identity.serial: must be text, but YAML reads '00012345' as an octal number; "
            'quote it: "00012345"'
        ],
    ),
    (
        "hosts: {server42: {ssh: {engine: openshh, port: no}}}",
        [
            "1: hosts.server42.ssh.engine: is 'openshh', which is not known; did you mean 'openssh'?",
            "1: hosts.server42.ssh.port: must be a whole number from 1 to 65535; YAML reads 'no' as true or false; "
            "write it as a plain decimal number",
        ],
    ),
    ("hosts: {server42: web}", ["1: hosts.server42: must be a mapping (key: value)"]),
    ("hosts:\n  server42:\n", ["2: hosts.server42: has no value"]),
    (
        "hosts:\n  server42:\n    tags: [a]\n    ssh: {}\n    tags: [b]",
        ["5: hosts.server42: duplicate key 'tags', first on line 3; keep one"],
    ),
    (
        "hosts:\n  server42: {tags: [a], 10: b}",
        ["2: hosts.server42: has a key '10' that is not text; quote it"],
    ),
    (
        "hosts:\n  server42: {tags: [a], [b]: c}",
        ["2: hosts.server42: has a key that is a mapping or list, not text"],
    ),
    (
        "hosts:\n  server42:\n    tags: &t [web]\n",
        [
            "3: hosts.server42.tags: uses an anchor (&), which is not allowed; repeat the value, "
            "or put it under `defaults:`; quote a text that begins with &"
        ],
    ),
    (
        "hosts:\n  server42:\n    tags: !!seq [web]\n",
        ["3: hosts.server42.tags: uses a tag (!), which is not allowed; remove it; quote a text that begins with !"],
    ),
    (
        "hosts:\n  server42:\n    ssh: {user:root}\n",
        ["3: hosts.server42.ssh.user: unknown key with a colon in it; put a space behind the colon"],
    ),
]


@pytest.mark.parametrize(("text", "said"), HOSTS)
def test_a_host(tmp_path: Path, text: str, said: list[str]) -> None:
    expected = [f"config.yaml:{line}" for line in said]
    assert problems(tmp_path, text) == expected
    assert "hunter2" not in "".join(expected)
    refused = refusal(config(tmp_path, text))
    assert all(f"{tmp_path}/{line}" in refused for line in expected)
    assert ("errors:" in refused) == (len(expected) > 1)


OF_ALL = [
    (
        "defaults: {shs: {user: root}}\nhosts: {server42: {}}",
        ["1: defaults.shs: unknown key 'shs'; did you mean 'ssh'?"],
    ),
    (
        "defaults:\n  ssh:\n    user: a b\nhosts: {server42: {}}",
        ["3: defaults.ssh.user: must be a user's name, without ':' and spaces"],
    ),
    (
        "defaults:\n  controller: {name: x, cipher_suite: 0}\nhosts: {server42: {}}",
        [
            "2: defaults.controller.name: unknown key 'name'; known keys: driver, address, port, user, password, "
            "system, privilege, cipher_suite, tls, options",
            "2: defaults.controller.cipher_suite: cipher suite 0 logs in without a password, so that anybody can fire; "
            "use 17, or 3 for an older controller",
        ],
    ),
    ("hosts: {server42: {}}\ndefualts: {}", ["2: defualts: unknown key 'defualts'; did you mean 'defaults'?"]),
    (
        "hosts: {server42: {}}\nrecord_dirs: /srv",
        ["2: record_dirs: must be a list; write [/path, /other]"],
    ),
    (
        "hosts: {server42: {}}\nrecord_dirs: [srv]",
        ["2: record_dirs[0]: must be an absolute path; begin it with / or ~/"],
    ),
    (
        "hosts: {server42: {}}\ndump_stores: {'nfs:/x': auto}",
        ["2: dump_stores.nfs:/x: must be a path or URL that can be read from here"],
    ),
    (
        "hosts: {server42: {}}\nstate_dir: state",
        ["2: state_dir: must be an absolute path; begin it with / or ~/"],
    ),
    (
        "hosts: {server42: {}}\nstate_dir: /a\nstate_dir: /b",
        ["3: duplicate key 'state_dir', first on line 2; keep one"],
    ),
    (
        "defaults:\n  ssh: &s {user: root}\nhosts: {server42: {}}",
        [
            "2: defaults.ssh: uses an anchor (&), which is not allowed; repeat the value, "
            "or put it under `defaults:`; quote a text that begins with &"
        ],
    ),
    (
        "defaults:\n  <<: {}\nhosts: {server42: {}}",
        ["2: defaults: uses a merge key (<<); repeat the keys, or put them under `defaults:`"],
    ),
]


@pytest.mark.parametrize(("text", "said"), OF_ALL)
def test_an_error_of_the_file_or_its_defaults_concerns_every_host(tmp_path: Path, text: str, said: list[str]) -> None:
    expected = [f"config.yaml:{line}" for line in said]
    assert problems(tmp_path, text) == expected
    refused = refusal(config(tmp_path, text))
    assert all(f"{tmp_path}/{line}" in refused for line in expected)
    assert config(tmp_path, text).warnings_for("server42") == []


def test_errors_elsewhere_are_warnings(tmp_path: Path) -> None:
    found = config(
        tmp_path,
        """
        hosts:
          server42: {tags: [web]}
          other: {tags: web, ssh: {prot: 22}}
          "bad[1-": {tags: [web]}
          alias: &a {tags: [web]}
        notify: {webhook: x}
        """,
    )
    assert found.host("server42").tags == ("web",)
    warnings = [warning.removeprefix(f"{tmp_path}/") for warning in found.warnings_for("server42")]
    assert warnings == [
        "config.yaml:7: notify: unknown key 'notify'; known keys: defaults, hosts, record_dirs, dump_stores, state_dir",
        "config.yaml:4: hosts.other.tags: must be a list; write [web, db]",
        "config.yaml:4: hosts.other.ssh.prot: unknown key 'prot'; did you mean 'port'?",
        "config.yaml:5: hosts.bad[1-: has a bracket without its partner",
        "config.yaml:6: hosts.alias: uses an anchor (&), which is not allowed; repeat the value, "
        "or put it under `defaults:`; quote a text that begins with &",
    ]
    assert len(found.check()) == len(warnings)
    assert "hosts.other" in refusal(found, "other")
    assert "hosts.alias" in refusal(found, "alias")


def test_warnings_take_no_longer_than_they_may(tmp_path: Path) -> None:
    found = config(tmp_path, "hosts:\n" + "".join(f"  server{n}: {{tags: web}}\n" for n in range(50)))
    warnings = found.warnings_for("server42", seconds=0.0)
    assert warnings == [f"{tmp_path}/config.yaml: 49 entries were not looked at: trigger hosts --check does"]


@pytest.mark.parametrize("style", ["block", "flow"])
def test_aliases_of_another_entry(tmp_path: Path, style: str) -> None:
    block = "hosts:\n  one: &a {tags: [web]}\n  two: *a\n  three: {}\n"
    flow = "hosts: {\n  one: &a {tags: [web]},\n  two: *a,\n  three: {}}\n"
    text = block if style == "block" else flow
    assert problems(tmp_path, text)[-1] == (
        "config.yaml:3: hosts.two: uses an alias (*), which is not allowed; repeat the value, "
        "or put it under `defaults:`; quote a text that begins with *"
    )
    assert config(tmp_path, text).host("three").name == "three"
    assert "hosts.two: uses an alias" in refusal(config(tmp_path, text), "two")


def test_an_alias_that_holds_itself_ends(tmp_path: Path) -> None:
    said = problems(tmp_path, "hosts: {one: &a {tags: *a}}")
    assert "config.yaml:1: hosts.one.tags: uses an alias (*)" in said[-1] + said[0] + said[1]


def test_names_of_hosts(tmp_path: Path) -> None:
    text = "hosts:\n  10: {}\n  on: {}\n  -x: {}\n  'a b': {}\n  'a[01-100]': {}\n"
    assert problems(tmp_path, text) == [
        "config.yaml:2: hosts: has a key '10' that is not text; quote it",
        "config.yaml:3: hosts: has a key 'on' that is not text; quote it",
        "config.yaml:4: hosts.-x: is not a host name: letters, digits, '.', '_' and '-', "
        "beginning with a letter or digit",
        "config.yaml:5: hosts.a b: is not a host name: letters, digits, '.', '_' and '-', "
        "beginning with a letter or digit",
        "config.yaml:6: hosts.a[01-100]: pads 01-100 unevenly; give both ends the same number of digits",
    ]
    assert "has a key '10' that is not text" in refusal(config(tmp_path, text), "10")


@pytest.mark.parametrize(
    ("first", "second"),
    [("server42", "server42"), ("'server[01-48]'", "server42"), ("'server[40-44/2]'", "'server[42-43]'")],
)
def test_a_host_in_two_entries(tmp_path: Path, first: str, second: str) -> None:
    text = f"hosts:\n  {first}:\n    tags: [a]\n  {second}: {{}}\n  other: {{}}\n"
    keys = first.strip("'"), second.strip("'")
    expected = (
        f"config.yaml:4: hosts.{keys[1]}: names server42, which '{keys[0]}' on line 2 names as well; "
        "a host stands in one entry"
    )
    assert problems(tmp_path, text) == [expected]
    assert refusal(config(tmp_path, text)) == f"{tmp_path}/{expected}"
    assert config(tmp_path, text).host("other").name == "other"


def test_a_pattern_needs_the_host_in_every_address(tmp_path: Path) -> None:
    text = """
        hosts:
          "server[41-42]":
            ssh: {host: jump.example.com}
            dump: {target: /srv/crash}
            controllers:
              - {driver: ipmi, address: bmc.example.com}
              - {driver: redfish, address: chassis, system: "node-{host}"}
          "lone[1]": {controllers: [{driver: ipmi, address: bmc2.example.com}]}
        """
    same = 'is the same for every host of the pattern; put {host} into it, as in "{host}.example.com"'
    assert problems(tmp_path, text) == [
        f"config.yaml:4: hosts.server[41-42].ssh.host: {same}",
        f"config.yaml:7: hosts.server[41-42].controllers[0].address: {same}",
        # And of course the two hosts then share the controller.
        "config.yaml:7: hosts.server[41-42].controllers[0].address: 'bmc.example.com' of server42 is also the "
        "controller of server41 (hosts.server[41-42].controllers[0], line 7); "
        "correct one, or name the `system` of both if one controller serves several",
    ]
    assert same in refusal(config(tmp_path, text))


def test_an_address_of_the_defaults_needs_the_host_as_well(tmp_path: Path) -> None:
    text = "defaults: {controller: {address: bmc, driver: ipmi}}\nhosts:\n  'a[1-2]': {controllers: [{}]}\n"
    assert problems(tmp_path, text)[0].startswith(
        "config.yaml:1: defaults.controller.address: is the same for every host"
    )


def test_check_wants_controllers(tmp_path: Path) -> None:
    text = "hosts:\n  server42:\n    controllers: []\n"
    assert problems(tmp_path, text) == [
        "config.yaml:3: hosts.server42.controllers: is empty; name at least one controller"
    ]
    assert config(tmp_path, text).host("server42").controllers == ()


def test_a_file_that_everybody_may_change(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("hosts: {server42: {}}\n")
    file.chmod(0o666)
    expected = f"{file}: every user of this machine may change this file; chmod o-w {file}"
    assert load(file).warnings_for("server42") == [expected]
    assert [str(problem) for problem in load(file).check()] == [expected]
    file.chmod(0o664)
    assert load(file).check() == []
