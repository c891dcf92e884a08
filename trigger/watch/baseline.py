"""What lies at a local target before the fire: it is not the new dump, whatever its clock says."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from trigger.clock import Deadline
from trigger.errors import TriggerError

if TYPE_CHECKING:
    from trigger.post.landing import Baseline

# A local listing takes microseconds; one that takes longer is a dead mount, which nobody waits for.
BASELINE_S = 0.5


class BaselineProbe:
    """Lists a local target before the fire, in a thread of its own: what is there now is not the new dump.

    `dump_stores` may map a URL to a folder here; a target on another machine is not asked while somebody waits.
    """

    def __init__(self, where: str, dump_stores: Mapping[str, str] = MappingProxyType({})) -> None:
        self._stores = dump_stores
        self._result: Baseline | None = None
        self._deadline = Deadline(BASELINE_S)
        self._thread = threading.Thread(target=self._list, args=(where,), name="baseline", daemon=True)
        if where.startswith(("/", "file:")) or (dump_stores and "://" in where):
            self._thread.start()

    def result(self) -> Baseline | None:
        """Return what was there, None when nobody could look in time."""
        if self._thread.ident is not None:
            self._thread.join(self._deadline.left())
        return self._result

    def _list(self, where: str) -> None:
        from trigger.post.target import LocalStore, baseline, resolve

        try:
            target = resolve(where, dump_stores=self._stores)
            if target.open is LocalStore:
                self._result = baseline(LocalStore(), target.path)
        except (OSError, TriggerError):
            return  # the watch will say why it cannot be read
