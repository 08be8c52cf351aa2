"""What a replica makes of what another one tells it, against whole maps of both: at any moment, whatever happened before.

Both ends are the real ones, with JSON between them; only the sockets are missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headgate.envoy.resource import Resource, Resources, TypeUrl
from headgate.model.observations import ACKNOWLEDGED, Acknowledgement
from headgate.model.refs import ObjectRef
from headgate.xds.acknowledgements import Answers
from headgate.xds.feedback import Feedback, Ledger
from headgate.xds.marks import Marks
from headgate.xds.news import encode, news
from headgate.xds.peer import GRACE, Peer
from headgate.xds.telling import Own, _Caller

T = TypeVar("T")
GATEWAY = "shop/edge"
OWNERS = [ObjectRef("UpstreamService", "shop", name) for name in "abc"] + [ObjectRef("RetryPolicy", "shop", "p")]
TYPES = [TypeUrl.CLUSTER, TypeUrl.ROUTE]

#: A world: by type and name, version and owners.
World = dict[tuple[TypeUrl, str], tuple[str, tuple[ObjectRef, ...]]]
worlds = st.dictionaries(
    st.tuples(st.sampled_from(TYPES), st.sampled_from("xyz")),
    st.tuples(st.sampled_from("12"), st.lists(st.sampled_from(OWNERS), max_size=2, unique=True).map(tuple)),
    max_size=5,
)


def resources(world: World) -> Resources:
    made: dict[TypeUrl, dict[str, Resource]] = {}
    for (type_url, name), (version, owners) in world.items():
        made.setdefault(type_url, {})[name] = Resource(type_url, name, version, b"", owners)
    return made


def owned(published: Resources | None, owner: ObjectRef) -> set[tuple[TypeUrl, str, str]]:
    every = (each for by_name in (published or {}).values() for each in by_name.values())
    return {(each.type_url, each.name, each.version) for each in every if owner in each.owners}


@dataclass
class Replica:
    """What a replica publishes, and what its proxies say."""

    feedback: Feedback = field(default_factory=Feedback)
    published: Resources | None = None
    marks: dict[str, Marks] = field(default_factory=dict)
    proxies: list[Ledger] = field(default_factory=list)

    def publish(self, after: Resources | None) -> Mapping[ObjectRef, int]:
        before, self.published = self.published, after
        touched = self.marks.setdefault(GATEWAY, Marks()).update(before, after)
        if after is None:
            self.marks.pop(GATEWAY)
        self.feedback.publish(GATEWAY, after)
        wanted = after or {}
        for type_url in TYPES:
            old, new = (before or {}).get(type_url, {}), wanted.get(type_url, {})
            gone = [name for name in old if name not in new]
            changed = [name for name in new if name not in old or old[name].version != new[name].version]
            for proxy in self.proxies:
                proxy.settled(type_url, gone)
                proxy.pending(type_url, changed)
        return touched

    def own(self) -> Own:
        return Own(self.feedback.gateways, self.feedback.view, dict, lambda *_: (), lambda: ())

    def acks(self) -> Mapping[ObjectRef, Acknowledgement]:
        return dict(Answers([self.feedback.view(GATEWAY)]).exceptions(GATEWAY))


class Two(RuleBasedStateMachine):
    """`here` listens to `there`."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.here, self.there = Replica(), Replica()
        self.now = 0.0
        self.told: tuple[Resources | None, Mapping[ObjectRef, Acknowledgement], int] = (None, {}, 0)
        self.connect_anew()

    def teardown(self) -> None:
        self.loop.close()

    def run(self, make: Callable[[], T]) -> T:
        """On a loop, where callers live."""

        async def inside() -> T:
            return make()

        return self.loop.run_until_complete(inside())

    @rule()
    def connect_anew(self) -> None:
        """The digests are sent, and not yet answered."""
        self.peer = Peer(lambda key: self.here.marks.get(key) or Marks(), "1")
        digests = {key: marks.digest for key, marks in self.here.marks.items()}
        self.caller = self.run(lambda: _Caller(self.there.own(), self.there.marks, digests))

    @rule(world=worlds)
    def publish_here(self, world: World) -> None:
        self.peer.published(GATEWAY, self.here.publish(resources(world)))

    @rule(world=worlds)
    def publish_there(self, world: World) -> None:
        self.caller.touched.setdefault(GATEWAY, set()).update(self.there.publish(resources(world)))

    @rule()
    def publish_there_what_is_here(self) -> None:
        if self.here.published is not None:
            self.caller.touched.setdefault(GATEWAY, set()).update(self.there.publish(self.here.published))

    @rule()
    def withdraw(self) -> None:
        """On both: a gateway is gone."""
        self.peer.published(GATEWAY, self.here.publish(None))
        self.caller.touched.setdefault(GATEWAY, set()).update(self.there.publish(None))

    @rule()
    def connect_proxy(self) -> None:
        ledger = self.there.feedback.connect(GATEWAY, f"{GATEWAY}/{len(self.there.proxies)}")
        for type_url, by_name in (self.there.published or {}).items():
            ledger.pending(type_url, list(by_name))
        self.there.proxies.append(ledger)

    @precondition(lambda self: self.there.proxies)
    @rule(data=st.data())
    def disconnect_proxy(self, data: st.DataObject) -> None:
        ledger = data.draw(st.sampled_from(self.there.proxies))
        self.there.proxies.remove(ledger)
        self.there.feedback.disconnect(GATEWAY, ledger)

    @precondition(lambda self: self.there.proxies and self.there.published)
    @rule(data=st.data(), refuses=st.booleans())
    def answer(self, data: st.DataObject, refuses: bool) -> None:
        ledger = data.draw(st.sampled_from(self.there.proxies))
        waiting = [(type_url, name) for type_url, names in ledger.open.items() for name in sorted(names)]
        if not waiting:
            return
        type_url, name = data.draw(st.sampled_from(waiting))
        if refuses:
            ledger.rejected(type_url, name, "?", f"no {name}")
        else:
            ledger.settled(type_url, [name])

    @rule(seconds=st.sampled_from([0.5, GRACE + 0.1]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def tell(self) -> None:
        message = news(encode(self.run(lambda: self.caller.news("1"))))
        self.peer.take(message, self.now)
        self.told = (self.there.published, self.there.acks(), len(self.there.proxies))

    @invariant()
    def never_more_than_is_known(self) -> None:
        """Once nobody may be ahead any more, exactly what the whole maps say."""
        if not self.peer.heard:
            return
        published, acks, proxies = self.told
        view = self.peer.view(GATEWAY, self.now + GRACE)
        for owner in OWNERS:
            if owned(published, owner) == owned(self.here.published, owner):
                expected = acks.get(owner, ACKNOWLEDGED)
            else:
                expected = Acknowledgement(pending=proxies)
            assert view.acks.get(owner, ACKNOWLEDGED) == expected, owner
        assert len(view.proxies) == proxies


TestTwo = Two.TestCase
TestTwo.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
