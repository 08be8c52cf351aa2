"""Acknowledgements of several proxies joined into one value."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from harness.delta_client import make
from headgate.envoy.resource import Resource, TypeUrl
from headgate.xds.feedback import Acked, Feedback, Pending, Rejected

R = TypeUrl.ROUTE
A = make(R, "a")


def verdict(feedback: Feedback, item: Resource = A) -> object:
    return feedback.view("t/g").of(item.type_url, item.name, item.version)


def test_every_connected_proxy_must_have_it() -> None:
    feedback = Feedback()
    assert verdict(feedback) == Pending(0)
    feedback.publish("t/g", {R: {"a": A}})
    assert verdict(feedback) == Pending(0), "nobody is connected"
    one, two = feedback.connect("t/g", "1"), feedback.connect("t/g", "2")
    one.pending(R, ["a"])
    two.pending(R, ["a"])
    assert verdict(feedback) == Pending(2)
    one.settled(R, ["a"])
    assert verdict(feedback) == Pending(1)
    two.settled(R, ["a"])
    assert verdict(feedback) == Acked()
    assert feedback.view("t/g").connected == 2


def test_a_refusal_wins_and_names_the_nodes() -> None:
    feedback = Feedback()
    feedback.publish("t/g", {R: {"a": A}})
    ledgers = [feedback.connect("t/g", node) for node in ("3", "1", "2")]
    for ledger in ledgers:
        ledger.pending(R, ["a"])
    ledgers[0].rejected(R, "a", A.version, "three says no")
    ledgers[1].rejected(R, "a", A.version, "one says no")
    assert verdict(feedback) == Rejected("one says no", ("1", "3"))
    ledgers[1].settled(R, ["a"])
    assert verdict(feedback) == Rejected("three says no", ("3",))
    feedback.disconnect("t/g", ledgers[0])
    assert verdict(feedback) == Pending(1)


def test_a_version_that_is_not_the_published_one_is_pending() -> None:
    feedback = Feedback()
    feedback.publish("t/g", {R: {"a": A}})
    feedback.connect("t/g", "1")
    assert verdict(feedback) == Acked()
    assert verdict(feedback, make(R, "a", n=2)) == Pending(1)
    assert verdict(feedback, make(R, "b")) == Pending(1)


def test_the_callback_comes_once_until_someone_looks() -> None:
    calls: list[str] = []
    feedback = Feedback(calls.append)
    feedback.publish("t/g", {R: {"a": A}})
    ledger = feedback.connect("t/g", "1")
    ledger.pending(R, ["a"])
    assert calls == ["t/g"]
    feedback.view("t/g")
    ledger.settled(R, ["a"])
    ledger.pending(R, ["a"])
    assert calls == ["t/g", "t/g"]
    feedback.view("t/g")
    feedback.disconnect("t/g", ledger)
    assert calls == ["t/g", "t/g", "t/g"]


def test_a_view_is_the_same_object_until_something_changes_and_is_never_changed() -> None:
    feedback = Feedback()
    feedback.publish("t/g", {R: {"a": A}})
    ledger = feedback.connect("t/g", "1")
    ledger.pending(R, ["a"])
    before = feedback.view("t/g")
    assert feedback.view("t/g") is before
    ledger.settled(R, ["a"])
    assert before.of(R, "a", A.version) == Pending(1)
    assert feedback.view("t/g") is not before
    with pytest.raises(FrozenInstanceError):
        before.proxies = ()  # type: ignore[misc]


def test_gateways_are_those_published_or_connected() -> None:
    feedback = Feedback()
    feedback.publish("t/b", {})
    ledger = feedback.connect("t/a", "1")
    assert feedback.gateways() == ("t/a", "t/b")
    feedback.disconnect("t/a", ledger)
    feedback.publish("t/b", None)
    assert feedback.gateways() == ()
