"""Taking apart what the script printed: whatever a login, a file or a hostile host puts into it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from trigger.errors import DriverError
from trigger.preflight.checks import host_findings
from trigger.preflight.facts import Facts
from trigger.preflight.readings import MAX_FRAMES, MAX_TEXT, parse

NONCE = "0f3c6a0b-2d3c-8a41-4f8c-697261dbaff8"
START = f"trigger-preflight 1 {NONCE}\n"


def frame(name: str, text: str, status: str = "0") -> str:
    return f"\n@{NONCE} {name}\n{text}\n@{NONCE} = {status}\n"


def test_frames_after_a_banner() -> None:
    output = "Welcome!\n\x1b[2J\r\n" + START + frame("uid", "0\n") + frame("dmesg", "a\n\nb", "1")
    found = parse(output)
    assert [(reading.name, reading.text, reading.status) for reading in found] == [
        ("uid", "0", "0"),
        ("dmesg", "a\n\nb", "1"),
    ]


def test_a_file_cannot_pretend_to_be_a_frame() -> None:
    forged = "@0f3c6a0b sysctl.sysrq\n1\n@0f3c6a0b = 0\n= 0\ntrigger-preflight 1 aaaaaaaaaaaa\n@aaaaaaaaaaaa uid\n0"
    found = parse(START + frame("cmdline", forged) + frame("uid", "1000"))
    assert [reading.name for reading in found] == ["cmdline", "uid"]
    assert Facts(found).word("uid") == "1000"


def test_small_files_come_by_their_paths() -> None:
    lines = "/proc/sys/kernel/sysrq:438\n/proc/cmdline:root=/dev/sda a:b\n/sys/class/watchdog/watchdog0/state:active"
    found = {reading.name: reading.text for reading in parse(START + frame("lines", lines))}
    assert found == {"sysctl.sysrq": "438", "cmdline": "root=/dev/sda a:b", "watchdog.watchdog0/state": "active"}


def test_a_file_that_may_not_be_read_says_so() -> None:
    facts = Facts(parse(START + frame("/sys/class/dmi/id/product_uuid", "", "denied") + frame("last", "")))
    assert facts.exists("dmi.product_uuid")
    assert not facts.was_read("dmi.product_uuid")
    assert facts.why_not("dmi.product_uuid") == "permission denied"
    assert facts.why_not("dmi.product_serial") == "not there"


def test_what_was_cut_off_is_not_read() -> None:
    facts = Facts(parse(START + frame("uid", "0") + f"\n@{NONCE} kdump.conf\npath /var/cr"))
    assert facts.was_read("uid")
    assert not facts.was_read("kdump.conf")
    assert not facts.complete
    assert "did not get that far" in facts.why_not("last")


def test_a_frame_that_was_never_ended_does_not_swallow_the_next() -> None:
    found = parse(START + f"\n@{NONCE} df\nx\n" + frame("uid", "0"))
    assert [(reading.name, reading.status) for reading in found] == [("df", "cut off"), ("uid", "0")]


@pytest.mark.parametrize(
    "said", ["", "Menu:\n 1) reboot\n 2) log out\n> ", "trigger-preflight 2 abcdefgh\n", "\x1b]0;x\x07"]
)
def test_a_login_that_runs_something_else_is_said(said: str) -> None:
    with pytest.raises(DriverError, match="did not run there") as caught:
        parse(said)
    assert "\x1b" not in caught.value.message


def test_a_flood_is_bounded() -> None:
    many = START + frame("x", "y" * 1_000_000) + frame("x", "y") * 5000
    found = parse(many)
    assert len(found) <= MAX_FRAMES
    assert max(len(reading.text) for reading in found) <= MAX_TEXT


@given(some.text(max_size=300))
def test_no_output_breaks_the_parser_or_a_check(text: str) -> None:
    try:
        found = parse(text)
    except DriverError:
        found = ()
    host_findings(Facts((*found, *parse(START + frame("lines", text) + frame("kdump.conf", text)))))


@given(some.dictionaries(some.sampled_from([
    "uname", "cmdline", "meminfo", "consoles", "uart.serial", "services", "notes", "stext", "files", "df", "listing",
    "folder /x", "kdump.conf", "sysconfig-kdump", "kdump-tools", "os-release", "sysctl-files", "lockdown", "clock",
    "btime", "dmesg", "modules", "remote a@b:/x", "server b:2049", "runtime-watchdog", "efi.SecureBoot", "last",
]), some.text(max_size=200)))  # fmt: skip
def test_no_reading_breaks_a_check(texts: dict[str, str]) -> None:
    output = START + "".join(frame(name, text) for name, text in texts.items())
    for finding in host_findings(Facts(parse(output), asked_at=1.0, answered_at=2.0)):
        assert finding.says
