"""Which requests are meant: by path, method and headers.

Part of the Plan, and of what a provider's profile knows. Frozen values.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class PathKind(StrEnum):
    #: In limits only.
    EXACT = "Exact"
    PREFIX = "Prefix"
    REGEX = "Regex"


class HeaderMatchKind(StrEnum):
    EXACT = "Exact"
    REGEX = "RegularExpression"
    DISTINCT = "Distinct"


@dataclass(frozen=True, slots=True)
class PathMatch:
    """A match on the path as the caller wrote it, after the upstream's own prefix is off and without the query.

    A prefix matches whole path segments: `/v1` matches `/v1` and `/v1/x`, not `/v1beta`. A regex is RE2 and matches
    the whole path.
    """

    kind: PathKind
    value: str


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """A match on one request header; `Distinct` matches any value and (in limits only) counts each value apart."""

    name: str
    kind: HeaderMatchKind
    value: str = ""


@dataclass(frozen=True, slots=True)
class RequestMatch:
    """All that is given must match; an empty one matches everything."""

    path: PathMatch | None = None
    methods: tuple[str, ...] = ()
    headers: tuple[HeaderMatch, ...] = ()
