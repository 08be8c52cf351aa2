"""Which clusters a proxy's routes lead to, or may lead to: what `stream.py` asks before it takes a cluster away."""

from __future__ import annotations

from collections import Counter

_NOTHING: frozenset[str] = frozenset()


class Leads:
    """Routes and their clusters, counted both ways. Costs the number of a route's clusters per change."""

    def __init__(self) -> None:
        self._clusters: dict[str, frozenset[str]] = {}
        self._uses: Counter[str] = Counter()

    def used(self, cluster: str) -> bool:
        """Does any route lead there?"""
        return self._uses[cluster] > 0

    def also(self, route: str, clusters: frozenset[str]) -> None:
        """The route has been sent in a form that leads there; the one before may still be in force."""
        self.set(route, self._clusters.get(route, _NOTHING) | clusters)

    def set(self, route: str, clusters: frozenset[str] = _NOTHING) -> list[str]:
        """The route leads to these and no others; returns the clusters that nothing leads to any more."""
        before = self._clusters.pop(route, _NOTHING)
        if clusters:
            self._clusters[route] = clusters
        for name in clusters - before:
            self._uses[name] += 1
        free = []
        for name in before - clusters:
            self._uses[name] -= 1
            if self._uses[name] <= 0:
                del self._uses[name]
                free.append(name)
        return sorted(free)
