"""Which clusters a proxy's routes lead to, or may lead to: what `stream.py` asks before it takes a cluster away."""

from __future__ import annotations

from collections import Counter

_NOTHING: frozenset[str] = frozenset()


class Leads:
    """Routes and their clusters, counted both ways. Costs the number of a route's clusters per change."""

    def __init__(self) -> None:
        self._known: dict[str, frozenset[str]] = {}
        self._possible: dict[str, frozenset[str]] = {}
        self._uses: Counter[str] = Counter()

    def used(self, cluster: str) -> bool:
        """Does any route lead there, or perhaps lead there?"""
        return self._uses[cluster] > 0

    def sent(self, route: str, clusters: frozenset[str]) -> None:
        """The route has been sent in a form that leads there; until it is answered, the one before may be in force."""
        self._set(route, self._possible.get(route, _NOTHING) | clusters)

    def applied(self, route: str, clusters: frozenset[str] = _NOTHING) -> list[str]:
        """The route leads to these and no others; returns the clusters that nothing leads to any more."""
        if clusters:
            self._known[route] = clusters
        else:
            self._known.pop(route, None)
        return self._set(route, clusters)

    def refused(self, route: str) -> list[str]:
        """What was sent since is not in force; returns the clusters that nothing leads to any more."""
        return self._set(route, self._known.get(route, _NOTHING))

    def _set(self, route: str, clusters: frozenset[str]) -> list[str]:
        before = self._possible.pop(route, _NOTHING)
        if clusters:
            self._possible[route] = clusters
        for name in clusters - before:
            self._uses[name] += 1
        free = []
        for name in before - clusters:
            self._uses[name] -= 1
            if self._uses[name] <= 0:
                del self._uses[name]
                free.append(name)
        return sorted(free)
