"""RateLimit: how many calls a provider gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from headgate.api.attachment import POLICY_LABELS, PolicySpec
from headgate.api.base import Model, Rule
from headgate.api.meta import Column, Kind, Names
from headgate.api.retrypolicy import POLICY_COLUMNS
from headgate.api.rules import at_least
from headgate.api.status import PolicyStatus
from headgate.api.types import AS_SET, BY_NAME, Duration, HeaderName, Label, Method, Seq


class LimitHeaderMatch(Model):
    """A match on one request header."""

    name: Annotated[HeaderName, Field(description="Header name.")]
    type: Annotated[
        Literal["Exact", "RegularExpression", "Distinct"] | None,
        Field(
            default=None,
            description="Exact: value is the header's whole value. RegularExpression: value is a regular expression (RE2) for all of it. Distinct: any value, each with a budget of its own. Default Exact.",
        ),
    ]
    value: Annotated[
        str | None,
        Field(
            default=None,
            max_length=1024,
            description="What the header's value is compared with. Leave it out for Distinct.",
        ),
    ]

    rules = (
        Rule(
            "(has(self.type) && self.type == 'Distinct') != has(self.value)",
            "give value, except for type Distinct",
            lambda self: (self.type == "Distinct") != (self.value is not None),
            "value",
        ),
    )


class LimitPath(Model):
    """A match on the path without the query."""

    type: Annotated[
        Literal["Exact", "PathPrefix", "RegularExpression"] | None,
        Field(
            default=None,
            description="Exact: value is the whole path. PathPrefix: value is its first whole segments. RegularExpression: value is a regular expression (RE2) for all of it. Default PathPrefix.",
        ),
    ]
    value: Annotated[
        str, Field(min_length=1, max_length=1024, description="What the path is compared with, from its leading slash.")
    ]

    rules = (
        Rule(
            "(has(self.type) && self.type == 'RegularExpression') || self.value.startsWith('/')",
            "a path begins with a slash: write /v1, not v1",
            lambda self: self.type == "RegularExpression" or self.value.startswith("/"),
            "value",
        ),
    )


class ClientSelector(Model):
    """All that is given must match."""

    headers: Annotated[
        Seq[LimitHeaderMatch],
        Field(default=(), max_length=8, description="Request headers that must be there, all of them."),
    ]
    methods: Annotated[
        Seq[Method], Field(default=(), max_length=16, description="Any of these HTTP methods. Left out: all."), AS_SET
    ]
    path: Annotated[
        LimitPath | None,
        Field(
            default=None,
            description="The path as the caller wrote it, without /namespace/upstream, basePath and query.",
        ),
    ]

    rules = (
        Rule(
            "(has(self.headers) && size(self.headers) > 0) || (has(self.methods) && size(self.methods) > 0) || has(self.path)",
            "an empty selector would count every call: leave clientSelectors out for that",
            lambda self: bool(self.headers or self.methods or self.path),
        ),
    )


class LimitRate(Model):
    """So many per so long: 1200 per 5m."""

    requests: Annotated[int, Field(ge=1, le=1_000_000_000, description="How many calls.")]
    interval: Annotated[Duration, Field(description="Per how long: 1s, 5m, 24h. At least 100ms.")]

    rules = (at_least("interval", "100ms"),)


class LimitRule(Model):
    """One limit."""

    name: Annotated[
        Label, Field(description="Name of the rule. What is used of its budget stays with the name through edits.")
    ]
    client_selectors: Annotated[
        Seq[ClientSelector],
        Field(
            default=(), max_length=8, description="Which calls count: those that any of these matches. Left out: all."
        ),
    ]
    limit: Annotated[LimitRate, Field(description="The steady rate: so many requests per interval.")]
    burst: Annotated[
        int | None,
        Field(
            default=None,
            ge=1,
            le=1_000_000_000,
            description="How many at once after a quiet time. Default: as many as limit.requests.",
        ),
    ]


class RateLimitSpec(PolicySpec):
    """Limits that are all enforced, together with those of every other RateLimit on the same target."""

    scope: Annotated[
        Literal["Gateway", "Replica"] | None,
        Field(
            default=None,
            description="Gateway: one budget for all replicas of the gateway. Replica: one in each. Default Gateway.",
        ),
    ]
    rules_: Annotated[
        Seq[LimitRule],
        Field(
            alias="rules",
            min_length=1,
            max_length=16,
            description="The limits. All are enforced, together with those of other RateLimits on the same target.",
        ),
        BY_NAME,
    ]


class RateLimit(Kind):
    """Keeps the calls to a third-party API under its limits."""

    names: ClassVar[Names] = Names("RateLimit", "ratelimits", "ratelimit", ("rl",))
    columns: ClassVar[tuple[Column, ...]] = POLICY_COLUMNS
    labels: ClassVar[Mapping[str, str]] = POLICY_LABELS

    kind: Literal["RateLimit"]
    spec: Annotated[RateLimitSpec, Field(description="The limits.")]
    status: Annotated[
        PolicyStatus | None, Field(default=None, description="Where it is in force. Written by Headgate.")
    ]
