"""What is published, as one number for each object that owns some of it: equal numbers mean equal resources.

So that replicas can tell, owner by owner, whether a proxy's acknowledgement at one is about what the other publishes too,
without sending each other what they publish. A mark is a sum over the owner's resources, and so does not depend on the order
in which a world came about; the digest is one over all marks of a gateway. Pure bookkeeping on the event loop's thread; costs
what changes, and some hundred bytes for each owner.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b

from headgate.envoy.resource import Resource, Resources, TypeUrl
from headgate.model.overlay import differing
from headgate.model.refs import ObjectRef

_WORD = (1 << 64) - 1
_NOTHING: Mapping[str, Resource] = {}
#: The mark of an owner of nothing.
NONE = 0


class Marks:
    """One gateway's."""

    def __init__(self) -> None:
        self._marks: dict[ObjectRef, int] = {}
        self.digest = NONE

    def __getitem__(self, owner: ObjectRef) -> int:
        return self._marks.get(owner, NONE)

    def __iter__(self) -> Iterator[ObjectRef]:
        return iter(self._marks)

    def update(self, before: Resources | None, after: Resources | None) -> Mapping[ObjectRef, int]:
        """Another state is published; the owners whose mark is another one now, with the mark that they had."""
        changes: dict[ObjectRef, int] = {}
        for type_url in TypeUrl:
            old, new = (before or {}).get(type_url, _NOTHING), (after or {}).get(type_url, _NOTHING)
            _compare(old, new, changes)
        touched = {}
        for owner, change in changes.items():
            was = self[owner]
            now = (was + change) & _WORD
            if now == was:
                continue
            touched[owner] = was
            self.digest = (self.digest + _share(owner, now) - _share(owner, was)) & _WORD
            if now == NONE:
                self._marks.pop(owner, None)
            else:
                self._marks[owner] = now
        return touched


def _compare(old: Mapping[str, Resource], new: Mapping[str, Resource], changes: dict[ObjectRef, int]) -> None:
    for name in differing(old, new):
        known, item = old.get(name), new.get(name)
        if known is not None and item is not None and (known.version, known.owners) == (item.version, item.owners):
            continue
        if known is not None:
            _add(known, -1, changes)
        if item is not None:
            _add(item, 1, changes)


def _add(item: Resource, sign: int, changes: dict[ObjectRef, int]) -> None:
    number = sign * _number(f"{item.type_url.name} {item.name} {item.version}")
    for owner in item.owners:
        changes[owner] = changes.get(owner, 0) + number


def _share(owner: ObjectRef, mark: int) -> int:
    return NONE if mark == NONE else _number(f"{owner.kind} {owner.namespace} {owner.name} {mark}")


def _number(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
