"""The table of `headgate.xds.stream`, row by row."""

from __future__ import annotations

from collections.abc import Iterable

from harness.delta_client import make, references
from headgate.envoy.resource import Resource, Resources, TypeUrl
from headgate.xds.feedback import Acked, Feedback, Pending, Rejected, Verdict
from headgate.xds.messages import Order, Request, Response
from headgate.xds.server import difference
from headgate.xds.stream import Stream

C, S, LI, SR, R = TypeUrl.CLUSTER, TypeUrl.SECRET, TypeUrl.LISTENER, TypeUrl.SCOPED_ROUTE, TypeUrl.ROUTE


def cluster(name: str, n: int = 1) -> Resource:
    return make(C, name, n=n)


def scope(name: str) -> Resource:
    return make(SR, name, route=name, key=name)


def route(name: str, *clusters: str, n: int = 1) -> Resource:
    return make(R, name, n=n, clusters=clusters or (name,))


class Desk:
    """A stream, the feedback behind it, and shorthands."""

    def __init__(self, order: Order | None = None) -> None:
        self.feedback = Feedback()
        self.ledger = self.feedback.connect("t/g", "t/g/1")
        self.stream = Stream(self.ledger, references, now=0.0, order=order)
        self.resources: Resources | None = None
        self.now = 0.0

    def publish(self, *items: Resource) -> None:
        found: dict[TypeUrl, dict[str, Resource]] = {}
        for item in items:
            found.setdefault(item.type_url, {})[item.name] = item
        changed = difference(self.resources or {}, found)
        self.resources = found
        self.feedback.publish("t/g", found)
        self.stream.publish(found, changed, self.now)

    def ask(
        self,
        type_url: TypeUrl,
        *names: str,
        drop: Iterable[str] = (),
        held: Iterable[Resource] = (),
    ) -> None:
        versions = {item.name: item.version for item in held}
        request = Request(type_url, subscribe=names, unsubscribe=tuple(drop), initial_versions=versions)
        self.stream.request(request, self.now)

    def next(self) -> Response | None:
        return self.stream.poll(self.now)

    def expect(self, type_url: TypeUrl, *names: str, removed: Iterable[str] = ()) -> Response:
        response = self.next()
        assert response is not None, f"nothing came instead of {type_url.name} {names}{removed}"
        assert response.type_url is type_url
        assert {item.name for item in response.resources} == set(names)
        assert set(response.removed) == set(removed)
        return response

    def silent(self) -> None:
        assert self.next() is None

    def ack(self, response: Response, error: str | None = None) -> None:
        self.stream.request(Request(response.type_url, nonce=response.nonce, error=error), self.now)

    def load(self, *items: Resource) -> None:
        """A proxy that has all of it."""
        self.publish(*items)
        for type_url in (C, LI, SR):
            self.ask(type_url)
        for type_url in (S, R):
            names = [item.name for item in items if item.type_url is type_url]
            if names:
                self.ask(type_url, *names)
        while (response := self.next()) is not None:
            self.ack(response)

    def verdict(self, item: Resource) -> Verdict:
        return self.feedback.view("t/g").of(item.type_url, item.name, item.version)


def test_nothing_is_said_before_the_first_publication() -> None:
    desk = Desk()
    desk.ask(C)
    desk.silent()
    desk.publish(cluster("a"))
    desk.expect(C, "a")


def test_a_wildcard_brings_all_and_names_bring_those() -> None:
    desk = Desk()
    desk.publish(cluster("a"), cluster("b"), make(S, "x"), make(S, "y"))
    desk.ask(C)
    desk.ask(S, "x")
    desk.expect(C, "a", "b")
    desk.expect(S, "x")
    desk.silent()


def test_a_wildcard_with_nothing_to_send_is_answered_empty_once() -> None:
    desk = Desk()
    desk.publish()
    desk.ask(C)
    desk.ack(desk.expect(C))
    desk.silent()


def test_an_explicit_star_is_a_wildcard_and_may_be_taken_back() -> None:
    desk = Desk()
    desk.publish(cluster("a"), cluster("b"))
    desk.ask(C, "*", "b")
    desk.ack(desk.expect(C, "a", "b"))
    desk.ask(C, drop=["*"])
    desk.publish(cluster("a", 2), cluster("b", 2))
    desk.ack(desk.expect(C, "b"))
    desk.silent()
    desk.ask(C, "*")
    desk.expect(C, "a")


def test_what_a_reconnecting_proxy_has_is_not_sent_and_what_is_gone_is_removed() -> None:
    desk = Desk()
    desk.publish(cluster("a"), cluster("b", 2))
    desk.ask(C, held=[cluster("a"), cluster("b", 1), cluster("old")])
    desk.ask(R)
    desk.expect(C, "b")
    assert desk.verdict(cluster("a")) == Acked()
    assert desk.verdict(cluster("b", 2)) == Pending(1)
    desk.now = 10.0  # it names no routes: after a while none is taken to lead to the old cluster
    desk.expect(C, removed=["old"])


def test_a_reconnecting_proxy_keeps_clusters_until_it_has_named_its_routes() -> None:
    desk = Desk()
    desk.publish(cluster("a"), route("a"))
    desk.ask(C, held=[cluster("a"), cluster("old")])
    desk.silent()
    desk.ask(R, "a", held=[route("a", "old")])
    changed = desk.expect(R, "a")
    desk.silent()
    desk.ack(changed)
    desk.expect(C, removed=["old"])


def test_a_name_asked_for_again_is_sent_again() -> None:
    desk = Desk()
    desk.publish(make(S, "x"))
    desk.ask(S, "x")
    desk.ack(desk.expect(S, "x"))
    desk.ask(S, "x")
    desk.expect(S, "x")
    desk.silent()


def test_an_unpublished_secret_is_answered_at_once_though_clusters_are_unanswered() -> None:
    desk = Desk()
    desk.publish(cluster("a"))
    desk.ask(C)
    desk.expect(C, "a")
    desk.ask(S, "x")
    desk.expect(S, removed=["x"])
    desk.silent()
    desk.publish(cluster("a"), make(S, "x"))
    desk.expect(S, "x")


def test_an_unpublished_route_is_not_answered_and_its_scope_waits_for_it() -> None:
    desk = Desk()
    desk.load(make(LI, "in"))
    desk.publish(make(LI, "in"), scope("a"))
    desk.silent()
    desk.ask(R, "a")
    desk.silent()
    desk.publish(make(LI, "in"), scope("a"), route("a"))
    desk.expect(SR, "a")
    desk.expect(R, "a")


def test_an_unsubscribed_name_is_forgotten() -> None:
    desk = Desk()
    desk.load(cluster("a"), scope("a"), route("a"))
    desk.ask(R, drop=["a"])
    desk.publish(cluster("a"), scope("a"), route("a", n=2))
    desk.silent()
    assert desk.verdict(route("a", n=2)) == Pending(1), "a route is awaited from every proxy"


def test_a_refused_version_is_not_sent_again_but_the_next_one_is() -> None:
    desk = Desk()
    desk.load(cluster("a"), scope("a"), route("a"))
    desk.publish(cluster("a"), scope("a"), route("a", n=2))
    desk.ack(desk.expect(R, "a"), "no good")
    assert desk.verdict(route("a", n=2)) == Rejected("no good", ("t/g/1",))
    desk.silent()
    desk.publish(cluster("a"), scope("a"), route("a", n=2), cluster("b"))
    desk.ack(desk.expect(C, "b"))
    desk.silent()
    desk.publish(cluster("a"), scope("a"), route("a", n=3))
    desk.ack(desk.expect(R, "a"))
    assert desk.verdict(route("a", n=3)) == Acked()
    assert desk.verdict(route("a", n=2)) == Pending(1), "an old version is nobody's"


def test_going_back_to_what_the_proxy_has_sends_nothing() -> None:
    desk = Desk()
    desk.load(cluster("a"), scope("a"), route("a"))
    desk.publish(cluster("a"), scope("a"), route("a", n=2))
    desk.ack(desk.expect(R, "a"), "no good")
    desk.publish(cluster("a"), scope("a"), route("a"))
    desk.silent()
    assert desk.verdict(route("a")) == Acked()


def test_a_refused_version_that_is_wanted_again_is_tried_again_once_another_was_taken() -> None:
    desk = Desk()
    desk.load(cluster("a"), scope("a"), route("a"))
    desk.publish(cluster("a"), scope("a"), route("a", n=2))
    desk.ack(desk.expect(R, "a"), "no good")
    desk.publish(cluster("a"), scope("a"), route("a", n=3))
    third = desk.expect(R, "a")
    desk.publish(cluster("a"), scope("a"), route("a", n=2))
    desk.silent()
    desk.ack(third)
    desk.ack(desk.expect(R, "a"), "still no good")
    assert desk.verdict(route("a", n=2)) == Rejected("still no good", ("t/g/1",))


def test_a_few_changed_routes_go_one_by_one_and_many_in_bounded_batches() -> None:
    names = [f"r{i}" for i in range(10)]
    desk = Desk(Order(single_up_to=3, batch_resources=4))
    desk.publish(*(route(name) for name in names))
    desk.ask(R, *names)
    sizes = []
    while (response := desk.next()) is not None:
        sizes.append(len(response.resources))
    assert sizes == [4, 4, 1, 1]


def test_a_batch_is_bounded_in_bytes_but_one_large_resource_goes_by_itself() -> None:
    desk = Desk(Order(batch_bytes=100))
    desk.publish(make(C, "a", pad="x" * 40), make(C, "b", pad="x" * 500), make(C, "c", pad="x" * 40))
    desk.ask(C)
    assert [len(r.resources) for r in (desk.next(), desk.next(), desk.next()) if r] == [1, 1, 1]
    desk.silent()


def test_after_the_nack_of_a_batch_each_goes_by_itself_and_the_nonce_names_the_culprit() -> None:
    desk = Desk(Order(single_up_to=1))
    desk.publish(route("a"), route("b"), route("c"))
    desk.ask(R, "a", "b", "c")
    desk.ack(desk.expect(R, "a", "b", "c"), "one of these")
    for name in "abc":
        desk.ack(desk.expect(R, name), "b is bad" if name == "b" else None)
    desk.silent()
    assert desk.verdict(route("a")) == desk.verdict(route("c")) == Acked()
    assert desk.verdict(route("b")) == Rejected("b is bad", ("t/g/1",))


def test_what_a_refused_batch_may_have_left_behind_is_removed() -> None:
    desk = Desk()
    desk.publish(cluster("a"), cluster("b"))
    desk.ask(C)
    response = desk.expect(C, "a", "b")
    desk.publish()
    desk.ask(R)
    desk.ack(response, "b is bad")  # Envoy has taken `a`
    desk.now = 10.0
    desk.expect(C, removed=["a", "b"])


def test_a_newer_version_goes_out_though_the_older_is_unanswered() -> None:
    desk = Desk()
    desk.publish(cluster("a", 1))
    desk.ask(C)
    first = desk.expect(C, "a")
    desk.publish(cluster("a", 2))
    second = desk.expect(C, "a")
    desk.ack(first)
    assert desk.verdict(cluster("a", 2)) == Pending(1)
    desk.ack(second)
    assert desk.verdict(cluster("a", 2)) == Acked()


def test_a_route_waits_for_its_own_clusters_and_not_for_others() -> None:
    desk = Desk()
    base = [cluster("a"), scope("a"), route("a"), scope("b"), route("b", "a")]
    desk.load(*base)
    desk.publish(cluster("a"), cluster("new"), scope("a"), route("a", "new", n=2), scope("b"), route("b", "a", n=2))
    new = desk.expect(C, "new")
    desk.ack(desk.expect(R, "b"))
    desk.silent()
    desk.ack(new)
    desk.expect(R, "a")


def test_a_new_upstreams_scope_comes_when_its_cluster_is_warm() -> None:
    desk = Desk()
    desk.load(make(LI, "in"))
    desk.publish(make(LI, "in"), cluster("a"), scope("a"), route("a"))
    clusters = desk.expect(C, "a")
    desk.silent()
    desk.ack(clusters)
    desk.expect(SR, "a")


def test_waiting_ends_after_the_patience() -> None:
    desk = Desk(Order(patience=5.0))
    desk.load(cluster("a"), scope("a"), route("a"))
    desk.publish(cluster("a"), cluster("new"), scope("a"), route("a", "new"))
    desk.expect(C, "new")
    desk.silent()
    assert desk.stream.deadline() == 5.0
    desk.now = 5.0
    desk.expect(R, "a")


def test_a_listener_waits_for_all_clusters() -> None:
    desk = Desk()
    desk.load(cluster("a"), make(LI, "in"))
    desk.publish(cluster("a", 2), make(LI, "in", n=2))
    clusters = desk.expect(C, "a")
    desk.silent()
    desk.ack(clusters)
    desk.expect(LI, "in")


def test_a_listener_is_not_removed_while_its_successor_waits() -> None:
    desk = Desk()
    desk.load(cluster("a"), make(LI, "old"))
    desk.publish(cluster("a", 2), make(LI, "new"))
    clusters = desk.expect(C, "a")
    desk.silent()
    desk.ack(clusters)
    new = desk.expect(LI, "new")
    desk.silent()
    desk.ack(new)
    desk.expect(LI, removed=["old"])


def test_endpoints_go_with_their_cluster_and_an_unknown_one_is_answered() -> None:
    desk = Desk()
    desk.publish(cluster("a"), make(TypeUrl.ENDPOINT, "a"))
    desk.ask(C)
    desk.ask(TypeUrl.ENDPOINT, "a", "b")
    desk.expect(C, "a")
    desk.expect(TypeUrl.ENDPOINT, "a")
    desk.expect(TypeUrl.ENDPOINT, removed=["b"])


def test_a_refused_removal_is_not_repeated() -> None:
    desk = Desk()
    desk.load(make(LI, "a"))
    desk.publish()
    desk.ack(desk.expect(LI, removed=["a"]), "no")
    desk.silent()


def test_types_that_are_not_asked_for_block_nothing() -> None:
    desk = Desk()
    desk.publish(cluster("a"), route("a"), make(LI, "in"))
    desk.ask(R, "a")
    desk.ask(LI)
    desk.expect(LI, "in")
    desk.expect(R, "a")


def test_a_route_to_a_refused_cluster_stays_back_while_the_old_one_serves() -> None:
    desk = Desk()
    desk.load(cluster("a"), scope("a"), route("a"))
    desk.publish(cluster("new"), scope("a"), route("a", "new"))
    desk.ack(desk.expect(C, "new"), "no good")
    desk.now = 1000.0
    desk.silent()  # neither the route, nor the removal of the cluster that the old route leads to
    desk.publish(cluster("new", 2), scope("a"), route("a", "new"))
    desk.ack(desk.expect(C, "new"))
    desk.ack(desk.expect(R, "a"))
    desk.expect(C, removed=["a"])


def test_a_new_route_to_a_refused_cluster_goes_so_that_no_listener_waits_for_it() -> None:
    desk = Desk()
    desk.publish(cluster("a"), scope("a"), route("a"))
    desk.ask(C)
    desk.ack(desk.expect(C, "a"), "no good")
    desk.ask(SR)
    desk.expect(SR, "a")
    desk.ask(R, "a")
    desk.expect(R, "a")


def test_removals_go_scope_first_and_cluster_last() -> None:
    desk = Desk()
    desk.load(cluster("a"), make(S, "x"), make(LI, "in"), scope("a"), route("a"))
    desk.publish()
    scopes = desk.expect(SR, removed=["a"])
    listeners = desk.expect(LI, removed=["in"])
    desk.silent()
    desk.ack(scopes)
    desk.ask(R, drop=["a"])
    desk.silent()
    desk.ack(listeners)
    desk.expect(S, removed=["x"])
    desk.expect(C, removed=["a"])
    desk.silent()


def test_a_cluster_stays_while_a_refused_route_keeps_the_old_one_serving() -> None:
    desk = Desk()
    desk.load(cluster("old"), scope("a"), route("a", "old"))
    desk.publish(cluster("new"), scope("a"), route("a", "new", n=2))
    desk.ack(desk.expect(C, "new"))
    desk.ack(desk.expect(R, "a"), "no good")
    desk.now = 1000.0
    desk.silent()
    desk.publish(cluster("new"), scope("a"), route("a", "new", n=3))
    desk.ack(desk.expect(R, "a"))
    desk.expect(C, removed=["old"])


def test_a_cluster_stays_that_a_route_of_a_refused_batch_may_lead_to() -> None:
    desk = Desk(Order(single_up_to=0))
    clusters = [cluster("old"), cluster("mid"), cluster("new")]
    desk.load(*clusters, scope("a"), route("a", "old"), scope("b"), route("b", "new"))
    desk.publish(*clusters, scope("a"), route("a", "mid", n=2), scope("b"), route("b", "new", n=2))
    desk.ack(desk.expect(R, "a", "b"), "one of these")  # Envoy may have taken `a` before it came to `b`
    desk.publish(cluster("new"), scope("a"), route("a", "new", n=3), scope("b"), route("b", "new"))
    desk.ack(desk.expect(R, "a"), "no good")
    desk.ack(desk.expect(R, "b"))
    desk.now = 1000.0
    desk.silent()


def test_a_scope_refused_for_its_key_is_tried_again_when_a_scope_has_gone() -> None:
    desk = Desk()
    desk.load(make(LI, "in"), route("a"), route("b"), make(SR, "a", route="a", key="k"))
    desk.publish(make(LI, "in"), route("a"), route("b"), make(SR, "b", route="b", key="k"))
    desk.ack(desk.expect(SR, "b"), "scope key conflict")
    desk.ack(desk.expect(SR, removed=["a"]))
    desk.ack(desk.expect(SR, "b"))
    assert desk.verdict(make(SR, "b", route="b", key="k")) == Acked()
    desk.silent()


def test_the_first_scopes_come_in_one_response_and_later_ones_one_by_one() -> None:
    names = [f"s{i}" for i in range(600)]
    routes = [route(name) for name in names]
    desk = Desk()
    desk.publish(*routes, *(scope(name) for name in names[:-1]))
    desk.ask(SR)
    desk.ack(desk.expect(SR, *names[:-1]))
    desk.publish(*routes, *(scope(name) for name in names[:-2]), scope(names[-1]))
    desk.expect(SR, names[-1])


def test_a_nonce_of_another_time_means_nothing() -> None:
    desk = Desk()
    desk.load(cluster("a"))
    assert desk.stream.request(Request(C, nonce="4711", error="what?"), 0.0) is None
    assert desk.verdict(cluster("a")) == Acked()


def test_a_proxy_that_answers_nothing_does_not_grow_the_stream() -> None:
    desk = Desk()
    desk.ask(C)
    for n in range(3000):
        desk.publish(cluster("a", n))
        desk.expect(C, "a")
    unanswered = desk.stream._types[C]._sent
    assert len(unanswered) <= 600
    last = next(reversed(unanswered))
    desk.stream.request(Request(C, nonce=last), 0.0)
    assert desk.verdict(cluster("a", 2999)) == Acked()
