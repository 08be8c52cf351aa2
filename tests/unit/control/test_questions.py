"""What is asked, and what makes two upstreams ask the same."""

from __future__ import annotations

from dataclasses import replace

from harness.declare import World, secret, upstream
from headgate.control.questions import Question, question
from headgate.model.plan import CredentialPlace

KEYED = "{provider: gemini, credentials: [{name: k, secretRef: {name: %s, key: key}}]%s}"


def of(world: World, name: str) -> Question | None:
    world.compile()
    (gateway,) = world.plan.gateways.values()
    return question(gateway, gateway.upstreams[f"shop/{name}"])


def test_a_question_has_the_call_the_key_and_what_is_trusted() -> None:
    found = of(World(upstream(spec=KEYED % ("keys", "")) + secret(key="a-key")), "billing")
    assert found is not None
    assert [each.hostname for each in found.endpoints] == ["generativelanguage.googleapis.com"]
    assert (found.method, found.path) == ("GET", "/v1beta/models?pageSize=1")
    assert [(each.place, each.name, each.value.reveal()) for each in found.keys] == [
        (CredentialPlace.HEADER, "x-goog-api-key", b"a-key")
    ]
    assert found.trust is not None
    assert "a-key" not in repr(found)


def test_the_same_key_at_the_same_host_is_asked_once_whatever_else_differs() -> None:
    text = upstream("a", KEYED % ("one", "")) + secret("one", key="same") + secret("two", key="same")
    text += upstream("b", KEYED % ("two", ", timeouts: {request: 9s}, probe: {interval: 1h}"))
    text += upstream("c", KEYED % ("one", ", sections: [{name: x, matches: [{pathPrefix: /x}]}]"))
    world = World(text)
    assert of(world, "a") == of(world, "b") == of(world, "c")
    assert hash(of(world, "a")) == hash(of(world, "b"))


def test_another_key_host_path_or_expectation_is_another_question() -> None:
    text = upstream("a", KEYED % ("one", "")) + secret("one", key="same") + secret("two", key="other")
    text += upstream("b", KEYED % ("two", "")) + upstream("c", KEYED % ("one", ", hostname: proxy.example"))
    text += upstream("d", KEYED % ("one", ", probe: {path: /x}"))
    text += upstream("e", KEYED % ("one", ", probe: {expectedStatuses: [{start: 200, end: 200}]}"))
    world = World(text)
    assert len({of(world, name) for name in "abcde"}) == 5


def test_nothing_is_asked_without_a_probe_or_its_secrets() -> None:
    world = World(upstream("plain") + upstream("quiet", "{provider: gemini, probe: {disabled: true}}"))
    assert of(world, "plain") is None
    assert of(world, "quiet") is None
    keyed = World(upstream(spec=KEYED % ("keys", "")) + secret(key="a-key"))
    assert of(keyed, "billing") is not None
    (gateway,) = keyed.plan.gateways.values()
    assert question(replace(gateway, secrets={}), gateway.upstreams["shop/billing"]) is None
