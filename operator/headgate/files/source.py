"""The folder as a source of the Store: read at the start, followed from then on.

Everything but the reading itself runs on the event loop's thread. One reading at a time; what changes meanwhile is in the
next one. What the Store is given is only what differs from last time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from headgate.api.kinds import KINDS
from headgate.files.folder import Folder, FolderProblem, World
from headgate.files.objects import Item
from headgate.files.place import Place, Problem
from headgate.files.records import Record
from headgate.files.snapshot import data, labels, revision, version
from headgate.files.watch import Watch
from headgate.model.refs import ObjectRef
from headgate.store import Good, Put, Store


@dataclass(frozen=True, slots=True)
class Change:
    """One object that is other than it was. `verb`: added, changed or removed."""

    verb: str
    ref: ObjectRef


class FolderSource:
    """Feeds `store` from `folder`. `told` is called after each reading that found something new."""

    def __init__(
        self,
        folder: Folder,
        store: Store,
        records: Mapping[ObjectRef, Record],
        told: Callable[[World, list[Change]], None],
    ) -> None:
        self._folder = folder
        self._store = store
        self._told = told
        self._records = dict(records)
        self._generations: dict[ObjectRef, int] = {}
        self.world = World()
        store.restore(
            Good(record.ref, record.good_revision, record.good)
            for record in records.values()
            if record.good is not None
        )

    def load(self) -> None:
        """The first reading. Raises FolderProblem or SecretProblem if there is nothing to begin with."""
        self._apply(self._folder.read())

    async def follow(self, watch: Watch) -> None:
        """Read again whenever `watch` sees a change; never ends."""
        while True:
            await watch.changed()
            try:
                world = await asyncio.to_thread(self._folder.read)
            except FolderProblem as problem:
                message = f"{problem}; what it declared stays in force"
                gone = Problem(Place(str(self._folder.root), 0), message)
                world = World(self.world.items, (gone,), self.world.notes, self.world.files)
            self._apply(world)

    def records(self) -> list[Record]:
        """What the next run shall know."""
        goods = {good.ref: good for good in self._store.good_objects()}
        found = []
        for ref, item in sorted(self.world.items.items()):
            if item.ours:
                good = goods.get(ref)
                found.append(
                    Record(
                        ref=ref,
                        file=item.where.start.file,
                        generation=self._generations[ref],
                        digest=item.digest,
                        seen=self.seen(ref),
                        good=good.version if good else None,
                        good_revision=good.revision if good else "",
                    )
                )
        return found

    def seen(self, ref: ObjectRef) -> str:
        """When the object was first declared."""
        return self._records[ref].seen

    def generation(self, ref: ObjectRef) -> int:
        """How often the object has changed, this time included."""
        return self._generations[ref]

    def _apply(self, world: World) -> None:
        before, self.world = self.world, world
        changes = [Change("removed", ref) for ref in before.items if ref not in world.items]
        for change in changes:
            self._remove(change.ref)
        for ref, item in world.items.items():
            known = before.items.get(ref)
            if known is None or known.digest != item.digest:
                self._put(item)
                changes.append(Change("added" if known is None else "changed", ref))
        if changes or world.problems != before.problems or world.notes != before.notes:
            self._told(world, changes)

    def _put(self, item: Item) -> None:
        if item.ref.kind == "Namespace":
            self._store.put_namespace(item.ref.name, labels(item))
        elif not item.ours:
            self._store.put_data(data(item))
        else:
            generation = self._next_generation(item)
            self._store.put(Put(item.ref, revision(item, generation), version(item, generation)))

    def _next_generation(self, item: Item) -> int:
        record = self._records.get(item.ref)
        generation = 1 if record is None else record.generation + (record.digest != item.digest)
        now = datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
        seen = now if record is None else record.seen
        self._records[item.ref] = Record(item.ref, item.where.start.file, generation, item.digest, seen)
        self._generations[item.ref] = generation
        return generation

    def _remove(self, ref: ObjectRef) -> None:
        self._records.pop(ref, None)
        self._generations.pop(ref, None)
        if ref.kind == "Namespace":
            self._store.remove_namespace(ref.name)
        elif ref.kind in KINDS:
            self._store.remove(ref)
        else:
            self._store.remove_data(ref)
