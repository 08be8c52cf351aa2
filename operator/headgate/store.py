"""The Store: the only mutable place in the middle. Sources put in what is declared, compile takes Snapshots out.

One thread (the event loop's) calls everything here; another one hands its calls over (`call_soon_threadsafe`). A Snapshot
may go anywhere. Level-triggered: a change only marks the Store dirty, `changed` waits for that, `snapshot` clears it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from headgate.api.kinds import KINDS
from headgate.api.meta import Kind
from headgate.model.overlay import replaced
from headgate.model.refs import ObjectRef
from headgate.model.snapshot import Broken, DataEntry, DataObject, Declared, Settings, Snapshot
from headgate.model.verdict import Plan

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Good:
    """An object that compiled clean, as a source may keep it over a restart."""

    ref: ObjectRef
    revision: str
    version: Kind


@dataclass(frozen=True, slots=True)
class Put:
    """One object of ours as a source read it."""

    ref: ObjectRef
    revision: str
    current: Kind | Broken


class _Shelf(Generic[K, V]):
    """A map that hands out frozen views. An entry more or less costs a copy for the next view, another one in an entry's place
    does not, unless `forgetful`: then nothing of what was there before stays in memory."""

    def __init__(self, *, forgetful: bool = False) -> None:
        self._forgetful = forgetful
        #: Nobody else has it: it may be changed.
        self._own: dict[K, V] | None = {}
        self._view: Mapping[K, V] = {}
        #: What differs from the view in entries that it has.
        self._changed: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        if self._own is not None:
            return self._own.get(key)
        return self._changed[key] if key in self._changed else self._view.get(key)

    def put(self, key: K, value: V) -> None:
        if self._own is None and not self._forgetful and key in self._view:
            self._changed[key] = value
        else:
            self._owned()[key] = value

    def remove(self, key: K) -> None:
        del self._owned()[key]

    def frozen(self) -> Mapping[K, V]:
        if self._own is not None:
            self._view, self._own = MappingProxyType(self._own), None
        elif self._changed:
            self._view, self._changed = replaced(self._view, self._changed), {}
        return self._view

    def __iter__(self) -> Iterator[K]:
        return iter(self._view if self._own is None else self._own)

    def values(self) -> Iterable[V]:
        return self.frozen().values() if self._own is None else self._own.values()

    def _owned(self) -> dict[K, V]:
        if self._own is None:
            self._own, self._changed = {**self._view, **self._changed}, {}
        return self._own


class Store:
    """Everything that is declared now, and the last good version of each object.

    `sequence` counts changes. A source that lists everything notes it before the listing and gives it to `replace` as
    `as_of`: what was put or removed later than that is newer than the listing and stays. Listings of the same objects come
    one after another.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self._objects: dict[str, _Shelf[str, Declared[Any]]] = {kind: _Shelf() for kind in KINDS}
        self._data: _Shelf[ObjectRef, DataEntry] = _Shelf(forgetful=True)
        self._namespaces: _Shelf[str, Mapping[str, str]] = _Shelf()
        self._restored: dict[ObjectRef, Good] = {}
        self._touched: dict[ObjectRef, int] = {}
        #: Declared in a version that is not, or not yet, the last good one; and data that is gone but for its last good one.
        self._unproven: set[ObjectRef] = set()
        self._ghosts: set[ObjectRef] = set()
        #: Objects of ours whose last good version is another one, or gone, since `changed_goods` was asked.
        self._regood: set[ObjectRef] = set()
        self._dirty = asyncio.Event()
        self.sequence = 0

    # What sources call

    def put(self, put: Put) -> None:
        """An object of ours is declared, or declared anew. The same revision again changes nothing."""
        shelf, key = self._objects[put.ref.kind], put.ref.key
        self._touch(put.ref)
        before = shelf.get(key)
        if before is not None and before.revision == put.revision and before.current == put.current:
            return
        good = self._restored.pop(put.ref, None)
        if before is not None and before.last_good is not None:
            declared = Declared(put.ref, put.revision, put.current, before.last_good, before.last_good_revision)
        elif good is not None:
            declared = Declared(put.ref, put.revision, put.current, good.version, good.revision)
        else:
            declared = Declared(put.ref, put.revision, put.current)
        shelf.put(key, declared)
        self._unproven.add(put.ref)
        self._mark()

    def remove(self, ref: ObjectRef) -> None:
        """An object of ours is gone, its last good version with it."""
        self._touch(ref)
        self._restored.pop(ref, None)
        self._unproven.discard(ref)
        if self._objects[ref.kind].get(ref.key) is not None:
            self._objects[ref.kind].remove(ref.key)
            self._regood.add(ref)
            self._mark()

    def replace(self, kind: str, puts: Iterable[Put], as_of: int | None = None) -> None:
        """All objects of a kind, as listed: what is not among them is gone."""
        listed = {put.ref: put for put in puts}
        for ref in [each.ref for each in self._objects[kind].values() if each.ref not in listed]:
            if not self._newer(ref, as_of):
                self.remove(ref)
        for ref, put in listed.items():
            if not self._newer(ref, as_of):
                self.put(put)
        self._settle({kind}, as_of)

    def put_data(self, data: DataObject) -> None:
        """A Secret or ConfigMap is there, or has changed."""
        self._touch(data.ref)
        before = self._data.get(data.ref)
        if before is None or before.current is None or _marks(before.current) != _marks(data):
            self._data.put(data.ref, DataEntry(data, before.last_good if before else None))
            self._unproven.add(data.ref)
            self._ghosts.discard(data.ref)
            self._mark()

    def remove_data(self, ref: ObjectRef) -> None:
        """A Secret or ConfigMap is gone; what was last used of it stays for those that use it."""
        self._touch(ref)
        before = self._data.get(ref)
        if before is None or before.current is None:
            return
        self._unproven.discard(ref)
        if before.last_good is None:
            self._data.remove(ref)
        else:
            self._data.put(ref, DataEntry(None, before.last_good))
            self._ghosts.add(ref)
        self._mark()

    def replace_data(self, every: Iterable[DataObject], as_of: int | None = None) -> None:
        """All Secrets and ConfigMaps, as listed."""
        listed = {data.ref: data for data in every}
        for ref in [ref for ref in self._data if ref not in listed]:
            if not self._newer(ref, as_of):
                self.remove_data(ref)
        for ref, data in listed.items():
            if not self._newer(ref, as_of):
                self.put_data(data)
        self._settle({"Secret", "ConfigMap"}, as_of)

    def put_namespace(self, name: str, labels: Mapping[str, str]) -> None:
        """A namespace has these labels."""
        self._touch(ObjectRef("Namespace", "", name))
        if self._namespaces.get(name) != labels:
            self._namespaces.put(name, MappingProxyType(dict(labels)))
            self._mark()

    def remove_namespace(self, name: str) -> None:
        """A namespace is gone."""
        self._touch(ObjectRef("Namespace", "", name))
        if self._namespaces.get(name) is not None:
            self._namespaces.remove(name)
            self._mark()

    def replace_namespaces(self, labels: Mapping[str, Mapping[str, str]], as_of: int | None = None) -> None:
        """All namespaces, as listed."""
        for name in [name for name in self._namespaces if name not in labels]:
            if not self._newer(ObjectRef("Namespace", "", name), as_of):
                self.remove_namespace(name)
        for name, each in labels.items():
            if not self._newer(ObjectRef("Namespace", "", name), as_of):
                self.put_namespace(name, each)
        self._settle({"Namespace"}, as_of)

    def restore(self, goods: Iterable[Good]) -> None:
        """What was good before a restart; to be called before the first `put`. It waits for its object to be declared."""
        for good in goods:
            self._restored[good.ref] = good

    def good_objects(self) -> Iterator[Good]:
        """The last good version of every declared object, sorted, for a source to keep. No secret is among them."""
        every = (declared for shelf in self._objects.values() for declared in shelf.values())
        for declared in sorted(every, key=lambda each: each.ref):
            if declared.last_good is not None:
                yield Good(declared.ref, declared.last_good_revision, declared.last_good)

    def good(self, ref: ObjectRef) -> Good | None:
        """The last good version of an object, if it is declared and has one."""
        declared = self._objects[ref.kind].get(ref.key)
        if declared is None or declared.last_good is None:
            return None
        return Good(ref, declared.last_good_revision, declared.last_good)

    def changed_goods(self) -> set[ObjectRef]:
        """The objects whose last good version is another one, or gone, since this was asked last. For one caller."""
        found, self._regood = self._regood, set()
        return found

    def adopt(self, good: Good) -> bool:
        """Another replica's last good version of an object that is declared and not good as it is; whether it was taken."""
        shelf = self._objects[good.ref.kind]
        declared = shelf.get(good.ref.key)
        if declared is None or declared.last_good_revision in (declared.revision, good.revision):
            return False
        known = declared.last_good if isinstance(declared.current, Broken) else declared.current
        if known is not None and known.metadata.uid != good.version.metadata.uid:
            return False  # of another object that had this name
        shelf.put(good.ref.key, replace(declared, last_good=good.version, last_good_revision=good.revision))
        self._mark()
        return True

    # What the compile loop calls

    async def changed(self) -> None:
        """Wait until there is something that no Snapshot has; return at once if there is."""
        await self._dirty.wait()

    @property
    def dirty(self) -> bool:
        """Whether there is something that no Snapshot has."""
        return self._dirty.is_set()

    def snapshot(self) -> Snapshot:
        """The world now. Maps that did not change are the same objects as in the last one."""
        self._dirty.clear()
        objects = {kind: shelf.frozen() for kind, shelf in self._objects.items()}
        return Snapshot.of(self._settings, objects, self._data.frozen(), self._namespaces.frozen())

    def accept(self, plan: Plan) -> None:
        """Keep as last good what compiled clean, in the revision that did. It changes no outcome, so it marks nothing."""
        # A set of its own: one that ten thousand were in takes as long to go through when two are left.
        self._unproven = {ref for ref in self._unproven if not self._proven(ref, plan.good.get(ref))}
        for ref in self._ghosts - plan.references:
            self._ghosts.discard(ref)
            self._data.remove(ref)

    def _proven(self, ref: ObjectRef, revision: str | None) -> bool:
        return revision is not None and (self._keep if ref.kind in self._objects else self._keep_data)(ref, revision)

    def _keep(self, ref: ObjectRef, revision: str) -> bool:
        """Whether the current version is the last good one now."""
        shelf = self._objects[ref.kind]
        declared = shelf.get(ref.key)
        if declared is None or declared.revision != revision or isinstance(declared.current, Broken):
            return False
        if declared.last_good_revision != revision:
            shelf.put(ref.key, replace(declared, last_good=declared.current, last_good_revision=revision))
            self._regood.add(ref)
        return True

    def _keep_data(self, ref: ObjectRef, revision: str) -> bool:
        entry = self._data.get(ref)
        if entry is None or entry.current is None or entry.current.revision != revision:
            return False
        if entry.last_good is None or entry.last_good.revision != revision:
            self._data.put(ref, DataEntry(entry.current, entry.current))
        return True

    def _touch(self, ref: ObjectRef) -> None:
        self.sequence += 1
        self._touched[ref] = self.sequence

    def _newer(self, ref: ObjectRef, as_of: int | None) -> bool:
        return as_of is not None and self._touched.get(ref, 0) > as_of

    def _settle(self, kinds: set[str], as_of: int | None) -> None:
        """Forget when objects were touched that this listing is newer than: the next one is newer still. Otherwise every
        name that there ever was would be kept."""
        if as_of is not None:
            self._touched = {ref: at for ref, at in self._touched.items() if at > as_of or ref.kind not in kinds}

    def _mark(self) -> None:
        self._dirty.set()


def _marks(data: DataObject) -> tuple[str, str]:
    """By which two versions of a Secret or ConfigMap are told apart."""
    return data.revision, data.version
