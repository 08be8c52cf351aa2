"""What is known of all objects of one kind, and which of two reports on an object is the newer one.

A listing tells all that there is at one moment; a hint tells one change, perhaps late, twice or never. Versions
(`resourceVersion`) are compared as numbers, as Kubernetes defines them; where a server's are none, what was heard later is
taken as newer. No I/O and no clock; one thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from headgate.model.refs import ObjectRef

V = TypeVar("V")


def newer(one: str, other: str) -> bool:
    """Whether version `one` is newer than `other`; any other version is, where they can't be compared."""
    return int(one) > int(other) if one.isdecimal() and other.isdecimal() else one != other


@dataclass(frozen=True, slots=True)
class Entry(Generic[V]):
    """An object as known. `heard`: when, in the index's own count."""

    version: str
    value: V
    heard: int


@dataclass(slots=True)
class Listing(Generic[V]):
    """A listing under way. `began` is in the index's own count."""

    began: int
    found: dict[ObjectRef, tuple[str, V]] = field(default_factory=dict)


class Index(Generic[V]):
    """Objects by reference. A listing is of one namespace or of all (None); those of one index never overlap."""

    def __init__(self) -> None:
        self._entries: dict[ObjectRef, Entry[V]] = {}
        #: Versions at which objects were deleted, and when that was heard: until a listing is newer.
        self._gone: dict[ObjectRef, tuple[str, int]] = {}
        self._listed: dict[str | None, str] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[tuple[ObjectRef, V]]:
        return ((ref, entry.value) for ref, entry in self._entries.items())

    def get(self, ref: ObjectRef) -> V | None:
        """What is known of an object; None where there is none."""
        entry = self._entries.get(ref)
        return None if entry is None else entry.value

    def at(self, ref: ObjectRef, version: str) -> V | None:
        """What is known of an object if it is known in this very version, so that it need not be read again."""
        entry = self._entries.get(ref)
        return entry.value if entry is not None and entry.version == version else None

    def is_news(self, ref: ObjectRef, version: str) -> bool:
        """Whether a hint at an object in this version tells anything."""
        entry = self._entries.get(ref)
        if entry is not None:
            return newer(version, entry.version)
        gone = self._gone.get(ref)
        if gone is not None and not newer(version, gone[0]):
            return False
        # A listing knew of all that there was then: what is older and not known has been deleted since.
        listed = self._listed.get(None) or self._listed.get(ref.namespace)
        return listed is None or newer(version, listed)

    def put(self, ref: ObjectRef, version: str, value: V) -> bool:
        """A hint: there is this. Whether it was news."""
        if not self.is_news(ref, version):
            return False
        self._count += 1
        self._entries[ref] = Entry(version, value, self._count)
        self._gone.pop(ref, None)
        return True

    def remove(self, ref: ObjectRef, version: str) -> bool:
        """A hint: it was deleted, at this version. Whether it was news."""
        entry = self._entries.get(ref)
        if entry is not None and newer(entry.version, version) and version.isdecimal():
            return False
        self._count += 1
        self._gone[ref] = (version, self._count)
        return self._entries.pop(ref, None) is not None

    def begin(self) -> Listing[V]:
        """To be called before the listing's first page is asked for."""
        return Listing(self._count)

    def finish(self, listing: Listing[V], version: str, namespace: str | None = None) -> bool:
        """The listing is complete, and shows what was there at `version`. Whether anything was news."""
        before = self._listed.get(namespace)
        if before is not None and newer(before, version) and version.isdecimal():
            # Time has gone back: the cluster was restored from a backup, and nothing that is known counts.
            self._entries = {ref: each for ref, each in self._entries.items() if not _within(ref, namespace)}
            self._gone = {ref: each for ref, each in self._gone.items() if not _within(ref, namespace)}
        changed = self._drop(listing, version, namespace)
        for ref, (found, value) in listing.found.items():
            entry, gone = self._entries.get(ref), self._gone.get(ref)
            if entry is not None and not self._beats(found, entry.version, entry.heard, listing):
                continue
            if gone is not None and not self._beats(found, gone[0], gone[1], listing):
                continue
            self._count += 1
            self._entries[ref] = Entry(found, value, self._count)
            changed = True
        self._gone = {
            ref: each for ref, each in self._gone.items() if not _within(ref, namespace) or each[1] > listing.began
        }
        self._listed[namespace] = version
        return changed

    def _drop(self, listing: Listing[V], version: str, namespace: str | None) -> bool:
        dropped = [
            ref
            for ref, entry in self._entries.items()
            if ref not in listing.found
            and _within(ref, namespace)
            and self._beats(version, entry.version, entry.heard, listing, equal=True)
        ]
        for ref in dropped:
            del self._entries[ref]
        return bool(dropped)

    @staticmethod
    def _beats(listed: str, known: str, heard: int, listing: Listing[V], *, equal: bool = False) -> bool:
        """Whether what a listing says of an object counts for more than what is known of it."""
        if listed.isdecimal() and known.isdecimal():
            return int(listed) >= int(known) if equal else int(listed) > int(known)
        return heard <= listing.began and (equal or listed != known)


def _within(ref: ObjectRef, namespace: str | None) -> bool:
    return namespace is None or ref.namespace == namespace
