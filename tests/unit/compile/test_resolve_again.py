"""Policies are attached anew only for the kinds that a change concerns, and come out as if attached from scratch."""

from __future__ import annotations

import pytest

from harness.declare import EDGE, World, on_gateway, policy, upstream
from headgate.compile.policies import Policies, resolve
from headgate.model.refs import ObjectRef

SELECTING = """---
kind: RateLimit
metadata: {name: gold}
spec:
  targetSelectors: [{kind: UpstreamService, matchLabels: {tier: gold}}]
  rules: [{name: all, limit: {requests: 5, interval: 1s}}]
"""
AROUND = (
    EDGE
    + upstream("a", meta=", labels: {tier: gold}")
    + upstream("b")
    + policy("CircuitBreaker", "fuse", target="a")
    + policy("RetryPolicy", "calm", target="b")
    + SELECTING
)


def plain(policies: Policies) -> dict[str, object]:
    return {kind: (dict(each.on), dict(each.outcomes)) for kind, each in policies.by_kind.items()}


@pytest.mark.parametrize(
    ("change", "again"),
    [
        pytest.param("", set(), id="nothing"),
        pytest.param(upstream("b", "{hostname: other.example}"), set(), id="inside of an upstream"),
        pytest.param(policy("RetryPolicy", "calm", "attempts: 1", target="b"), {"RetryPolicy"}, id="a policy"),
        pytest.param(policy("RetryPolicy", "calm", target="a"), {"RetryPolicy"}, id="its target"),
        pytest.param(upstream("b", meta=", labels: {tier: gold}"), {"RateLimit"}, id="a label"),
        pytest.param(upstream("c"), {"CircuitBreaker", "RateLimit", "RetryPolicy"}, id="an upstream more"),
        pytest.param(EDGE.replace("default: true", ""), {"CircuitBreaker", "RateLimit", "RetryPolicy"}, id="a gateway"),
        pytest.param(
            on_gateway("CircuitBreaker", "all") + on_gateway("RetryPolicy", "all"),
            {"CircuitBreaker", "RetryPolicy"},
            id="two kinds",
        ),
    ],
)
def test_only_the_kinds_that_a_change_concerns(change: str, again: set[str]) -> None:
    world = World(AROUND)
    for _ in range(2):
        world.compile()
    before = world.store.snapshot()
    known = resolve(before)
    world.say(change)
    now = world.store.snapshot()
    found = resolve(now, before, known)
    assert plain(found) == plain(resolve(now))
    assert {kind for kind in found.by_kind if found.by_kind[kind] is not known.by_kind[kind]} == again
    assert (found is known) == (not again)


def test_an_upstream_that_goes_is_no_target_any_more() -> None:
    world = World(AROUND)
    before = world.store.snapshot()
    known = resolve(before)
    world.store.remove(ObjectRef("UpstreamService", "shop", "a"))
    now = world.store.snapshot()
    assert plain(resolve(now, before, known)) == plain(resolve(now)) != plain(known)
