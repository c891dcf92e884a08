"""Every other error of the configuration: its file, line, key path, sentence and remedy; and whom it concerns."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.configured import config, problems, refusal
from trigger.config.keys import TOP_KEYS
from trigger.config.loading import load

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
        later: {webhook: x}
        """,
    )
    assert found.host("server42").tags == ("web",)
    warnings = [warning.removeprefix(f"{tmp_path}/") for warning in found.warnings_for("server42")]
    assert warnings == [
        f"config.yaml:7: later: unknown key 'later'; known keys: {', '.join(TOP_KEYS)}",
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
