"""The grammars: crashkernel=, and kdump's configuration in three dialects."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from trigger.preflight.crashkernel import GIB, MIB, parse_size, reserved
from trigger.preflight.kdump_config import read_settings


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("256M", 256 * MIB), ("256m", 256 * MIB), ("1G", GIB), ("0x10000000", 256 * MIB), ("010", 8), ("0", 0),
        ("512K", 512 * 1024), ("1T", 1024 * GIB), ("4096", 4096), ("", None), ("M", None), ("256MB", None),
        ("-1", None), ("1.5G", None), ("08", None),
    ],
)  # fmt: skip
def test_sizes_as_memparse_reads_them(text: str, size: int | None) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("words", "memory_gib", "mib"),
    [
        ("crashkernel=256M", 64, 256),
        ("crashkernel=256M@16M", 64, 256),
        ("crashkernel=1G-4G:192M,4G-64G:256M,64G-:512M", 2, 192),
        ("crashkernel=1G-4G:192M,4G-64G:256M,64G-:512M", 4, 256),
        ("crashkernel=1G-4G:192M,4G-64G:256M,64G-:512M", 512, 512),
        ("crashkernel=1G-4G:192M,4G-64G:256M,64G-:512M", 0.5, 0),
        ("crashkernel=384M-:128M", 0.75, 128),
        ("crashkernel=512M-2G:64M,2G-:128M@16M", 8, 128),
        # the kernel rounds the memory up to 128 MiB: 3.9 GiB is a 4 GiB machine
        ("crashkernel=2G-4G:320M,4G-32G:512M", 3.95, 512),
        ("crashkernel=128M crashkernel=256M", 64, 256),
        ("crashkernel=512M,high crashkernel=72M,low", 64, 512),
        ("crashkernel=512M,high crashkernel=256M", 64, 256),
        ("crashkernel=512M,high crashkernel=1G,high", 64, 1024),
        ("crashkernel=72M,low", 64, 0),
        ("crashkernel=256M crashkernel=512M,cma", 64, 256),
        ("crashkernel=auto", 64, 0),
        ("crashkernel=256MB", 64, 0),
        ("crashkernel=4G-2G:256M", 64, 0),
        ("crashkernel=1G-:2G", 1.5, 0),
        ("crashkernel=256M@", 64, 256),
        ("crashkernel=256M@x", 64, 0),
        ("crashkernel=", 64, 0),
    ],
)
def test_what_a_command_line_reserves(words: str, memory_gib: float, mib: int) -> None:
    found = reserved(tuple(words.split()), int(memory_gib * GIB))
    assert found is not None
    assert found.size == mib * MIB
    assert bool(found.problem) is (mib == 0)


def test_no_word_is_no_reservation() -> None:
    assert reserved(("root=/dev/sda", "xcrashkernel=1G"), GIB) is None


@given(some.lists(some.text("0123456789kMG-:,@xhiglowcma", max_size=30), max_size=4), some.integers(0, 1 << 50))
def test_no_command_line_breaks_the_grammar(values: list[str], memory: int) -> None:
    found = reserved(tuple(f"crashkernel={value}" for value in values), memory)
    assert found is None or found.size >= 0


def rhel(text: str) -> tuple[str, str, str, str, tuple[str, ...]]:
    settings = read_settings("rhel", text)
    target = settings.targets[0]
    return target.kind, target.source or target.server, target.user, target.directory, settings.problems


@pytest.mark.parametrize(
    ("text", "kind", "where", "user", "directory"),
    [
        ("", "local", "", "", "/var/crash"),
        ("path /srv//dumps/", "local", "", "", "/srv//dumps"),
        ("  # path /no\npath\t/x", "local", "", "", "/x"),
        ('path "/x"  # the old disk', "local", "", "", "/x"),
        ("ext4 UUID=03138356-5e61\npath /x", "local", "UUID=03138356-5e61", "", "/x"),
        ("nfs filer:/export/x", "nfs", "filer:/export/x", "", "/var/crash"),
        ("nfs [fd00::1]:/export", "nfs", "[fd00::1]:/export", "", "/var/crash"),
        ("ssh kdump@fd00::1\npath crash", "ssh", "fd00::1", "kdump", "/crash"),
        ("raw /dev/sdb1", "raw", "/dev/sdb1", "", ""),
        ("virtiofs dumps", "virtiofs", "dumps", "", "/var/crash"),
        ('dracut_args --mount "192.0.2.1:/x /mnt nfs4 defaults"', "nfs", "192.0.2.1:/x", "", "/var/crash"),
    ],
)  # fmt: skip
def test_kdump_conf(text: str, kind: str, where: str, user: str, directory: str) -> None:
    assert rhel(text) == (kind, where, user, directory, ())


@pytest.mark.parametrize(
    "text",
    [
        "ssh host-without-user",
        "ssh",
        "nfs filer",
        "link_delay 60",
        "path /a\npath /b",
        "raw /dev/a\nnfs b:/c",
        "final_action dance",
    ],
)
def test_kdump_conf_that_kdump_refuses(text: str) -> None:
    assert read_settings("rhel", text).problems


def test_levels_of_makedumpfile() -> None:
    assert read_settings("rhel", "core_collector makedumpfile -l -d 1").dump_level == 1
    assert read_settings("rhel", "core_collector makedumpfile -cd31").dump_level == 31
    assert read_settings("rhel", "core_collector makedumpfile -c").dump_level == 0
    assert read_settings("rhel", "core_collector cp").dump_level is None


@pytest.mark.parametrize(
    ("url", "kind", "server", "user", "directory", "written"),
    [
        ("/var/crash", "local", "", "", "/var/crash", "/var/crash"),
        ("file:///srv/crash", "local", "", "", "/srv/crash", "file:///srv/crash"),
        ("ftp://filer/pub", "ftp", "filer", "", "/pub", "ftp://filer/pub"),
        ("SFTP://bernd:***@host:2222/a/b", "ssh", "host:2222", "bernd", "/a/b", "sftp://bernd@host:2222/a/b"),
        ("nfs://filer/export/crash", "nfs", "filer", "", "/", "nfs://filer/export/crash"),
        ("cifs://u:***@filer/share/x", "cifs", "filer", "u", "/share/x", "cifs://u@filer/share/x"),
    ],
)  # fmt: skip
def test_suse_urls(url: str, kind: str, server: str, user: str, directory: str, written: str) -> None:
    target = read_settings("suse-new", f'KDUMP_SAVEDIR="{url}"').targets[0]
    assert (target.kind, target.server, target.user, target.directory, target.written) == (
        kind, server, user, directory, written,
    )  # fmt: skip


def test_a_password_never_stands_in_what_is_kept() -> None:
    settings = read_settings("suse-new", 'KDUMP_SAVEDIR="ssh://u:hunter2@host/x"')
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in repr(read_settings("suse-new", 'KDUMP_SAVEDIR="gopher://u:hunter2@host/x"'))
    assert "hunter2" not in repr(read_settings("suse-new", 'KDUMP_SAVEDIR="ssh://u:hunter2@ho[st/x"'))


@given(some.sampled_from(["rhel", "suse-new", "suse-old", "debian"]), some.text(max_size=200))
def test_no_configuration_breaks_the_reader(distribution: str, text: str) -> None:
    settings = read_settings(distribution, text)
    assert settings.targets
