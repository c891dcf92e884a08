"""Addresses, and ad-hoc controllers of the command line."""

from __future__ import annotations

import pytest

from trigger.config.address import AddressError, canonical, parse_address
from trigger.config.loading import ad_hoc_controller
from trigger.errors import ConfigError
from trigger.host import Controller, SecretReference


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.1.0.7", "10.1.0.7"),
        ("server42-ipmi.example.com", "server42-ipmi.example.com"),
        ("server42.example.com.", "server42.example.com."),
        ("a_b", "a_b"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("[fe80::1%eth0]", "fe80::1%eth0"),
        ("2001:db8::7", "2001:db8::7"),
        ("::ffff:10.1.0.7", "::ffff:10.1.0.7"),
        ("/dev/ttyUSB0", "/dev/ttyUSB0"),
    ],
)
def test_addresses(text: str, address: str) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "message", "suggestion"),
    [
        ("10.1.0.7:623", "has a port in it", "write `address: 10.1.0.7` and `port: 623`"),
        ("[fe80::1]:623", "has a port in it", 'write `address: "fe80::1"` and `port: 623`'),
        ("https://10.1.0.7", "is a URL, and an address is wanted", "write `address: 10.1.0.7` "),
        ("https://10.1.0.7:8443/redfish", "is a URL", "write `address: 10.1.0.7` and `port: 8443` "),
        ("https://crash:hunter2@10.1.0.7/", "is a URL", "write `address: 10.1.0.7` "),
        ("https://[fe80::1]:8443/", "is a URL", 'write `address: "fe80::1"` and `port: 8443` '),
        ("https://hunter2 x/", "is a URL", "write only the host name or IP address"),
        ("crash@10.1.0.7", "has an '@' in it", "name the user in `user:`"),
        ("10.1.0", "is not an IPv4 address", "write four numbers"),
        ("10.1.0.256", "is not an IPv4 address", "write four numbers"),
        ("10.1.0.07", "is not an IPv4 address", "write four numbers"),
        ("fe80::1::2", "is not an IPv6 address", ""),
        ("[10.1.0.7]", "is not an IPv6 address", ""),
        ("fe80::1%", "has no interface behind the '%'", "write for example fe80::1%eth0"),
        ("[fe80::1", "has a bracket without its partner", ""),
        ("server 42", "is neither a host name nor an IP address", ""),
        ("-server42", "is neither a host name nor an IP address", ""),
        ("server..42", "is neither a host name nor an IP address", ""),
        ("sérver42", "is neither a host name nor an IP address", ""),
        ("a" * 64, "is neither a host name nor an IP address", ""),
        ("server42:hunter2", "is neither a host name nor an IP address", ""),
        ("/dev/tty USB0", "is not the path of a device", ""),
    ],
)
def test_refused_addresses(text: str, message: str, suggestion: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_address(text)
    assert caught.value.message.startswith(message)
    assert caught.value.suggestion.startswith(suggestion)
    assert "hunter2" not in caught.value.message + caught.value.suggestion


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Server42.Example.COM", "server42.example.com."),
        ("2001:db8:0:0::7", "[2001:DB8::7]"),
        ("::ffff:10.1.0.7", "10.1.0.7"),
        ("fe80::1%eth0", "FE80:0::1%eth0"),
    ],
)
def test_one_address_in_two_spellings(one: str, other: str) -> None:
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("fe80::1%eth0", "fe80::1%eth1"), ("10.1.0.7", "10.1.0.8"), ("/dev/ttyS0", "/dev/ttys0"), ("a:b:c", "a:b:d")],
)
def test_two_addresses(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)


@pytest.mark.parametrize(
    ("url", "user", "address", "port", "system"),
    [
        ("ipmi://crash@10.1.0.7", "crash", "10.1.0.7", 0, ""),
        ("ipmi://crash@10.1.0.7:623", "crash", "10.1.0.7", 623, ""),
        ("IPMI://crash@server42-ipmi", "crash", "server42-ipmi", 0, ""),
        ("ipmi://10.1.0.7", "", "10.1.0.7", 0, ""),
        ("ipmi://crash@[fe80::1]:623", "crash", "fe80::1", 623, ""),
        ("ipmi://crash@[fe80::1%25eth0]", "crash", "fe80::1%eth0", 0, ""),
        ("ipmi://crash%40corp@10.1.0.7", "crash@corp", "10.1.0.7", 0, ""),
        ("ipmi://crash@corp@10.1.0.7", "crash@corp", "10.1.0.7", 0, ""),
        ("ipmi://crash@10.1.0.7/node-2", "crash", "10.1.0.7", 0, "node-2"),
    ],
)
def test_ad_hoc_controllers(url: str, user: str, address: str, port: int, system: str) -> None:
    assert ad_hoc_controller(url) == Controller(
        name="ipmi",
        driver="ipmi",
        address=address,
        port=port,
        user=user,
        password=SecretReference("env", "TRIGGER_PASSWORD", "--controller"),
        system=system,
        where="--controller",
    )


@pytest.mark.parametrize(
    ("url", "message", "next_step"),
    [
        ("ipmi://crash:hunter2@10.1.0.7", "has a password in it", "environment variable TRIGGER_PASSWORD"),
        ("ipmi://crash:hunter2/x@10.1.0.7", "has a password in it", "environment variable TRIGGER_PASSWORD"),
        ("ipmi://crash:hunter2#@10.1.0.7", "is not a URL", "ipmi://USER@10.1.0.7"),
        ("10.1.0.7", "is not a URL", "ipmi://USER@10.1.0.7"),
        ("ipmi://", "names no address", "ipmi://USER@10.1.0.7"),
        ("ipmi://crash@", "names no address", "ipmi://USER@10.1.0.7"),
        ("ipmi://crash@[fe80::1]hunter2", "names no address", "ipmi://USER@10.1.0.7"),
        ("ipmi://crash@fe80::1", "has an IPv6 address without brackets", "[fe80::1]:623"),
        ("ipmi://crash@10.1.0.7:", "has a port that is no number", "10.1.0.7:623"),
        ("ipmi://crash@10.1.0.7:hunter2", "has a port that is no number", "10.1.0.7:623"),
        ("ipmi://crash@10.1.0.7:65536", "has a port that is no number", "10.1.0.7:623"),
        ("ipmi://crash@10.1.0", "has an address that is not an IPv4 address", "four numbers"),
        ("ipmi://crash%0a@10.1.0.7", "has a control character", "ipmi://USER"),
        ("ipmi://crash@10.1.0.7?x=hunter2", "is not a URL", "ipmi://USER@10.1.0.7"),
    ],
)
def test_refused_ad_hoc_controllers(url: str, message: str, next_step: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ad_hoc_controller(url)
    assert str(caught.value).startswith(f"--controller {message}")
    assert "Nothing was sent" in str(caught.value)
    assert next_step in caught.value.next_step
    assert "hunter2" not in str(caught.value) + caught.value.next_step


def test_an_ad_hoc_controller_needs_a_known_driver() -> None:
    assert ad_hoc_controller("ipmi://10.1.0.7", known_drivers={"ipmi"}).driver == "ipmi"
    with pytest.raises(ConfigError, match="unknown driver 'redfsh'") as caught:
        ad_hoc_controller("redfsh://10.1.0.7", known_drivers={"ipmi", "redfish"})
    assert caught.value.next_step == "Known drivers: ipmi, redfish."
