"""Documents of the API server to values of the middle. Pure.

Reading is tolerant: a field that this version does not know is ignored. What can't be read becomes Broken, so that the last
good version of the object stays live.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from headgate.api.conditions import Reason
from headgate.api.kinds import KINDS
from headgate.compile.documents import Document
from headgate.compile.recalled import made, missing, recalled
from headgate.compile.status import Status
from headgate.model.observations import ObjectReport, ProbeReport
from headgate.model.refs import ObjectRef
from headgate.model.secret import SecretValue
from headgate.model.sentences import sentence, telling
from headgate.model.snapshot import Broken, DataObject
from headgate.model.verdict import spell
from headgate.store import Put

#: What of an object's metadata decides anything.
_META = ("name", "namespace", "uid", "generation", "creationTimestamp", "labels")


@dataclass(frozen=True, slots=True)
class Said:
    """The status that an object has, as digests: `exact`, and `settled` without the times in it."""

    exact: bytes
    settled: bytes


@dataclass(frozen=True, slots=True)
class Seen:
    """An object of ours as the API server has it. What its status says: `probed`, that probes have found; `missing`, that could
    not be made for it; `made`, that all is there which calls need, as it is declared now."""

    put: Put
    uid: str
    said: Said
    probed: ProbeReport | None = None
    missing: tuple[ObjectReport, ...] = ()
    made: bool = False


def ref_of(kind: str, document: Mapping[str, Any]) -> ObjectRef:
    """The object that a document is about."""
    meta = document["metadata"]
    return ObjectRef(kind, meta.get("namespace", ""), meta["name"])


def version_of(document: Mapping[str, Any]) -> str:
    """Its resourceVersion."""
    return str(document["metadata"].get("resourceVersion", ""))


def seen(ref: ObjectRef, document: Mapping[str, Any], before: Seen | None = None) -> Seen:
    """An object of ours. `before`: how it was seen last; where only its status is another one, what was declared is not read
    again, and not held twice."""
    meta = document["metadata"]
    there = document.get("status") or {}
    probed = recalled(there) if ref.kind == "UpstreamService" else None
    known = before is not None and before.put.revision == _revision(meta)
    put = before.put if before is not None and known else _put(ref, document)
    all_there = made(there, int(meta.get("generation") or 0))
    return Seen(put, str(meta.get("uid", "")), said(there), probed, missing(there), all_there)


def _revision(meta: Mapping[str, Any]) -> str:
    """It changes with the spec (generation), with the labels, and when it is another object of the same name; not with its
    status, or every status that is written would ask for another compile."""
    return f"{int(meta.get('generation') or 0)}-{_digest([meta.get('uid'), meta.get('labels')]).hex()}"


def _put(ref: ObjectRef, document: Mapping[str, Any]) -> Put:
    meta = {key: document["metadata"][key] for key in _META if document["metadata"].get(key) is not None}
    generation = int(meta.get("generation", 0))
    revision = _revision(meta)
    model = KINDS[ref.kind]
    try:
        whole = {"apiVersion": document.get("apiVersion"), "kind": ref.kind, "metadata": meta}
        return Put(ref, revision, model.read({**whole, "spec": document.get("spec")}))
    except ValidationError as error:
        found = [sentence(model, each) for each in telling(error.errors(include_url=False))]
        message = "; ".join(f"{spell(path)}: {words}" if path else words for path, words in found)
        return Put(ref, revision, Broken(Reason.INVALID_SPEC, message, generation))


def status(ref: ObjectRef, document: Mapping[str, Any]) -> Status | None:
    """The status that stands there, so that the times in it go on; None where there is none that can be read."""
    found = document.get("status")
    model = next(
        each for each in getattr(KINDS[ref.kind].model_fields["status"].annotation, "__args__", ()) if each is not None
    )
    if not found:
        return None
    try:
        written: Document = model.model_validate(found)
    except ValidationError:
        return None
    return Status(written)


def said(found: Mapping[str, Any]) -> Said:
    """Digests of a status."""
    return Said(_digest(found), _digest(_without_times(found)))


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(each) for key, each in value.items() if key not in {"lastTransitionTime", "since"}}
    return [_without_times(each) for each in value] if isinstance(value, list) else value


def labels(document: Mapping[str, Any]) -> Mapping[str, str]:
    """A namespace's."""
    return MappingProxyType(dict(document["metadata"].get("labels") or {}))


def data(ref: ObjectRef, document: Mapping[str, Any]) -> DataObject:
    """A Secret or a ConfigMap. Its values are wrapped here; nothing else of it is kept."""
    values: dict[str, SecretValue] = {}
    plain, encoded = ({}, document.get("data")) if ref.kind == "Secret" else (document.get("data"), None)
    for key, text in (plain or {}).items():
        values[key] = SecretValue(text.encode())
    for key, text in (encoded or document.get("binaryData") or {}).items():
        try:
            values[key] = SecretValue(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):  # the API server lets none pass
            continue
    content = {key: value.fingerprint for key, value in values.items()}
    return DataObject(ref, _digest(content).hex(), MappingProxyType(values), version_of(document))


def _digest(value: Any) -> bytes:
    return hashlib.blake2b(json.dumps(value, sort_keys=True, default=str).encode(), digest_size=8).digest()
