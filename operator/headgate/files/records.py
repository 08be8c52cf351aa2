"""What a run remembers of a folder's objects for the next one: generations, first sight, and the last good versions.

Plain JSON without Secrets; the state directory keeps it. Junk in it is dropped object by object: then that object is new.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from headgate.api.kinds import KINDS
from headgate.api.meta import Kind
from headgate.model.refs import ObjectRef


@dataclass(frozen=True, slots=True)
class Record:
    """One object. `seen`: when it was first declared, RFC 3339. `good`: its last good version and that one's revision."""

    ref: ObjectRef
    file: str
    generation: int
    digest: str
    seen: str
    good: Kind | None = field(default=None, repr=False)
    good_revision: str = ""

    @property
    def manifest(self) -> dict[str, Any] | None:
        """The last good version as a document."""
        return None if self.good is None else document(self.good)


def document(kind: Kind) -> dict[str, Any]:
    """A model as its owner wrote it: what was left out stays out."""
    body = kind.model_dump(mode="json", by_alias=True, exclude_unset=True)
    body.get("metadata", {}).pop("generation", None)
    return body


def entry(record: Record) -> dict[str, Any]:
    """One object as JSON data."""
    return {
        "kind": record.ref.kind,
        "namespace": record.ref.namespace,
        "name": record.ref.name,
        "file": record.file,
        "generation": record.generation,
        "digest": record.digest,
        "seen": record.seen,
        "good": record.manifest,
        "goodRevision": record.good_revision,
    }


def load(data: Any) -> dict[ObjectRef, Record]:
    """The reverse, of `{"objects": [...]}` with an `entry` each."""
    entries = data.get("objects") if isinstance(data, dict) else None
    found = (_record(entry) for entry in entries) if isinstance(entries, list) else ()
    return {record.ref: record for record in found if record is not None}


def _record(entry: Any) -> Record | None:
    try:
        ref = ObjectRef(str(entry["kind"]), str(entry["namespace"]), str(entry["name"]))
        revision = str(entry["goodRevision"])
        good = _good(ref, entry["good"], revision) if entry["good"] else None
        return Record(
            ref, str(entry["file"]), int(entry["generation"]), str(entry["digest"]), str(entry["seen"]), good, revision
        )
    except (KeyError, TypeError, ValueError, ValidationError):
        return None


def _good(ref: ObjectRef, body: Mapping[str, Any], revision: str) -> Kind:
    generation = int(revision.partition("-")[0])
    kind = KINDS[ref.kind].model_validate(body)
    return kind.model_copy(update={"metadata": kind.metadata.model_copy(update={"generation": generation})})
