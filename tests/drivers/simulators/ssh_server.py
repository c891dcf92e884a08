"""An asyncssh server on the loop of a thread of its own: how every simulator over SSH begins and ends."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any


class SshServer:
    """Subclasses say how they `_listen`; `begin` when they are ready for it, `end` when all is over."""

    port: int
    patience_s = 1.0  # for each task that is cancelled at the end

    def begin(self) -> None:
        """Listen; `port` is known then."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._acceptor = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        self.port = self._acceptor.get_port()

    def end(self) -> None:
        """Stop; returns when the thread has ended."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    async def _listen(self) -> Any:
        raise NotImplementedError

    def _let_go(self) -> None:
        """Do what lets tasks and connections end, before they are waited for; on the loop."""

    async def _end(self) -> None:
        self._acceptor.close()
        self._let_go()
        await self._acceptor.wait_closed()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await asyncio.wait_for(task, self.patience_s)
        await self._loop.shutdown_default_executor()
