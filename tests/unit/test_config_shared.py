"""Two hosts with one controller: found without expanding patterns, in every spelling of an address."""

from __future__ import annotations

import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trigger.config.loading import Config, load
from trigger.errors import ConfigError


def config(folder: Path, text: str) -> Config:
    file = folder / "config.yaml"
    file.write_text(textwrap.dedent(text))
    return load(file)


def two(folder: Path, one: str, other: str) -> Config:
    """Return a configuration with hosts one and other, each with the controllers given."""
    return config(folder, f"hosts:\n  one:\n    controllers: [{one}]\n  other:\n    controllers: [{other}]\n")


def test_both_hosts_are_refused_and_both_lines_named(tmp_path: Path) -> None:
    found = two(tmp_path, "{driver: ipmi, address: 10.1.0.7}", "{driver: ipmi, address: 10.1.0.7}")
    remedy = "; correct one, or name the `system` of both if one controller serves several"
    of_one = (
        f"{tmp_path}/config.yaml:3: hosts.one.controllers[0].address: '10.1.0.7' of one is also the controller of "
        f"other (hosts.other.controllers[0], line 5){remedy}"
    )
    of_other = (
        f"{tmp_path}/config.yaml:5: hosts.other.controllers[0].address: '10.1.0.7' of other is also the controller of "
        f"one (hosts.one.controllers[0], line 3){remedy}"
    )
    for name, expected in (("one", of_one), ("other", of_other)):
        with pytest.raises(ConfigError) as caught:
            found.host(name)
        assert str(caught.value) == expected
    assert [str(problem) for problem in found.check()] == [of_other]


SAME = [
    ("{driver: ipmi, address: BMC.example.com}", "{driver: ipmi, address: bmc.example.com.}"),
    ("{driver: ipmi, address: 2001:db8:0::7}", '{driver: ipmi, address: "[2001:DB8::7]"}'),
    ("{driver: ipmi, address: 10.1.0.7}", '{driver: ipmi, address: "::ffff:10.1.0.7"}'),
    ("{driver: ipmi, address: 10.1.0.7}", '{driver: ipmi, address: "::ffff:a01:7"}'),
    ("{driver: ipmi, address: 10.1.0.7}", "{driver: ipmi, address: 10.1.0.7, port: 623}"),
    ("{driver: ipmi, address: 10.1.0.7}", "{driver: redfish, address: 10.1.0.7, port: 443}"),
    ("{driver: telnet, address: ts, port: 7001}", "{driver: telnet, address: ts, port: 7001}"),
    ("{driver: ipmi, address: bmc, system: a}", "{driver: ipmi, address: bmc, system: a}"),
    ("{driver: ipmi, address: bmc, system: a}", "{driver: ipmi, address: bmc}"),
    ('{driver: ipmi, address: bmc, system: "{host}"}', "{driver: ipmi, address: bmc, system: one}"),
    ('{driver: ipmi, address: "{host}-bmc"}', "{driver: ipmi, address: one-bmc}"),
    ('{driver: ipmi, address: "{host}.{host}"}', "{driver: ipmi, address: one.one}"),
    ('{driver: ipmi, address: "\\x62mc"}', "{driver: ipmi, address: bmc}"),
    ("{driver: ipmi, address: bmc}", '{driver: ipmi, address: "\\x62mc"}'),
    ("{driver: serial, address: /dev/ttyS0}", "{driver: serial, address: /dev/ttyS0}"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_one_controller(tmp_path: Path, one: str, other: str) -> None:
    found = two(tmp_path, one, other)
    assert len(found.check()) == 1
    for name in ("one", "other"):
        with pytest.raises(ConfigError, match="is also the controller of"):
            found.host(name)


DIFFERENT = [
    ("{driver: telnet, address: ts, port: 7001}", "{driver: telnet, address: ts, port: 7002}"),
    ("{driver: ipmi, address: 127.0.0.1, port: 1623}", "{driver: ipmi, address: 127.0.0.1}"),
    ("{driver: ipmi, address: bmc, system: a}", "{driver: ipmi, address: bmc, system: b}"),
    ('{driver: ipmi, address: bmc, system: "{host}"}', '{driver: ipmi, address: bmc, system: "{host}"}'),
    ('{driver: ipmi, address: "{host}-bmc"}', '{driver: ipmi, address: "{host}-bmc"}'),
    ("{driver: ipmi, address: fe80::1%eth0}", "{driver: ipmi, address: fe80::1%eth1}"),
    ("{driver: ipmi, address: 10.1.0.7}", "{driver: ipmi, address: 10.1.0.70}"),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_two_controllers(tmp_path: Path, one: str, other: str) -> None:
    found = two(tmp_path, one, other)
    assert found.check() == []
    assert found.host("one").controllers
    assert found.host("other").controllers


def test_two_controllers_of_one_host_may_share_an_address(tmp_path: Path) -> None:
    both = "{driver: ipmi, address: bmc}, {driver: redfish, address: bmc}"
    found = config(tmp_path, f"hosts:\n  one:\n    controllers: [{both}]\n")
    assert found.check() == []
    assert len(found.host("one").controllers) == 2


def test_the_index_of_many_hosts_finds_what_the_search_finds(tmp_path: Path) -> None:
    lines = [f'  "s[{n}1-{n}2]": {{controllers: [{{driver: ipmi, address: "{{host}}-x"}}]}}' for n in range(1, 9)]
    lines += [f"  t{n}: {{controllers: [{{driver: ipmi, address: t{n % 20}-x}}]}}" for n in range(1, 30)]
    lines += ["  odd: {controllers: [{driver: ipmi, address: S41-x}]}"]
    found = config(tmp_path, "hosts:\n" + "\n".join(lines) + "\n")

    def refused() -> dict[str, str]:
        said = {}
        for name in found.host_names():
            try:
                found.host(name)
            except ConfigError as error:
                said[name] = str(error)
        return said

    searched = {}
    for name in found.host_names():  # a new configuration for each, so that none gets to the index
        try:
            load(tmp_path / "config.yaml").host(name)
        except ConfigError as error:
            searched[name] = str(error)
    assert {"t1", "t21", "odd", "s41"} <= searched.keys()
    refused()
    assert refused() == searched


def test_a_pattern_against_a_host(tmp_path: Path) -> None:
    found = config(
        tmp_path,
        """
        hosts:
          "Server[01-48]":
            controllers: [{driver: ipmi, address: "{host}-ipmi.example.com"}]
          stray:
            controllers: [{driver: ipmi, address: server07-IPMI.example.com}]
        """,
    )
    for name in ("stray", "Server07"):
        with pytest.raises(ConfigError, match="is also the controller of"):
            found.host(name)
    assert found.host("Server08").controllers
    assert len(found.check()) == 1


def test_defaults_give_the_address(tmp_path: Path) -> None:
    text = """
        defaults: {controller: {driver: ipmi, address: "{host}-bmc"}}
        hosts:
          one:
            controllers: [{}]
          other:
            controllers: [{address: one-bmc}]
        """
    found = config(tmp_path, text)
    for name in ("one", "other"):
        with pytest.raises(ConfigError, match="is also the controller of"):
            found.host(name)


_names = st.sampled_from(["a1", "a2", "b1", "A1"])
_keys = st.sampled_from(["a1", "a2", "b1", "A1", "a[1-2]", "[1-2]"])
_addresses = st.sampled_from(["{host}", "{host}-x", "a1-x", "x{host}x{host}", "xa1xa1", "::1", "0::1", "{host}."])
_controllers = st.tuples(_addresses, st.sampled_from([0, 623, 7001]), st.sampled_from(["", "s", "{host}"]))


@settings(max_examples=300, deadline=None)
@given(entries=st.dictionaries(_keys, st.lists(_controllers, max_size=2), min_size=2, max_size=4))
def test_one_host_and_the_strict_check_agree(
    tmp_path_factory: pytest.TempPathFactory, entries: dict[str, list[tuple[str, int, str]]]
) -> None:
    """What `host` finds by computing backwards is what the check finds by expanding every pattern."""
    lines = ["hosts:"]
    for key, controllers in entries.items():
        lines += [f'  "{key}":', "    controllers:"] if controllers else [f'  "{key}": {{}}']
        for number, (address, port, system) in enumerate(controllers):
            more = (f", port: {port}" if port else "") + (f', system: "{system}"' if system else "")
            lines.append(f'      - {{driver: d{number}, address: "{address}"{more}}}')
    found = config(tmp_path_factory.mktemp("shared"), "\n".join(lines) + "\n")
    refused = []
    for name in found.host_names():
        try:
            found.host(name)
        except ConfigError as error:
            refused.append(error)
    assert bool(refused) == bool(found.check())


def test_many_systems_behind_one_address_cost_no_more_than_many_addresses(tmp_path: Path) -> None:
    def seconds(count: int) -> float:
        lines = (
            f"  n{i}: {{controllers: [{{driver: redfish, address: chassis, system: s{i}}}]}}\n" for i in range(count)
        )
        found = config(tmp_path, "hosts:\n" + "".join(lines))
        for i in range(20):  # the first sixteen are searched for in the texts, and then the index is made
            found.host(f"n{i}")
        begun = time.process_time()
        for i in range(20, 80):
            found.host(f"n{i}")
        return time.process_time() - begun

    small, large = (min(seconds(count) for _ in range(2)) for count in (80, 500))
    assert large < 5 * small + 0.2, "each host looks up its own place, not the thousand others"


def test_the_index_finds_what_the_search_finds(tmp_path: Path) -> None:
    lines = "".join(f"  n{i}: {{controllers: [{{driver: ipmi, address: chassis, system: s{i}}}]}}\n" for i in range(30))
    same = "  twin: {controllers: [{driver: ipmi, address: chassis, system: s7}]}\n"
    found = config(tmp_path, "hosts:\n" + lines + same)
    for i in range(30):
        if i == 7:
            continue
        found.host(f"n{i}")
    for name, other in (("n7", "twin"), ("twin", "n7")):
        with pytest.raises(ConfigError, match=f"is also the controller of {other} "):
            found.host(name)
    nameless = "  all: {controllers: [{driver: ipmi, address: chassis}]}\n"
    found = config(tmp_path, "hosts:\n" + lines + nameless)
    refused = 0
    for i in range(30):
        with pytest.raises(ConfigError, match="is also the controller of all "):
            found.host(f"n{i}")
        refused += 1
    assert refused == 30
    with pytest.raises(ConfigError, match="30 errors"):
        found.host("all")
