"""How long to wait before trying again."""

from __future__ import annotations

import random

from headgate.kube.client import ApiProblem, Refused


class Pace:
    """Waits that double, from `first` to `longest` seconds, each jittered; the API server's own wish is heeded."""

    def __init__(self, first: float = 0.5, longest: float = 30.0) -> None:
        self._first, self._longest = first, longest
        self._next = first

    def reset(self) -> None:
        """It went well."""
        self._next = self._first

    def wait(self, problem: ApiProblem | None = None) -> float:
        """Seconds to wait now."""
        wished = problem.retry_after if isinstance(problem, Refused) else None
        wait = self._next * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        self._next = min(self._next * 2, self._longest)
        return max(wait, wished or 0.0)
