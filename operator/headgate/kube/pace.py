"""How long to wait before trying again."""

from __future__ import annotations

import random

from headgate.kube.client import ApiProblem, Refused, Unreachable

#: Seconds: the longest wait for an API server that does not answer. Nobody is spared by a longer one, and what was declared
#: meanwhile waits with us.
AWAY = 2.0


class Pace:
    """Waits that double, from `first` to `longest` seconds, each jittered; the API server's own wish is heeded. For one that
    does not answer they end at AWAY."""

    def __init__(self, first: float = 0.5, longest: float = 30.0) -> None:
        self._first, self._longest = first, longest
        self._next = first

    def reset(self) -> None:
        """It went well."""
        self._next = self._first

    def wait(self, problem: ApiProblem | None = None) -> float:
        """Seconds to wait now."""
        wished = problem.retry_after if isinstance(problem, Refused) else None
        longest = min(self._longest, AWAY) if isinstance(problem, Unreachable) else self._longest
        wait = min(self._next, longest) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        self._next = min(self._next * 2, longest)
        return max(wait, wished or 0.0)
