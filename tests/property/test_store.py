"""The Store holds what was said last, in whatever order it was said; a listing loses to what is newer than it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headgate.api.conditions import Reason
from headgate.model.refs import ObjectRef
from headgate.model.secret import SecretValue
from headgate.model.snapshot import Broken, DataObject
from headgate.store import Put, Store

KIND = "UpstreamService"
NAMES = ("a", "b", "c")

#: (what, name, revision); a listing holds a revision for each name that it has.
EVENTS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(NAMES), st.integers(1, 3)),
    st.tuples(st.just("remove"), st.sampled_from(NAMES), st.just(0)),
    st.tuples(st.just("list"), st.just(""), st.dictionaries(st.sampled_from(NAMES), st.integers(1, 3))),
)


def ref(name: str) -> ObjectRef:
    return ObjectRef(KIND, "shop", name)


def put(name: str, revision: int) -> Put:
    return Put(ref(name), str(revision), Broken(Reason.INVALID_SPEC, f"version {revision}"))


def apply(store: Store, event: tuple[str, str, Any]) -> None:
    match event:
        case ("put", name, revision):
            store.put(put(name, revision))
        case ("remove", name, _):
            store.remove(ref(name))
        case (_, _, listed):
            store.replace(KIND, [put(name, revision) for name, revision in listed.items()])


def apply_data(store: Store, event: tuple[str, str, Any]) -> None:
    def data(name: str, revision: int) -> DataObject:
        return DataObject(ObjectRef("Secret", "shop", name), str(revision), {"k": SecretValue(b"%d" % revision)})

    match event:
        case ("put", name, revision):
            store.put_data(data(name, revision))
        case ("remove", name, _):
            store.remove_data(ObjectRef("Secret", "shop", name))
        case (_, _, listed):
            store.replace_data([data(name, revision) for name, revision in listed.items()])


def apply_namespace(store: Store, event: tuple[str, str, Any]) -> None:
    match event:
        case ("put", name, revision):
            store.put_namespace(name, {"r": str(revision)})
        case ("remove", name, _):
            store.remove_namespace(name)
        case (_, _, listed):
            store.replace_namespaces({name: {"r": str(revision)} for name, revision in listed.items()})


def held(store: Store) -> dict[str, str]:
    return {each.ref.name: each.revision for each in store.snapshot().upstreams.values()}


def expected(events: list[tuple[str, str, Any]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for what, name, detail in events:
        if what == "put":
            found[name] = str(detail)
        elif what == "remove":
            found.pop(name, None)
        else:
            found = {name: str(revision) for name, revision in detail.items()}
    return found


@given(st.lists(EVENTS, max_size=20))
def test_it_holds_what_was_said_last(events: list[tuple[str, str, Any]]) -> None:
    store = Store()
    for event in events:
        apply(store, event)
        apply_data(store, event)
        apply_namespace(store, event)
    wanted = expected(events)
    assert held(store) == wanted
    snapshot = store.snapshot()
    assert {ref.name: entry.current.revision for ref, entry in snapshot.data.items() if entry.current} == wanted
    assert {name: labels["r"] for name, labels in snapshot.namespaces.items()} == wanted


@given(st.lists(EVENTS, max_size=10), st.lists(EVENTS, max_size=10))
def test_a_snapshot_never_changes(before: list[tuple[str, str, Any]], after: list[tuple[str, str, Any]]) -> None:
    store = Store()
    for event in before:
        apply(store, event)
    snapshot = store.snapshot()
    copy = dict(snapshot.upstreams)
    for event in after:
        apply(store, event)
    assert snapshot.upstreams == copy


@given(st.lists(EVENTS, max_size=10), st.lists(EVENTS, max_size=10))
def test_it_is_dirty_when_something_changed_and_only_then(
    before: list[tuple[str, str, Any]], after: list[tuple[str, str, Any]]
) -> None:
    store = Store()
    for event in before:
        apply(store, event)
    was = held(store)
    for event in after:
        apply(store, event)
        now = {each.ref.name: each.revision for each in store._objects[KIND].values()}
        assert store.dirty or now == was
    if held(store) != was:
        assert not store.dirty  # a Snapshot has been taken since


@given(
    st.dictionaries(st.sampled_from(NAMES), st.integers(1, 3)),
    st.lists(EVENTS.filter(lambda e: e[0] != "list"), max_size=8),
)
def test_a_listing_loses_to_what_came_after_it_began(
    listed: dict[str, int], meanwhile: list[tuple[str, str, Any]]
) -> None:
    store = Store()
    store.put(put("a", 1))
    store.put(put("b", 1))
    as_of = store.sequence
    for event in meanwhile:
        apply(store, event)
    store.replace(KIND, [put(name, revision) for name, revision in listed.items()], as_of=as_of)
    wanted = {name: str(revision) for name, revision in listed.items()}
    for what, name, revision in meanwhile:
        wanted.pop(name, None)
        if what == "put":
            wanted[name] = str(revision)
    assert held(store) == wanted
