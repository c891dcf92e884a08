"""crashkernel=: the whole grammar, what it reserves for this much memory, and how much each distribution
wants.

Source: Linux 6.1 kernel/crash_core.c, 6.12 kernel/crash_reserve.c; kdump-utils kdump-lib.sh, Debian
kdump-tools, Ubuntu 24.10 kdump-tools for the recommended sizes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from trigger.preflight.check import ALL_ROUTES, Check, Judgement, Stage, fail, good, unknown, warn
from trigger.preflight.facts import Facts
from trigger.preflight.remedies import set_kernel_option

MIB = 1 << 20
GIB = 1 << 30
_ROUND = 128 * MIB  # the kernel rounds the memory up to this before it looks for a range
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a command line asks for. `size` in bytes, 0 when nothing; `problem` is a clause, "" when all is
    well.
    """

    size: int
    problem: str = ""
    word: str = ""


def parse_size(text: str) -> int | None:
    """Return the bytes of a number as memparse() reads it (decimal, 0x, 0, then K M G T P E), None if it is
    none.
    """
    found = re.fullmatch(r"(0[xX][0-9a-fA-F]+|\d+)([kKmMgGtTpPeE]?)", text)
    if found is None or len(text) > 24:
        return None
    digits = found[1]
    base = 16 if digits[:2] in ("0x", "0X") else 8 if len(digits) > 1 and digits[0] == "0" else 10
    try:
        return int(digits, base) << _UNITS[found[2].lower()]
    except ValueError:
        return None


def reserved(words: tuple[str, ...], memory: int) -> Reservation | None:
    """Return what the crashkernel= words reserve on a machine with `memory` bytes; None when there is none.

    The last plain word wins; ,high counts only without a plain one; ,low only with ,high; ,cma comes on top.
    """
    values = [word.removeprefix("crashkernel=") for word in words if word.startswith("crashkernel=")]
    if not values:
        return None
    plain = [value for value in values if not value.endswith((",high", ",low", ",cma"))]
    if plain:
        return _plain(plain[-1], memory)
    high = [value for value in values if value.endswith(",high")]
    if not high:
        return Reservation(0, f"{values[-1]!r} alone reserves nothing", values[-1])
    size = parse_size(high[-1].removesuffix(",high"))
    return Reservation(size or 0, "" if size else f"{high[-1]!r} is no size", high[-1])


def _plain(value: str, memory: int) -> Reservation:
    if value == "auto":
        return Reservation(0, "'auto' is known to the kernels of RHEL 7 and 8 only", value)
    sizes, _, offset = value.partition("@")
    if offset and parse_size(offset) is None:
        return Reservation(0, f"{value!r} has no number after the @", value)
    if "-" not in sizes and ":" not in sizes:
        size = parse_size(sizes)
        return Reservation(size or 0, "" if size else f"{value!r} is no size", value)
    rounded = -(-memory // _ROUND) * _ROUND
    for part in sizes.split(","):
        found = re.fullmatch(r"([^-:]+)-([^-:]*):([^-:]+)", part)
        start, end, size = (parse_size(text) if text else None for text in found.groups()) if found else (None,) * 3
        if found is None or start is None or size is None or (found[2] and (end is None or end <= start)):
            return Reservation(0, f"{part!r} is no START-END:SIZE", value)
        if start <= rounded and (end is None or rounded < end):
            if size >= rounded:
                return Reservation(0, f"{part!r} wants more than there is", value)
            return Reservation(size, "" if size else f"{part!r} reserves nothing", value)
    return Reservation(0, f"no range of {value!r} holds this machine's {_mib(memory)}", value)


def _table(text: str) -> tuple[tuple[int, int | None, int], ...]:
    rows = []
    for part in text.split(","):
        bounds, size = part.split(":")
        start, end = bounds.split("-")
        rows.append((parse_size(start) or 0, parse_size(end) if end else None, parse_size(size) or 0))
    return tuple(rows)


# (family, architecture) -> ranges; linux-crash-path.md 3.2 says where each was read
RECOMMENDED = {
    ("rhel", "x86_64"): "2G-64G:256M,64G-:512M",
    ("rhel", "s390x"): "2G-64G:256M,64G-:512M",
    ("rhel9", "x86_64"): "1G-4G:192M,4G-64G:256M,64G-:512M",
    ("rhel9", "s390x"): "1G-4G:192M,4G-64G:256M,64G-:512M",
    ("rhel", "aarch64"): "2G-4G:256M,4G-64G:320M,64G-:576M",
    ("rhel", "ppc64le"): "2G-4G:384M,4G-16G:512M,16G-64G:1G,64G-128G:2G,128G-:4G",
    ("debian", ""): "384M-:128M",
    ("ubuntu", ""): "2G-4G:320M,4G-32G:512M,32G-64G:1024M,64G-128G:2048M,128G-:4096M",
}  # fmt: skip
FADUMP = (
    "4G-16G:768M,16G-64G:1G,64G-128G:2G,128G-1T:4G,1T-2T:6G,2T-4T:12G,4T-8T:20G,8T-16T:36G,16T-32T:64G,"
    "32T-64T:128G,64T-:180G"
)


def recommended(facts: Facts) -> tuple[int, str] | None:
    """Return the size in bytes that this distribution wants here, and its crashkernel= value; None when
    unknown.
    """
    memory = facts.mem_bytes
    text = _recommended_text(facts)
    if memory is None or text is None:
        return None
    # MemTotal lacks what is reserved; the ranges mean the memory that is built in
    installed = memory + (facts.number("kexec_crash_size", "kexec/crash_size") or 0)
    for start, end, size in _table(text):
        if start <= installed and (end is None or installed < end):
            return size + _extra(facts), text
    return None


def _recommended_text(facts: Facts) -> str | None:
    family = facts.distribution.split("-")[0]
    if facts.word("fadump/enabled") == "1" and family == "rhel":
        return FADUMP
    version = facts.os_release.get("VERSION_ID", "")
    if facts.os_release.get("ID") == "ubuntu" and re.match(r"(2[5-9]|24\.10)", version):
        family = "ubuntu"
    if family == "rhel" and facts.os_release.get("ID") != "fedora" and re.match(r"[89](\.|$)", version):
        return RECOMMENDED.get(("rhel9", facts.arch)) or RECOMMENDED.get((family, facts.arch))
    return RECOMMENDED.get((family, facts.arch)) or RECOMMENDED.get((family, ""))


def _extra(facts: Facts) -> int:
    """Return what memory encryption and big adapters need on top (kdump-lib.sh)."""
    extra = 0
    if "Memory Encryption Features active" in facts.text("dmesg"):
        extra += 64 * MIB
    if facts.arch == "aarch64" and facts.number("page-size") == 65536:
        extra += 100 * MIB
    if facts.arch == "aarch64" and "mlx5_core" in facts.modules:
        extra += 150 * MIB
    return extra


def reserved_now(facts: Facts) -> int | None:
    """Return the bytes that are really set aside; None when the kernel does not say."""
    if facts.word("fadump/enabled") == "1":
        return facts.number("fadump/mem_reserved")
    return facts.number("kexec/crash_size", "kexec_crash_size")


def judge_reserved(facts: Facts) -> Judgement | None:
    """Judge whether memory is set aside for a crash kernel, and if not, why."""
    size = reserved_now(facts)
    if size:
        return good(f"{_mib(size)} are set aside")
    asked = reserved(facts.words, facts.mem_bytes or 0)
    remedy = _set_crashkernel(facts)
    if asked is None and facts.is_x86 | (facts.arch in ("aarch64", "ppc64le", "s390x")):
        return fail("no memory is set aside for a crash kernel: crashkernel= is not on the command line", *remedy)
    if asked is not None and asked.problem:
        return fail(f"no memory is set aside: in crashkernel= {asked.problem}", *remedy)
    if size is None:
        return unknown("the kernel does not say how much memory is set aside")
    return fail("crashkernel= is there, yet no memory is set aside: the kernel found no room (see dmesg)", *remedy)


def judge_size(facts: Facts) -> Judgement | None:
    """Judge the reservation against what the distribution wants for this machine."""
    size, wanted = reserved_now(facts), recommended(facts)
    if not size:
        return None
    if wanted is None:
        return good(f"{_mib(size)}; nobody wrote down how much this distribution wants here")
    if size >= wanted[0] * 0.99:
        return good(f"{_mib(size)}, {_mib(wanted[0])} are recommended")
    return warn(
        f"{_mib(size)} are set aside, {_mib(wanted[0])} are recommended: the crash kernel may run out of memory",
        *_set_crashkernel(facts),
    )


def judge_words(facts: Facts) -> Judgement | None:
    """Judge the crashkernel= words themselves: after the next boot they decide."""
    asked = reserved(facts.words, facts.mem_bytes or 0)
    if asked is None or facts.mem_bytes is None:
        return None
    if asked.word == "auto" and reserved_now(facts):
        return good("crashkernel=auto, as this kernel understands it")
    if asked.problem:
        return warn(f"crashkernel= is wrong: {asked.problem}", *_set_crashkernel(facts))
    return good(f"crashkernel={asked.word} asks for {_mib(asked.size)}")


def _set_crashkernel(facts: Facts) -> tuple[str, ...]:
    family = facts.distribution.split("-")[0]
    if family == "suse":
        return ("kdumptool commandline -u", "# then reboot")
    if family == "rhel" and facts.exists("tool.kdumpctl"):
        return ("kdumpctl reset-crashkernel --kernel=ALL", "# then reboot")
    wanted = recommended(facts)
    if family == "debian":
        size = "384M-2G:192M,2G-32G:512M,32G-:1G" if wanted is None or wanted[0] < 192 * MIB else wanted[1]
        return set_kernel_option(facts, f"crashkernel={size}")
    return set_kernel_option(facts, f"crashkernel={wanted[1] if wanted else '2G-64G:256M,64G-:512M'}")


def _mib(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= 4 * GIB else f"{size // MIB} MiB"


CHECKS = (
    Check(
        "crashkernel-reserved", Stage.CAPTURE, ALL_ROUTES,
        "The crash kernel runs in memory that was set aside at boot; without it there is none.",
        "Linux Documentation/admin-guide/kdump/kdump.rst", judge_reserved,
    ),
    Check(
        "crashkernel-size", Stage.CAPTURE, ALL_ROUTES,
        "Too little memory for the crash kernel ends in \"Out of memory\" instead of a dump.",
        "kdump-utils kdump-lib.sh; kdump-tools debian/changelog; kdumptool(8)", judge_size, decides=False,
    ),
    Check(
        "crashkernel-words", Stage.CAPTURE, ALL_ROUTES,
        "A range that does not hold this machine's memory, or a word the kernel does not know, reserves nothing.",
        "Linux kernel/crash_reserve.c", judge_words, decides=False,
    ),
)  # fmt: skip
