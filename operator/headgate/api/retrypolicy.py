"""RetryPolicy: which failed calls are tried again, how often, and how long to wait."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from headgate.api.attachment import PolicySpec
from headgate.api.base import Model
from headgate.api.meta import AGE, Column, Kind, Names
from headgate.api.status import PolicyStatus
from headgate.api.types import Duration, HeaderName, Method, Seq, Status

ACCEPTED = Column("Accepted", '.status.conditions[?(@.type=="Accepted")].status')
PROGRAMMED = Column("Programmed", '.status.conditions[?(@.type=="Programmed")].status')
REASON = Column("Reason", '.status.conditions[?(@.type=="Ready")].reason')
TARGET_KIND = Column("Target-Kind", ".spec.targetRefs[0].kind")
TARGET = Column("Target", ".spec.targetRefs[0].name")
POLICY_COLUMNS = (ACCEPTED, PROGRAMMED, REASON, TARGET_KIND, TARGET, AGE)


class RetryOn(Model):
    """What is tried again."""

    triggers: Annotated[
        Seq[Literal["connect-failure", "refused-stream", "reset-before-request", "reset"]],
        Field(default=(), max_length=8, description="Failures without an answer. Default connect-failure, refused-stream and reset-before-request, which are safe for every method; reset is tried again for `methods` only."),
    ]
    http_status_codes: Annotated[Seq[Status], Field(default=(), max_length=32, description="Statuses that are tried again, for `methods` only. Default: what the provider's profile says, else 429, 502, 503 and 504.")]


class BackOff(Model):
    """Exponential, with full jitter."""

    base_interval: Annotated[Duration | None, Field(default=None, description="First wait, doubled each time. Default 100ms; at least 1ms.")]
    max_interval: Annotated[Duration | None, Field(default=None, description="Longest wait. Default ten times baseInterval.")]


class PerRetry(Model):
    """Each single try."""

    timeout: Annotated[Duration | None, Field(default=None, description="Time limit of one try. Default: only the section's request timeout counts.")]
    back_off: Annotated[BackOff | None, Field(default=None, description="Waits where the provider asks for none.")]


class ResetHeader(Model):
    """A response header that says when to try again."""

    name: Annotated[HeaderName, Field(description="Header name.")]
    format: Annotated[Literal["Seconds", "Milliseconds", "UnixTimestamp", "HTTPDate", "RetryAfter"], Field(description="How to read it; RetryAfter is whole seconds or an HTTP date, as RFC 9110 has it.")]


class RateLimitedBackOff(Model):
    """Waits that the provider asks for."""

    reset_headers: Annotated[Seq[ResetHeader], Field(default=(), max_length=8, description="Headers that say how long, the first present one counts. Default: what the provider's profile says, else Retry-After.")]
    max_interval: Annotated[Duration | None, Field(default=None, description="Longest wait that is honoured. Default 30s.")]


class RetryPolicySpec(PolicySpec):
    """How failed calls are repeated."""

    attempts: Annotated[int | None, Field(default=None, ge=0, le=10, description="Tries after the first one; 0 for none. Default 2.")]
    retry_on: Annotated[RetryOn | None, Field(default=None, description="What is tried again.")]
    methods: Annotated[Seq[Method], Field(default=(), max_length=16, description="Methods that may be tried again after the provider has seen the request. Default GET, HEAD, OPTIONS, PUT and DELETE, plus what the provider's profile knows to be safe.")]
    per_retry: Annotated[PerRetry | None, Field(default=None, description="Each single try.")]
    rate_limited_back_off: Annotated[RateLimitedBackOff | None, Field(default=None, description="Waits that the provider asks for.")]
    on_exceed: Annotated[Literal["FailFast", "BackOff"] | None, Field(default=None, description="When the provider asks for a longer wait than allowed or than the caller has time for: FailFast (default) passes its answer on at once, BackOff tries again after the ordinary wait.")]


class RetryPolicy(Kind):
    """Repeats failed calls to third-party APIs, safely."""

    names: ClassVar[Names] = Names("RetryPolicy", "retrypolicies", "retrypolicy")
    columns: ClassVar[tuple[Column, ...]] = POLICY_COLUMNS

    kind: Literal["RetryPolicy"]
    spec: Annotated[RetryPolicySpec, Field(description="How failed calls are repeated.")]
    status: Annotated[PolicyStatus | None, Field(default=None, description="Where it is in force. Written by Headgate.")]
