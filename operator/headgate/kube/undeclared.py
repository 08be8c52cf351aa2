"""Fields of a status that the cluster's CRDs do not have, because they are older than this operator. Pure.

The API server takes nothing of a server-side apply that has one, and names it in its answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

#: Names from `status` on. A list on the way is no part of it: the field is left out of each item.
Path = tuple[str, ...]

_SAID = re.compile(
    r"\.status((?:\.[A-Za-z0-9_]+|\[(?:\"(?:[^\"\\]|\\.)*\"|[^\]\"])*\])+): field not declared in schema"
)
_ITEM = re.compile(r"\[(?:\"(?:[^\"\\]|\\.)*\"|[^\]\"])*\]")


def undeclared(message: str) -> frozenset[Path]:
    """The fields that an API server's answer says it does not know."""
    return frozenset(tuple(_ITEM.sub("", found)[1:].split(".")) for found in _SAID.findall(message))


def without(content: Mapping[str, Any], paths: Iterable[Path]) -> dict[str, Any]:
    """A status without these fields."""
    found: dict[str, Any] = dict(content)
    for path in paths:
        found = _without(found, path)
    return found


def _without(value: Any, path: Path) -> Any:
    if isinstance(value, list):
        return [_without(each, path) for each in value]
    if not isinstance(value, dict) or path[0] not in value:
        return value
    if len(path) == 1:
        return {key: each for key, each in value.items() if key != path[0]}
    return {**value, path[0]: _without(value[path[0]], path[1:])}
