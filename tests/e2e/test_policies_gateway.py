"""Every field of IntegrationGateway, and policies that are attached to a gateway as the default for its upstreams."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from harness.dns import DnsServer
from harness.gateway import Form, Gateway
from harness.headgate import Headgate
from harness.pki import Authority, client_context
from harness.ports import free_port
from harness.space import Space, plain
from headgate.simulate.behaviours import respond
from headgate.simulate.server import FakeServer

CA = Authority()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """A place for a gateway of the test's own to listen."""
    found = Gateway(free_port())
    yield found
    found.close()


def until(condition: Callable[[], bool], what: str, within: float = 15.0) -> None:
    """Wait for `condition`; a gateway that does not listen yet counts as not yet."""
    deadline = time.monotonic() + within
    while True:
        try:
            if condition():
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, f"not {what} within {within} s"
        time.sleep(0.02)


def test_gateway_listener_port_and_reference(space: Space, provider: FakeServer, gateway: Gateway) -> None:
    space.put(
        "IntegrationGateway", "own", f"listener: {{port: {gateway.port}}}\negress: {{allowedCIDRs: [127.0.0.0/8]}}"
    )
    space.put("UpstreamService", "here", plain(provider.port))
    space.put(
        "UpstreamService",
        "there",
        f"{{hostname: 127.0.0.1, port: {provider.port}, tls: {{mode: None}}, gatewayRef: {{name: own}}}}",
    )
    space.apply()
    for form in Form:
        assert gateway.call("there", namespace=space.namespace, form=form).status_code == 200
        assert space.call("here", form=form).status_code == 200
    assert gateway.call("here", namespace=space.namespace).status_code == 404
    assert space.call("there").status_code == 404
    assert space.status("there")["gateway"] == f"{space.namespace}/own"
    assert space.status("there")["address"].endswith(f":{gateway.port}/{space.namespace}/there")
    # Without its gateway an upstream is not served, and says why; the gateway's Envoy is ended.
    space.drop("IntegrationGateway", "own")
    space.write()
    space.wait("UpstreamService", "there", "ResolvedRefs", "False", "GatewayNotFound")
    assert space.call("here").status_code == 200


def test_gateway_allowed_namespaces(space: Space, headgate: Headgate, provider: FakeServer, gateway: Gateway) -> None:
    other = Space(headgate, f"{space.namespace}-guest")
    space.put(
        "IntegrationGateway",
        "own",
        f"""
        listener: {{port: {gateway.port}}}
        allowedNamespaces: {{from: Same}}
        egress: {{allowedCIDRs: [127.0.0.0/8]}}
        """,
    )
    space.put(
        "UpstreamService",
        "api",
        f"{{hostname: 127.0.0.1, port: {provider.port}, tls: {{mode: None}}, gatewayRef: {{name: own}}}}",
    )
    other.put(
        "UpstreamService",
        "api",
        f"""
        hostname: 127.0.0.1
        port: {provider.port}
        tls: {{mode: None}}
        gatewayRef: {{name: own, namespace: {space.namespace}}}
        """,
    )
    try:
        space.apply()
        other.write()
        other.wait("UpstreamService", "api", "Accepted", "False", "NotAllowedByGateway")
        assert gateway.call("api", namespace=space.namespace).status_code == 200
        assert gateway.call("api", namespace=other.namespace).status_code == 404

        space.put(
            "IntegrationGateway",
            "own",
            f"""
            listener: {{port: {gateway.port}}}
            allowedNamespaces: {{from: All}}
            egress: {{allowedCIDRs: [127.0.0.0/8]}}
            """,
        )
        space.apply()
        other.wait("UpstreamService", "api", "Ready")
        assert gateway.call("api", namespace=other.namespace).status_code == 200

        space.put(
            "IntegrationGateway",
            "own",
            f"""
            listener: {{port: {gateway.port}}}
            allowedNamespaces: {{from: Selector, selector: {{matchLabels: {{team: payments, tier: gold}}}}}}
            egress: {{allowedCIDRs: [127.0.0.0/8]}}
            """,
        )
        space.apply()
        other.wait("UpstreamService", "api", "Accepted", "False", "NotAllowedByGateway")
        assert gateway.call("api", namespace=space.namespace).status_code == 200
        other.namespace_labels({"team": "payments", "tier": "gold"})
        other.apply()
        until(lambda: gateway.call("api", namespace=other.namespace).status_code == 200, "let in by its labels")
    finally:
        headgate.delete(other.namespace)


def test_gateway_egress(space: Space, provider: FakeServer, dns: DnsServer, gateway: Gateway) -> None:
    dns.set("inside.test", "127.0.0.1", ttl=60)
    space.put("IntegrationGateway", "own", f"listener: {{port: {gateway.port}}}")
    space.put(
        "UpstreamService",
        "address",
        f"{{hostname: 127.0.0.1, port: {provider.port}, tls: {{mode: None}}, gatewayRef: {{name: own}}}}",
    )
    space.put(
        "UpstreamService",
        "name",
        f"{{hostname: inside.test, port: {provider.port}, tls: {{mode: None}}, gatewayRef: {{name: own}}}}",
    )
    space.write()
    space.wait("UpstreamService", "address", "Accepted", "False", "ForbiddenAddress")
    space.wait("UpstreamService", "name", "Ready")
    refused = gateway.call("name", namespace=space.namespace)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "AddressRefused")
    assert not provider.requests
    space.put(
        "IntegrationGateway", "own", f"listener: {{port: {gateway.port}}}\negress: {{allowedCIDRs: [127.0.0.1/32]}}"
    )
    space.apply()
    until(lambda: gateway.call("address", namespace=space.namespace).status_code == 200, "let out by address")
    until(lambda: gateway.call("name", namespace=space.namespace).status_code == 200, "let out by name")


def test_gateway_listener_tls(space: Space, provider: FakeServer, gateway: Gateway) -> None:
    def serve(identity_name: str) -> None:
        identity = CA.server(identity_name)
        space.secret("certificate", {"tls.crt": identity.chain_pem, "tls.key": identity.key_pem})
        space.write()

    def call(name: str, path: str = "/", **headers: str) -> httpx.Response:
        trust = client_context(CA.pem)
        with httpx.Client(verify=trust, trust_env=False) as client:
            url = f"https://127.0.0.1:{gateway.port}/{space.namespace}/api{path}"
            return client.get(url, headers=headers, extensions={"sni_hostname": name})

    space.put(
        "IntegrationGateway",
        "own",
        f"""
        listener: {{port: {gateway.port}, tls: {{certificateRef: {{name: certificate}}}}}}
        egress: {{allowedCIDRs: [127.0.0.0/8]}}
        """,
    )
    space.put(
        "UpstreamService",
        "api",
        f"{{hostname: 127.0.0.1, port: {provider.port}, tls: {{mode: None}}, gatewayRef: {{name: own}}}}",
    )
    space.write()
    space.wait("IntegrationGateway", "own", "ResolvedRefs", "False", "SecretNotFound")
    serve("gateway.test")
    space.wait("UpstreamService", "api", "Ready")
    until(lambda: call("gateway.test").status_code == 200, "served over TLS")
    # URLs that lead back to the gateway say https.
    provider.on("/move", respond(302, headers={"location": f"http://127.0.0.1:{provider.port}/there"}))
    moved = call("gateway.test", "/move")
    assert moved.headers["location"] == f"https://127.0.0.1:{gateway.port}/{space.namespace}/api/there"
    with pytest.raises(httpx.TransportError):
        gateway.call("api", namespace=space.namespace)
    serve("renewed.test")
    until(lambda: call("renewed.test").status_code == 200, "served with the renewed certificate")


def test_gateway_default(provider: FakeServer, tmp_path: Path) -> None:
    port = free_port()
    with Headgate(tmp_path, files={}) as headgate:
        space = Space(headgate, "team")
        space.put(
            "IntegrationGateway",
            "one",
            f"{{default: false, listener: {{port: {port}}}, egress: {{allowedCIDRs: [127.0.0.0/8]}}}}",
        )
        space.put("UpstreamService", "api", plain(provider.port))
        space.write()
        space.wait("UpstreamService", "api", "ResolvedRefs", "False", "GatewayNotFound")
        space.put("IntegrationGateway", "one", "{default: true, egress: {allowedCIDRs: [127.0.0.0/8]}}")
        space.apply()
        until(lambda: space.call("api").status_code == 200, "served by the default gateway, where --listen says")


@pytest.mark.parametrize("how", ["by name", "by label"])
def test_policies_of_a_gateway(space: Space, provider: FakeServer, gateway: Gateway, how: str) -> None:
    """They are the default for each of its upstreams, each for itself."""
    provider.default(respond(503))
    space.put(
        "IntegrationGateway",
        "own",
        f"listener: {{port: {gateway.port}}}\negress: {{allowedCIDRs: [127.0.0.0/8]}}",
        labels={"edge": "public"},
    )
    for name in ("one", "two"):
        space.put(
            "UpstreamService",
            name,
            f"{{hostname: 127.0.0.1, port: {provider.port}, tls: {{mode: None}}, gatewayRef: {{name: own}}}}",
        )
    space.put("UpstreamService", "elsewhere", plain(provider.port))
    if how == "by name":
        targets_by_name(space)
    else:
        targets_by_label(space)
    space.apply()
    for name in ("one", "two"):
        calls = [gateway.call(name, f"/{name}", namespace=space.namespace) for _ in range(5)]
        # Tried twice each; cut off after two; and only three of the limit were left to be asked of it.
        assert [each.status_code for each in calls] == [503, 503, 503, 503, 503]
        assert sum(seen.raw_path == f"/{name}".encode() for seen in provider.requests) == 4
        assert calls[-1].json()["error"]["code"] == "CircuitOpen"
    provider.default(respond(200))
    assert space.statuses("elsewhere", 5) == [200] * 5
    until(lambda: gateway.call("one", namespace=space.namespace).status_code == 200, "closed again")
    statuses = [gateway.call("one", namespace=space.namespace).status_code for _ in range(6)]
    assert 429 in statuses
    assert set(statuses) <= {200, 429}


def targets_by_name(space: Space) -> None:
    space.put("RetryPolicy", "again", "targetRefs: [{kind: IntegrationGateway, name: own}]\nattempts: 1")
    space.put(
        "CircuitBreaker",
        "cut",
        """
        targetRefs: [{kind: IntegrationGateway, name: own}]
        consecutiveFailures: 2
        breakDuration: 300ms
        """,
    )
    space.put(
        "RateLimit",
        "budget",
        """
        targetRefs: [{kind: IntegrationGateway, name: own}]
        rules: [{name: calls, limit: {requests: 5, interval: 1h}}]
        """,
    )


def targets_by_label(space: Space) -> None:
    space.put(
        "RetryPolicy",
        "again",
        "targetSelectors: [{kind: IntegrationGateway, matchLabels: {edge: public}}]\nattempts: 1",
    )
    space.put(
        "CircuitBreaker",
        "cut",
        """
        targetSelectors: [{kind: IntegrationGateway, matchLabels: {edge: public}}]
        consecutiveFailures: 2
        breakDuration: 300ms
        """,
    )
    space.put(
        "RateLimit",
        "budget",
        """
        targetSelectors: [{kind: IntegrationGateway, matchLabels: {edge: public}}]
        rules: [{name: calls, limit: {requests: 5, interval: 1h}}]
        """,
    )
