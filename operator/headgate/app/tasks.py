"""Tasks that live as long as the process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

_log = structlog.stdlib.get_logger("headgate.operator")


class BackgroundEnded(Exception):
    """A task that must live as long as the process has ended."""


async def forever(name: str, task: Callable[[], Awaitable[None]]) -> None:
    """Run it; that it returns is an error."""
    await task()
    raise BackgroundEnded(f"the task {name} has ended")


async def logged(name: str, task: Callable[[], Awaitable[None]]) -> None:
    """Run it. What it raises is logged with where that comes from: whoever ends the process for it may say one sentence."""
    try:
        await task()
    except Exception:
        _log.exception("operator.task_failed", task=name)
        raise
