"""The Secret that an authority is kept in: files by name, and notes on them (annotations).

A write names the version that was read, so that of two replicas that write one is refused. Nothing here looks at what the
files say, and nothing of them is ever logged.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field

from headgate.kube.client import Api, Document, Refused
from headgate.kube.reading import version_of
from headgate.kube.resources import SECRETS

_NOT_FOUND = 404
_LABELS = {
    "app.kubernetes.io/name": "headgate",
    "app.kubernetes.io/component": "authority",
    "app.kubernetes.io/managed-by": "headgate",
}


@dataclass(frozen=True, slots=True)
class Kept:
    """A Secret as it was read or written."""

    version: str
    files: Mapping[str, bytes] = field(repr=False)
    notes: Mapping[str, str] = field(default_factory=dict)
    #: As others made it: what they put on it stays.
    document: Document = field(default_factory=dict, repr=False, compare=False)


class SecretFiles:
    """One Secret. Every method raises ApiProblem."""

    def __init__(self, api: Api, namespace: str, name: str) -> None:
        self._api, self._namespace, self._name = api, namespace, name

    def __str__(self) -> str:
        return f"Secret {self._namespace}/{self._name}"

    async def read(self) -> Kept | None:
        """None where there is none."""
        try:
            return _kept(await self._api.get(SECRETS, self._namespace, self._name))
        except Refused as problem:
            if problem.status == _NOT_FOUND:
                return None
            raise

    async def write(self, before: Kept | None, files: Mapping[str, bytes], notes: Mapping[str, str]) -> Kept:
        """Over what was read, or anew. Refused with 409 if somebody else was quicker."""
        meta: Document = {"labels": _LABELS}
        if before is not None:
            meta = {**before.document["metadata"], "resourceVersion": before.version}
        meta |= {"name": self._name, "namespace": self._namespace, "annotations": dict(notes)}
        data = {name: base64.b64encode(each).decode() for name, each in sorted(files.items())}
        document = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque", "data": data}
        call = self._api.create if before is None else self._api.replace
        return _kept(await call(SECRETS, document))


def _kept(document: Document) -> Kept:
    meta = document["metadata"]
    files = {name: base64.b64decode(text) for name, text in (document.get("data") or {}).items()}
    shell = {"metadata": {key: each for key, each in meta.items() if key != "managedFields"}}
    return Kept(version_of(document), files, meta.get("annotations") or {}, shell)
