"""How many writes there were, for metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class WriteCounts:
    """Since the start. A failure is tried again, and may count again."""

    writes: int = 0
    failures: int = 0
