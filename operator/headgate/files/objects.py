"""Documents to objects: our kinds as models, Secrets and ConfigMaps as bytes, Namespaces as labels; the rest is a note.

A document that can't be used becomes a Problem, and a Broken where it at least says which object it was to be, so that
the last good version of that object can stay live. Pure; called by `folder`. No message shows a Secret's value.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from headgate.api.base import API_VERSION, GROUP
from headgate.api.conditions import Reason
from headgate.api.kinds import KINDS
from headgate.api.meta import Kind
from headgate.files.document import Document
from headgate.files.place import Problem, Whereabouts
from headgate.model.refs import ObjectRef
from headgate.model.secret import SecretValue
from headgate.model.sentences import meant, sentence, telling, unknown
from headgate.model.snapshot import Broken
from headgate.model.verdict import Path, spell

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_CORE = ("Secret", "ConfigMap", "Namespace")
_EMPTY: Mapping[str, Any] = MappingProxyType({})

Data = Mapping[str, SecretValue]
Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Item:
    """One object that a file declares. `content` is a kind of ours, Broken, a Secret's or ConfigMap's data, or labels.

    `manifest` is the document of an object of ours (never of a Secret), as it is shown and kept on disk.
    """

    ref: ObjectRef
    where: Whereabouts
    digest: str
    content: Kind | Broken | Data | Labels = field(repr=False)
    manifest: Mapping[str, Any] = field(default_factory=lambda: _EMPTY, repr=False)

    @property
    def ours(self) -> bool:
        """Is it one of our kinds (sound or broken), not data or a Namespace?"""
        return self.ref.kind in KINDS


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a file holds. `kept` are objects that it means to declare but says wrongly, with nothing to put in place."""

    items: tuple[Item, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    kept: frozenset[ObjectRef] = frozenset()


class _Wrong(Exception):
    def __init__(self, *found: tuple[Path, str], reason: Reason = Reason.INVALID_SPEC) -> None:
        super().__init__(found)
        self.found = found
        self.reason = reason


def parse(documents: list[Document]) -> Parsed:
    """All objects of one file."""
    items: list[Item] = []
    problems: list[Problem] = []
    notes: list[str] = []
    kept: set[ObjectRef] = set()
    for data, where in _unfold(documents):
        ref: ObjectRef | None = None
        try:
            note = _foreign(data)
            if note:
                notes.append(f"{where.start}: {note}")
                continue
            ref = _identity(data)
            item = _core(ref, data, where) if ref.kind in _CORE else _ours(ref, data, where)
            items.append(item)
        except _Wrong as wrong:
            found = [Problem(where.of(path), message, ref, spell(path), wrong.reason) for path, message in wrong.found]
            problems += found
            if ref is None:
                continue
            if ref.kind in KINDS:
                # Without the line numbers: a line added above an object does not change what is wrong with it.
                summary = "; ".join(problem.saying for problem in found)
                broken = Broken(wrong.reason, f"{where.start.file}: {summary}")
                items.append(Item(ref, where, _digest([summary, _digest(data)]), broken, _shown(data)))
            else:
                kept.add(ref)
    return Parsed(tuple(items), tuple(problems), tuple(notes), frozenset(kept))


def _unfold(documents: list[Document]) -> Iterator[tuple[Any, Whereabouts]]:
    """Each object, those inside Lists too."""
    for document in documents:
        data, where = document.data, document.where
        is_list = (
            isinstance(data, dict) and str(data.get("kind")).endswith("List") and isinstance(data.get("items"), list)
        )
        if not is_list:
            yield data, where
            continue
        for index, item in enumerate(data["items"]):
            yield item, where.below(("items", index), index + 1)


def _foreign(data: Any) -> str:
    """A note for an object that is none of Headgate's business; empty for one that is."""
    if not isinstance(data, dict):
        raise _Wrong(((), "this is no Kubernetes object: begin it with apiVersion and kind"))
    version, kind = data.get("apiVersion"), data.get("kind")
    for key, value in (("kind", kind), ("apiVersion", version)):
        if not isinstance(value, str) or not value:
            hint = (
                f": give {API_VERSION}"
                if key == "apiVersion" and kind in KINDS
                else ": every Kubernetes object needs it"
            )
            raise _Wrong(((key,), f"is missing{hint}"))
    group, _, number = str(version).rpartition("/")
    if group == GROUP:
        if version != API_VERSION:
            raise _Wrong((("apiVersion",), f"there is no version {number} of {GROUP}: write {API_VERSION}"))
        if kind not in KINDS:
            known = f"the kinds are {', '.join(sorted(KINDS))}"
            raise _Wrong((("kind",), f"there is no kind {kind} in {GROUP}{meant(str(kind), KINDS, known)}"))
        return ""
    return "" if version == "v1" and kind in _CORE else f"{version} {kind}: left out, Headgate does not read this kind"


def _identity(data: Mapping[str, Any]) -> ObjectRef:
    kind = str(data["kind"])
    meta = data.get("metadata")
    if not isinstance(meta, dict):
        raise _Wrong(
            (("metadata",), f"{'is missing' if meta is None else 'must be a mapping'}: give at least metadata.name")
        )
    name, namespace = meta.get("name"), meta.get("namespace")
    if name is None:
        raise _Wrong((("metadata", "name"), "is missing: it has to be given"))
    for key, value in (("name", name), ("namespace", namespace)):
        if isinstance(value, bool | int | float):
            raise _Wrong((("metadata", key), "must be text, and reads as a number or boolean here: put it in quotes"))
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        words = "must be text of lower-case letters, digits, dashes and dots, and begin and end with a letter or digit"
        raise _Wrong((("metadata", "name"), words))
    if namespace is None or kind == "Namespace":
        namespace = "" if kind == "Namespace" else "default"
    elif not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
        words = (
            "must be text of at most 63 lower-case letters, digits and dashes, and begin and end with a letter or digit"
        )
        raise _Wrong((("metadata", "namespace"), words))
    return ObjectRef(kind, namespace, name)


def _ours(ref: ObjectRef, data: Mapping[str, Any], where: Whereabouts) -> Item:
    model = KINDS[ref.kind]
    # `status` is ours to write, and null is the same as left out, as the API server has it.
    said: dict[str, Any] = {key: _without_nulls(value) for key, value in data.items() if key != "status"}
    wrong: list[tuple[Path, str]] = []
    for path, message in unknown(model, {**said, "metadata": {}}):
        wrong.append((path, message))
    result: Kind | None = None
    try:
        result = model.model_validate(said)
    except ValidationError as error:
        wrong += [sentence(model, entry) for entry in telling(error.errors(include_url=False))]
    if wrong or result is None:
        raise _Wrong(*wrong)
    return Item(ref, where, _digest(_essence(said)), result, _shown(said))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _essence(said: Mapping[str, Any]) -> dict[str, Any]:
    """What compile could depend on: annotations and the like are left out."""
    meta = said.get("metadata")
    kept = {key: meta[key] for key in ("labels", "creationTimestamp") if key in meta} if isinstance(meta, dict) else {}
    return {"metadata": kept, "spec": said.get("spec")}


def _shown(said: Mapping[str, Any]) -> dict[str, Any]:
    return {key: said[key] for key in ("apiVersion", "kind", "metadata", "spec") if key in said}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _core(ref: ObjectRef, data: Mapping[str, Any], where: Whereabouts) -> Item:
    match ref.kind:
        case "Namespace":
            labels = _labels(data["metadata"]) | {"kubernetes.io/metadata.name": ref.name}
            return Item(ref, where, _digest(labels), MappingProxyType(labels))
        case "Secret":
            values = _base64(data, "data") | _text(data, "stringData")
        case _:
            values = _text(data, "data") | _base64(data, "binaryData")
    return Item(ref, where, data_digest(values), MappingProxyType(values))


def data_digest(values: Data) -> str:
    """A revision for a Secret's or ConfigMap's content."""
    return _digest({key: value.fingerprint for key, value in values.items()})


def _labels(meta: Mapping[str, Any]) -> dict[str, str]:
    labels = meta.get("labels") or {}
    if not isinstance(labels, dict):
        raise _Wrong((("metadata", "labels"), "must be a mapping"))
    for key, value in labels.items():
        if not isinstance(value, str):
            raise _Wrong((("metadata", "labels", key), "must be text: put it in quotes"))
    return dict(labels)


def _entries(data: Mapping[str, Any], part: str) -> dict[str, str]:
    entries = data.get(part)
    if entries is None:
        return {}
    if not isinstance(entries, dict):
        raise _Wrong(((part,), "must be a mapping of keys to text"))
    for key, value in entries.items():
        if not _DATA_KEY.fullmatch(key):
            raise _Wrong(((part,), "a key may have letters, digits, dashes, dots and underscores only: rename it"))
        if not isinstance(value, str):
            raise _Wrong(((part, key), "must be text: put it in quotes"))
    return entries


def _text(data: Mapping[str, Any], part: str) -> dict[str, SecretValue]:
    return {key: SecretValue(value.encode()) for key, value in _entries(data, part).items()}


def _base64(data: Mapping[str, Any], part: str) -> dict[str, SecretValue]:
    plain = "stringData" if part == "data" else "data"
    values = {}
    for key, value in _entries(data, part).items():
        try:
            values[key] = SecretValue(base64.b64decode("".join(value.split()), validate=True))
        except (binascii.Error, ValueError):
            raise _Wrong(((part, key), f"is not base64: encode it, or put the plain text under {plain}")) from None
    return values
