"""Active health checks: only where they can reach nothing that the address guard refuses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.dataplane import DataPlane
from harness.dns import DnsServer
from harness.pki import Authority
from harness.plans import endpoint, gateway, roots, section, tls, upstream
from headgate.model.answers import StatusRange
from headgate.model.plan import HealthCheck
from headgate.simulate.behaviours import respond
from headgate.simulate.server import FakeServer

CHECK = HealthCheck(
    path="/healthz?deep=1",
    method="GET",
    interval=100,
    timeout=500,
    unhealthy_threshold=2,
    healthy_threshold=1,
    expected=(StatusRange(200, 204),),
)


@pytest.fixture
def primary() -> Iterator[FakeServer]:
    with FakeServer(default=respond(200, "primary")) as server:
        yield server


@pytest.fixture
def secondary() -> Iterator[FakeServer]:
    with FakeServer(default=respond(200, "secondary")) as server:
        yield server


def test_an_endpoint_whose_check_fails_gets_no_calls_until_it_passes_again(
    primary: FakeServer, secondary: FakeServer
) -> None:
    both = section(endpoint(primary.port), endpoint(secondary.port, priority=1), health_check=CHECK)
    with DataPlane(gateway(upstream(both))) as plane:
        plane.wait_until(lambda: plane.call("demo/api").text == "primary", "the first check")
        primary.on("/healthz*", respond(503))
        plane.wait_until(lambda: plane.call("demo/api").text == "secondary", "the check to fail")
        assert {plane.call("demo/api").text for _ in range(10)} == {"secondary"}
        primary.on("/healthz*", respond(204))
        plane.wait_until(lambda: plane.call("demo/api").text == "primary", "the check to pass")
    check = next(seen for seen in primary.requests if seen.raw_path == b"/healthz")
    assert check.target == b"/healthz?deep=1"
    assert check.header("host") == f"127.0.0.1:{primary.port}"


def test_a_single_endpoint_whose_check_fails_gets_no_calls(primary: FakeServer) -> None:
    primary.on("/healthz*", respond(500))
    with DataPlane(gateway(upstream(section(endpoint(primary.port), health_check=CHECK)))) as plane:
        plane.wait_until(lambda: plane.call("demo/api").status_code == 503, "the check to fail")


def test_a_check_goes_over_tls_too() -> None:
    authority = Authority()
    with FakeServer(tls=authority.server("api.test"), default=respond(200, "fine")) as provider, DnsServer() as dns:
        dns.set("api.test", "127.0.0.1")
        checked = section(endpoint(provider.port, "api.test"), tls=tls(), health_check=CHECK)
        with DataPlane(gateway(upstream(checked), secrets=[roots(authority.pem)]), dns=dns.address) as plane:
            provider.wait_for(2, where=lambda seen: seen.raw_path == b"/healthz")
            assert plane.call("demo/api").text == "fine"
        assert provider.requests[0].header("host") == f"api.test:{provider.port}"


def test_a_provider_cannot_take_itself_out_by_a_header(primary: FakeServer) -> None:
    primary.on("/call", respond(200, "still here", {"x-envoy-immediate-health-check-fail": "1"}))
    with DataPlane(gateway(upstream(section(endpoint(primary.port), health_check=CHECK)))) as plane:
        plane.wait_until(lambda: plane.call("demo/api").status_code == 200, "the first check")
        assert {plane.call("demo/api", "/call").text for _ in range(20)} == {"still here"}


def test_nothing_is_checked_that_a_call_could_not_reach(primary: FakeServer) -> None:
    """A name may lead anywhere: without allowed ranges its checks would go past the guard."""
    with DnsServer() as dns:
        dns.set("inside.test", "127.0.0.1")
        named = section(endpoint(primary.port, "inside.test"), health_check=CHECK, allowed_cidrs=())
        literal = section(endpoint(primary.port), key="demo/literal/default", health_check=CHECK, allowed_cidrs=())
        with DataPlane(gateway(upstream(named), upstream(literal)), dns=dns.address) as plane:
            for key in ("demo/api", "demo/literal"):
                assert plane.call(key).status_code == 403
                assert plane.cluster_stat(f"{key}/default", "health_check.attempt") == 0
    assert not primary.requests
