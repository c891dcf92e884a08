"""What each exit code means and what to do on it: the words that reports, notifications and documents share."""

from __future__ import annotations

from typing import NamedTuple


class Meaning(NamedTuple):
    """One exit code: what it says in a few words, and what a person or a runbook does on it."""

    title: str
    steps: tuple[str, ...]


NOTHING_SENT = "Nothing was delivered to the host."
NEVER = "Do not power-cycle the host and do not reset its controller: a dump may be being written."

MEANINGS: dict[int, Meaning] = {
    0: Meaning("a complete dump has landed", ("The host may be put back to work. Keep the dump before it is purged.",)),
    1: Meaning("a bug of trigger, before anything was sent", (NOTHING_SENT, "Report it with the lines printed.")),
    2: Meaning("wrong usage", (NOTHING_SENT, "Correct the command: `trigger COMMAND --help`.")),
    3: Meaning("configuration, host or driver is wrong", (NOTHING_SENT, "`trigger hosts --check` lists every error.")),
    4: Meaning("not ready: no dump would result", (NOTHING_SENT, "A power-cycle loses no dump, for none would come.")),
    5: Meaning("a rule refused", (NOTHING_SENT, "Read the rule; the command that would go on was printed.")),
    6: Meaning(
        "no controller could be used", (NOTHING_SENT, "Try another controller or its own console, then run it again.")
    ),
    7: Meaning(
        "outcome unknown: sent, not answered, nothing seen",
        (NEVER, "`trigger wait HOST` goes on watching. Call a person; never fire again by script."),
    ),
    8: Meaning(
        "no crash: proved to have had no effect",
        ("The host runs on as before; no dump is being written.", "Another route may be tried: `trigger crash HOST`."),
    ),
    9: Meaning(
        "no dump: it crashed, and no complete dump will come",
        ("The evidence is lost; a power-cycle loses nothing more.", "`trigger preflight HOST` finds why."),
    ),
    10: Meaning(
        "pending: a dump may be being written",
        (NEVER, "`trigger wait HOST` goes on watching, any number of times; it sends nothing."),
    ),
}


_REACHED = "what was asked for has happened"  # 0 of a run that was not asked for a proved dump


def meaning(code: int | None, *, sent: bool = True, safe: bool = True) -> Meaning:
    """Return what `code` means; None is a run that has no end, anything else unknown a killed program.

    `sent` says whether a shot may have been delivered, `safe` whether the run itself said that a power cycle is safe:
    a 0 of --no-wait and --until is no dump, and no permission.
    """
    if code == 0 and not sent:
        return Meaning(_REACHED, ("It was no shot: no dump is to be expected of it.",))
    if code == 0 and not safe:
        return Meaning(_REACHED, (NEVER, "`trigger wait HOST` goes on until the dump is proved to be complete."))
    if code is None and not sent:
        return Meaning("nothing was sent", (NOTHING_SENT,))
    if code is None:
        return Meaning("not finished", (NEVER, "`trigger wait HOST` goes on watching."))
    return MEANINGS.get(code, Meaning("killed", (NEVER, "`trigger history HOST` says whether something was sent.")))
