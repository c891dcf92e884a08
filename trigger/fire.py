"""The button. Journal before button, one call, and a name for whatever came of it."""

from __future__ import annotations

from collections.abc import Callable

from trigger.driver import Accepted
from trigger.errors import Refused, TriggerError
from trigger.events import Fired, Firing
from trigger.journal import Journal
from trigger.text import harmless, without_secrets


def fire(journal: Journal, firing: Firing, send: Callable[[], Accepted]) -> Fired:
    """Put `firing` on disk, call `send` once, and return what became of it.

    Raises GuardRefused when the intent cannot be written: then nothing was sent. Once it is durable nothing is
    raised any more: an answer is accepted, `Refused` is refused, and everything else, Ctrl-C included, is unknown.
    """
    journal.append(firing, durable=True)
    try:
        outcome, answer = "accepted", send().answer
    except Refused as error:
        outcome, answer = "refused", error.message
    except BaseException as error:
        outcome, answer = "unknown", _reason(error)
    return Fired(firing.controller, outcome, harmless(without_secrets(answer)))


def _reason(error: BaseException) -> str:
    if isinstance(error, TriggerError):
        return error.message
    if isinstance(error, KeyboardInterrupt):
        return "interrupted while waiting for the answer"
    return f"{type(error).__name__}: {error}"
