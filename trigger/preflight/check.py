"""What a check is: what it reads, a pure judgement, why it matters, the remedy, and where that is written."""

from __future__ import annotations

import enum
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trigger.preflight.facts import Facts


class Verdict(enum.Enum):
    """pass, warn (a dump may still result), fail (no dump on the routes concerned), unknown (not
    readable).
    """

    PASS = "pass"  # noqa: S105  not a password
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


class Stage(enum.Enum):
    """The four things that must happen, in this order, and what is only worth knowing."""

    TRIGGER = "trigger"
    PANIC = "panic"
    CAPTURE = "capture"
    TARGET = "target"
    REMARK = "remark"


class Route(enum.Enum):
    """The ways to make a kernel panic."""

    NMI = "nmi"
    SYSRQ_SOL = "sysrq-sol"
    SYSRQ_SSH = "sysrq-ssh"


ALL_ROUTES = (Route.NMI, Route.SYSRQ_SOL, Route.SYSRQ_SSH)
STAGES = (Stage.TRIGGER, Stage.PANIC, Stage.CAPTURE, Stage.TARGET)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a check found. `says` is a clause with the values seen, from a hostile host and not yet harmless.

    `remedy` holds lines of shell for a person to review; a line that starts with # is a remark.
    """

    verdict: Verdict
    says: str
    remedy: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `judge` returns None where it does not apply (another architecture, no such target).

    `decides` is false for a check that cannot make a route fail or unknown, whatever it says; it then only
    warns. `needs` names the readings without which there is no judgement.
    """

    name: str
    stage: Stage
    routes: tuple[Route, ...]
    why: str
    source: str
    judge: Callable[[Facts], Judgement | None]
    needs: tuple[str, ...] = ()
    decides: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """A check's judgement of one host, with what a person needs to understand and mend it.

    `controller` names the controller that it is about, "" for the host itself.
    """

    check: str
    verdict: Verdict
    says: str
    stage: Stage
    routes: tuple[Route, ...]
    why: str
    source: str
    remedy: tuple[str, ...] = ()
    decides: bool = True
    controller: str = ""


def look(check: Check, facts: Facts) -> Finding | None:
    """Return what `check` says of a host; None where it does not apply. Nothing the host says raises."""
    missing = [name for name in check.needs if not facts.was_read(name)]
    if missing:
        says = f"could not be read: {', '.join(f'{name} ({facts.why_not(name)})' for name in missing)}"
        judgement: Judgement | None = Judgement(Verdict.UNKNOWN, says, _read_remedy(facts))
    else:
        judgement = check.judge(facts)
    if judgement is None:
        return None
    return finding(check, judgement)


def finding(check: Check, judgement: Judgement, controller: str = "") -> Finding:
    """Return the two as one."""
    return Finding(
        check.name,
        judgement.verdict,
        judgement.says,
        check.stage,
        check.routes,
        check.why,
        check.source,
        judgement.remedy,
        check.decides,
        controller,
    )


def _read_remedy(facts: Facts) -> tuple[str, ...]:
    if facts.is_root:
        return ()
    return ("# let the preflight's user run this one script as root: `sudo -n` must work, or log in as root",)


def good(says: str) -> Judgement:
    """Return a pass."""
    return Judgement(Verdict.PASS, says)


def warn(says: str, *remedy: str) -> Judgement:
    """Return a warning."""
    return Judgement(Verdict.WARN, says, remedy)


def fail(says: str, *remedy: str) -> Judgement:
    """Return a failure."""
    return Judgement(Verdict.FAIL, says, remedy)


def unknown(says: str, *remedy: str) -> Judgement:
    """Return that it cannot be told."""
    return Judgement(Verdict.UNKNOWN, says, remedy)


_PLAIN = re.compile(r"[A-Za-z0-9/._+@:%=,-]{1,400}")


def quoted(text: str) -> str | None:
    """Return text of the host's quoted for a remedy; None when it is not plain enough to stand in a
    command.
    """
    if not _PLAIN.fullmatch(text) or text.startswith("-"):
        return None
    return shlex.quote(text)


def command(template: str, **values: str) -> str:
    """Return a line of shell with validated, quoted values in `template`; a remark where one is not plain."""
    safe = {name: quoted(value) for name, value in values.items()}
    odd = [name for name, value in safe.items() if value is None]
    if odd:
        return f"# by hand, for its {', '.join(odd)} has unusual characters: {template}"
    return template.format(**safe)
