"""What the proxies of a world have said, as a test wants it: `model.observations.Acknowledgements` without proxies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from headgate.model.observations import ACKNOWLEDGED, Acknowledgement
from headgate.model.refs import ObjectRef


@dataclass(frozen=True)
class Proxies:
    """The same of every gateway: `count` are connected, and have taken everything but what is `said`. `silent`: replicas
    that can't be asked."""

    count: int = 2
    said: Mapping[ObjectRef, Acknowledgement] = field(default_factory=dict)
    silent: tuple[str, ...] = ()

    def connected(self, gateway: str) -> int:
        return self.count

    def of(self, gateway: str, owner: ObjectRef) -> Acknowledgement:
        return self.said.get(owner, ACKNOWLEDGED)

    def unheard(self) -> tuple[str, ...]:
        return self.silent

    def told(self, gateway: str) -> Iterable[ObjectRef]:
        return self.said
