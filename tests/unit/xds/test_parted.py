"""What counts of a replica that has ended, until its proxies have found another."""

from __future__ import annotations

from headgate.envoy.resource import Resource, TypeUrl
from headgate.model.observations import Acknowledgement
from headgate.model.refs import ObjectRef
from headgate.xds.marks import Marks
from headgate.xds.news import GatewayNews, News
from headgate.xds.parted import Parted
from headgate.xds.peer import Peer

KEY = "shop/edge"
OWNER = ObjectRef("UpstreamService", "shop", "billing")
PROXIES = (f"{KEY}/one", f"{KEY}/two")


def world(version: str) -> dict[TypeUrl, dict[str, Resource]]:
    return {TypeUrl.ROUTE: {"billing": Resource(TypeUrl.ROUTE, "billing", version, b"", (OWNER,))}}


def parted(ours: Marks) -> Parted:
    """One whose two proxies had taken what is published here, and which has ended at 0.0; it counts for 3 s."""
    peer = Peer(lambda _: ours, "1")
    marks = ((OWNER, ours[OWNER]),)
    peer.take(News("1", {KEY: GatewayNews(ours.digest, PROXIES, acks=(), marks=marks, whole=True)}), -1.0)
    found = Parted()
    found.add(peer, 3.0)
    return found


def test_what_is_published_meanwhile_is_pending_for_proxies_on_their_way() -> None:
    """A key that was rotated is not in use before they have it."""
    ours = Marks()
    ours.update(None, world("1"))
    left = parted(ours)
    (view,) = left.views(KEY, (), 1.0)
    assert (view.proxies, view.acks) == (PROXIES, {})
    left.published(KEY, ours.update(world("1"), world("2")))
    (view,) = left.views(KEY, PROXIES[:1], 1.1)
    assert (view.proxies, view.acks) == (PROXIES[1:], {OWNER: Acknowledgement(pending=2)})


def test_who_has_found_another_replica_and_who_never_does_is_not_waited_for() -> None:
    ours = Marks()
    ours.update(None, world("1"))
    assert parted(ours).views(KEY, PROXIES, 1.0) == []
    assert parted(ours).views(KEY, (), 3.0) == []
    assert parted(ours).views("shop/other", (), 1.0) == []
