"""A World as the middle knows it: model objects with revision and generation, data, labels.

Pure. Used by the source, which puts these into the Store, and by the commands that compile a folder once.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from headgate.api.meta import Kind
from headgate.files.folder import World
from headgate.files.objects import Item
from headgate.model.refs import ObjectRef
from headgate.model.snapshot import Broken, DataEntry, DataObject, Declared, Settings, Snapshot


def revision(item: Item, generation: int) -> str:
    """Changes with the object's content; with the generation too, since conditions carry that."""
    return f"{generation}-{item.digest}"


def version(item: Item, generation: int) -> Kind | Broken:
    """One of our objects with its generation put in."""
    match item.content:
        case Kind() as kind:
            return kind.model_copy(update={"metadata": kind.metadata.model_copy(update={"generation": generation})})
        case Broken() as broken:
            return Broken(broken.reason, broken.message, generation)
        case _:
            raise TypeError(f"{item.ref} is no object of ours")


def data(item: Item) -> DataObject:
    """A Secret or ConfigMap."""
    return DataObject(item.ref, item.digest, item.content)  # type: ignore[arg-type]


def labels(item: Item) -> Mapping[str, str]:
    """A Namespace's labels."""
    return item.content  # type: ignore[return-value]


def snapshot(world: World, settings: Settings) -> Snapshot:
    """The world as if it had just been read for the first time: generation 1, nothing good from before."""
    objects: dict[str, dict[str, Declared[Any]]] = {}
    entries: dict[ObjectRef, DataEntry] = {}
    namespaces: dict[str, Mapping[str, str]] = {}
    for item in world.items.values():
        if item.ours:
            declared = Declared(item.ref, revision(item, 1), version(item, 1))
            objects.setdefault(item.ref.kind, {})[item.ref.key] = declared
        elif item.ref.kind == "Namespace":
            namespaces[item.ref.name] = labels(item)
        else:
            entries[item.ref] = DataEntry(data(item))
    frozen = {kind: MappingProxyType(found) for kind, found in objects.items()}
    return Snapshot.of(settings, frozen, MappingProxyType(entries), MappingProxyType(namespaces))
