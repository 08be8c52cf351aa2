"""The listener itself: readiness, TLS, streams and uploads that are neither buffered nor cut, upgrades, and bytes that no
upstream's edit changes.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
import websockets.exceptions
import websockets.sync.client

from harness.bench import Bench, ReportingPlane, error_of
from harness.pki import Authority, client_context
from harness.plans import certificate, endpoint, gateway, section, to, upstream
from headgate.envoy import listener
from headgate.envoy.listener import READY_PATH, render_listener
from headgate.model.answers import StatusRange
from headgate.model.plan import Breaker, Limit, Listener, Timeouts
from headgate.simulate.behaviours import delayed, echo, respond, slow_body, websocket_echo
from headgate.simulate.server import FakeServer
from headgate.xds.bootstrap import XDS_CLUSTER

STREAM = Timeouts(request=0, connect=1_000, stream_idle=0)


@pytest.fixture(scope="module")
def plane() -> Iterator[ReportingPlane]:
    with pytest.MonkeyPatch.context() as patch:
        # So short that a call which is still subject to it is cut.
        patch.setattr(listener, "UNROUTED_IDLE", 300)
        with ReportingPlane(gateway()) as running:
            yield running


@pytest.fixture(scope="module")
def bench(plane: ReportingPlane) -> Iterator[Bench]:
    yield Bench(plane)
    assert plane.lua_errors() == 0, plane.envoy.log()


# ---------------------------------------------------------------------- bytes


def test_no_upstream_and_no_policy_is_in_its_bytes() -> None:
    """An edit of an upstream must not make a new filter chain, for with it the breakers' state would go."""
    plain = section(endpoint(1))
    limited = replace(
        plain,
        limits=(Limit("id", 1, 1, 1),),
        breaker=Breaker(1, None, (StatusRange(500, 599),), 1, 1, 1),
    )
    versions = {
        render_listener(served).version
        for served in (
            gateway(),
            gateway(upstream(plain)),
            gateway(upstream(limited), upstream(section(endpoint(2), key="a/b/c"))),
        )
    }
    assert len(versions) == 1


@pytest.mark.parametrize("name", ["plain.example", 'a"]]=1} os.exit() --', "back\\slash", "line\nbreak", "ä", ""])
def test_its_own_names_can_end_no_lua_string(name: str) -> None:
    literal = listener._quoted(name)
    assert re.fullmatch(r'"(?:[A-Za-z0-9._-]|\\[0-9]{3})*"', literal)
    assert re.sub(r"\\(\d{3})", lambda match: chr(int(match[1])), literal[1:-1]).encode("latin-1").decode() == name


def test_reports_go_to_the_bootstraps_cluster() -> None:
    assert listener.CONTROL_PLANE_CLUSTER == XDS_CLUSTER


def test_an_error_in_the_filter_lets_no_call_through(provider: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Envoy itself would go on with the call as if nothing had been."""
    entry = "local function on_request(handle)\n"
    broken = listener._lua_parts().replace(entry, entry + "  error('provoked')\n")
    monkeypatch.setattr(listener, "_lua_parts", lambda: broken)
    with ReportingPlane(gateway(upstream(section(endpoint(provider.port))))) as plane:
        answer = plane.call("demo/api")
        assert (answer.status_code, error_of(answer)["code"]) == (500, "InternalError")
        assert provider.requests == ()
        assert "provoked" in plane.envoy.log()
        assert "provoked" not in answer.text


def test_an_upstream_comes_and_goes(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    key = bench.serve(bench.section(endpoint(provider.port)))
    namespace, name = key.split("/")
    assert plane.call(key).status_code == 200
    bench.withdraw(key)
    by_path = plane.call(key)
    by_host = plane.client.get("/", headers={"host": f"{name}.{namespace}"})
    # The path form's authority is the gateway's, so the thing isn't found; the host form's authority isn't served here.
    assert (by_path.status_code, error_of(by_path)["code"]) == (404, "UnknownUpstream")
    assert (by_host.status_code, error_of(by_host)["code"]) == (421, "UnknownUpstream")
    assert "is served here (`get upstreams` shows" in error_of(by_path)["message"]
    for answer in (by_path, by_host):
        assert "http://<upstream>.<namespace>/" in error_of(answer)["message"]
        assert error_of(answer)["upstream"] == key


# ---------------------------------------------------------------------- readiness


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "10.1.2.3:8080", "[::1]", "127.0.0.1"])
def test_ready(plane: ReportingPlane, host: str) -> None:
    answer = plane.client.get(READY_PATH, headers={"host": host})
    assert (answer.status_code, answer.content) == (200, b"")


def test_ready_at_an_upstreams_host_is_the_upstreams_own_path(
    plane: ReportingPlane, bench: Bench, provider: FakeServer
) -> None:
    provider.default(respond(418))
    key = bench.serve(bench.section(endpoint(provider.port)))
    namespace, name = key.split("/")
    assert plane.client.get(READY_PATH, headers={"host": f"{name}.{namespace}"}).status_code == 418


def test_not_ready_while_draining(plane: ReportingPlane) -> None:
    plane.envoy.admin("/healthcheck/fail", method="POST")
    try:
        assert plane.client.get(READY_PATH).status_code == 503
    finally:
        plane.envoy.admin("/healthcheck/ok", method="POST")
    assert plane.client.get(READY_PATH).status_code == 200


# ---------------------------------------------------------------------- streams


def test_a_stream_is_passed_on_as_it_comes(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    """Each event arrives before the next is sent, and pauses longer than the listener's own idle time do no harm."""
    events = [b"data: %d\n\n" % n for n in range(4)]
    provider.default(slow_body(events, 0.5, headers={"content-type": "text/event-stream"}))
    key = bench.serve(bench.section(endpoint(provider.port), timeouts=STREAM))
    with plane.client.stream("GET", f"/{key}/") as answer:
        started = time.monotonic()
        arrivals = [(chunk, time.monotonic() - started) for chunk in answer.iter_raw()]
    assert b"".join(chunk for chunk, _ in arrivals) == b"".join(events)
    assert [chunk for chunk, _ in arrivals] == events
    assert arrivals[0][1] < 0.4
    assert arrivals[-1][1] > 1.4


def test_a_slow_first_byte_is_waited_for(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    provider.default(delayed(1.0))
    key = bench.serve(bench.section(endpoint(provider.port), timeouts=STREAM))
    assert plane.call(key).status_code == 200


def test_a_slow_upload_is_passed_on_as_it_comes(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    """The provider has the head before the caller has sent the body, and the body may take its time."""
    key = bench.serve(bench.section(endpoint(provider.port), timeouts=STREAM))
    seen_early: list[bool] = []

    def body() -> Iterator[bytes]:
        yield b"a" * 100_000
        provider.wait_for(1)
        seen_early.append(not provider.requests[0].finished)
        time.sleep(0.8)  # longer than the listener's own idle time
        yield b"b" * 100_000

    answer = plane.call(key, method="POST", content=body())
    assert answer.json()["body_length"] == 200_000
    assert seen_early == [True]


def test_a_body_larger_than_any_buffer(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    key = bench.serve(bench.section(endpoint(provider.port), timeouts=STREAM))
    answer = plane.call(key, method="PUT", content=b"x" * (8 << 20))
    assert answer.json()["body_length"] == 8 << 20


# ---------------------------------------------------------------------- upgrades


def test_websocket_where_it_is_allowed(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    provider.default(websocket_echo())
    key = bench.serve(bench.section(endpoint(provider.port), upgrades=("websocket",), timeouts=STREAM))
    with websockets.sync.client.connect(f"ws://127.0.0.1:{plane.port}/{key}/socket", proxy=None) as socket:
        for text in ("one", "two"):
            socket.send(text)
            assert socket.recv(timeout=5) == text
        time.sleep(0.6)  # longer than the listener's own idle time
        socket.send("three")
        assert socket.recv(timeout=5) == "three"
    assert provider.requests[0].raw_path == b"/socket"


def test_no_websocket_elsewhere(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    provider.default(websocket_echo())
    plain = bench.section(endpoint(provider.port))
    allowed = bench.section(
        endpoint(provider.port), name="socket", upstream=plain.id.rpartition("/")[0], upgrades=("websocket",)
    )
    key = bench.serve(upstream(plain, allowed, routes=[to("socket", "/socket")]))
    with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
        websockets.sync.client.connect(f"ws://127.0.0.1:{plane.port}/{key}/x", proxy=None)
    assert refused.value.response.status_code == 403
    assert json.loads(refused.value.response.body or b"")["error"]["code"] == "UpgradeRefused"
    assert provider.requests == ()
    with websockets.sync.client.connect(f"ws://127.0.0.1:{plane.port}/{key}/socket", proxy=None) as socket:
        socket.send("hello")
        assert socket.recv(timeout=5) == "hello"


@pytest.mark.parametrize("upgrade", ["tls/1.0", "other", "websocket, other"])
def test_no_other_upgrade(plane: ReportingPlane, bench: Bench, provider: FakeServer, upgrade: str) -> None:
    key = bench.serve(bench.section(endpoint(provider.port), upgrades=("websocket",)))
    answer = plane.call(key, headers={"connection": "upgrade", "upgrade": upgrade})
    assert (answer.status_code, error_of(answer)["code"]) == (403, "UpgradeRefused")
    assert provider.requests == ()


def test_an_offer_of_http2_is_passed_over(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    """Java's HTTP client sends one with every first request."""
    key = bench.serve(bench.section(endpoint(provider.port)))
    headers = {
        "connection": "Upgrade, HTTP2-Settings",
        "upgrade": "h2c",
        "http2-settings": "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAA",
    }
    answer = plane.call(key, headers=headers)
    assert answer.status_code == 200
    assert provider.requests[0].header("upgrade") is None


# ---------------------------------------------------------------------- TLS and HTTP/2


def test_tls_and_http2_for_callers(provider: FakeServer) -> None:
    """Behind TLS both ways of addressing work over HTTP/2, and rewritten URLs say https."""
    authority = Authority()
    identity = authority.server("localhost", "127.0.0.1")
    provider.default(respond(302, "", {"location": "http://provider.example/x"}))
    served = gateway(
        upstream(section(endpoint(provider.port)), authorities=("provider.example",)),
        secrets=[certificate(identity, "test/listener")],
        listener=Listener("127.0.0.1", 0, certificate="test/listener"),
    )

    async def call(port: int, path: str, host: str | None) -> httpx.Response:
        context = client_context(authority.pem)
        async with httpx.AsyncClient(http2=True, verify=context, trust_env=False) as client:
            return await client.get(f"https://localhost:{port}{path}", headers={"host": host} if host else {})

    with ReportingPlane(served) as plane:
        by_path = asyncio.run(call(plane.port, "/demo/api/", None))
        assert (by_path.http_version, by_path.status_code) == ("HTTP/2", 302)
        assert by_path.headers["location"] == f"https://localhost:{plane.port}/demo/api/x"
        by_host = asyncio.run(call(plane.port, "/", "api.demo"))
        assert by_host.headers["location"] == "https://api.demo/x"
        assert plane.lua_errors() == 0


def test_many_calls_at_once_on_one_http2_connection(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    provider.default(echo())
    key = bench.serve(bench.section(endpoint(provider.port)))

    async def all_of_them() -> list[str]:
        async with httpx.AsyncClient(http1=False, http2=True, trust_env=False) as client:
            urls = [f"http://127.0.0.1:{plane.port}/{key}/{n}" for n in range(50)]
            answers = await asyncio.gather(*(client.get(url) for url in urls))
            return [answer.json()["raw_path"] for answer in answers]

    assert asyncio.run(all_of_them()) == [f"/{n}" for n in range(50)]


def test_callers_beside_each_other(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    """State of one call never shows in another's: each answer is rewritten to its own caller's form."""
    provider.default(respond(302, "", {"location": "http://own.example/x"}))
    key = bench.serve(upstream(bench.section(endpoint(provider.port)), authorities=("own.example",)))
    namespace, name = key.split("/")
    wrong: list[str] = []

    def caller(host: str, prefix: str) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{plane.port}", trust_env=False) as client:
            for _ in range(50):
                location = client.get(f"{prefix}/", headers={"host": host}).headers["location"]
                if location != f"http://{host}{prefix}/x":
                    wrong.append(location)

    hosts = [
        (f"{name}.{namespace}", ""),
        (f"{name}.{namespace}.svc:80", ""),
        ("localhost", f"/{key}"),
        ("10.0.0.1", f"/{key}"),
    ]
    callers = [threading.Thread(target=caller, args=each) for each in hosts]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    assert wrong == []
