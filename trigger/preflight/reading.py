"""Can the operator read what the host's kdump writes? Without that a dump lands and nobody here can prove it.

A login as root reads everything. Any other login, and every other place, is tried once: one listing, of a place that
many hosts share only once in a fleet. Nothing is written.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from trigger.errors import TriggerError
from trigger.host import Host
from trigger.preflight.check import ALL_ROUTES, Check, Finding, Judgement, Stage, Verdict, finding, good, warn
from trigger.preflight.facts import Facts
from trigger.record import DumpTarget

_Found = tuple[bool, str, str]  # readable, what was seen as a clause, what to do next


class Reader:
    """Tries to list dump targets from here. Safe to share between threads."""

    def __init__(self, dump_stores: Mapping[str, str]) -> None:
        self._stores = dump_stores
        self._lock = threading.Lock()
        self._shared: dict[str, _Found] = {}

    def finding(self, host: Host, targets: Sequence[DumpTarget], facts: Facts) -> Finding | None:
        """Return what is found of the target that can be read best, for one is enough; None where none is known."""
        if host.dump_target == "auto":
            places = [target.read for target in targets if target.read]
        else:
            places = [host.dump_target]
        judged = [self._judge(host, place, facts) for place in places]
        best = next(
            (judgement for judgement in judged if judgement.verdict is Verdict.PASS), judged[0] if judged else None
        )
        return None if best is None else finding(READABLE, best)

    def _judge(self, host: Host, where: str, facts: Facts) -> Judgement:
        if where.startswith("host:") and facts.word("login") == "0":
            return good("the login is root's, which reads every dump on the host")
        if where.startswith("host:"):
            readable, says, remedy = self._try(host, where)
        else:
            # Two hosts that ask at the same time wait for one answer.
            with self._lock:
                if where not in self._shared:
                    self._shared[where] = self._try(host, where)
                readable, says, remedy = self._shared[where]
        if readable:
            return good(says)
        return warn(f"{says}: a dump that lands there cannot be proved from here", f"# {remedy}")

    def _try(self, host: Host, where: str) -> _Found:
        from trigger.post.target import own_directory, resolve

        try:
            if where.startswith("host:"):
                if host.ssh is None:
                    return False, "no `ssh:` is configured", "configure how the host is reached over SSH"
                target = own_directory(host.ssh, where.removeprefix("host:"))
            else:
                target = resolve(where, ssh=host.ssh, dump_stores=self._stores, host_says=host.dump_target == "auto")
            store = target.open()
            try:
                count = len(store.list(target.path))
            finally:
                store.close()
        except TriggerError as error:
            return False, error.message.rstrip("."), error.next_step or "mend this, or name the target: `dump:`"
        except OSError as error:
            return False, f"{where} cannot be listed: {error.strerror or error}", _remedy(where, error)
        return True, f"{target.url} can be read from here ({count} entries)", ""


def _remedy(where: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "the folder is not there; kdump makes it, or it is elsewhere: `dump: {target: ...}`"
    if where.startswith("host:"):
        return "log in as root (`ssh: {user: root}`), or let this user's group read the dump folder"
    return "give the account that runs trigger the right to read there"


READABLE = Check(
    "target-readable", Stage.TARGET, ALL_ROUTES, "A dump that nobody can read from here is never proved complete.",
    "trigger/post/target.py", lambda facts: None, decides=False,
)  # fmt: skip
