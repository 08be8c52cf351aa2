"""Which gateway serves an upstream, and who is let in."""

from __future__ import annotations

import pytest

from harness.declare import EDGE, World, upstream
from headgate.api.conditions import ConditionStatus, Reason
from headgate.model.secret import SecretValue
from headgate.model.snapshot import Settings


def gateway(name: str, spec: str = "{}", namespace: str = "shop", meta: str = "") -> str:
    return f"---\nkind: IntegrationGateway\nmetadata: {{name: {name}, namespace: {namespace}{meta}}}\nspec: {spec}\n"


def test_a_world_without_gateways_has_one_for_all_where_the_settings_say_so() -> None:
    text = upstream("a", meta=", namespace: one") + upstream("b", meta=", namespace: two")
    plan = World(text).compile()
    assert set(plan.gateways["default/default"].upstreams) == {"one/a", "two/b"}
    world = World(text, Settings())
    assert world.compile().gateways == {}
    judged = world.verdict("UpstreamService", "a", "one").resolved
    assert judged.reason is Reason.GATEWAY_NOT_FOUND
    assert judged.message.startswith("spec.gatewayRef: no IntegrationGateway is the default one")


def test_a_broken_gateway_is_not_the_same_as_none() -> None:
    world = World(upstream()).break_("IntegrationGateway", "edge")
    world.compile()
    assert world.plan.gateways == {}
    assert world.verdict("UpstreamService", "billing").resolved.reason is Reason.GATEWAY_NOT_FOUND


def test_the_oldest_default_serves() -> None:
    young = gateway("a", "{default: true}", meta=", creationTimestamp: '2026-02-01T00:00:00Z'")
    old = gateway("b", "{default: true}", meta=", creationTimestamp: '2026-01-01T00:00:00Z'")
    world = World(young + old + upstream())
    world.compile()
    assert world.verdict("UpstreamService", "billing").gateways == ("shop/b",)


@pytest.mark.parametrize(
    ("allowed", "let_in"),
    [
        ("", False),
        ("allowedNamespaces: {from: Same}", False),
        ("allowedNamespaces: {from: All}", True),
        ("allowedNamespaces: {from: Selector, selector: {matchLabels: {team: pay}}}", True),
        ("allowedNamespaces: {from: Selector, selector: {matchLabels: {team: pay, tier: x}}}", False),
        ("allowedNamespaces: {from: Selector, selector: {matchLabels: {kubernetes.io/metadata.name: shop}}}", True),
    ],
)
def test_the_owner_says_who_may_attach(allowed: str, let_in: bool) -> None:
    labelled = "---\nkind: Namespace\nmetadata: {name: shop, labels: {team: pay}}\n"
    world = World(
        gateway("edge", f"{{default: true, {allowed}}}", "infra")
        + labelled
        + upstream()
        + upstream("own", meta=", namespace: infra")
        + upstream("named", "{hostname: api.example, gatewayRef: {name: edge, namespace: infra}}")
    )
    world.compile()
    for name in ("billing", "named"):
        verdict = world.verdict("UpstreamService", name)
        assert verdict.live is let_in
        assert (verdict.accepted.reason is Reason.NOT_ALLOWED_BY_GATEWAY) is not let_in
    assert world.verdict("UpstreamService", "own", "infra").live


def test_a_label_that_goes_takes_the_consent_with_it() -> None:
    allowed = "{default: true, allowedNamespaces: {from: Selector, selector: {matchLabels: {team: pay}}}}"
    world = World(gateway("edge", allowed, "infra") + upstream())
    world.store.put_namespace("shop", {"team": "pay"})
    world.compile()
    assert world.served("billing")
    world.store.put_namespace("shop", {})
    world.compile()
    assert world.served("billing") is None


def test_each_gateway_has_the_secrets_of_its_own_upstreams_only() -> None:
    keys = "---\nkind: Secret\nmetadata: {name: keys}\nstringData: {a: one, b: two}\n"

    def on(name: str, key: str) -> str:
        credential = f"credentials: [{{name: key, secretRef: {{name: keys, key: {key}}}}}]"
        return upstream(name, f"{{hostname: api.example, gatewayRef: {{name: {name}}}, {credential}}}")

    plan = World(gateway("x") + gateway("y") + keys + on("x", "a") + on("y", "b")).compile()
    assert set(plan.gateways["shop/x"].secrets) == {"roots/system", "secret/shop/keys/a"}
    assert set(plan.gateways["shop/y"].secrets) == {"roots/system", "secret/shop/keys/b"}


def test_the_listener_follows_declaration_and_settings() -> None:
    settings = Settings(
        cluster_domain="corp.local",
        listen=("127.0.0.1", 9000),
        listen_address="::",
        extra_hosts=("gate.example",),
        extra_suffixes=("lan",),
        system_roots=SecretValue(b"roots"),
    )
    plan = World(EDGE + gateway("other", "{listener: {port: 8081}}"), settings).compile()
    edge, other = plan.gateways["shop/edge"].listener, plan.gateways["shop/other"].listener
    assert (edge.address, edge.port) == ("127.0.0.1", 9000)
    assert (other.address, other.port) == ("::", 8081)
    assert other.hosts == ("localhost", "gate.example")
    assert other.suffixes == ("svc", "svc.corp.local", "lan")


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        (None, "http://billing.shop"),
        (("127.0.0.1", 8080), "http://127.0.0.1:8080/shop/billing"),
        (("0.0.0.0", 8080), "http://localhost:8080/shop/billing"),
        (("::1", 8080), "http://[::1]:8080/shop/billing"),
    ],
)
def test_the_address_for_applications(listen: tuple[str, int] | None, address: str) -> None:
    world = World(upstream(), Settings(implied_gateway=True, listen=listen))
    world.compile()
    assert world.verdict("UpstreamService", "billing").address == address


def test_a_gateway_that_cannot_serve_says_so_to_its_upstreams() -> None:
    world = World(EDGE.replace("default: true", "default: true, egress: {allowedCIDRs: [10.0.0.1/8]}") + upstream())
    world.compile()
    assert world.verdict("IntegrationGateway", "edge").accepted.message == (
        "spec.egress.allowedCIDRs[0]: 10.0.0.1/8 has bits beyond its length: write 10.0.0.0/8"
    )
    judged = world.verdict("UpstreamService", "billing")
    assert judged.accepted.status is ConditionStatus.TRUE
    assert judged.resolved.reason is Reason.GATEWAY_NOT_ACCEPTED
