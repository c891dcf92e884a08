"""How controllers differ from the standard, as rows of data: vendor, generation, firmware, what differs, source.

A row needs no code where its mechanism exists already. The mechanisms are the fields below `when`; drivers ask
for them by name (`matching`). `trigger drivers --quirks` prints the table (`quirks_table`).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from typing import Any, NamedTuple


class When(NamedTuple):
    """What a row is recognised by; every field that is given must match. Texts are regular expressions, any case.

    `vendor` and `model` are the ComputerSystem's, `oem` is a key of its Oem block, `manager` the path of its
    manager. A row without any never matches by itself: it is for people, or its driver asks for it.
    """

    vendor: str = ""
    model: str = ""
    oem: str = ""
    manager: str = ""


class Quirk(NamedTuple):
    """One difference. `firmware` is a range such as ">=1.10,<2.30"; an unknown firmware counts as inside."""

    vendor: str
    generation: str
    differs: str
    source: str
    firmware: str = ""
    driver: str = "redfish"
    when: When = When()
    # Mechanisms. POST this body to the system's own URI instead of an action:
    body_to_system: Mapping[str, str] | None = None
    # Where the standard action lists no Nmi: this OEM action, with this parameter and value.
    oem_action: str = ""
    oem_parameter: str = ""
    oem_value: str = ""
    # Where there are several systems, the request reaches only the one with this Id.
    only_system: str = ""
    # A 401 to a session login says nothing about the password; Basic is tried once.
    basic_after_401: bool = False
    # The property of the ComputerSystem that DMI calls the system's serial number.
    serial_property: str = ""
    # A sentence for people whenever the row matches.
    warning: str = ""


class Facts(NamedTuple):
    """What rows are matched against; "" where the controller does not say."""

    vendor: str = ""
    model: str = ""
    firmware: str = ""
    oem: tuple[str, ...] = ()
    manager: str = ""


QUIRKS: tuple[Quirk, ...] = (
    Quirk(
        "HPE", "iLO 2, iLO 3", "no Redfish; NMI only by the CLI over SSH: `nmi server` (bare `nmi` is refused);"
        " SSH needs `legacy_ssh: true`",
        "suspect-devices/digithink NotesOnILO3.md; gists jnoller/f5cde57, mowings/fdbb787", driver="ilo",
    ),
    Quirk(
        "HPE", "iLO 4", 'NMI is `{"Action": "Reset", "ResetType": "Nmi"}`, sent to the system itself',
        "openstack/proliantutils ilo/ris.py:847; ilorest RebootCommand.py", driver="ilo",
        when=When(oem="^Hp$"), body_to_system={"Action": "Reset", "ResetType": "Nmi"},
    ),
    Quirk(
        "HPE", "iLO 4", "SessionService may answer 401 to a good password; Basic works",
        "KVMFleet docs/supported-vendors.md", driver="ilo", when=When(oem="^Hp$"), basic_after_401=True,
    ),
    Quirk(
        "HPE", "iLO 5, iLO 6, iLO 7", "paths end with a slash (asked without it iLO redirects); hpwdt handles the NMI,"
        " its `kdumptimeout` decides whether ASR resets the host during the dump",
        "proliantutils tests/redfish/json_samples/system.json; kernel Documentation/watchdog/hpwdt.rst", driver="ilo",
    ),
    Quirk(
        "Dell", "iDRAC 6, iDRAC 7", "no or partial Redfish; NMI by the CLI over SSH: `racadm serveraction nmi`",
        "Dell RACADM CLI guide, serveraction", driver="drac",
    ),
    Quirk(
        "Dell", "iDRAC 8, 9, 10", "SerialNumber is the board's; DMI's system serial number is the service tag, SKU",
        "NVIDIA bmc-mock R750 tree, firmware 6.00.30", driver="drac", when=When(vendor="^dell"), serial_property="SKU",
    ),
    Quirk(
        "Dell", "iDRAC 9", "SYS518 and other \"not ready\" messages come with HTTP 503; the POST may take seconds;"
        " Manager.SerialConsole says disabled although the SSH console works",
        "quadsproject/badfish#118; openmanage powerstate.yaml:15; sushy connector.py", driver="drac",
    ),
    Quirk(
        "Fujitsu", "iRMC S4, S5, S6", "older firmware lists no Nmi, its OEM action does: PulseNmi; the system is 0",
        "Fujitsu iRMC Redfish samples; terraform-provider-irmc-redfish resource_power.go:71",
        when=When(vendor="fujitsu|fsas"), oem_action="#FTSComputerSystem.Reset", oem_parameter="FTSResetType",
        oem_value="PulseNmi",
    ),
    Quirk(
        "Supermicro", "X11", "SessionService answers 204 without a token; Basic works", "KVMFleet supported-vendors.md",
        firmware="<=1.74",
    ),
    Quirk(
        "Supermicro", "X11 to X13", "malformed list (\"GracefulShutdownGracefulRestart\"); older firmware has only"
        " @Redfish.ActionInfo", "bmclib internal/redfishwrapper/fixtures/smc_1.14.0_systems_1.json",
    ),
    Quirk(
        "Supermicro", "X10", "one console session only: it must always be closed",
        "redfish_ctl supermicro_x10_fixtures",
    ),
    Quirk(
        "Lenovo", "XCC, XCC2, XCC3", "standard, with ResetActionInfo; `console kill 1` frees a busy console; Lenovo-AMI"
        " boards have SOL by IPMI only",
        "NVIDIA ssh-console vendor.rs:120-190; LambdaLabs sampleOut/system.json (SR850)",
    ),
    Quirk(
        "OpenBMC", "all", "lists Nmi whether or not it works and sends it to host0, whatever system is addressed",
        "openbmc/bmcweb systems.hpp:2850-2875, 3515-3517", when=When(manager="/Managers/bmc/?$"), only_system="host0",
    ),
    Quirk(
        "OpenBMC", "x86 (Intel)", "logs OpenBMC.0.1.NMIDiagnosticInterrupt after the pulse: a usable proof; BREAK"
        " is not forwarded to the host",
        "openbmc/x86-power-control power_control.cpp:2104-2140; openbmc/obmc-console#25",
    ),
    Quirk(
        "Nvidia", "GH200, GB200", "several systems; HGX_Baseboard_0 has no Reset action; GH200's ResetActionInfo lists"
        " no Nmi", "NVIDIA bmc-mock gh200.tar.gz",
    ),
    Quirk(
        "Ampere", "Altra (arm64)", "NMI is the raw IPMI command 0x3c 0x16 (AGDI, SDEI); the crash kernel may hang",
        "AmpereComputing/ampere-lts-kernel#160", driver="ipmi",
    ),
    Quirk(
        "Intel", "S5500 to S4600 (EPSD)", "logs the SEL event \"FP NMI\" also for chassis control diag: a usable proof",
        "Intel SEL troubleshooting guide G90620, p. 108", driver="ipmi",
    ),
    Quirk(
        "Cisco", "UCS", "UCSM's own power mode is `diagnostic-interrupt`, ignored when off; the CIMC's SOL ends with"
        " its SSH session", "CCI-MOC/hil#417; UCSM XML API", driver="ipmi",
    ),
)  # fmt: skip


def matching(facts: Facts) -> tuple[Quirk, ...]:
    """Return the rows that hold for this controller."""
    return tuple(quirk for quirk in QUIRKS if _holds(quirk, facts))


def basic_after_401(root: Mapping[str, Any]) -> bool:
    """Return whether the service root is of a kind whose 401 to a session login says nothing."""
    oem = root.get("Oem")
    facts = Facts(vendor=str(root.get("Vendor", "")), oem=tuple(oem) if isinstance(oem, dict) else ())
    return any(quirk.basic_after_401 for quirk in matching(facts))


def quirks_table() -> tuple[tuple[str, str, str, str, str, str], ...]:
    """Return rows of (driver, vendor, generation, firmware, what differs, source) for people."""
    return tuple((q.driver, q.vendor, q.generation, q.firmware or "all", q.differs, q.source) for q in QUIRKS)


def firmware_within(version: str, span: str) -> bool:
    """Return whether `version` lies in `span` (">=1.10,<2.30"); an unknown version does. Numbers compare as numbers."""
    numbers = _numbers(version)
    if not span or not numbers:
        return True
    return all(_bound(numbers, part.strip()) for part in span.split(","))


def _bound(numbers: tuple[int, ...], part: str) -> bool:
    found = re.fullmatch(r"(<=|>=|<|>|=)\s*([0-9.]+)", part)
    if found is None:
        raise ValueError(f"not a firmware bound: {part!r}")
    limit = _numbers(found[2])
    tests = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq}
    return bool(tests[found[1]](numbers, limit))


def _numbers(version: str) -> tuple[int, ...]:
    # HPE writes "iLO 5 v2.44": the version is the number with a dot where there is one.
    found = re.search(r"\d+(\.\d+)+", version) or re.search(r"\d+", version)
    return tuple(int(number) for number in found[0].split(".")) if found else ()


def _holds(quirk: Quirk, facts: Facts) -> bool:
    when = quirk.when
    tests = [
        (when.vendor, (facts.vendor,)),
        (when.model, (facts.model,)),
        (when.oem, facts.oem),
        (when.manager, (facts.manager,)),
    ]
    asked = [(pattern, texts) for pattern, texts in tests if pattern]
    if not asked or not firmware_within(facts.firmware, quirk.firmware):
        return False
    return all(any(re.search(pattern, text, re.IGNORECASE) for text in texts) for pattern, texts in asked)
