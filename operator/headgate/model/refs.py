"""Names of things: how one object, or one part of it, is referred to everywhere in the middle."""

from __future__ import annotations

from typing import NamedTuple


# A tuple and not a dataclass: it is a key of every map in the middle, and compared and hashed at every step.
class ObjectRef(NamedTuple):
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
