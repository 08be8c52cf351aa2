"""RateLimit: how many calls a provider gets."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from headgate.api.attachment import PolicySpec
from headgate.api.base import Model, Rule
from headgate.api.meta import Column, Kind, Names
from headgate.api.retrypolicy import POLICY_COLUMNS
from headgate.api.status import PolicyStatus
from headgate.api.types import Duration, HeaderName, Label, Method, PathPrefix, Regex, Seq
from headgate.api.upstream import LIST_MAP


class LimitHeaderMatch(Model):
    """A match on one request header."""

    name: Annotated[HeaderName, Field(description="Header name.")]
    type: Annotated[Literal["Exact", "RegularExpression", "Distinct"] | None, Field(default=None, description="Exact (default), RegularExpression, or Distinct: any value, each with a budget of its own.")]
    value: Annotated[str | None, Field(default=None, max_length=1024, description="The value or the regular expression; none for Distinct.")]

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

    type: Annotated[Literal["Exact", "PathPrefix", "RegularExpression"] | None, Field(default=None, description="Default PathPrefix, by whole segments.")]
    value: Annotated[str, Field(min_length=1, max_length=1024, description="The path, prefix or regular expression.")]


class ClientSelector(Model):
    """All that is given must match."""

    headers: Annotated[Seq[LimitHeaderMatch], Field(default=(), max_length=8, description="Request headers.")]
    methods: Annotated[Seq[Method], Field(default=(), max_length=16, description="HTTP methods.")]
    path: Annotated[LimitPath | None, Field(default=None, description="Path as the caller wrote it, after the upstream's own prefix.")]

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


class LimitRule(Model):
    """One limit."""

    name: Annotated[Label, Field(description="Name of the rule; its budget keeps this identity through edits.")]
    client_selectors: Annotated[Seq[ClientSelector], Field(default=(), max_length=8, description="Which calls count: any of these; left out: all.")]
    limit: Annotated[LimitRate, Field(description="The steady rate.")]
    burst: Annotated[int | None, Field(default=None, ge=1, le=1_000_000_000, description="How many at once after a quiet time. Default: as many as limit.requests.")]


class RateLimitSpec(PolicySpec):
    """Limits that are all enforced, together with those of every other RateLimit on the same target."""

    scope: Annotated[Literal["Gateway", "Replica"] | None, Field(default=None, description="Gateway (default): one budget for all replicas of the gateway; Replica: one in each.")]
    rules_: Annotated[Seq[LimitRule], Field(alias="rules", min_length=1, max_length=16, description="The limits.", json_schema_extra=LIST_MAP)]


class RateLimit(Kind):
    """Keeps the calls to a third-party API under its limits."""

    names: ClassVar[Names] = Names("RateLimit", "ratelimits", "ratelimit", ("rl",))
    columns: ClassVar[tuple[Column, ...]] = POLICY_COLUMNS

    kind: Literal["RateLimit"]
    spec: Annotated[RateLimitSpec, Field(description="The limits.")]
    status: Annotated[PolicyStatus | None, Field(default=None, description="Where it is in force. Written by Headgate.")]
