"""What is news and what is not, whatever is late, lost, repeated or out of order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headgate.kube.index import Index, newer
from headgate.model.refs import ObjectRef

A, B = ObjectRef("UpstreamService", "x", "a"), ObjectRef("UpstreamService", "y", "b")


def listed(index: Index[str], version: str, found: dict[ObjectRef, str], namespace: str | None = None) -> bool:
    listing = index.begin()
    listing.found.update({ref: (each, f"{ref.name}{each}") for ref, each in found.items()})
    return index.finish(listing, version, namespace)


def test_versions_are_numbers() -> None:
    assert newer("10", "9")
    assert not newer("9", "10")
    assert newer("b", "a")
    assert newer("a", "b")
    assert not newer("a", "a")


def test_a_late_hint_does_not_undo_a_listing() -> None:
    index: Index[str] = Index()
    assert listed(index, "10", {A: "7"})
    assert not index.put(A, "5", "old")
    assert not index.put(A, "7", "same")
    assert not index.put(B, "9", "deleted before the listing")
    assert index.put(B, "11", "new")
    assert not index.remove(A, "6")
    assert index.get(A) == "a7"
    assert index.at(A, "7") == "a7"
    assert index.at(A, "8") is None
    assert index.remove(A, "12")
    assert dict(index) == {B: "new"}


def test_a_listing_loses_to_what_is_newer() -> None:
    index: Index[str] = Index()
    index.put(A, "3", "a3")
    index.put(B, "2", "b2")
    listing = index.begin()
    listing.found[A] = ("3", "a3")
    listing.found[B] = ("2", "b2")
    index.put(A, "9", "a9")
    index.remove(B, "8")
    index.put(ObjectRef("UpstreamService", "x", "c"), "10", "c10")
    index.finish(listing, "5")
    assert {ref.name: value for ref, value in index} == {"a": "a9", "c": "c10"}
    # And what was deleted stays so for hints that come later still.
    assert not index.put(B, "4", "late")


def test_a_listing_removes_what_no_watch_said_is_gone() -> None:
    index: Index[str] = Index()
    index.put(A, "3", "a3")
    assert listed(index, "5", {})
    assert len(index) == 0
    assert not listed(index, "6", {})


def test_a_listing_of_a_namespace_leaves_the_others_alone() -> None:
    index: Index[str] = Index()
    listed(index, "5", {A: "1"}, "x")
    listed(index, "6", {B: "2"}, "y")
    assert listed(index, "7", {}, "x")
    assert dict(index) == {B: "b2"}
    assert not index.put(A, "6", "late")


def test_a_cluster_that_was_restored_from_a_backup_counts_from_there() -> None:
    index: Index[str] = Index()
    listed(index, "100", {A: "90"})
    index.put(B, "101", "b101")
    assert listed(index, "50", {A: "40"})
    assert dict(index) == {A: "a40"}
    assert index.put(B, "51", "b51")


def test_versions_that_are_no_numbers() -> None:
    index: Index[str] = Index()
    listing = index.begin()
    index.put(A, "x", "hint")
    listing.found[A] = ("w", "listed")
    index.finish(listing, "w9")
    assert index.get(A) == "hint", "what was heard after the listing began is newer"
    listed(index, "w10", {A: "z"})
    assert index.get(A) == "az"
    assert index.remove(A, "zz")
    assert index.put(A, "zzz", "again")
    assert listed(index, "w11", {})
    assert len(index) == 0


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[tuple[int, str, bool]], list[int], list[tuple[str, int]]]:
    """What happened on the server (version, name, there or gone); at which version each listing was made; and what is
    heard of it: hints by the index of their change, any of them any number of times and in any order between the objects,
    and listings."""
    count = draw(st.integers(1, 12))
    changes = [(version, draw(st.sampled_from("abc")), draw(st.booleans())) for version in range(1, count + 1)]
    listings = sorted(draw(st.lists(st.integers(0, count), min_size=1, max_size=4)))
    heard = [("listing", index) for index in range(len(listings))]
    for hint in draw(st.lists(st.integers(0, count - 1), max_size=15)):
        heard.insert(draw(st.integers(0, len(heard))), ("hint", hint))
    return changes, listings, heard


@given(histories())
def test_a_listing_brings_the_truth_and_hints_never_take_it_back(
    history: tuple[list[tuple[int, str, bool]], list[int], list[tuple[str, int]]],
) -> None:
    changes, listings, heard = history

    def truth(version: int) -> dict[str, int]:
        there: dict[str, int] = {}
        for at, name, present in changes[:version]:
            if present:
                there[name] = at
            else:
                there.pop(name, None)
        return there

    index: Index[int] = Index()
    newest = 0
    under_way = index.begin()
    for what, number in heard:
        if what == "hint":
            version, name, present = changes[number]
            ref = ObjectRef("UpstreamService", "x", name)
            (index.put(ref, str(version), version) if present else index.remove(ref, str(version)))
            newest = max(newest, version)
        else:
            version = listings[number]
            for name, at in truth(version).items():
                under_way.found[ObjectRef("UpstreamService", "x", name)] = (str(at), at)
            index.finish(under_way, str(version))
            under_way = index.begin()
            newest = max(newest, version)
        # Nothing is known that was not true at some time not before the last listing, and never an older version than then.
        for ref, known in index:
            assert changes[known - 1][1:] == (ref.name, True)
    # In the end everything is listed again: then what is known is what is there.
    for name, at in truth(len(changes)).items():
        under_way.found[ObjectRef("UpstreamService", "x", name)] = (str(at), at)
    index.finish(under_way, str(len(changes)))
    assert {ref.name: known for ref, known in index} == truth(len(changes))
    # And no hint, however late, changes that.
    for version, name, present in changes:
        ref = ObjectRef("UpstreamService", "x", name)
        assert not (index.put(ref, str(version), version) if present else index.remove(ref, str(version)))
