"""Names of things: how one object, or one part of it, is referred to everywhere in the middle."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class ObjectRef:
    """One Kubernetes object: its kind (`UpstreamService`, `Secret`, ...), namespace and name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"

    @property
    def key(self) -> str:
        """`namespace/name`, as log lines and xDS resource names spell it."""
        return f"{self.namespace}/{self.name}"
