"""Tasks that live as long as the process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable


class BackgroundEnded(Exception):
    """A task that must live as long as the process has ended."""


async def forever(name: str, task: Callable[[], Awaitable[None]]) -> None:
    """Run it; that it returns is an error."""
    await task()
    raise BackgroundEnded(f"the task {name} has ended")
