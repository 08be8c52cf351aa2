"""A real Envoy takes everything from the xDS server: start, change, refusal, secrets, reconnect, restart."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from harness import handmade
from harness.envoy import eventually
from harness.ports import free_port
from harness.xds import Fleet, Reply, get, until_reply
from headgate.envoy.resource import TypeUrl
from headgate.xds.feedback import Acked, Pending


@pytest_asyncio.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with Fleet() as running:
        yield running


async def test_an_envoy_loads_everything_and_serves(fleet: Fleet) -> None:
    port = free_port()
    fleet.publish(handmade.listener(port), *fleet.upstream("a"), handmade.scope("b"), handmade.direct("b", "hello"))
    envoy = fleet.envoy()
    await envoy.wait_ready()
    await fleet.acked()
    assert await get(port, "a") == Reply(200, "1", "none")
    assert await get(port, "b") == Reply(200, "", "hello")
    assert (await get(port, "c")).status == 404
    assert fleet.view().proxies == ("test/gw/one",)
    assert fleet.sent() == 6


async def test_an_envoy_waits_for_the_first_publication_and_is_not_ready_before(fleet: Fleet) -> None:
    port = free_port()
    envoy = fleet.envoy()
    await eventually(lambda: fleet.view().connected == 1, "the proxy to connect")
    await envoy.until(envoy.answers_admin, "the admin socket")
    assert not envoy.is_ready()
    assert (await get(port, "a")).status == 0
    fleet.publish(handmade.listener(port), *fleet.upstream("a"))
    await envoy.wait_ready()
    assert (await get(port, "a")).status == 200


async def test_a_gateway_without_anything_is_ready_and_takes_what_comes(fleet: Fleet) -> None:
    port = free_port()
    fleet.publish()
    envoy = fleet.envoy()
    await envoy.wait_ready()
    fleet.publish(handmade.listener(port), *fleet.upstream("a"))
    await fleet.acked()
    assert (await until_reply(port, "a", lambda reply: reply.status != 0)).status == 200


async def test_a_change_sends_that_and_nothing_else(fleet: Fleet) -> None:
    port = free_port()
    upstreams = [item for n in range(50) for item in fleet.upstream(f"u{n}")]
    fleet.publish(handmade.listener(port), *upstreams)
    await fleet.envoy().wait_ready()
    await fleet.acked()
    before = fleet.server.stats()
    changed = handmade.route("u7", revision="2")
    fleet.publish(changed)
    assert fleet.verdict(changed) == Pending(1)
    await fleet.acked(changed)
    assert (await get(port, "u7")).revision == "2"
    assert (await get(port, "u8")).revision == "1"
    after = fleet.server.stats()
    for type_url in TypeUrl:
        more = 1 if type_url is TypeUrl.ROUTE else 0
        assert after.of(type_url).resources - before.of(type_url).resources == more
        assert after.of(type_url).removals == before.of(type_url).removals
    assert after.of(TypeUrl.ROUTE).bytes - before.of(TypeUrl.ROUTE).bytes < len(changed.body) + 250


async def test_an_equal_state_sends_nothing_and_is_what_the_feedback_speaks_of(fleet: Fleet) -> None:
    fleet.publish(handmade.listener(free_port()), *fleet.upstream("a"))
    await fleet.envoy().wait_ready()
    await fleet.acked()
    before, sent = fleet.view(), fleet.sent()
    fleet.publish()
    assert fleet.view().resources is not before.resources
    await fleet.acked()
    assert fleet.sent() == sent


async def test_upstreams_come_and_go(fleet: Fleet) -> None:
    port = free_port()
    fleet.publish(handmade.listener(port), *fleet.upstream("a"))
    envoy = fleet.envoy()
    await envoy.wait_ready()
    new = fleet.upstream("b")
    fleet.publish(*new)
    await fleet.acked()
    assert (await until_reply(port, "b", lambda reply: reply.status != 404)).status == 200
    fleet.publish(remove=new)
    await until_reply(port, "b", lambda reply: reply.status == 404)
    await envoy.until(lambda: envoy.stat("cluster_manager.active_clusters") == 2, "the cluster to go")
    assert (await get(port, "a")).status == 200


async def test_a_listener_can_move_to_another_port(fleet: Fleet) -> None:
    first, second = free_port(), free_port()
    old = handmade.listener(first, name="old")
    fleet.publish(old, *fleet.upstream("a"))
    await fleet.envoy().wait_ready()
    fleet.publish(handmade.listener(second, name="new"), remove=[old])
    await fleet.acked()
    assert (await until_reply(second, "a", lambda reply: reply.status != 0)).status == 200
    await until_reply(first, "a", lambda reply: reply.status == 0)


async def test_one_bad_route_among_many_is_named_and_the_others_go_on(fleet: Fleet) -> None:
    port = free_port()
    names = [f"u{n}" for n in range(100)]
    fleet.publish(handmade.listener(port), *(item for name in names for item in fleet.upstream(name)))
    await fleet.envoy().wait_ready()
    await fleet.acked()
    routes = {name: handmade.route(name, revision="2", broken=name == "u42") for name in names}
    fleet.publish(*routes.values())  # enough to go in batches, which the bad one spoils
    rejected = await fleet.rejected(routes["u42"])
    assert "missing ]" in rejected.message
    assert rejected.nodes == ("test/gw/one",)
    await fleet.acked(*(item for name, item in routes.items() if name != "u42"))
    assert fleet.server.stats().of(TypeUrl.ROUTE).nacks == 2, "a batch, then the culprit by itself"
    assert await get(port, "u42") == Reply(200, "1", "none")
    assert (await get(port, "u41")).revision == "2"
    assert set(fleet.view().rejected) == {(TypeUrl.ROUTE, "u42")}
    # A refused version is not tried again by what happens to others; a new one is.
    before = fleet.server.stats().of(TypeUrl.ROUTE).resources
    fleet.publish(handmade.route("u0", revision="3"))
    await fleet.acked(handmade.route("u0", revision="3"))
    assert fleet.server.stats().of(TypeUrl.ROUTE).resources == before + 1
    fleet.publish(handmade.route("u42", revision="3"))
    await fleet.acked()
    assert (await get(port, "u42")).revision == "3"


async def test_a_bad_route_from_the_start_does_not_keep_the_gateway_down(fleet: Fleet) -> None:
    port = free_port()
    bad, clash = handmade.route("bad", broken=True), handmade.scope("clash", key="a")
    fleet.publish(handmade.listener(port), *fleet.upstream("a"), *fleet.upstream("bad"), bad)
    fleet.publish(clash, handmade.route("clash", cluster="a"))
    await fleet.envoy().wait_ready()
    assert "missing ]" in (await fleet.rejected(bad)).message
    assert "scope key conflict" in (await fleet.rejected(clash)).message
    assert (await until_reply(port, "a", lambda reply: reply.status != 404)).status == 200


async def test_a_refused_cluster_is_named_and_leaves_traffic_where_it_was(fleet: Fleet) -> None:
    port = free_port()
    fleet.publish(handmade.listener(port), *fleet.upstream("a"), *fleet.upstream("b"))
    await fleet.envoy().wait_ready()
    await fleet.acked()
    bad = handmade.cluster("a2", fleet.origin.port, broken=True)
    fleet.publish(
        bad,
        handmade.route("a", cluster="a2", revision="2"),
        handmade.cluster("b", fleet.origin.port, timeout="6s"),
        handmade.route("b", revision="2"),
        remove=[handmade.cluster("a", 1)],
    )
    assert "malformed IP address" in (await fleet.rejected(bad)).message
    await fleet.acked(handmade.cluster("b", fleet.origin.port, timeout="6s"), handmade.route("b", revision="2"))
    assert await get(port, "a") == Reply(200, "1", "none"), "the old route and the old cluster serve"
    fleet.publish(handmade.cluster("a2", fleet.origin.port))
    await fleet.acked()
    assert (await get(port, "a")).revision == "2"


async def test_a_secret_is_rotated_without_a_change_of_its_cluster(fleet: Fleet) -> None:
    port = free_port()
    fleet.publish(
        handmade.listener(port),
        handmade.cluster("a", fleet.origin.port, secret="key"),
        handmade.scope("a"),
        handmade.route("a"),
        handmade.secret("key", "first"),
    )
    await fleet.envoy().wait_ready()
    assert (await get(port, "a")).body == "first"
    rotated = handmade.secret("key", "second")
    fleet.publish(rotated)
    await fleet.acked(rotated)
    assert (await get(port, "a")).body == "second"
    assert fleet.server.stats().of(TypeUrl.CLUSTER).resources == 1


async def test_a_secret_that_is_not_published_stops_only_its_own_upstream(fleet: Fleet) -> None:
    port = free_port()
    fleet.publish(
        handmade.listener(port),
        *fleet.upstream("a"),
        handmade.cluster("s", fleet.origin.port, secret="key"),
        handmade.scope("s"),
        handmade.route("s"),
    )
    await fleet.envoy().wait_ready()
    await fleet.acked()
    assert (await get(port, "a")).status == 200
    assert (await get(port, "s")).status == 401, "no call goes out without its credential"
    fleet.publish(handmade.secret("key", "at last"))
    await fleet.acked()
    assert await get(port, "s") == Reply(200, "1", "at last")


async def test_refused_secrets_are_told_without_their_content(fleet: Fleet) -> None:
    from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

    from headgate.envoy.resource import resource

    port = free_port()
    message = secret_pb2.Secret(name="key")
    message.generic_secret.secret.environment_variable = "NO_SUCH_VARIABLE"
    bad = resource(TypeUrl.SECRET, "key", message)
    fleet.publish(handmade.listener(port), handmade.cluster("a", fleet.origin.port, secret="key"), bad)
    fleet.envoy()
    rejected = await fleet.rejected(bad)
    assert "[redacted]" in rejected.message
    assert "NO_SUCH_VARIABLE" not in rejected.message


async def test_when_the_server_comes_back_nothing_is_sent_again(fleet: Fleet) -> None:
    port = free_port()
    fleet.publish(handmade.listener(port), *(item for n in range(20) for item in fleet.upstream(f"u{n}")))
    fleet.publish(
        handmade.cluster("s", fleet.origin.port, secret="key"),
        handmade.scope("s"),
        handmade.route("s"),
        handmade.secret("key", "value"),
    )
    envoy = fleet.envoy()
    await envoy.wait_ready()
    await fleet.acked()
    await fleet.server.stop()
    await envoy.until(lambda: envoy.stat("control_plane.connected_state") == 0, "the stream to end")
    assert (await get(port, "u3")).status == 200, "it serves without the server"
    assert (await get(port, "s")).body == "value"
    await fleet.start_server()
    await fleet.acked()
    assert fleet.sent() == 0, fleet.server.stats()
    changed = handmade.route("u3", revision="2")
    fleet.publish(changed)
    await fleet.acked()
    assert (await get(port, "u3")).revision == "2"
    assert fleet.sent() == 1


async def test_what_changed_while_the_server_was_away_is_all_that_is_sent(fleet: Fleet) -> None:
    port = free_port()
    fleet.publish(handmade.listener(port), *(item for n in range(20) for item in fleet.upstream(f"u{n}")))
    envoy = fleet.envoy()
    await envoy.wait_ready()
    await fleet.acked()
    await fleet.server.stop()
    gone, new = fleet.upstream("u1"), fleet.upstream("new")
    fleet.publish(handmade.route("u0", revision="2"), *new, remove=gone)
    await fleet.start_server()
    await fleet.acked()
    assert (await get(port, "u0")).revision == "2"
    assert (await get(port, "new")).status == 200
    await until_reply(port, "u1", lambda reply: reply.status == 404)
    await envoy.until(lambda: envoy.stat("cluster_manager.active_clusters") == 21, "the cluster to go")
    stats = fleet.server.stats()
    assert {t: stats.of(t).resources for t in TypeUrl if stats.of(t).resources} == {
        TypeUrl.CLUSTER: 1,
        TypeUrl.SCOPED_ROUTE: 1,
        TypeUrl.ROUTE: 2,
    }
    assert stats.of(TypeUrl.CLUSTER).removals == stats.of(TypeUrl.SCOPED_ROUTE).removals == 1


async def test_a_restarted_envoy_gets_everything_from_the_start(fleet: Fleet) -> None:
    port = free_port()
    fleet.publish(handmade.listener(port), *fleet.upstream("a"))
    envoy = fleet.envoy()
    await envoy.wait_ready()
    envoy.kill()
    await eventually(lambda: fleet.view().connected == 0, "the stream to end")
    assert fleet.verdict(handmade.route("a")) == Pending(0)
    envoy.start()
    await envoy.wait_ready()
    await fleet.acked()
    assert (await get(port, "a")).status == 200


async def test_two_proxies_must_both_acknowledge(fleet: Fleet) -> None:
    ports = free_port(), free_port()
    fleet.publish(handmade.listener(ports[0]), *fleet.upstream("a"))
    one = fleet.envoy()
    await one.wait_ready()
    # The second cannot have the same port: SO_REUSEPORT lets it, and the kernel shares the calls out.
    two = fleet.envoy(instance="two")
    await two.wait_ready()
    await fleet.acked(proxies=2)
    assert fleet.view().proxies == ("test/gw/one", "test/gw/two")
    bad = handmade.route("a", broken=True)
    fleet.publish(bad)
    await eventually(lambda: len(getattr(fleet.verdict(bad), "nodes", ())) == 2, "both to refuse")
    two.stop()
    await eventually(lambda: getattr(fleet.verdict(bad), "nodes", ()) == ("test/gw/one",), "one to be left")
    good = handmade.route("a", revision="2")
    fleet.publish(good)
    await fleet.acked(good)
    assert fleet.verdict(good) == Acked()
