"""Reading objects in Kubernetes' shape, as `headgate get -o json` and the status file give them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Object = dict[str, Any]


def items(document: Any) -> list[Object]:
    """The objects of a List, of a plain list, or the one object that it is."""
    match document:
        case {"items": list() as found} | {"objects": list() as found} | (list() as found):
            return found
        case {"kind": str()}:
            return [document]
        case _:
            raise ValueError(f"neither a list nor an object: {str(document)[:200]}")


def identity(found: Object) -> tuple[str, str, str]:
    """Kind, namespace and name; the namespace is `default` where none is given."""
    metadata = found.get("metadata") or {}
    return str(found.get("kind")), str(metadata.get("namespace") or "default"), str(metadata.get("name"))


def generation(found: Object) -> int:
    """`metadata.generation`, which starts at 1; -1 without one."""
    return int((found.get("metadata") or {}).get("generation") or -1)


def conditions(found: Object) -> Iterator[Object]:
    """The object's conditions, then those of each of its ancestors (which policies have)."""
    status = found.get("status") or {}
    yield from status.get("conditions", [])
    for ancestor in status.get("ancestors", []):
        yield from ancestor.get("conditions", [])


def condition(found: Object, type_: str) -> Object | None:
    """The first condition of a type."""
    return next((c for c in conditions(found) if c["type"] == type_), None)
