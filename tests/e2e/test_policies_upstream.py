"""Fields of UpstreamService that say where calls go, how long they may take and what is changed on the way."""

from __future__ import annotations

import contextlib
import time
from collections import Counter

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from fakes.behaviours import delayed, hang, respond
from fakes.rawserver import NeverAccepts
from fakes.server import FakeServer
from fakes.sse import Sse
from harness.dns import DnsServer, Order
from harness.headgate import Form
from harness.ports import free_port
from harness.space import Space, plain


def sent(response: httpx.Response) -> list[tuple[str, str]]:
    """The headers that the echoing provider has received."""
    assert response.status_code == 200
    return [(name, value) for name, value in response.json()["headers"]]


def code(response: httpx.Response) -> str:
    """What the gateway itself says is wrong."""
    return str(response.json()["error"]["code"])


@pytest.mark.parametrize("form", list(Form))
def test_upstream_hostname_port_and_base_path(space: Space, provider: FakeServer, dns: DnsServer, form: Form) -> None:
    dns.set("api.provider.test", "127.0.0.1", ttl=60)
    space.put(
        "UpstreamService",
        "api",
        f"""
        provider: generic
        hostname: api.provider.test
        port: {provider.port}
        basePath: /client/v4
        tls: {{mode: None}}
        """,
    )
    space.apply()
    response = space.call("api", "/zones?page=2", form=form)
    assert (response.json()["raw_path"], response.json()["query"]) == ("/client/v4/zones", "page=2")
    assert ("host", f"api.provider.test:{provider.port}") in sent(response)
    assert space.status("api")["host"] == "api.provider.test"


def test_upstream_endpoint_priorities(space: Space, provider: FakeServer) -> None:
    with FakeServer(default=respond(200, "second")) as second:
        provider.default(respond(200, "first"))
        space.put(
            "UpstreamService",
            "api",
            f"""
            endpoints:
            - {{hostname: 127.0.0.1, port: {provider.port}, priority: 0}}
            - {{hostname: 127.0.0.1, port: {second.port}, priority: 1}}
            tls: {{mode: None}}
            """,
        )
        space.put(
            "UpstreamService",
            "down",
            f"""
            endpoints:
            - {{hostname: 127.0.0.1, port: {free_port()}, priority: 0}}
            - {{hostname: 127.0.0.1, port: {second.port}, priority: 1}}
            tls: {{mode: None}}
            """,
        )
        space.put("RetryPolicy", "again", "targetRefs: [{kind: UpstreamService, name: down}]")
        space.apply()
        assert {space.call("api").text for _ in range(10)} == {"first"}
        assert {space.call("down", method="POST").text for _ in range(10)} == {"second"}


def test_upstream_endpoint_weights(space: Space, provider: FakeServer) -> None:
    provider.default(respond(200, "light"))
    with FakeServer(default=respond(200, "heavy"), port=0) as heavy:
        space.put(
            "UpstreamService",
            "api",
            f"""
            port: {heavy.port}
            endpoints:
            - {{hostname: 127.0.0.1, weight: 9}}
            - {{hostname: 127.0.0.1, port: {provider.port}, weight: 1}}
            tls: {{mode: None}}
            """,
        )
        space.apply()
        shares = Counter(space.call("api").text for _ in range(100))
    # Evenly shared calls would leave the heavy one fewer than 70 once in 100,000 runs.
    assert shares["heavy"] > 70
    assert shares["light"] > 0


def test_upstream_request_timeout(space: Space, provider: FakeServer) -> None:
    provider.on("/hang", hang())
    provider.on("/slow", delayed(0.6))
    space.put(
        "UpstreamService",
        "short",
        f"{{hostname: 127.0.0.1, port: {provider.port}, tls: {{mode: None}}, timeouts: {{request: 300ms}}}}",
    )
    space.put(
        "UpstreamService",
        "long",
        f"{{hostname: 127.0.0.1, port: {provider.port}, tls: {{mode: None}}, timeouts: {{request: 0s}}}}",
    )
    space.apply()
    begun = time.monotonic()
    response = space.call("short", "/hang")
    assert (response.status_code, code(response)) == (504, "RequestTimeout")
    assert 0.29 <= time.monotonic() - begun < 5
    assert space.call("short", "/slow").status_code == 504
    assert space.call("long", "/slow").status_code == 200


def test_upstream_connect_timeout(space: Space) -> None:
    with NeverAccepts() as silent:
        space.put(
            "UpstreamService",
            "api",
            f"{{hostname: 127.0.0.1, port: {silent.port}, tls: {{mode: None}}, timeouts: {{connect: 300ms}}}}",
        )
        space.apply()
        begun = time.monotonic()
        response = space.call("api")
        assert (response.status_code, code(response)) == (503, "ConnectTimeout")
        assert 0.29 <= time.monotonic() - begun < 4


def test_upstream_stream_idle_timeout(space: Space, provider: FakeServer) -> None:
    events = Sse()
    provider.default(events)
    space.put(
        "UpstreamService",
        "api",
        f"""
        hostname: 127.0.0.1
        port: {provider.port}
        tls: {{mode: None}}
        timeouts: {{request: 0s, streamIdle: 500ms}}
        """,
    )
    space.apply()
    with space.stream("api") as response:
        stream = events.accept()
        lines = response.iter_lines()
        # Longer in all than may pass in silence.
        for number in range(4):
            stream.send(str(number))
            assert next(lines) == f"data: {number}"
            assert next(lines) == ""
            time.sleep(0.2)
        begun = time.monotonic()
        with contextlib.suppress(httpx.RemoteProtocolError):
            assert not [line for line in lines if line]
        assert time.monotonic() - begun < 5
        stream.wait_client_gone()


SECTIONS = """
hostname: 127.0.0.1
port: {port}
tls: {{mode: None}}
credentials: [{{name: mark, secretRef: {{name: marks, key: none}}, location: {{header: {{name: x-section}}}}}}]
sections:
- name: prefix
  matches: [{{pathPrefix: /v1/reports}}]
  credentials: [{{name: mark, secretRef: {{name: marks, key: prefix}}, location: {{header: {{name: x-section}}}}}}]
- name: regex
  matches: [{{pathRegex: "/v[12]/models/[^/]+:generate"}}]
  credentials: [{{name: mark, secretRef: {{name: marks, key: regex}}, location: {{header: {{name: x-section}}}}}}]
- name: methods
  matches: [{{pathPrefix: /things, methods: [PUT, DELETE]}}]
  credentials: [{{name: mark, secretRef: {{name: marks, key: methods}}, location: {{header: {{name: x-section}}}}}}]
- name: headers
  matches:
  - headers: [{{name: x-plan, type: Exact, value: gold}}, {{name: x-region, value: eu}}]
  - headers: [{{name: x-plan, type: RegularExpression, value: "plat.*"}}]
  credentials: [{{name: mark, secretRef: {{name: marks, key: headers}}, location: {{header: {{name: x-section}}}}}}]
"""


def test_upstream_section_matches(space: Space, provider: FakeServer) -> None:
    names = ("none", "prefix", "regex", "methods", "headers")
    space.secret("marks", {name: name for name in names})
    space.put("UpstreamService", "api", SECTIONS.format(port=provider.port))
    space.apply()
    calls: list[tuple[str, str, dict[str, str], str]] = [
        ("GET", "/v1/reports", {}, "prefix"),
        ("GET", "/v1/reports/3?x=1", {}, "prefix"),
        ("GET", "/v1/reportsx", {}, "none"),
        ("POST", "/v2/models/a:generate", {}, "regex"),
        ("POST", "/v2/models/a:generate/x", {}, "none"),
        ("PUT", "/things/1", {}, "methods"),
        ("DELETE", "/things", {}, "methods"),
        ("GET", "/things/1", {}, "none"),
        ("GET", "/", {"x-plan": "gold", "x-region": "eu"}, "headers"),
        ("GET", "/", {"x-plan": "gold"}, "none"),
        ("GET", "/", {"x-plan": "golden", "x-region": "eu"}, "none"),
        ("GET", "/", {"x-plan": "platinum"}, "headers"),
        # A path says more than headers do.
        ("GET", "/v1/reports", {"x-plan": "platinum"}, "prefix"),
    ]
    for method, path, headers, section in calls:
        received = dict(sent(space.call("api", path, method=method, headers=headers)))
        assert received["x-section"] == section, (method, path, headers)


def test_upstream_section_timeouts(space: Space, provider: FakeServer) -> None:
    provider.on("/slow*", delayed(0.6))
    events = Sse()
    provider.on("/slow/events", events)
    with NeverAccepts() as silent:
        space.put(
            "UpstreamService",
            "api",
            f"""
            hostname: 127.0.0.1
            port: {provider.port}
            tls: {{mode: None}}
            timeouts: {{request: 200ms, streamIdle: 30s}}
            sections:
            - name: slow
              matches: [{{pathPrefix: /slow}}]
              timeouts: {{request: 5s, streamIdle: 1s}}
            """,
        )
        space.put(
            "UpstreamService",
            "far",
            f"""
            hostname: 127.0.0.1
            port: {silent.port}
            tls: {{mode: None}}
            timeouts: {{connect: 20s, request: 30s}}
            sections: [{{name: near, matches: [{{pathPrefix: /near}}], timeouts: {{connect: 200ms}}}}]
            """,
        )
        space.apply()
        assert space.call("api", "/slow").status_code == 200
        provider.on("/other", delayed(0.6))
        assert code(space.call("api", "/other")) == "RequestTimeout"
        assert code(space.call("far", "/near")) == "ConnectTimeout"
        begun = time.monotonic()
        with space.stream("api", "/slow/events") as response, contextlib.suppress(httpx.RemoteProtocolError):
            assert not response.read()
        assert time.monotonic() - begun < 4


def test_upstream_headers(space: Space, provider: FakeServer) -> None:
    provider.default(respond(200, headers=[("x-powered-by", "native"), ("x-kept", "1"), ("x-added", "native")]))
    space.put(
        "UpstreamService",
        "api",
        f"""
        hostname: 127.0.0.1
        port: {provider.port}
        tls: {{mode: None}}
        headers:
          request:
            set: [{{name: User-Agent, value: "headgate 100%"}}]
            add: [{{name: x-tag, value: ours}}]
            remove: [x-secret, cookie]
          response:
            set: [{{name: x-kept, value: "2"}}]
            add: [{{name: x-added, value: ours}}]
            remove: [x-powered-by]
        """,
    )
    space.apply()
    headers = {"user-agent": "curl", "x-tag": "theirs", "x-secret": "s", "cookie": "c=1", "x-other": "o"}
    response = space.call("api", headers=headers)
    (seen,) = provider.requests
    assert seen.header_values("user-agent") == ["headgate 100%"]
    assert ",".join(seen.header_values("x-tag")).replace(" ", "") == "theirs,ours"
    assert (seen.header("x-secret"), seen.header("cookie"), seen.header("x-other")) == (None, None, "o")
    assert "x-powered-by" not in response.headers
    assert response.headers.get_list("x-kept") == ["2"]
    assert response.headers.get_list("x-added", split_commas=True) == ["native", "ours"]


def test_upstream_upgrades(space: Space, provider: FakeServer) -> None:
    space.put("UpstreamService", "closed", plain(provider.port))
    space.put(
        "UpstreamService",
        "open",
        f"{{hostname: 127.0.0.1, port: {provider.port}, tls: {{mode: None}}, upgrades: [websocket]}}",
    )
    space.apply()
    base = f"ws://127.0.0.1:{space.headgate.port}/{space.namespace}"
    with connect(f"{base}/open/socket?x=1") as socket:
        for message in ("hello", b"\x00\x01", "x" * 100_000):
            socket.send(message)
            assert socket.recv(timeout=10) == message
    (seen,) = [record for record in provider.requests if record.websocket]
    assert seen.target == b"/socket?x=1"
    with pytest.raises(InvalidStatus) as caught, connect(f"{base}/closed/socket"):
        pass
    assert caught.value.response.status_code == 403
    assert len(provider.requests) == 1


@pytest.mark.parametrize(
    ("family", "reached"),
    [
        ("Auto", {"127.0.0.1"}),
        ("IPv4Only", {"127.0.0.1"}),
        ("IPv6Only", {"::1"}),
        ("IPv4Preferred", {"127.0.0.1"}),
        ("All", {"127.0.0.1", "::1"}),
    ],
)
def test_upstream_dns_lookup_family(space: Space, dns: DnsServer, family: str, reached: set[str]) -> None:
    dns.set("both.provider.test", "127.0.0.1", "::1", ttl=60)
    with FakeServer(addresses=("127.0.0.1", "::1")) as provider:
        space.put(
            "UpstreamService",
            "api",
            f"""
            hostname: both.provider.test
            port: {provider.port}
            tls: {{mode: None}}
            dns: {{lookupFamily: {family}}}
            """,
        )
        space.apply()
        assert set(space.statuses("api", 30)) == {200}
        assert {seen.local[0] for seen in provider.requests} == reached


def test_upstream_dns_refresh_rate(space: Space, provider: FakeServer, dns: DnsServer) -> None:
    """The answers say an hour: only who is told to asks again, and follows the name to another address."""
    for name in ("often", "seldom"):
        dns.set(f"{name}.provider.test", "127.0.0.1", ttl=3600, order=Order.FIXED)
    with FakeServer(addresses=("127.0.0.2",), port=provider.port) as moved:
        space.put(
            "UpstreamService",
            "often",
            f"""
            hostname: often.provider.test
            port: {provider.port}
            tls: {{mode: None}}
            dns: {{refreshRate: 1s, lookupFamily: IPv4Only}}
            """,
        )
        space.put(
            "UpstreamService",
            "seldom",
            f"""
            hostname: seldom.provider.test
            port: {provider.port}
            tls: {{mode: None}}
            dns: {{lookupFamily: IPv4Only}}
            """,
        )
        space.apply()
        for name in ("often", "seldom"):
            assert space.call(name).status_code == 200
            dns.set(f"{name}.provider.test", "127.0.0.2", ttl=3600)
        before = dns.count("seldom.provider.test")
        dns.wait_for("often.provider.test", dns.count("often.provider.test") + 2, timeout=10)
        deadline = time.monotonic() + 5
        while space.call("often").json()["local"] != "127.0.0.2":
            assert time.monotonic() < deadline
        assert dns.count("seldom.provider.test") == before
        assert space.call("seldom").json()["local"] == "127.0.0.1"
        assert moved.requests


def test_upstream_active_health_check(space: Space, provider: FakeServer) -> None:
    """The first endpoint is used while its checks are as expected, and again once they are so twice."""
    provider.default(respond(200, "first"))
    provider.on("/ready", respond(418))
    with FakeServer(default=respond(200, "second")) as second:
        second.on("/ready", respond(418))
        space.put(
            "UpstreamService",
            "api",
            f"""
            endpoints:
            - {{hostname: 127.0.0.1, port: {provider.port}, priority: 0}}
            - {{hostname: 127.0.0.1, port: {second.port}, priority: 1}}
            tls: {{mode: None}}
            healthCheck:
              active:
                path: /ready
                method: HEAD
                hostname: checks.provider.test
                interval: 1s
                timeout: 500ms
                unhealthyThreshold: 2
                healthyThreshold: 2
                expectedStatuses: [{{start: 204, end: 204}}, {{start: 410, end: 419}}]
            """,
        )
        space.apply()

        def is_check(seen: object) -> bool:
            return getattr(seen, "raw_path", b"") == b"/ready"

        checks = provider.wait_for(2, where=is_check)
        assert {(seen.method, seen.header("host")) for seen in checks} == {("HEAD", "checks.provider.test")}
        assert 0.8 < checks[1].at - checks[0].at < 3
        wait_for_text(space, "first")

        # An answer that is not among the expected ones; one of them is not yet enough.
        before = len(provider.wait_for(1, where=is_check))
        provider.on("/ready", respond(200))
        provider.wait_for(before + 1, where=is_check)
        answer = space.call("api").text
        assert answer == "first" or len(provider.wait_for(1, where=is_check)) > before + 1
        provider.wait_for(before + 2, where=is_check)
        wait_for_text(space, "second")

        provider.on("/ready", respond(204))
        wait_for_text(space, "first")
        # An answer that comes too late is none.
        provider.on("/ready", delayed(0.8, respond(204)))
        wait_for_text(space, "second")


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_upstream_active_health_check_methods(space: Space, provider: FakeServer, method: str) -> None:
    space.put(
        "UpstreamService",
        "api",
        f"""
        hostname: 127.0.0.1
        port: {provider.port}
        tls: {{mode: None}}
        healthCheck: {{active: {{path: "/up", method: {method}}}}}
        """,
    )
    space.apply()
    (check,) = provider.wait_for(1)
    assert (check.method, check.target) == (method, b"/up")
    assert check.header("host") == f"127.0.0.1:{provider.port}"


def wait_for_text(space: Space, text: str, within: float = 15.0) -> None:
    """Call until the answer is this one, then make sure that it stays so."""
    deadline = time.monotonic() + within
    while (got := space.call("api").text) != text:
        assert time.monotonic() < deadline, f"still {got!r}"
        time.sleep(0.05)
    assert {space.call("api").text for _ in range(5)} == {text}
