"""Objects that Headgate makes, as their metadata tells: whose they are, and what of them is ours. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from headgate.api.base import GROUP
from headgate.infra.manifest import MANAGED_BY
from headgate.infra.manifest import MANAGER as MAKER
from headgate.kube.client import MANAGER, Document
from headgate.model.refs import ObjectRef

#: What is on every object that Headgate makes.
LABEL, VALUE = MANAGED_BY, MAKER


@dataclass(frozen=True, slots=True)
class Controller:
    """The owner that an object lives and ends with; `ours`: it is of one of our kinds."""

    ref: ObjectRef
    uid: str
    ours: bool


@dataclass(frozen=True, slots=True)
class There:
    """An object as it is. `mark` changes with what is declared in it, and not with its status.
    `ours`: Headgate applied it. `counts`: Headgate says its number of replicas."""

    uid: str
    mark: str
    ours: bool
    controller: Controller | None = None
    counts: bool = False


def there(document: Document) -> There:
    """From an object, or its metadata alone."""
    meta = document["metadata"]
    # A generation counts changes of what is declared.
    declared = meta.get("generation") or _said(meta)
    mark = digest([declared, meta.get("labels"), meta.get("ownerReferences")])
    said = applied(meta)
    counts = any("f:replicas" in each.get("f:spec", {}) for each in said)
    return There(str(meta.get("uid", "")), mark, bool(said), controller(meta), counts)


def _said(meta: Document) -> list[Document]:
    """Who says what, and since when, but for what is said of a status: for kinds without a generation. An autoscaler's status is
    written every quarter of a minute, with a new version each time. A field that somebody else has written is Headgate's no
    longer, and one that is gone is nobody's."""
    return [each for each in meta.get("managedFields") or () if not each.get("subresource")]


def applied(meta: Document) -> list[dict[str, Any]]:
    """The fields that Headgate applied: one entry per version of the API, none if it never did."""
    return [
        each.get("fieldsV1") or {}
        for each in meta.get("managedFields") or ()
        if each.get("manager") == MANAGER and each.get("operation") == "Apply" and not each.get("subresource")
    ]


def controller(meta: Document) -> Controller | None:
    """Its controlling owner, if it has one."""
    for each in meta.get("ownerReferences") or ():
        if each.get("controller"):
            ref = ObjectRef(str(each.get("kind")), str(meta.get("namespace", "")), str(each.get("name")))
            return Controller(ref, str(each.get("uid")), str(each.get("apiVersion")).startswith(f"{GROUP}/"))
    return None


def digest(value: Any) -> str:
    """Of what JSON can say."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=8).hexdigest()
