"""Any interleaving of publications, messages, time and reconnects ends with the proxy having what is published, and on the
way no route leads to a cluster that is not there."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.delta_client import DeltaClient, make, references
from headgate.envoy.resource import Resource, Resources, TypeUrl
from headgate.xds.feedback import Acked, Feedback, Pending, Rejected
from headgate.xds.messages import Order, Request, Response
from headgate.xds.server import difference
from headgate.xds.stream import Stream

GATEWAY = "test/gw"


@dataclass(frozen=True)
class Upstream:
    """One upstream of a generated world."""

    cluster: int  # a new number is a new version
    route: int
    target: int  # a new number is another cluster name
    key: int  # two upstreams with one key are in conflict
    secret: str  # "no", "yes", or "missing": named by the cluster and not published
    bad: str  # the type that Envoy will refuse, or ""


def world(upstreams: dict[str, Upstream], listener: int) -> Resources:
    """Resources of a gateway with these upstreams."""
    items: list[Resource] = [make(TypeUrl.LISTENER, "in", n=listener)]
    for name, u in upstreams.items():
        target = f"{name}-{u.target}"
        secret = f"{target}-key" if u.secret != "no" else None
        items += [
            make(TypeUrl.CLUSTER, target, n=u.cluster, secret=secret, bad=u.bad == "cluster"),
            make(TypeUrl.SCOPED_ROUTE, name, route=name, key=f"{name}{u.key}" if u.key else "shared"),
            make(TypeUrl.ROUTE, name, n=u.route, clusters=[target], bad=u.bad == "route"),
        ]
        if u.secret == "yes":
            items.append(make(TypeUrl.SECRET, f"{target}-key", n=u.cluster))
    found: dict[TypeUrl, dict[str, Resource]] = {type_url: {} for type_url in TypeUrl}
    for item in items:
        found[item.type_url][item.name] = item
    return found


upstream = st.builds(
    Upstream,
    cluster=st.integers(0, 2),
    route=st.integers(0, 2),
    target=st.integers(0, 1),
    key=st.sampled_from([1, 1, 1, 0, 2]),
    secret=st.sampled_from(["no", "yes", "missing"]),
    bad=st.sampled_from(["", "", "", "cluster", "route"]),
)
worlds = st.builds(world, st.dictionaries(st.sampled_from("abcd"), upstream, max_size=4), st.integers(0, 1))
steps = st.one_of(
    st.tuples(st.just("publish"), worlds),
    st.tuples(st.sampled_from(["settle", "round"]), st.none()),
    st.tuples(st.sampled_from(["send", "deliver", "answer", "send", "deliver", "answer"]), st.integers(1, 6)),
    st.tuples(st.just("time"), st.sampled_from([0.1, 5.0, 11.0])),
    st.tuples(st.just("reconnect"), st.none()),
)


class Network:
    """A server side and a client side with a queue each way, so that any message may be late."""

    def __init__(self, order: Order) -> None:
        self.feedback = Feedback()
        self.client = DeltaClient()
        self.desired: Resources | None = None
        self.order = order
        self.now = 0.0
        self.ledger = self.feedback.connect(GATEWAY, "node")
        self.connect()

    def connect(self) -> None:
        """A new stream; what was on its way is lost."""
        self.feedback.disconnect(GATEWAY, self.ledger)
        self.ledger = self.feedback.connect(GATEWAY, "node")
        self.stream = Stream(self.ledger, references, now=self.now, order=self.order)
        self.down: deque[Response] = deque()
        self.up: deque[Request] = deque()
        self.client.connect()
        self.client.rejected.clear()
        if self.desired is not None:
            self.stream.publish(self.desired, {}, self.now)

    def publish(self, resources: Resources) -> None:
        changed = difference(self.desired or {}, resources)
        self.desired = resources
        self.feedback.publish(GATEWAY, resources)
        self.stream.publish(resources, changed, self.now)

    def send(self) -> bool:
        response = self.stream.poll(self.now)
        if response is not None:
            self.down.append(response)
        return response is not None

    def deliver(self) -> bool:
        """The client takes one response."""
        if not self.down:
            return False
        response = self.down.popleft()
        self.client.receive(response)
        assert not self.client.lost_clusters(), f"{response} left routes without their cluster"
        return True

    def answer(self) -> bool:
        """The server takes one request."""
        self.up.extend(self.client.outbox)
        self.client.outbox.clear()
        if not self.up:
            return False
        self.stream.request(self.up.popleft(), self.now)
        return True

    def settle(self) -> None:
        """Until nothing moves, not even after a long time. The server says all it will say before it hears an answer."""
        for _ in range(5000):
            if self.send() or self.deliver() or self.answer():
                continue
            deadline = self.stream.deadline()
            if deadline is None:
                return
            assert deadline > self.now, "a deadline that has passed must have been acted on"
            self.now = deadline
        raise AssertionError("it never settles")


@settings(max_examples=400, deadline=None)
@given(
    st.lists(steps, max_size=40),
    worlds,
    st.sampled_from([Order(), Order(single_up_to=0), Order(single_up_to=0, batch_resources=2)]),
)
def test_any_interleaving_ends_with_what_is_published(
    script: list[tuple[str, object]], last: Resources, order: Order
) -> None:
    network = Network(order)
    for action, argument in script:
        match action, argument:
            case "publish", dict():
                network.publish(argument)
            case "time", float():
                # What a proxy says arrives sooner than the stream's patience ends.
                if not network.up and not network.client.outbox:
                    network.now += argument
            case "reconnect", _:
                network.connect()
            case "settle", _:
                network.settle()
            case "round", _:
                while network.answer() or network.send():
                    pass
                network.deliver()
            case "send" | "deliver" | "answer", int():
                for _ in range(argument):
                    getattr(network, action)()
            case _:
                raise AssertionError(action)
    network.publish(last)
    network.settle()
    check(network, last)


def check(network: Network, last: Resources) -> None:
    client, view = network.client, network.feedback.view(GATEWAY)
    refused = {(type_url, name) for type_url, name, _ in client.rejected}
    no_cluster = {name for type_url, name in refused if type_url is TypeUrl.CLUSTER}
    # One that came in a spoiled batch before it was refused may be there or not: the server takes it as not there.
    no_cluster -= client.held[TypeUrl.CLUSTER].keys() - network.stream.unsure(TypeUrl.CLUSTER)
    for type_url in TypeUrl:
        for name, item in last[type_url].items():
            verdict = view.of(type_url, name, item.version)
            held = client.held[type_url].get(name)
            if (type_url, name, item.version) in client.rejected and isinstance(verdict, Rejected):
                assert held is None or held.version != item.version
            elif held is not None and held.version == item.version:
                assert verdict == Acked()
            elif type_url is TypeUrl.SECRET:
                assert verdict == Acked(), "a secret that nothing asked for"
            else:
                assert verdict == Pending(1)
                stays_back = type_url in (TypeUrl.ROUTE, TypeUrl.SCOPED_ROUTE) and (
                    bool(no_cluster & references(last[TypeUrl.ROUTE][name])) or (TypeUrl.SCOPED_ROUTE, name) in refused
                )
                assert stays_back, f"{type_url.name} {name} was never sent"
    for type_url in TypeUrl:
        if type_url is TypeUrl.SECRET:  # Envoy keeps a removed one until its cluster goes
            continue
        for name in client.held[type_url].keys() - last[type_url].keys():
            routes = client.held[TypeUrl.ROUTE].values()
            assert type_url is TypeUrl.CLUSTER, f"{type_url.name} {name} should have gone"
            # A refused route of which the server does not know the version in force may lead there.
            unsure = network.stream.keeps_all_clusters or network.stream.unsure(TypeUrl.ROUTE)
            kept = any(name in references(item) for item in routes) or unsure
            assert kept, f"cluster {name} should have gone"


def sound(resources: Resources) -> bool:
    """Will Envoy take all of it?"""
    scopes = [item.body for item in resources[TypeUrl.SCOPED_ROUTE].values()]
    bad = any(b'"bad": true' in item.body for items in resources.values() for item in items.values())
    return not bad and not any(b'"shared"' in body for body in scopes)


@given(worlds.filter(sound), worlds.filter(sound))
@settings(max_examples=100, deadline=None)
def test_a_reconnect_sends_only_what_differs(before: Resources, after: Resources) -> None:
    network = Network(Order())
    network.publish(before)
    network.settle()
    network.client.resources_received = 0
    network.connect()
    network.settle()
    assert network.client.resources_received == 0
    network.desired = after  # published while the proxy was away, by this server or by another
    network.feedback.publish(GATEWAY, after)
    network.connect()
    network.settle()
    different = sum(len(set(after[t].values()) - set(before[t].values())) for t in TypeUrl)
    assert network.client.resources_received <= different
    check(network, after)
