"""What all objects have in common: how one is written down, its name, its labels, its owner.

Labels of an owner are never copied to what is made for it. Tools that deliver YAML tell by labels what they brought, and
would remove what has them and is not in their source; for the same reason `app.kubernetes.io/instance` is not used, by
which Argo CD knows its own unless it is told otherwise.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from headgate.api.base import GROUP, VERSION
from headgate.infra.settings import NO_LABELS
from headgate.model.refs import ObjectRef

Document = dict[str, Any]

#: By these everything that Headgate made is found.
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
COMPONENT: Final = "app.kubernetes.io/component"
MANAGER: Final = "headgate"
#: The gateway that an object is for; a long name is shortened as `label_value` does.
GATEWAY_LABEL: Final = f"{GROUP}/gateway"
GATEWAY_NAMESPACE_LABEL: Final = f"{GROUP}/gateway-namespace"
_LONGEST: Final = 63
_SUFFIX: Final = "-headgate"


@dataclass(frozen=True, slots=True)
class Owner:
    """One of our objects, in whose namespace and with whose life its children live."""

    ref: ObjectRef
    uid: str

    def reference(self) -> Document:
        """`blockOwnerDeletion` stays away: it needs a permission on the owner's finalizers, and nothing is won by it."""
        kind, _, name = self.ref
        return {"apiVersion": f"{GROUP}/{VERSION}", "controller": True, "kind": kind, "name": name, "uid": self.uid}


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object to be applied. Compared by content; the content shows nowhere, since it may be a Secret's."""

    ref: ObjectRef
    owner: Owner
    #: Canonical JSON of all but its name, namespace and owner: ten thousand upstreams have one text for their Services.
    rest: str = field(repr=False)

    def document(self) -> Document:
        """A fresh copy to send."""
        found: Document = json.loads(self.rest)
        meta = {"name": self.ref.name, "namespace": self.ref.namespace, "ownerReferences": [self.owner.reference()]}
        found["metadata"].update(meta)
        return found


def manifest(
    owner: Owner,
    api_version: str,
    kind: str,
    name: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, str] = NO_LABELS,
    **rest: Any,
) -> Manifest:
    """An object in its owner's namespace; `rest` is what stands beside the metadata."""
    metadata: Document = {"labels": dict(labels)}
    if annotations:
        metadata["annotations"] = dict(annotations)
    document = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    # Interned texts go when nobody has them any more: a cache would keep a Secret's.
    return Manifest(ObjectRef(kind, owner.ref.namespace, name), owner, sys.intern(text))


def child_name(gateway: str) -> str:
    """The name of all objects of a gateway: its own with `-headgate` (as GEP-1762 of the Gateway API has it, so that it
    meets neither an upstream's Service nor somebody else's). Always one that a Service may have."""
    plain = gateway.replace(".", "-")
    plain = plain if plain[0].isalpha() else f"gw-{plain}"
    if plain != gateway or len(plain) > _LONGEST - len(_SUFFIX):
        plain = f"{plain[: _LONGEST - len(_SUFFIX) - 9].rstrip('-')}-{_short_hash(gateway)}"
    return plain + _SUFFIX


def label_value(name: str) -> str:
    """A name as the value of a label, which may be shorter only: the same names give the same value, others another."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 9].rstrip('-.')}-{_short_hash(name)}"


def gateway_labels(gateway: ObjectRef) -> dict[str, str]:
    """Of what is made for a gateway in its own namespace."""
    return {
        "app.kubernetes.io/name": "headgate",
        MANAGED_BY: MANAGER,
        **selector(gateway),
    }


def selector(gateway: ObjectRef) -> dict[str, str]:
    """By which a gateway's pods are known within its namespace. A Deployment can't change it: nothing may be added."""
    return {COMPONENT: "gateway", GATEWAY_LABEL: label_value(gateway.name)}


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
