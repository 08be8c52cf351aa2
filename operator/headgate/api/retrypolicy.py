"""RetryPolicy: which failed calls are tried again, how often, and how long to wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from headgate.api.attachment import POLICY_LABELS, PolicySpec
from headgate.api.base import Model
from headgate.api.meta import AGE, MESSAGE, TROUBLE, Column, Kind, Names
from headgate.api.rules import at_least, not_shorter
from headgate.api.status import PolicyStatus
from headgate.api.types import AS_SET, Duration, HeaderName, Method, Seq, Status

ACCEPTED = Column(
    "Accepted",
    '.status.conditions[?(@.type=="Accepted")].status',
    description="It is valid, and no other is in its way.",
)
PROGRAMMED = Column(
    "Programmed", '.status.conditions[?(@.type=="Programmed")].status', description="Every proxy has it."
)
TARGET_KIND = Column("Target-Kind", ".spec.targetRefs[0].kind", description="Kind of the first target by name.")
TARGET = Column("Target", ".spec.targetRefs[0].name", description="Name of the first target by name.")
POLICY_COLUMNS = (ACCEPTED, PROGRAMMED, *TROUBLE, TARGET_KIND, TARGET, MESSAGE, AGE)


class RetryOn(Model):
    """What is tried again."""

    triggers: Annotated[
        Seq[Literal["connect-failure", "refused-stream", "reset-before-request", "reset"]],
        Field(
            default=(),
            max_length=8,
            description="Failures without an answer. connect-failure: no connection came about. refused-stream: the provider refused before it did anything. reset-before-request: the connection broke before the request was sent. reset: it broke at any time before the answer, for `methods` only. Default the first three, which are safe for every method.",
        ),
        AS_SET,
    ]
    http_status_codes: Annotated[
        Seq[Status],
        Field(
            default=(),
            max_length=32,
            description="Statuses that are tried again, for `methods` only. Default: what the provider's profile says, else 429, 502, 503 and 504.",
        ),
        AS_SET,
    ]


class BackOff(Model):
    """Exponential, with full jitter."""

    base_interval: Annotated[
        Duration | None,
        Field(
            default=None,
            description="Longest wait before the first retry, at least 1ms; doubled each time, and the wait is drawn at random from zero up to it. Default 100ms.",
        ),
    ]
    max_interval: Annotated[
        Duration | None,
        Field(
            default=None,
            description="Longest wait before any retry, not shorter than baseInterval. Default ten times baseInterval.",
        ),
    ]

    rules = (
        at_least("baseInterval", "1ms"),
        at_least("maxInterval", "1ms"),
        not_shorter("maxInterval", "baseInterval"),
    )


class PerRetry(Model):
    """Each single try."""

    timeout: Annotated[
        Duration | None,
        Field(
            default=None,
            description="Time limit of one try, at least 1ms. A try that takes longer is given up and, for `methods`, tried again, as with the trigger reset. Default: only the section's request timeout counts.",
        ),
    ]
    back_off: Annotated[
        BackOff | None, Field(default=None, description="Waits between tries where the provider asks for none.")
    ]

    rules = (at_least("timeout", "1ms"),)


class ResetHeader(Model):
    """A response header that says when to try again."""

    name: Annotated[HeaderName, Field(description="Header name.")]
    format: Annotated[
        Literal["Seconds", "Milliseconds", "UnixTimestamp", "HTTPDate", "RetryAfter"],
        Field(
            description="How to read it. Seconds and Milliseconds: so long from now. UnixTimestamp: seconds since 1970. HTTPDate: a date. RetryAfter: whole seconds or a date, as RFC 9110 has it."
        ),
    ]


class RateLimitedBackOff(Model):
    """Waits that the provider asks for."""

    reset_headers: Annotated[
        Seq[ResetHeader],
        Field(
            default=(),
            max_length=8,
            description="Response headers that say how long; of several, the longest wait counts. Others than Retry-After count with 403 and 429 only. Default: what the provider's profile says, else Retry-After.",
        ),
    ]
    max_interval: Annotated[
        Duration | None,
        Field(
            default=None,
            description="Longest wait that is honoured, at least 1ms; what happens beyond it is said by onExceed. Default 30s.",
        ),
    ]

    rules = (at_least("maxInterval", "1ms"),)


class RetryPolicySpec(PolicySpec):
    """How failed calls are repeated."""

    attempts: Annotated[
        int | None,
        Field(default=None, ge=0, le=10, description="Tries after the first one; 0 for none. Default 2."),
    ]
    retry_on: Annotated[RetryOn | None, Field(default=None, description="What is tried again.")]
    methods: Annotated[
        Seq[Method],
        Field(
            default=(),
            max_length=16,
            description="Methods that may be tried again after the provider has seen the request. Default GET, HEAD, OPTIONS, PUT and DELETE, plus what the provider's profile knows to be safe.",
        ),
        AS_SET,
    ]
    per_retry: Annotated[
        PerRetry | None, Field(default=None, description="Time limit of each try, and the waits between them.")
    ]
    rate_limited_back_off: Annotated[
        RateLimitedBackOff | None, Field(default=None, description="Waits that the provider asks for.")
    ]
    on_exceed: Annotated[
        Literal["FailFast", "BackOff"] | None,
        Field(
            default=None,
            description="When the provider asks for a longer wait than allowed or than the caller has time for. FailFast: pass its answer on at once. BackOff: try again after the ordinary wait. Default FailFast.",
        ),
    ]


class RetryPolicy(Kind):
    """Repeats failed calls to third-party APIs, safely."""

    names: ClassVar[Names] = Names("RetryPolicy", "retrypolicies", "retrypolicy")
    columns: ClassVar[tuple[Column, ...]] = POLICY_COLUMNS
    labels: ClassVar[Mapping[str, str]] = POLICY_LABELS

    kind: Literal["RetryPolicy"]
    spec: Annotated[RetryPolicySpec, Field(description="How failed calls are repeated.")]
    status: Annotated[
        PolicyStatus | None, Field(default=None, description="Where it is in force. Written by Headgate.")
    ]
