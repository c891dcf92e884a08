"""What a simulated machine is like, and what goes wrong with it: one flat, frozen record.

The same record is the keyword arguments of tests, the options of `python -m trigger.simulated --help`, and what
is changed at run time (`SimulatedMachine.switch`). Everything has a default that works.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

PRIVILEGES = {"callback": 1, "user": 2, "operator": 3, "administrator": 4}
"""Privilege levels by name (IPMI 2.0, section 6.8)."""

CHOICES = {
    "privilege": tuple(PRIVILEGES),
    "nmi_privilege": tuple(PRIVILEGES),
    "role_check": ("login", "set-privilege", "command"),
    "guid_order": ("big", "little"),
    "power": ("on", "off"),
    "nmi": ("deliver", "ignore"),
    "host": ("hung", "healthy", "dead"),
    "ssh": ("server", "banner"),
    "crash": ("dump", "never", "no-dump", "no-return", "stop", "incomplete", "truncated", "enospc"),
    "style": ("rhel", "rhel-flat", "suse", "suse-old", "debian"),
}
"""The switches that take one of a few words.

`role_check`: a role above the limit, or among `refused_roles`, is refused in RAKP message 2 (status 0x0A), at Set
Session Privilege Level (0x81), or only at Chassis Control (0xD4).

`crash`, what an NMI leads to: "dump" a complete dump and a new boot; "never" nothing at all; "no-dump" a new boot
without a dump; "no-return" a panic, and then nothing more; "stop" half a core under its unfinished name, and nothing
more; "incomplete" the same, and a new boot; "truncated" and "enospc" half a core under the final name and a new boot,
with "enospc" the header's INCOMPLETE flag.

`style`, whose kdump writes: RHEL to a directory or over ssh ("rhel-flat"), SUSE since 1.9 and before, Debian.
"""


def _about(text: str) -> dict[str, str]:
    return {"help": text}


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """How one simulated machine behaves. Times are seconds of real time. Raises ValueError on nonsense."""

    # Who it is; "" means: made up at the start
    hostname: str = field(default="server42", metadata=_about("name of the host, in its dump and over SSH"))
    address: str = field(default="127.0.0.1", metadata=_about("where BMC and SSH listen; ::1 for IPv6"))
    user: str = field(default="crash", metadata=_about("the BMC's only account"))
    password: str = field(default="", metadata=_about("its password, at most 20 bytes"))
    guid: str = field(default="", metadata=_about("the UUID its owner wrote down"))
    reported_guid: str = field(default="", metadata=_about("another GUID for the BMC to report"))
    guid_order: str = field(default="big", metadata=_about("byte order of the GUID in RAKP message 2"))

    # The BMC
    power: str = field(default="on", metadata=_about("what chassis status says"))
    privilege: str = field(default="operator", metadata=_about("the account's privilege limit"))
    nmi_privilege: str = field(default="operator", metadata=_about("what chassis control needs (else 0xD4)"))
    role_check: str = field(default="login", metadata=_about("where a role above the limit is refused"))
    refused_roles: tuple[str, ...] = field(default=(), metadata=_about("roles refused whatever the limit is"))
    cipher_suites: tuple[int, ...] = field(default=(3, 17), metadata=_about("cipher suites it offers"))
    forced_suite: int = field(default=0, metadata=_about("answer with this suite whatever is asked"))
    busy_open_sessions: int = field(
        default=0, metadata=_about("first Open Sessions refused with 0x01, insufficient resources")
    )
    nmi: str = field(default="deliver", metadata=_about("ignore: answers OK and does nothing"))
    refuse: int = field(default=0, metadata=_about("completion code that refuses chassis control"))
    refuse_first: int = field(default=0, metadata=_about("`refuse` only this many NMIs; 0: all of them"))
    ignore_first: int = field(default=0, metadata=_about("this many NMIs are answered OK and do nothing"))
    nmi_answer_delay: float = field(default=0.0, metadata=_about("acts at once, answers the NMI this late"))

    # The network between
    lose_replies: int = field(default=0, metadata=_about("replies lost after an NMI: 1, 2, ...; -1 for all"))
    loss: float = field(default=0.0, metadata=_about("share of datagrams lost, each way, 0 to 1"))
    seed: int = field(default=1, metadata=_about("seed of the loss and of the garbage"))
    delay: float = field(default=0.0, metadata=_about("round trip added, half each way"))
    duplicate: bool = field(default=False, metadata=_about("every reply comes twice"))
    duplicate_requests: bool = field(default=False, metadata=_about("every request comes twice to the BMC"))
    replay: bool = field(default=False, metadata=_about("before each reply, the one before it comes again"))
    garbage: float = field(default=0.0, metadata=_about("garbage datagrams a second to each client, no end"))
    garbage_after_nmi: bool = field(default=False, metadata=_about("hold the garbage back until an NMI"))

    # The host, its crash and its dump
    host: str = field(default="hung", metadata=_about("state before the crash"))
    ssh: str = field(default="server", metadata=_about("a healthy host has a real SSH server, or a banner only"))
    crash: str = field(default="dump", metadata=_about("what an NMI leads to"))
    style: str = field(default="rhel", metadata=_about("whose kdump writes"))
    release: str = field(default="", metadata=_about("kernel release; default: one of the style"))
    dump_hostname: str = field(default="", metadata=_about("nodename in the dump's header, if another"))
    panic: str = field(default="NMI: Not continuing", metadata=_about("the panic's text in the log"))
    clock_skew: float = field(default=0.0, metadata=_about("how far the host's clock is ahead"))
    memory_pages: int = field(default=16384, metadata=_about("memory in pages of 4 KiB"))
    dump_pages: int = field(default=512, metadata=_about("pages that the dump holds"))
    crash_seconds: float = field(default=0.2, metadata=_about("from the NMI to the crash kernel's first file"))
    dump_seconds: float = field(default=0.5, metadata=_about("how long the vmcore takes to write"))
    reboot_seconds: float = field(default=0.3, metadata=_about("from the last file until SSH answers"))

    def __post_init__(self) -> None:
        for name, words in CHOICES.items():
            if getattr(self, name) not in words:
                raise ValueError(f"{name}: {getattr(self, name)!r} is none of {', '.join(words)}")
        if unknown := set(self.refused_roles) - set(PRIVILEGES):
            raise ValueError(f"refused_roles: no such role: {', '.join(sorted(unknown))}")
        if not set(self.cipher_suites) <= {3, 17} or not self.cipher_suites:
            raise ValueError("cipher_suites: 3, 17 or both")
        if self.forced_suite not in (0, 3, 17):
            raise ValueError("forced_suite: 0, 3 or 17")
        if len(self.password.encode()) > 20 or len(self.user.encode()) > 16:
            raise ValueError("IPMI allows 16 bytes of user name and 20 bytes of password")
        for name in ("guid", "reported_guid"):
            try:
                uuid.UUID(getattr(self, name) or "0" * 32)
            except ValueError:
                raise ValueError(f"{name}: {getattr(self, name)!r} is no UUID") from None
        if not 24 <= self.dump_pages <= self.memory_pages or self.memory_pages < 4120:
            raise ValueError("dump_pages: at least 24, at most memory_pages, which are at least 4120")


def changed(switches: Switches, changes: Mapping[str, object]) -> Switches:
    """Return `switches` with `changes`, as they come from JSON: lists become tuples.

    Raises ValueError for a name that is no switch and for a value that makes no sense.
    """
    known = {f.name for f in dataclasses.fields(Switches)}
    if unknown := sorted(set(changes) - known):
        raise ValueError(f"no such switch: {', '.join(unknown)}")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in changes.items()}
    return dataclasses.replace(switches, **values)  # type: ignore[arg-type]
