"""An edit costs what it touches, and what it does not touch stays the very same object."""

from __future__ import annotations

import pytest

from harness.declare import EDGE, World, on_gateway, policy, secret, upstream
from headgate.compile import upstream as upstream_
from headgate.compile import world as world_
from headgate.model.refs import ObjectRef

COUNT = 1_000
KEYED = "{{hostname: api{0}.example, credentials: [{{name: key, secretRef: {{name: keys{0}, key: token}}}}]}}"


@pytest.fixture
def thousand() -> World:
    """A thousand upstreams, each with a policy and a secret of its own, compiled and accepted."""
    text = [EDGE]
    for index in range(COUNT):
        text.append(upstream(f"u{index}", KEYED.format(index)))
        text.append(policy("CircuitBreaker", f"c{index}", target=f"u{index}"))
        text.append(secret(f"keys{index}", token="t"))
    world = World("".join(text))
    world.compile()
    assert world.memo.compiled == COUNT
    world.memo.compiled = 0
    return world


def changed(world: World, text: str) -> set[str]:
    """The upstreams that are other objects after this was said."""
    before = dict(world.plan.gateways["shop/edge"].upstreams)
    world.say(text).compile()
    after = world.plan.gateways["shop/edge"].upstreams
    return {key for key in before.keys() | after.keys() if before.get(key) is not after.get(key)}


@pytest.mark.timeout(300)
def test_an_edit_of_one_in_a_thousand_costs_one(thousand: World) -> None:
    edits = (
        upstream("u7", "{hostname: other.example}"),
        policy("CircuitBreaker", "c8", "consecutiveFailures: 3", target="u8"),
        policy("RetryPolicy", "r9", target="u9"),
    )
    for number, text in enumerate(edits, start=7):
        thousand.memo.compiled = 0
        verdicts = dict(thousand.plan.verdicts)
        assert changed(thousand, text) == {f"shop/u{number}"}
        assert thousand.memo.compiled == 1
        moved = {ref for ref, verdict in thousand.plan.verdicts.items() if verdicts.get(ref) is not verdict}
        assert len(moved) <= 2
    # A rotated secret is compiled for the one that uses it, and changes no upstream: only the secret's own material.
    thousand.memo.compiled = 0
    assert changed(thousand, secret("keys10", token="u")) == set()
    assert thousand.memo.compiled == 1
    # Nothing at all costs nothing.
    thousand.memo.compiled = 0
    plan = thousand.plan
    assert thousand.compile().gateways["shop/edge"] is plan.gateways["shop/edge"]
    assert thousand.memo.compiled == 0
    # What concerns all costs all; u9 has one of its own.
    assert len(changed(thousand, on_gateway("RetryPolicy", "everywhere"))) == COUNT - 1
    assert thousand.memo.compiled == COUNT


def test_adding_and_removing_cost_one_and_none() -> None:
    world = World(EDGE + upstream("a") + upstream("b"))
    world.compile()
    world.memo.compiled = 0
    assert changed(world, upstream("c")) == {"shop/c"}
    assert world.memo.compiled == 1
    world.store.remove(ObjectRef("UpstreamService", "shop", "b"))
    assert changed(world, "") == {"shop/b"}
    assert world.memo.compiled == 1


def test_a_run_that_breaks_off_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in one compile must not make the next one believe what was never finished."""
    inside = EDGE.replace("default: true", "default: true, egress: {allowedCIDRs: [10.0.0.0/8]}")
    world = World(inside + upstream("a", "{hostname: 10.0.0.1}") + upstream("b"))
    world.compile()

    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    world.say(EDGE)
    with monkeypatch.context() as patched:
        patched.setattr(world_, "_assemble", fail)
        with pytest.raises(RuntimeError):
            world.compile()
    world.compile()
    assert world.served("a") is None
    assert world.served("b")


def test_references_are_found_wherever_they_stand() -> None:
    spec = """
      hostname: api.example
      tls: {mode: ClientAndServer, clientCertificateRef: {name: pair},
            validation: {caCertificateRefs: [{kind: ConfigMap, name: ca}]}}
      credentials: [{name: a, secretRef: {name: keys, key: a}}]
      sections: [{name: pay, matches: [{pathPrefix: /}], credentials: [{name: a, secretRef: {name: more, key: a}}]}]
    """
    world = World(upstream(spec=f"\n{spec}"))
    (declared,) = world.store.snapshot().upstreams.values()
    assert upstream_.references(declared.current.spec, "shop") == (  # type: ignore[union-attr]
        ObjectRef("ConfigMap", "shop", "ca"),
        ObjectRef("Secret", "shop", "keys"),
        ObjectRef("Secret", "shop", "more"),
        ObjectRef("Secret", "shop", "pair"),
    )
