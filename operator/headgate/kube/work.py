"""Things to be brought in order, by key: each by one worker at a time, again when it was asked for meanwhile, later when it
failed. Level-triggered: a key says that something may have to be done, and whoever does it looks at what that is.

An exception that gets through is a bug, and costs the key that it came of: it is logged, and the key's turn comes again later.

One event loop. Outside of `run` nothing is remembered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Generic, TypeVar

import structlog

_log = structlog.stdlib.get_logger("headgate.kube")
K = TypeVar("K", bound=Hashable)
#: Seconds until a key is looked at again that ended in an exception.
BROKEN = 60.0


class Work(Generic[K]):
    """A queue in which a key is once at most."""

    def __init__(self) -> None:
        self._waiting: dict[K, None] = {}
        self._busy: set[K] = set()
        self._again: set[K] = set()
        self._later: dict[K, asyncio.TimerHandle] = {}
        self._more = asyncio.Event()
        self._idle = asyncio.Event()
        self._running = False

    @property
    def running(self) -> bool:
        """Whether anybody works."""
        return self._running

    def __len__(self) -> int:
        return len(self._waiting) + len(self._busy)

    def add(self, key: K) -> None:
        """Look at this one, now."""
        if not self._running:
            return
        handle = self._later.pop(key, None)
        if handle is not None:
            handle.cancel()
        if key in self._busy:
            self._again.add(key)
        else:
            self._waiting[key] = None
            self._more.set()
            self._idle.clear()

    async def idle(self) -> None:
        """Wait until there is nothing to do, but for what waits to be tried again."""
        await self._idle.wait()

    async def run(self, do: Callable[[K], Awaitable[float | None]], workers: int, first: Iterable[K] = ()) -> None:
        """Until cancelled, beginning with `first`. `do` returns after how many seconds to look at the key again; None: not
        before it is added."""
        self._running = True
        for key in first:
            self.add(key)
        if not self:
            self._idle.set()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(self._work(do))
        finally:
            self._running = False
            for handle in self._later.values():
                handle.cancel()
            for each in (self._waiting, self._busy, self._again, self._later):
                each.clear()
            self._more.clear()
            self._idle.clear()

    async def _work(self, do: Callable[[K], Awaitable[float | None]]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._waiting:
                self._more.clear()
                await self._more.wait()
            key = next(iter(self._waiting))
            del self._waiting[key]
            self._busy.add(key)
            try:
                again = await do(key)
            except Exception:  # noqa: BLE001 - a bug costs one object, not all of them
                _log.exception("kube.work_failed", key=str(key))
                again = BROKEN
            finally:
                self._busy.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.add(key)
            elif again is not None:
                self._later[key] = loop.call_later(again, self.add, key)
            if not self:
                self._idle.set()
            await asyncio.sleep(0)  # what had nothing to do must not keep the others from doing theirs
