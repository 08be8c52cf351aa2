"""Maps that are told as differences are maps like any other, and what two of them differ in is what their entries say."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from hypothesis import given
from hypothesis import strategies as st

from headgate.model.overlay import MOST, Overlay, differing, replaced, same_keys, without

NAMES = st.sampled_from([f"name-{number}" for number in range(8)])
FEW = st.dictionaries(NAMES, st.integers(0, 3), max_size=4)
#: Entries of the map, one after another; now and then some that are gone, or more at once than are told as differences.
CHANGES = st.lists(FEW | st.lists(NAMES, max_size=2) | st.just(dict.fromkeys(range(MOST + 1), 0)), max_size=12)


class Thing:
    """Known by identity, as what maps hold is."""

    def __init__(self, number: int) -> None:
        self.number = number


THINGS = [Thing(number) for number in range(4)]


def history(
    first: dict[str, int], changes: list[dict[str, int] | list[str]]
) -> list[tuple[Mapping[str, Thing], dict[str, Thing]]]:
    """Each map that there was, with a dict that says the same."""
    plain = {name: THINGS[number] for name, number in first.items()}
    found: list[tuple[Mapping[str, Thing], dict[str, Thing]]] = [(MappingProxyType(plain), plain)]
    for change in changes:
        last, plain = found[-1]
        if isinstance(change, dict):
            new = {name: THINGS[number] for name, number in change.items()}
            found.append((replaced(last, new), plain | new))
        else:
            found.append((without(last, change), {name: each for name, each in plain.items() if name not in change}))
    return found


@given(FEW, CHANGES, NAMES)
def test_it_says_what_a_map_of_its_own_would(
    first: dict[str, int], changes: list[dict[str, int] | list[str]], name: str
) -> None:
    for found, plain in history(first, changes):
        assert list(found) == list(found.keys()) == list(plain)
        assert list(found.items()) == list(plain.items())
        assert list(found.values()) == list(plain.values())
        assert found == plain
        assert len(found) == len(plain)
        assert (name in found, found.get(name)) == (name in plain, plain.get(name))


@given(FEW, CHANGES)
def test_two_differ_where_their_entries_do(first: dict[str, int], changes: list[dict[str, int] | list[str]]) -> None:
    every = history(first, changes)
    for one, plain in every:
        for other, others in every:
            apart = {name for name in plain.keys() | others.keys() if plain.get(name) is not others.get(name)}
            found = differing(one, other)
            assert len(found) == len(set(found))
            assert set(found) == apart
            assert same_keys(one, other) == (plain.keys() == others.keys())
            assert (one == other) == (plain == others)


def test_of_ten_thousand_the_one_that_changed_is_looked_at() -> None:
    """However many were changed before it, and though a copy is made now and then."""
    looked = 0

    class Counted(dict[int, Thing]):
        def __getitem__(self, key: int) -> Thing:
            nonlocal looked
            looked += 1
            return super().__getitem__(key)

        def items(self):  # type: ignore[no-untyped-def]
            raise AssertionError("all of it was gone through")

    found: Mapping[int, Thing] = replaced(Counted(dict.fromkeys(range(10_000), THINGS[0])), {0: THINGS[1]})
    for number in range(1, 3 * MOST):
        after = replaced(found, {number: THINGS[number % 3 + 1]})
        assert isinstance(after, Overlay)
        looked = 0
        assert number in differing(found, after)
        assert len(differing(found, after)) == 1
        assert same_keys(found, after)
        assert looked <= 2 * 2 * (MOST + 1)
        found = after


def test_the_same_entries_make_no_other_map() -> None:
    found = MappingProxyType({"a": THINGS[0], "b": THINGS[1]})
    assert replaced(found, {"b": THINGS[1]}) is found
    assert without(found, ["c"]) is found
    over = replaced(found, {"a": THINGS[1]})
    assert replaced(over, {"a": THINGS[1], "b": THINGS[1]}) is over
