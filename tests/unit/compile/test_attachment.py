"""Which policy shapes which section, and what the others hear."""

from __future__ import annotations

import pytest

from harness.declare import EDGE, World, on_gateway, policy, upstream
from headgate.api.conditions import ConditionStatus, Reason
from headgate.api.kinds import KINDS, POLICIES
from headgate.compile.policies import RULES
from headgate.model.refs import ObjectRef
from headgate.model.verdict import PolicyUse

SECTIONS = "{hostname: api.example, sections: [{name: pay, matches: [{pathPrefix: /pay}]}]}"


def test_the_nearest_wins_whole() -> None:
    world = World(
        EDGE
        + upstream(spec=SECTIONS)
        + upstream("mail")
        + on_gateway("CircuitBreaker", "everywhere", "consecutiveFailures: 9, breakDuration: 1m")
        + policy("CircuitBreaker", "billing", "consecutiveFailures: 5")
        + policy("CircuitBreaker", "pay", "maxConnections: 2", section="pay")
    )
    world.compile()
    pay, rest, mail = world.section("billing", "pay"), world.section("billing"), world.section("mail")
    assert pay.breaker
    assert rest.breaker
    assert mail.breaker
    assert (mail.breaker.consecutive, mail.breaker.break_duration) == (9, 60_000)
    # Nothing is mixed in from further away: the break is the default one again.
    assert (rest.breaker.consecutive, rest.breaker.break_duration) == (5, 30_000)
    assert (pay.breaker.consecutive, pay.ceilings.connections, rest.ceilings.connections) == (5, 2, None)
    assert world.verdict("UpstreamService", "billing").policies == (
        PolicyUse(ObjectRef("CircuitBreaker", "shop", "billing"), "default"),
        PolicyUse(ObjectRef("CircuitBreaker", "shop", "pay"), "pay"),
    )
    for name in ("everywhere", "billing", "pay"):
        assert world.verdict("CircuitBreaker", name).accepted.reason is Reason.ACCEPTED


def test_every_limit_is_enforced_and_those_of_a_whole_upstream_share_a_budget() -> None:
    rules = "rules: [{name: r, limit: {requests: 1, interval: 1s}}]"
    world = World(
        EDGE
        + upstream(spec=SECTIONS)
        + upstream("mail")
        + on_gateway("RateLimit", "everywhere", rules)
        + policy("RateLimit", "billing", rules)
        + policy("RateLimit", "pay", rules, section="pay")
    )
    world.compile()

    def ids(name: str, section: str = "default") -> list[str]:
        return [limit.id for limit in world.section(name, section).limits]

    assert ids("billing", "pay") == [
        "shop/billing/r@shop/billing",
        "shop/everywhere/r@shop/billing",
        "shop/pay/r@shop/billing/pay",
    ]
    assert ids("billing") == ["shop/billing/r@shop/billing", "shop/everywhere/r@shop/billing"]
    assert ids("mail") == ["shop/everywhere/r@shop/mail"]


def test_a_limit_attached_in_two_ways_counts_once() -> None:
    rules = "rules: [{name: r, limit: {requests: 1, interval: 1s}}]"
    both = (
        "---\nkind: RateLimit\nmetadata: {name: both}\nspec:\n  targetRefs:\n"
        "  - {kind: IntegrationGateway, name: edge}\n  - {kind: UpstreamService, name: billing}\n"
        f"  targetSelectors: [{{kind: UpstreamService, matchLabels: {{tier: gold}}}}]\n  {rules}\n"
    )
    world = World(EDGE + upstream(meta=", labels: {tier: gold}") + both)
    world.compile()
    assert [limit.id for limit in world.section("billing").limits] == ["shop/both/r@shop/billing"]
    assert len(world.verdict("RateLimit", "both").targets) == 2


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        ("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", "b"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "a"),
        ("", "2026-01-01T00:00:00Z", "b"),
        ("", "", "a"),
        # The same moment in two ways of writing it.
        ("2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00Z", "a"),
    ],
)
def test_the_oldest_wins_then_the_name(first: str, second: str, winner: str) -> None:
    def meta(created: str) -> str:
        return f", creationTimestamp: '{created}'" if created else ""

    world = World(
        upstream()
        + policy("RetryPolicy", "a", "attempts: 1", meta=meta(first))
        + policy("RetryPolicy", "b", "attempts: 2", meta=meta(second))
    )
    world.compile()
    loser = "b" if winner == "a" else "a"
    retry = world.section("billing").retry
    assert retry
    assert retry.attempts == (1 if winner == "a" else 2)
    assert world.verdict("RetryPolicy", winner).accepted.status is ConditionStatus.TRUE
    refused = world.verdict("RetryPolicy", loser)
    assert refused.accepted.reason is Reason.CONFLICTED
    assert f"RetryPolicy shop/{winner}" in refused.accepted.message
    assert not refused.live


def test_a_policy_that_goes_leaves_its_place_to_the_next() -> None:
    world = World(upstream() + policy("RetryPolicy", "a", "attempts: 1") + policy("RetryPolicy", "b", "attempts: 2"))
    world.compile()
    world.store.remove(ObjectRef("RetryPolicy", "shop", "a"))
    world.compile()
    retry = world.section("billing").retry
    assert retry
    assert retry.attempts == 2
    assert world.verdict("RetryPolicy", "b").accepted.status is ConditionStatus.TRUE


def test_labels_attach_and_detach() -> None:
    gold = (
        "---\nkind: RetryPolicy\nmetadata: {name: gold}\n"
        "spec: {targetSelectors: [{kind: UpstreamService, matchLabels: {tier: gold}}]}\n"
    )
    world = World(gold + upstream())
    world.compile()
    assert world.verdict("RetryPolicy", "gold").accepted.reason is Reason.TARGET_NOT_FOUND
    world.say(upstream(meta=", labels: {tier: gold}")).compile()
    assert world.section("billing").retry
    assert world.verdict("RetryPolicy", "gold").accepted.reason is Reason.ACCEPTED
    world.say(upstream(meta=", labels: {tier: silver}")).compile()
    assert world.section("billing").retry is None


def test_a_policy_reaches_its_own_namespace_only() -> None:
    elsewhere = policy("RetryPolicy", "calm", meta=", namespace: infra")
    world = World(upstream() + elsewhere)
    world.compile()
    assert world.section("billing").retry is None
    judged = world.verdict("RetryPolicy", "calm", "infra").accepted
    assert judged.message == "there is no UpstreamService infra/billing: create it, or mend the name"


def test_a_section_of_the_profile_is_a_target() -> None:
    world = World(
        upstream("gemini", "{provider: gemini}") + policy("CircuitBreaker", "s", target="gemini", section="stream")
    )
    world.compile()
    assert world.section("gemini", "stream").breaker
    assert world.section("gemini").breaker is None


def test_a_policy_on_what_is_not_served_waits() -> None:
    world = World(upstream(spec="{hostname: 10.0.0.1}") + policy("RetryPolicy", "calm"))
    world.compile()
    verdict = world.verdict("RetryPolicy", "calm")
    assert verdict.accepted.status is ConditionStatus.TRUE
    assert not verdict.live


def test_a_wait_that_does_not_fit_somewhere_is_told_there_and_holds_elsewhere() -> None:
    world = World(
        EDGE
        + upstream(spec="{hostname: api.example, timeouts: {request: 1s}}")
        + upstream("mail")
        + on_gateway("RetryPolicy", "slow", "perRetry: {backOff: {baseInterval: 5s}}")
    )
    world.compile()
    assert world.section("billing").retry is None
    assert world.section("mail").retry
    verdict = world.verdict("RetryPolicy", "slow")
    assert verdict.accepted.reason is Reason.INVALID_SPEC
    assert "section default of UpstreamService shop/billing" in verdict.accepted.message
    assert verdict.live


def test_every_kind_of_policy_has_its_rules() -> None:
    """A kind that compile does not know would be accepted by the API server and do nothing."""
    assert set(RULES) == set(POLICIES) == {"CircuitBreaker", "RateLimit", "RetryPolicy"}
    for kind, rules in RULES.items():
        assert KINDS[kind].model_fields["spec"].annotation is rules.spec
