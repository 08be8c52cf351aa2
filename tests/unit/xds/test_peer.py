"""What counts of another replica's word while the two do not publish the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from headgate.envoy.resource import Resource, TypeUrl
from headgate.model.observations import ACKNOWLEDGED, Acknowledgement, Circuit, ProxyLoad, SectionReport
from headgate.model.refs import ObjectRef
from headgate.xds.marks import Marks
from headgate.xds.news import BEAT, GatewayNews, Hello, News, encode, hello, news
from headgate.xds.peer import GRACE, Inconsistent, Peer

KEY = "shop/edge"
OWNER = ObjectRef("UpstreamService", "shop", "billing")


def world(version: str) -> dict[TypeUrl, dict[str, Resource]]:
    return {TypeUrl.ROUTE: {"billing": Resource(TypeUrl.ROUTE, "billing", version, b"", (OWNER,))}}


def marks(version: str) -> Marks:
    made = Marks()
    made.update(None, world(version))
    return made


def told(version: str, *acks: tuple[ObjectRef, Acknowledgement], software: str = "1", whole: bool = True) -> News:
    there = marks(version)
    each = GatewayNews(there.digest, (f"{KEY}/one",), acks=acks, marks=((OWNER, there[OWNER]),), whole=whole)
    return News(software, {KEY: each})


def test_who_is_ahead_is_believed_for_a_moment() -> None:
    peer = Peer(lambda _: marks("1"), "1")
    peer.take(told("1"), 0.0)
    assert peer.view(KEY, 0.0).acks == {}
    peer.take(told("2", (OWNER, Acknowledgement(1)), whole=False), 10.0)
    assert peer.view(KEY, 10.0).acks == {}, "what both had was acknowledged"
    assert peer.due() == 10.0 + GRACE
    assert peer.view(KEY, 10.0 + GRACE).acks == {OWNER: Acknowledgement(pending=1)}
    assert peer.due() is None


def test_what_was_pending_is_not_acknowledged_by_being_ahead() -> None:
    peer = Peer(lambda _: marks("1"), "1")
    peer.take(told("1", (OWNER, Acknowledgement(1))), 0.0)
    peer.take(told("2", (OWNER, ACKNOWLEDGED), whole=False), 10.0)
    assert peer.view(KEY, 10.0).acks == {OWNER: Acknowledgement(pending=1)}


def test_who_moves_on_himself_has_everything_pending_there() -> None:
    here = marks("1")
    peer = Peer(lambda _: here, "1")
    peer.take(told("1"), 0.0)
    peer.published(KEY, here.update(world("1"), world("2")))
    assert peer.view(KEY, 0.0).acks == {OWNER: Acknowledgement(pending=1)}
    peer.take(told("2", whole=False), 0.1)
    assert peer.view(KEY, 0.1).acks == {}


def test_another_version_of_headgate_is_taken_at_its_word() -> None:
    peer = Peer(lambda _: marks("1"), "1")
    refused = Acknowledgement(rejected=("no",))
    peer.take(told("2", (OWNER, refused), software="2"), 0.0)
    assert peer.view(KEY, 0.0).acks == {OWNER: refused}
    peer.take(News(gateways={KEY: GatewayNews(1, (f"{KEY}/one",), acks=((OWNER, ACKNOWLEDGED),))}), 1.0)
    assert peer.view(KEY, 9.0).acks == {}


def test_what_does_not_add_up_is_told() -> None:
    peer = Peer(lambda _: marks("1"), "1")
    with pytest.raises(Inconsistent, match=KEY):
        peer.take(News("1", {KEY: GatewayNews(digest=7)}), 0.0)


def test_the_digest_does_not_depend_on_the_way_there() -> None:
    here = marks("1")
    assert here.update(world("1"), world("2")).keys() == {OWNER}
    assert (here.digest, here[OWNER]) == (marks("2").digest, marks("2")[OWNER])
    other = {TypeUrl.ROUTE: {"billing": Resource(TypeUrl.ROUTE, "billing", "2", b"", ())}}
    assert here.update(world("2"), other).keys() == {OWNER}, "the version is the same, its owner is none any more"
    assert (here.digest, list(here)) == (0, [])


def test_how_much_there_is_to_do_elsewhere_is_no_news_for_statuses() -> None:
    peer = Peer(lambda _: marks("1"), "1")
    first = GatewayNews(marks("1").digest, (f"{KEY}/one",), whole=True, marks=((OWNER, marks("1")[OWNER]),))
    assert peer.take(News("1", {KEY: first}), 0.0) == (KEY,)
    load = ProxyLoad(f"{KEY}/one", datetime.now(UTC), 7)
    later = GatewayNews(first.digest, first.proxies, loads=(load,))
    assert peer.take(News("", {KEY: later}), 1.0) == ()
    assert peer.view(KEY, 1.0).loads == (load,)
    assert peer.take(News("", {KEY: replace(later, behind=first.proxies)}), 2.0) == (KEY,)


def test_a_beat_is_next_to_nothing() -> None:
    assert encode(BEAT) == b"{}"
    assert news(b"{}") == BEAT


def test_what_a_newer_replica_says_besides_is_passed_over() -> None:
    assert news(b'{"gateways": {"a/b": {"digest": 1, "new": [1]}}, "newer": {}}').gateways["a/b"] == GatewayNews(1)


@pytest.mark.parametrize("data", [b"", b"[]", b'{"gateways": 1}', b'{"gateways": {"a/b": {"acks": [[1]]}}}', b"\xff"])
def test_nonsense_is_a_sentence(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        news(data)


@pytest.mark.parametrize("apart", [timedelta(minutes=-7), timedelta(minutes=7)])
def test_what_is_late_is_late_by_the_readers_clock(apart: timedelta) -> None:
    now = datetime.now(UTC)
    there = now + apart
    load = ProxyLoad(f"{KEY}/one", there - timedelta(seconds=3), 7)
    report = SectionReport(Circuit.CLOSED, there, node=load.node, heard=there - timedelta(seconds=20))
    said = News("", {KEY: GatewayNews(loads=(load,)), "gone": None}, ((KEY, "section", (report,)),), there)
    read = news(encode(said)).by_clock(now)
    (shifted,) = read.gateways[KEY].loads  # type: ignore[union-attr]
    ((_, _, (heard,)),) = read.reports
    assert now - shifted.at == timedelta(seconds=3)
    assert heard.heard is not None
    assert now - heard.heard == timedelta(seconds=20)
    assert read.gateways["gone"] is None
    assert said.by_clock(there + timedelta(seconds=1)) is said, "the way takes time too"


def test_hello_goes_there_and_back() -> None:
    said = Hello("pod-1", "0.1", digests={KEY: (1 << 64) - 1})
    assert hello(encode(said)) == said
