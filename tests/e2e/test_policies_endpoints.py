"""Fields of UpstreamService that say at which addresses a provider is found, and whether they are well."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from harness.dns import DnsServer, Order
from harness.ports import free_port
from harness.space import Space
from headgate.simulate.behaviours import delayed, respond
from headgate.simulate.server import FakeServer


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
        assert 0.8 < checks[1].at - checks[0].at < 8
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
