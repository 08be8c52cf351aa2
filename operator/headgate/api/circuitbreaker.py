"""CircuitBreaker: when to stop calling a provider, and how to begin again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from headgate.api.attachment import POLICY_LABELS, PolicySpec
from headgate.api.base import Model
from headgate.api.meta import Column, Kind, Names
from headgate.api.retrypolicy import POLICY_COLUMNS
from headgate.api.rules import at_least, at_most, not_shorter
from headgate.api.status import PolicyStatus
from headgate.api.types import AS_SET, Duration, Percent, Seq, Status

Ceiling = Annotated[int | None, Field(default=None, ge=1, le=1_000_000)]


class FailureRate(Model):
    """Opens by the share of failed calls."""

    threshold: Annotated[Percent, Field(description="Per cent of failed calls, 1 to 100, at which it opens.")]
    sampling_window: Annotated[
        Duration | None,
        Field(default=None, description="The time that is looked back on, 1s to 10m. Default 30s."),
    ]
    minimum_requests: Annotated[
        int | None,
        Field(default=None, ge=1, le=1_000_000, description="Calls in the window before the rate counts. Default 10."),
    ]

    rules = (at_least("samplingWindow", "1s"), at_most("samplingWindow", "10m"))


class HalfOpen(Model):
    """How it begins again."""

    requests: Annotated[
        int | None,
        Field(
            default=None,
            ge=1,
            le=1000,
            description="Trial calls at a time after a break, and successes needed to close. Default 1.",
        ),
    ]


class CircuitBreakerSpec(PolicySpec):
    """When to stop calling."""

    max_connections: Annotated[Ceiling, Field(description="Connections per section and proxy. Default 1024.")]
    max_pending_requests: Annotated[
        Ceiling, Field(description="Calls waiting for a connection, per section and proxy. Default 1024.")
    ]
    max_parallel_requests: Annotated[
        Ceiling, Field(description="Calls in flight, per section and proxy. Default 1024.")
    ]
    max_parallel_retries: Annotated[
        Ceiling, Field(description="Retries in flight, per section and proxy. Default 1024.")
    ]
    consecutive_failures: Annotated[
        int | None,
        Field(
            default=None,
            ge=1,
            le=1000,
            description="Failed calls in a row at which it opens. Default 5, unless failureRate is given.",
        ),
    ]
    failure_rate: Annotated[
        FailureRate | None,
        Field(
            default=None,
            description="Opens by the share of failed calls, besides or instead of consecutiveFailures. Default: not counted.",
        ),
    ]
    http_error_codes: Annotated[
        Seq[Status],
        Field(
            default=(),
            max_length=32,
            description="Statuses that count as failures. Default 500 to 599; a call without an answer always counts.",
        ),
        AS_SET,
    ]
    break_duration: Annotated[
        Duration | None,
        Field(
            default=None,
            description="How long it stays open, refusing calls, before the first trial; at least 100ms. Default 30s.",
        ),
    ]
    max_break_duration: Annotated[
        Duration | None,
        Field(
            default=None,
            description="The break doubles after each failed trial, up to this; not shorter than breakDuration. Default ten times breakDuration.",
        ),
    ]
    half_open: Annotated[HalfOpen | None, Field(default=None, description="How it begins again after a break.")]

    rules = (
        at_least("breakDuration", "100ms"),
        at_least("maxBreakDuration", "100ms"),
        not_shorter("maxBreakDuration", "breakDuration"),
    )


class CircuitBreaker(Kind):
    """Stops calling a third-party API that fails, per section, whatever its DNS does."""

    names: ClassVar[Names] = Names("CircuitBreaker", "circuitbreakers", "circuitbreaker", ("cb",))
    columns: ClassVar[tuple[Column, ...]] = POLICY_COLUMNS
    labels: ClassVar[Mapping[str, str]] = POLICY_LABELS

    kind: Literal["CircuitBreaker"]
    spec: Annotated[CircuitBreakerSpec, Field(description="When to stop calling.")]
    status: Annotated[
        PolicyStatus | None, Field(default=None, description="Where it is in force. Written by Headgate.")
    ]
