"""Replicas that have ended a moment ago. Their proxies are on their way to others, and send what they had until they are there:
what such a replica said last goes on to count, and what is published since is pending for its proxies.

No I/O; `now` is handed in. One event loop.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from headgate.model.refs import ObjectRef
from headgate.xds.peer import Peer, PeerGateway


class Parted:
    """Each for a while: a proxy that has found nobody by then is gone too."""

    def __init__(self) -> None:
        self._peers: list[tuple[float, Peer]] = []

    def add(self, peer: Peer, until: float) -> None:
        """This one is not there any more."""
        self._peers.append((until, peer))

    def published(self, gateway: str, touched: Mapping[ObjectRef, int]) -> None:
        """As `Peer.published`."""
        for _, peer in self._peers:
            peer.published(gateway, touched)

    def views(self, gateway: str, returned: Collection[str], now: float) -> list[PeerGateway]:
        """What counts of them; `returned` are the proxies that are connected somewhere."""
        self._peers = [(until, peer) for until, peer in self._peers if now < until]
        found = []
        for _, peer in self._peers:
            view = peer.view(gateway, now)
            if left := tuple(proxy for proxy in view.proxies if proxy not in returned):
                found.append(replace(view, proxies=left, loads=()))
        return found
