"""Any change inside of one upstream, patched onto the last Plan or not, gives what a compile from scratch gives."""

from __future__ import annotations

from typing import Any

import pytest

from harness.declare import EDGE, World, on_gateway, policy, secret, upstream
from headgate.compile import patch
from headgate.compile.memo import Memo
from headgate.compile.world import compile_snapshot
from headgate.model import dump
from headgate.model.refs import ObjectRef
from headgate.model.verdict import Plan

CREDENTIAL = "credentials: [{{name: key, secretRef: {{name: {0}, key: {1}}}}}]"
PAY = "sections: [{name: pay, matches: [{pathPrefix: /pay}]"
#: Specs that differ in what they share with other objects, and in what they don't. None: it can't be read.
SPECS: dict[str, str | None] = {
    "plain": "{hostname: api.example}",
    "another host": "{hostname: other.example}",
    "a header": "{hostname: api.example, headers: {request: {set: [{name: x-a, value: b}]}}}",
    "a secret": f"{{hostname: api.example, {CREDENTIAL.format('keys', 'a')}}}",
    "another key of it": f"{{hostname: api.example, {CREDENTIAL.format('keys', 'b')}}}",
    "another secret": f"{{hostname: api.example, {CREDENTIAL.format('more', 'a')}}}",
    "a secret that is not there": f"{{hostname: api.example, {CREDENTIAL.format('none', 'a')}}}",
    "a secret with a secret's header": f"{{hostname: api.example, timeouts: {{request: 7s}}, {CREDENTIAL.format('keys', 'a')}}}",
    "a section": f"{{hostname: api.example, {PAY}}}]}}",
    "a section with a secret": f"{{hostname: api.example, {PAY}, {CREDENTIAL.format('more', 'a')}}}]}}",
    "too quick for the policy": "{hostname: api.example, timeouts: {request: 1s}}",
    "on the other gateway": "{hostname: api.example, gatewayRef: {name: inside}}",
    "on a third one": "{hostname: api.example, gatewayRef: {name: third}}",
    "on no gateway": "{hostname: api.example, gatewayRef: {name: nowhere}}",
    "forbidden": "{hostname: 10.0.0.1}",
    "unreadable": None,
}
AROUND = (
    EDGE
    + "---\nkind: IntegrationGateway\nmetadata: {name: inside}\nspec: {listener: {port: 8081}}\n"
    + "---\nkind: IntegrationGateway\nmetadata: {name: third}\nspec: {listener: {port: 8082}}\n"
    + upstream("b", f"{{hostname: b.example, {CREDENTIAL.format('keys', 'a')}}}")
    + upstream("c")
    + policy("RetryPolicy", "slow", "perRetry: {backOff: {baseInterval: 3s}}", target="a")
    + policy("CircuitBreaker", "pay", target="a", section="pay")
    + policy("RateLimit", "all", "rules: [{name: all, limit: {requests: 5, interval: 1s}}]", target="a")
    + on_gateway("CircuitBreaker", "everywhere")
    + secret("keys", a="t", b="u")
    + secret("more", a="v")
)
REF = ObjectRef("UpstreamService", "shop", "a")


def declare(world: World, spec: str | None) -> None:
    if spec is None:
        world.break_("UpstreamService", "a")
    else:
        world.say(upstream("a", spec))


def text(plan: Plan) -> str:
    return repr((dump.plan(plan), list(plan.verdicts.items()), list(plan.good.items()), sorted(plan.references)))


def secrets(plan: Plan) -> dict[str, Any]:
    return {key: dict(gateway.secrets) for key, gateway in plan.gateways.items()}


@pytest.mark.parametrize("first", SPECS)
def test_one_thing_after_another(first: str) -> None:
    for second, changed in SPECS.items():
        world = World(AROUND)
        for spec in (SPECS[first], changed, SPECS["plain"], changed):
            declare(world, spec)
            # What was accepted is another Snapshot; twice, so that an edit also comes to a world at rest.
            for _ in range(3):
                snapshot = world.store.snapshot()
                plan, scratch = world.compile(), compile_snapshot(snapshot, Memo())
                assert text(plan) == text(scratch), f"{first}, then {second}"
                assert secrets(plan) == secrets(scratch)


def test_what_is_inside_is_patched_and_what_is_not_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bool] = []

    def noted(*arguments: Any) -> Plan | None:
        plan = _patched(*arguments)
        made.append(plan is not None)
        return plan

    _patched = patch.patched
    monkeypatch.setattr(patch, "patched", noted)
    cheap = {
        ("plain", "another host"),
        ("another host", "a header"),
        ("a header", "plain"),
        ("a secret", "a secret with a secret's header"),
    }
    dear = {
        ("plain", "a secret"),
        ("a secret", "another secret"),
        ("plain", "a section"),
        ("plain", "too quick for the policy"),
        ("plain", "on the other gateway"),
        ("on the other gateway", "on a third one"),
        ("plain", "forbidden"),
        ("unreadable", "plain"),
    }
    for first, second in cheap | dear:
        world = World(AROUND)
        declare(world, SPECS[first])
        for _ in range(3):
            before = world.compile()
        made.clear()
        declare(world, SPECS[second])
        after = world.compile()
        assert made == [(first, second) in cheap], f"{first}, then {second}"
        if made == [True]:
            assert after.gateways["shop/inside"] is before.gateways["shop/inside"]
            assert after.gateways["shop/edge"].secrets is before.gateways["shop/edge"].secrets
            assert {ref for ref in after.verdicts if after.verdicts[ref] is not before.verdicts[ref]} <= {REF}


def test_many_at_once_are_put_together_with_everything() -> None:
    count = patch.FEW + 1
    world = World(EDGE + "".join(upstream(f"u{number}") for number in range(count)))
    for _ in range(3):
        world.compile()
    for number in range(count):
        world.say(upstream(f"u{number}", "{hostname: other.example}"))
    snapshot = world.store.snapshot()
    assert patch.touched(snapshot, world.memo) is None
    assert text(compile_snapshot(snapshot, world.memo)) == text(compile_snapshot(snapshot, Memo()))
