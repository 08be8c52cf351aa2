"""What the proxies say that are connected here, and what peers say of theirs, as one: for statuses, floors and healing.

A frozen view of one moment; no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from headgate.model.observations import Acknowledgement, ProxyStates
from headgate.model.refs import ObjectRef
from headgate.xds.acknowledgements import Answers
from headgate.xds.peer import PeerGateway, joined


class Joined:
    """What all proxies made of what is published (`model.observations.Acknowledgements`), at one moment."""

    def __init__(
        self, answers: Answers, peers: Mapping[str, tuple[PeerGateway, ...]], unheard: tuple[str, ...]
    ) -> None:
        self._answers, self._peers, self._unheard = answers, peers, unheard

    def connected(self, gateway: str) -> int:
        """How many proxies of this gateway are connected, wherever."""
        return self._answers.connected(gateway) + sum(len(each.proxies) for each in self._peers.get(gateway, ()))

    def of(self, gateway: str, owner: ObjectRef) -> Acknowledgement:
        """How they took what `owner` owns."""
        own = self._answers.of(gateway, owner)
        others = [each.acks[owner] for each in self._peers.get(gateway, ()) if owner in each.acks]
        return joined([own, *others]) if others else own

    def told(self, gateway: str) -> Iterable[ObjectRef]:
        """The owners of what is open, refused or failed."""
        found = set(self._answers.told(gateway))
        for each in self._peers.get(gateway, ()):
            found |= each.acks.keys()
        return found

    def unheard(self) -> tuple[str, ...]:
        """Names of the replicas that can't be asked."""
        return self._unheard

    def proxies(self, gateway: str) -> ProxyStates:
        """Which proxies are connected, wherever."""
        view = self._answers.view(gateway)
        connected, behind = set(view.proxies if view else ()), set(view.behind if view else ())
        for each in self._peers.get(gateway, ()):
            connected |= set(each.proxies)
            behind |= set(each.behind)
        return ProxyStates(frozenset(connected), frozenset(behind))
