"""Streams pass as they come: events when they are sent, silence as long as it may be, upgrades where they are allowed."""

from __future__ import annotations

import threading
import time
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from harness.dataplane import DataPlane
from harness.dns import DnsServer, Order
from harness.pki import Authority
from harness.plans import endpoint, gateway, retry, roots, section, tls, upstream
from headgate.model.answers import BodyHint
from headgate.model.plan import Dns, Gateway, Retry, Timeouts
from headgate.simulate.behaviours import Gate, hang, respond, websocket_echo
from headgate.simulate.server import FakeServer
from headgate.simulate.sse import Sse

FOREVER = Timeouts(request=0, connect=2_000, stream_idle=0)
#: With every part of the upstream filter in the way.
POLICY = retry(429, 503, body_hint=BodyHint.GOOGLE_RETRY_INFO)


def _gateway(port: int, timeouts: Timeouts = FOREVER, policy: Retry | None = POLICY, **changes: Any) -> Gateway:
    return gateway(upstream(section(endpoint(port), timeouts=timeouts, retry=policy, **changes)))


@pytest.mark.parametrize("secured", [False, True], ids=["http1", "h2"])
def test_events_arrive_as_they_are_sent(secured: bool) -> None:
    """The next event is sent only when the one before has arrived: whoever buffers never gets the second."""
    authority, sse = Authority(), Sse()
    identity = authority.server("127.0.0.1") if secured else None
    with FakeServer(tls=identity, default=sse) as provider:
        streaming = section(endpoint(provider.port), timeouts=FOREVER, retry=POLICY, tls=tls() if secured else None)
        plan = gateway(upstream(streaming), secrets=[roots(authority.pem)])
        with DataPlane(plan) as plane, plane.client.stream("GET", "/demo/api/events?alt=sse") as response:
            assert response.headers["content-type"] == "text/event-stream"
            stream, pieces = sse.accept(), response.iter_raw()
            for number in range(20):
                stream.send(f"event {number}")
                assert next(pieces) == f"data: event {number}\n\n".encode()
            stream.close()
            assert list(pieces) == []


def test_a_caller_that_goes_away_ends_the_call_to_the_provider(provider: FakeServer) -> None:
    sse = Sse()
    provider.default(sse)
    with DataPlane(_gateway(provider.port)) as plane:
        with plane.client.stream("GET", "/demo/api/events") as response:
            stream = sse.accept()
            stream.send("one")
            next(response.iter_raw())
        stream.wait_client_gone()


def test_a_silent_stream_outlives_every_other_timeout(provider: FakeServer) -> None:
    """Neither the request's nor the connection's time runs on a stream: only its own idle time does."""
    sse = Sse()
    provider.default(sse)
    quiet = Timeouts(request=0, connect=500, stream_idle=10_000)
    with (
        DataPlane(_gateway(provider.port, quiet)) as plane,
        plane.client.stream("GET", "/demo/api/events") as response,
    ):
        stream, pieces = sse.accept(), response.iter_raw()
        stream.send("before")
        next(pieces)
        silence = threading.Timer(3.0, lambda: stream.send("after"))
        silence.start()
        assert next(pieces) == b"data: after\n\n"


@pytest.mark.serial
def test_a_stream_silent_beyond_its_idle_time_is_ended(provider: FakeServer) -> None:
    sse = Sse()
    provider.default(sse)
    short = Timeouts(request=0, connect=500, stream_idle=1_500)
    with (
        DataPlane(_gateway(provider.port, short)) as plane,
        plane.client.stream("GET", "/demo/api/events") as response,
    ):
        stream, pieces = sse.accept(), response.iter_raw()
        for number in range(8):  # Longer in all than the idle time, never silent for as long.
            stream.send(str(number))
            next(pieces)
            time.sleep(0.25)
        with pytest.raises(httpx.RemoteProtocolError):
            next(pieces)
        stream.wait_client_gone()


def test_the_request_time_bounds_a_call_that_is_never_answered(provider: FakeServer) -> None:
    provider.default(hang())
    with DataPlane(_gateway(provider.port, Timeouts(request=300, connect=500, stream_idle=0))) as plane:
        assert plane.call("demo/api").status_code == 504


def test_no_request_time_means_none(provider: FakeServer) -> None:
    """Envoy's own 15 seconds are not waited for here: the route says zero, and a call longer than its neighbour's
    request time is answered.
    """
    gate = Gate()
    provider.default(gate)
    with DataPlane(_gateway(provider.port)) as plane:
        timer = threading.Timer(1.5, gate.open)
        timer.start()
        assert plane.call("demo/api").text == "through the gate"
        routes = plane.envoy.config_dump("dynamic_route_configs")
        assert '"timeout": "0s"' in str(routes).replace("'", '"')


@pytest.mark.parametrize("request_time", [0, 500])
def test_a_websocket_passes_where_it_is_allowed(provider: FakeServer, request_time: int) -> None:
    provider.default(websocket_echo())
    timeouts = Timeouts(request=request_time, connect=500, stream_idle=0)
    with DataPlane(_gateway(provider.port, timeouts, upgrades=("websocket",))) as plane:
        with connect(f"ws://127.0.0.1:{plane.port}/demo/api/live?v=1", proxy=None) as socket:
            for message in ("hello", b"\x00\x01", "x" * 200_000):
                socket.send(message)
                assert socket.recv(timeout=10) == message
            time.sleep(request_time * 2 / 1000)
            socket.send("still there")
            assert socket.recv(timeout=10) == "still there"
        (seen,) = provider.requests
        assert (seen.websocket, seen.target) == (True, b"/live?v=1")


def test_a_websocket_is_refused_where_it_is_not_allowed(provider: FakeServer) -> None:
    provider.default(websocket_echo())
    with DataPlane(_gateway(provider.port)) as plane, pytest.raises(InvalidStatus) as refused:
        connect(f"ws://127.0.0.1:{plane.port}/demo/api/live", proxy=None)
    assert refused.value.response.status_code == 403
    assert not provider.requests


def test_a_websocket_over_tls(provider: FakeServer) -> None:
    authority = Authority()
    with FakeServer(tls=authority.server("127.0.0.1"), default=websocket_echo()) as secured:
        live = section(endpoint(secured.port), timeouts=FOREVER, tls=tls(), upgrades=("websocket",), retry=POLICY)
        plan = gateway(upstream(live), secrets=[roots(authority.pem)])
        with DataPlane(plan) as plane, connect(f"ws://127.0.0.1:{plane.port}/demo/api/", proxy=None) as socket:
            socket.send("hello")
            assert socket.recv(timeout=10) == "hello"


def test_rotating_answers_of_dns_leave_calls_in_flight_alone() -> None:
    """Each answer has another single address: a stream that began at the first sees several of them pass."""
    sse = Sse()
    with (
        DnsServer() as dns,
        FakeServer(addresses=("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")) as provider,
    ):
        provider.on("/events", sse)
        dns.set("rotating.test", *provider.addresses, order=Order.ONE, ttl=1)
        named = section(endpoint(provider.port, "rotating.test"), timeouts=FOREVER, dns=Dns(refresh=200))
        with (
            DataPlane(gateway(upstream(named)), dns=dns.address) as plane,
            plane.client.stream("GET", "/demo/api/events") as response,
        ):
            stream, pieces = sse.accept(), response.iter_raw()
            answers = set()
            for number in range(10):
                dns.wait_for("rotating.test", dns.count("rotating.test", "A") + 1, qtype="A")
                stream.send(str(number))
                assert next(pieces) == f"data: {number}\n\n".encode()
                answers.add(plane.call("demo/api", "/short").status_code)
            stream.close()
            assert list(pieces) == []
        assert answers == {200}
        assert len({seen.local[0] for seen in provider.requests}) >= 3


def test_a_changed_route_or_cluster_leaves_streams_alone(provider: FakeServer) -> None:
    sse = Sse()
    provider.default(sse)
    with (
        DataPlane(_gateway(provider.port)) as plane,
        plane.client.stream("GET", "/demo/api/events") as response,
    ):
        stream, pieces = sse.accept(), response.iter_raw()
        for number, timeouts in enumerate(
            [Timeouts(5_000, 500, 0), Timeouts(0, 700, 9_000), Timeouts(1_000, 900, 1_000)]
        ):
            plane.update(_gateway(provider.port, timeouts, base_path=f"/v{number}"))
            stream.send(str(number))
            assert next(pieces) == f"data: {number}\n\n".encode()
        assert plane.stat("cluster_manager.cluster_modified") == 3
        stream.close()


def test_a_removed_upstream_lets_streams_end(provider: FakeServer) -> None:
    sse = Sse()
    provider.default(sse)
    with FakeServer(default=respond(200)) as other:
        kept = upstream(section(endpoint(other.port), key="demo/kept/default"))
        going = upstream(section(endpoint(provider.port), timeouts=FOREVER))
        with (
            DataPlane(gateway(kept, going)) as plane,
            plane.client.stream("GET", "/demo/api/events") as response,
        ):
            stream, pieces = sse.accept(), response.iter_raw()
            stream.send("before")
            next(pieces)
            plane.update(gateway(kept))
            plane.wait_until(lambda: plane.call("demo/api").status_code != 200, "the upstream to be gone")
            assert plane.call("demo/kept").status_code == 200
            stream.abort()
