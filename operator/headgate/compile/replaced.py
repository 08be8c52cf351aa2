"""Maps of ten thousand entries of which one changes, at the price of a copy. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def replaced(before: Mapping[K, V], changed: Mapping[K, V]) -> Mapping[K, V]:
    """`before` with these entries; the very same map if none of them is another object."""
    if all(before.get(key) is value for key, value in changed.items()):
        return before
    # Its own `copy` does not hash ten thousand keys again, as `dict(before)` would.
    after = before.copy() if isinstance(before, MappingProxyType) else dict(before)
    after.update(changed)
    return MappingProxyType(after)
