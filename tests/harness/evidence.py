"""What `headgate check` read of a cluster, on disk and back: recordings for the tests of its checks.

`python -m harness.evidence FILE [NAMESPACE]` records the cluster of the usual kubeconfig. No Secret's value is ever in it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from headgate.api.crdgen import crd
from headgate.api.kinds import KINDS
from headgate.cli.checking.evidence import Evidence, Look, Right, Rights
from headgate.cli.checking.reading import read
from headgate.cli.connecting import ask
from headgate.cli.worlds import Cluster

_LOOKS_BY_NAME = {"definitions", "policies"}
_RIGHTS = {"rights", "installing"}
_TIMES = {"clock", "own_clock"}


def dump(evidence: Evidence) -> str:
    """As JSON."""
    found: dict[str, Any] = {}
    for field in fields(evidence):
        value = getattr(evidence, field.name)
        match value:
            case Look():
                found[field.name] = _look(value)
            case Rights():
                rights = [{**asdict(right), "allowed": allowed} for right, allowed in value.allowed.items()]
                found[field.name] = {"why": value.why, "rights": rights}
            case datetime():
                found[field.name] = value.isoformat()
            case Mapping() if field.name in _LOOKS_BY_NAME:
                found[field.name] = {name: _look(look) for name, look in value.items()}
            case Mapping() if field.name == "authorities":
                found[field.name] = {name: until.isoformat() for name, until in value.items()}
            case _:
                found[field.name] = value
    return json.dumps(found, indent=1, sort_keys=True) + "\n"


def load(path: Path) -> Evidence:
    """Of a recording."""
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    for name, value in found.items():
        if name in _TIMES:
            found[name] = datetime.fromisoformat(value)
        elif name in _RIGHTS:
            rights = {
                Right(**{k: v for k, v in each.items() if k != "allowed"}): each["allowed"] for each in value["rights"]
            }
            found[name] = Rights(rights, value["why"])
        elif name == "definitions":
            found[name] = {kind: _of(_with_versions(kind, each)) for kind, each in value.items()}
        elif name in _LOOKS_BY_NAME:
            found[name] = {key: _of(each) for key, each in value.items()}
        elif name == "authorities":
            found[name] = {key: datetime.fromisoformat(each) for key, each in value.items()}
        elif isinstance(value, dict) and value.keys() == {"items", "status", "why"}:
            found[name] = _of(value)
    return Evidence(**found)


def _of(look: dict[str, Any]) -> Look:
    return Look(tuple(look["items"]), look["status"], look["why"])


def _look(look: Look) -> dict[str, Any]:
    items = [_without_bookkeeping(each) for each in look.items]
    return {"items": items, "status": look.status, "why": look.why}


def _without_bookkeeping(document: Any) -> Any:
    meta = {key: value for key, value in (document.get("metadata") or {}).items() if key != "managedFields"}
    found = {**document, "metadata": meta}
    if document.get("kind") == "CustomResourceDefinition":
        # Long, and of the version that it was recorded with: that a server keeps what it is given is tried on a real one.
        found["spec"] = {key: value for key, value in document["spec"].items() if key != "versions"}
    return found


def _with_versions(kind: str, look: dict[str, Any]) -> dict[str, Any]:
    versions = crd(KINDS[kind])["spec"]["versions"]
    items = [{**each, "spec": {**each["spec"], "versions": versions}} for each in look["items"]]
    return {**look, "items": items}


if __name__ == "__main__":
    namespace = sys.argv[2] if len(sys.argv) > 2 else "headgate-system"
    Path(sys.argv[1]).write_text(dump(ask(Cluster(), lambda connection: read(connection, namespace))), "utf-8")
