"""What one other replica has said, joined with what this one publishes: whose proxies have what of it.

The other's acknowledgements are about what the other publishes. Marks say, owner by owner, whether that is what this replica
publishes too. Where it is, they count. Where it is not, the other's proxies don't have what is published here, and all of
them are pending for that owner. Two exceptions:

- Who compiles first is ahead by some milliseconds. When a peer moves on from what both had, what it said of that counts for
  `GRACE` seconds more: by then this replica has moved on too.
- A replica of another version of Headgate, while one follows the other, makes other resources of the same world. Marks say
  nothing then, and what it says of its proxies counts as it is.

No I/O; `now` is handed in. One event loop; what `view` gives is frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from headgate.model.observations import ACKNOWLEDGED, Acknowledgement, ProxyLoad, SectionReports
from headgate.model.overlay import replaced, without
from headgate.model.refs import ObjectRef
from headgate.xds.marks import NONE, Marks
from headgate.xds.news import GatewayNews, News

#: Seconds for which a peer may be ahead.
GRACE = 2.0


class Inconsistent(Exception):
    """What was told does not add up: begin anew."""


@dataclass(frozen=True, slots=True)
class PeerGateway:
    """One gateway's proxies at one peer. `acks` has the owners of which there is something to tell."""

    proxies: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    loads: tuple[ProxyLoad, ...] = ()
    acks: Mapping[ObjectRef, Acknowledgement] = field(default_factory=dict)


NOTHING = PeerGateway()


@dataclass(slots=True)
class _Gateway:
    """`differs`: owners of whom the peer publishes something else than we, with its mark. `ahead`: those among them of
    whom we publish what the peer did until a moment ago: until when that counts, and what it said of that."""

    news: GatewayNews = field(default_factory=GatewayNews)
    acks: dict[ObjectRef, Acknowledgement] = field(default_factory=dict)
    differs: dict[ObjectRef, int] = field(default_factory=dict)
    ahead: dict[ObjectRef, tuple[float, Acknowledgement]] = field(default_factory=dict)
    view: PeerGateway | None = None


class Peer:
    """`marks(gateway)`: what this replica publishes. `software`: its version."""

    def __init__(self, marks: Callable[[str], Marks], software: str) -> None:
        self._marks, self._software = marks, software
        self._gateways: dict[str, _Gateway] = {}
        self._reports: SectionReports = MappingProxyType({})
        self._comparable = True
        #: Since the digests were sent that the first message answers: the marks that our owners had then.
        self._asked: dict[str, dict[ObjectRef, int]] | None = {}

    @property
    def heard(self) -> bool:
        """Has it said anything?"""
        return self._asked is None

    @property
    def reports(self) -> SectionReports:
        """By gateway and section. The same mapping as long as that is the same."""
        return self._reports

    def gateways(self) -> tuple[str, ...]:
        """Those that it has something to say of."""
        return tuple(self._gateways)

    def published(self, gateway: str, touched: Mapping[ObjectRef, int]) -> None:
        """This replica publishes something else: the owners concerned, with the marks that they had."""
        if self._asked is not None:
            then = self._asked.setdefault(gateway, {})
            for owner, was in touched.items():
                then.setdefault(owner, was)
            return
        known = self._gateways.get(gateway)
        if known is None:
            return
        ours = self._marks(gateway)
        for owner, was in touched.items():
            theirs = known.differs.get(owner, was)
            known.ahead.pop(owner, None)
            if theirs == ours[owner]:
                known.differs.pop(owner, None)
            else:
                known.differs[owner] = theirs
        known.view = None

    def take(self, news: News, now: float) -> tuple[str, ...]:
        """Take in a message; the gateways of which it says something new that a status may depend on, which loads are not.
        Raises Inconsistent."""
        first, then = self._asked is not None, self._asked or {}
        if first:
            self._comparable = news.software == self._software
            self._asked = None
        touched = set()
        for key, each in news.gateways.items():
            known = self._gateways.get(key)
            if known is None or each is None or replace(each, loads=known.news.loads) != known.news:
                touched.add(key)
            if each is None:
                self._gateways.pop(key, None)
            else:
                self._take(key, each, then.get(key, {}), first, now)
        touched.update(gateway for gateway, _, _ in news.reports)
        latest = {(gateway, section): reports for gateway, section, reports in news.reports}
        kept = without(self._reports, [key for key, reports in latest.items() if not reports])
        self._reports = replaced(kept, {key: reports for key, reports in latest.items() if reports})
        return tuple(touched)

    def _take(self, key: str, news: GatewayNews, then: Mapping[ObjectRef, int], first: bool, now: float) -> None:
        known = self._gateways.get(key)
        if known is None:
            known = self._gateways[key] = _Gateway()
        ours = self._marks(key)
        before = dict(known.acks) if news.marks and not first else known.acks
        for owner, ack in news.acks:
            if ack == ACKNOWLEDGED:
                known.acks.pop(owner, None)
            else:
                known.acks[owner] = ack
        if news.whole:
            theirs = dict(news.marks)
            known.ahead.clear()
            known.differs = {
                owner: theirs.get(owner, NONE) for owner in {*theirs, *ours} if theirs.get(owner, NONE) != ours[owner]
            }
        else:
            if first:  # it has what we had when we asked
                known.differs = {owner: was for owner, was in then.items() if was != ours[owner]}
            for owner, mark in news.marks:
                self._compare(known, owner, mark, ours[owner], before.get(owner, ACKNOWLEDGED), now)
        known.news, known.view = GatewayNews(news.digest, news.proxies, news.behind, news.loads), None
        if self._comparable and bool(known.differs) != (news.digest != ours.digest):
            raise Inconsistent(f"gateway {key}: {len(known.differs)} owners differ, digest {news.digest:x}")

    @staticmethod
    def _compare(
        known: _Gateway, owner: ObjectRef, theirs: int, ours: int, before: Acknowledgement, now: float
    ) -> None:
        if theirs == ours:
            known.differs.pop(owner, None)
            known.ahead.pop(owner, None)
            return
        if owner not in known.differs:
            known.ahead[owner] = (now + GRACE, before)
        known.differs[owner] = theirs

    def due(self) -> float | None:
        """When `view` will say something else though nothing came in."""
        return min((until for each in self._gateways.values() for until, _ in each.ahead.values()), default=None)

    def view(self, gateway: str, now: float) -> PeerGateway:
        """What counts of it now."""
        known = self._gateways.get(gateway)
        if known is None:
            return NOTHING
        if over := [owner for owner, (until, _) in known.ahead.items() if until <= now]:
            for owner in over:
                del known.ahead[owner]
            known.view = None
        if known.view is None:
            known.view = self._build(known)
        return known.view

    def _build(self, known: _Gateway) -> PeerGateway:
        news, acks = known.news, dict(known.acks)
        if self._comparable:
            for owner in known.differs:
                ahead = known.ahead.get(owner)
                if ahead is not None:
                    acks[owner] = ahead[1]
                elif news.proxies:
                    acks[owner] = Acknowledgement(pending=len(news.proxies))
                else:
                    acks.pop(owner, None)
        acks = {owner: ack for owner, ack in acks.items() if ack != ACKNOWLEDGED}
        return PeerGateway(news.proxies, news.behind, news.loads, MappingProxyType(acks))


def joined(acks: list[Acknowledgement]) -> Acknowledgement:
    """What several replicas say of one owner."""
    if len(acks) == 1:
        return acks[0]
    return Acknowledgement(
        sum(each.pending for each in acks),
        tuple(sorted({words for each in acks for words in each.rejected})),
        tuple(sorted({words for each in acks for words in each.failed})),
    )
