"""Every error of a controller's values: its file, line, key path, sentence and remedy; no secret repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.configured import HOW, config, problems, refusal

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
    (
        "address: 1:2:3:4:5:6:7:8",
        "address: must be text, but YAML reads '1:2:3:4:5:6:7:8' as a number of base 60; quote it: \"1:2:3:4:5:6:7:8\"",
    ),
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


@pytest.mark.parametrize(("line", "said"), CONTROLLER_VALUES)
def test_a_controller(tmp_path: Path, line: str, said: str) -> None:
    keys = {"driver": "driver: ipmi", "address": "address: 10.1.0.7", line.split(":")[0]: line}
    text = "hosts:\n  server42:\n    controllers:\n      -\n" + "".join(f"        {k}\n" for k in keys.values())
    number = 5 + list(keys).index(line.split(":")[0])
    expected = f"config.yaml:{number}: hosts.server42.controllers[0].{said}"
    assert problems(tmp_path, text) == [expected]
    assert "hunter2" not in "".join(problems(tmp_path, text))
    assert refusal(config(tmp_path, text)) == f"{tmp_path}/{expected}"
