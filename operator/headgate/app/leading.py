"""What runs while this replica leads, and at no other time: the writers.

Each is a coroutine `run(leadership)` that goes on until it is cancelled, and asks `leadership.write()` around each write.
They begin when the lease is won and are cancelled together when it is lost, any number of times in the life of a process;
what they are to bring about they are told on every replica, leading or not. One that ends by itself is a bug, and ends the
process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from headgate.app.tasks import forever
from headgate.kube.elector import Leadership

Duty = Callable[[Leadership], Awaitable[None]]


async def lead(leadership: Leadership, duties: Mapping[str, Duty]) -> None:
    """All of them, by name, until cancelled. Raises BackgroundEnded with the name of one that has ended."""
    async with asyncio.TaskGroup() as group:
        for name, duty in duties.items():
            group.create_task(forever(name, partial(duty, leadership)), name=name)
