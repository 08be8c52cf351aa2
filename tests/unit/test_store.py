"""The Store as its callers see it; that it holds what was said last is among the properties."""

from __future__ import annotations

import asyncio

from harness.declare import World, policy, secret, upstream
from headgate.api.conditions import Reason
from headgate.model.refs import ObjectRef
from headgate.model.secret import SecretValue
from headgate.model.snapshot import Broken, DataObject
from headgate.store import Put, Store

BILLING = ObjectRef("UpstreamService", "shop", "billing")


def broken(revision: str = "1") -> Put:
    return Put(BILLING, revision, Broken(Reason.INVALID_SPEC, "it can't be read"))


async def test_a_change_wakes_whoever_waits_and_a_snapshot_quiets() -> None:
    store = Store()
    waiting = asyncio.create_task(store.changed())
    await asyncio.sleep(0)
    assert not waiting.done()
    store.put(broken())
    await asyncio.wait_for(waiting, 5)
    assert store.dirty
    await asyncio.wait_for(store.changed(), 5)  # still so: nobody has looked
    store.snapshot()
    assert not store.dirty


def test_saying_the_same_again_changes_nothing() -> None:
    store = Store()
    store.put(broken())
    store.put_data(DataObject(ObjectRef("Secret", "shop", "keys"), "1", {"k": SecretValue(b"v")}))
    store.put_namespace("shop", {"a": "b"})
    first = store.snapshot()
    store.put(broken())
    store.put_data(DataObject(ObjectRef("Secret", "shop", "keys"), "1", {"k": SecretValue(b"v")}))
    store.put_namespace("shop", {"a": "b"})
    store.remove(ObjectRef("UpstreamService", "shop", "nobody"))
    store.remove_data(ObjectRef("Secret", "shop", "nothing"))
    store.remove_namespace("nowhere")
    assert not store.dirty
    second = store.snapshot()
    assert (second.upstreams, second.data, second.namespaces) == (first.upstreams, first.data, first.namespaces)


def test_what_did_not_change_is_the_same_map() -> None:
    world = World(upstream() + policy("RetryPolicy", "calm") + secret(token="t"))
    first = world.store.snapshot()
    world.say(upstream("mail"))
    second = world.store.snapshot()
    assert second.upstreams is not first.upstreams
    assert second.policies["RetryPolicy"] is first.policies["RetryPolicy"]
    assert second.data is first.data


def test_names_of_the_past_are_forgotten() -> None:
    store = Store()
    for number in range(100):
        data = DataObject(ObjectRef("Secret", "shop", f"s{number}"), "1", {})
        store.put(Put(ObjectRef("UpstreamService", "shop", f"u{number}"), "1", broken().current))
        store.put_data(data)
        store.put_namespace(f"n{number}", {})
        store.remove(ObjectRef("UpstreamService", "shop", f"u{number}"))
        store.remove_data(data.ref)
        store.remove_namespace(f"n{number}")
    as_of = store.sequence
    store.replace("UpstreamService", [broken()], as_of=as_of)
    store.replace_data([], as_of=as_of)
    store.replace_namespaces({}, as_of=as_of)
    assert set(store._touched) == {BILLING}


def test_accepting_marks_nothing() -> None:
    world = World(upstream() + secret(token="t"))
    world.compile()
    assert not world.store.dirty


def test_only_the_revision_that_was_compiled_becomes_the_last_good_one() -> None:
    """What came while a compile ran is not what that compile found good."""
    world = World(upstream(spec="{hostname: one.example}"))
    plan = world.compile(accept=False)
    world.say(upstream(spec="{hostname: two.example}"))
    world.store.accept(plan)
    (declared,) = world.store.snapshot().upstreams.values()
    assert declared.last_good is None
    world.compile()
    (declared,) = world.store.snapshot().upstreams.values()
    assert declared.last_good is declared.current


def test_good_objects_survive_a_restart() -> None:
    before = World(upstream() + policy("RetryPolicy", "calm", "attempts: 7") + secret(token="t"))
    served = before.compile().gateways
    kept = list(before.store.good_objects())
    assert [good.ref.kind for good in kept] == ["RetryPolicy", "UpstreamService"]

    after = World()
    after.store.restore(kept)
    assert after.compile().gateways["default/default"].upstreams == {}  # it is only remembered, not declared
    after.break_("UpstreamService", "billing").break_("RetryPolicy", "calm")
    assert after.compile().gateways == served
    assert list(after.store.good_objects()) == kept


def test_an_object_that_was_removed_does_not_come_back_as_it_was() -> None:
    world = World(upstream())
    world.compile()
    world.store.remove(BILLING)
    world.compile()
    world.break_("UpstreamService", "billing")
    world.compile()
    assert world.served("billing") is None


def test_removing_before_it_was_declared_forgets_what_was_restored() -> None:
    before = World(upstream())
    before.compile()
    after = World()
    after.store.restore(before.store.good_objects())
    after.store.remove(BILLING)
    after.break_("UpstreamService", "billing")
    after.compile()
    assert after.served("billing") is None
