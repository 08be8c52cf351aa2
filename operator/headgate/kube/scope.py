"""Which namespaces the operator looks at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """None: all of them, by a ClusterRole. Else these, by a Role in each.

    `data`: those whose Secrets and ConfigMaps may be read. Whoever lets the operator see all upstreams need not let it see
    all Secrets.
    """

    namespaces: tuple[str, ...] | None = None
    data: tuple[str, ...] | None = None

    @property
    def listed(self) -> tuple[str | None, ...]:
        """What to list objects of ours by: each namespace, or all at once."""
        return (None,) if self.namespaces is None else self.namespaces

    @property
    def listed_data(self) -> tuple[str | None, ...]:
        """What to list Secrets and ConfigMaps by."""
        return self.listed if self.data is None else self.data

    def may_read(self, namespace: str) -> bool:
        """Whether Secrets and ConfigMaps of this namespace are to be read."""
        listed = self.listed_data
        return listed == (None,) or namespace in listed
