"""What controllers' names resolve to, for the locks: two names of one controller must meet in one lock."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Mapping

from trigger.clock import Deadline

# The outage at hand may well be the name server's: then the name alone is locked, and the fire does not wait.
RESOLVE_S = 1.0


def resolve_all(names: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """Return the numeric addresses of each name, in RESOLVE_S at most; numbers are their own and cost nothing."""
    found: dict[str, tuple[str, ...]] = {}
    threads = []
    for name in set(names):
        numeric = _look_up(name, socket.AI_NUMERICHOST)
        if numeric:
            found[name] = numeric
            continue
        thread = threading.Thread(target=lambda n=name: found.update({n: _look_up(n)}), name="resolve", daemon=True)
        thread.start()
        threads.append(thread)
    end = Deadline(RESOLVE_S)
    for thread in threads:
        thread.join(end.left())
    return dict(found)


def _look_up(name: str, flags: int = 0) -> tuple[str, ...]:
    try:
        answers = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM, flags=flags)
    except (OSError, UnicodeError):
        return ()
    return tuple(sorted({str(where[0]) for *_, where in answers}))
