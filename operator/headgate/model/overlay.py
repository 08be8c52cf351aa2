"""Maps of ten thousand entries of which one changes, at the price of that one. Pure.

`replaced` gives a map that shares all other entries with the one before it, and `differing` finds by that what two such maps
differ in, without looking at the rest. Neither changes what a map says: any other map works as well, and costs its length.

What an entry was before stays in memory until a hundred more have changed: not for maps of secrets.
"""

from __future__ import annotations

from collections.abc import Collection, ItemsView, Iterator, KeysView, Mapping, ValuesView
from types import MappingProxyType
from typing import Any, TypeVar
from weakref import ref

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")
#: Entries that are told as differences, at most. More than these, and all of it is copied.
MOST = 128
_ABSENT: Any = object()


class Overlay(Mapping[K, V]):
    """`base`, which nobody changes any more, with some of its entries replaced. Frozen. Made by `replaced`."""

    __slots__ = ("__weakref__", "base", "former", "over", "since")

    def __init__(self, base: Mapping[K, V], over: dict[K, V]) -> None:
        self.base, self.over = base, over
        #: The one that this `base` was copied from, and what it differed in: whoever has that one is told so.
        self.former: ref[Overlay[K, V]] | None = None
        self.since: Collection[K] = ()

    def __getitem__(self, key: K) -> V:
        return self.over[key] if key in self.over else self.base[key]

    def __contains__(self, key: object) -> bool:
        return key in self.base

    def __iter__(self) -> Iterator[K]:
        return iter(self.base)

    def __len__(self) -> int:
        return len(self.base)

    def get(self, key: K, default: D = None) -> V | D:  # type: ignore[assignment]
        """As of any map."""
        return self.over[key] if key in self.over else self.base.get(key, default)

    def keys(self) -> KeysView[K]:
        """As of any map."""
        return self.base.keys()

    def values(self) -> ValuesView[V]:
        """As of any map; at the price of a copy, which is less than that of looking up each."""
        return self.copy().values()

    def items(self) -> ItemsView[K, V]:
        """As `values`."""
        return self.copy().items()

    def copy(self) -> dict[K, V]:
        """All of it."""
        return _copy(self.base) | self.over

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        return all(self.get(key, _ABSENT) == other.get(key, _ABSENT) for key in differing(self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self.copy())

    def with_(self, changed: Mapping[K, V]) -> Overlay[K, V]:
        """With these entries too, all of which are there."""
        over = self.over | dict(changed)
        if len(over) <= MOST:
            after = Overlay(self.base, over)
            after.former, after.since = self.former, self.since
            return after
        after = Overlay(self.copy() | dict(changed), {})
        after.former, after.since = ref(self), tuple(changed)
        return after

    def apart(self, other: Mapping[K, V]) -> Collection[K] | None:
        """The keys under which the two may have different things; None if nobody knows."""
        if other is self.base:
            return self.over.keys()
        if not isinstance(other, Overlay):
            return None
        if other.base is self.base:
            return (self.over | other.over).keys()
        for one, two in ((self, other), (other, self)):
            if one.former is not None and one.former() is two:
                return dict.fromkeys((*one.since, *one.over)).keys()
        return None


def replaced(before: Mapping[K, V], changed: Mapping[K, V]) -> Mapping[K, V]:
    """`before` with these entries; the very same map if none of them is another object."""
    if all(before.get(key, _ABSENT) is value for key, value in changed.items()):
        return before
    if len(changed) > MOST or not all(key in before for key in changed):
        return MappingProxyType(_copy(before) | dict(changed))
    return before.with_(changed) if isinstance(before, Overlay) else Overlay(before, dict(changed))


def without(before: Mapping[K, V], gone: Collection[K]) -> Mapping[K, V]:
    """`before` without these; the very same map if it has none of them."""
    gone = {key for key in gone if key in before}
    return MappingProxyType({key: each for key, each in before.items() if key not in gone}) if gone else before


def differing(one: Mapping[K, V], other: Mapping[K, V]) -> list[K]:
    """The keys under which two maps have different objects, or only one of them has any; those of `other` first."""
    if one is other:
        return []
    apart = one.apart(other) if isinstance(one, Overlay) else None
    if apart is None and isinstance(other, Overlay):
        apart = other.apart(one)
    if apart is not None:
        return [key for key in apart if one[key] is not other[key]]
    found = [key for key, value in other.items() if one.get(key, _ABSENT) is not value]
    if len(one) + sum(key not in one for key in found) != len(other):
        found += one.keys() - other.keys()
    return found


def same_keys(one: Mapping[K, Any], other: Mapping[K, Any]) -> bool:
    """Whether two maps have the same keys."""
    if isinstance(one, Overlay) and one.apart(other) is not None:
        return True
    return (isinstance(other, Overlay) and other.apart(one) is not None) or one.keys() == other.keys()


def _copy(found: Mapping[K, V]) -> dict[K, V]:
    # Their own `copy` does not hash ten thousand keys again, as `dict(found)` would.
    return found.copy() if isinstance(found, (dict, MappingProxyType, Overlay)) else dict(found)
