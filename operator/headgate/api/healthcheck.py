"""Active health checks: every proxy asks every endpoint."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from headgate.api.base import Model, Rule
from headgate.api.rules import at_least
from headgate.api.types import Duration, Hostname, PathPrefix, Seq, Status


class StatusRange(Model):
    """Statuses from start to end, both included."""

    start: Annotated[Status, Field(description="First status.")]
    end: Annotated[Status, Field(description="Last status, itself included.")]

    rules = (Rule("self.start <= self.end", "start must not be above end", lambda self: self.start <= self.end, "end"),)


class ActiveHealthCheck(Model):
    """An HTTP check of every endpoint, by every proxy. It carries no credential."""

    path: Annotated[
        PathPrefix, Field(description="Path to ask for, from the root of the host (basePath is not added).")
    ]
    method: Annotated[
        Literal["GET", "HEAD", "OPTIONS"] | None,
        Field(default=None, description="HTTP method: GET, HEAD or OPTIONS. Default GET."),
    ]
    hostname: Annotated[
        Hostname | None, Field(default=None, description="Host header of the check. Default: the endpoint's hostname.")
    ]
    interval: Annotated[
        Duration | None, Field(default=None, description="Time between two checks, at least 1s. Default 10s.")
    ]
    timeout: Annotated[
        Duration | None,
        Field(
            default=None, description="How long a check may take: at least 1ms, not longer than interval. Default 2s."
        ),
    ]
    unhealthy_threshold: Annotated[
        int | None,
        Field(
            default=None, ge=1, le=100, description="Failed checks in a row before an endpoint is left out. Default 3."
        ),
    ]
    healthy_threshold: Annotated[
        int | None,
        Field(default=None, ge=1, le=100, description="Good checks in a row before it is used again. Default 1."),
    ]
    expected_statuses: Annotated[
        Seq[StatusRange],
        Field(
            default=(),
            max_length=8,
            description="Statuses that count as good, in any of these ranges. Default 200 to 299.",
        ),
    ]

    rules = (at_least("interval", "1s"), at_least("timeout", "1ms"))


class HealthCheck(Model):
    """How endpoints are checked."""

    active: Annotated[
        ActiveHealthCheck,
        Field(
            description="Ask every endpoint regularly, without a credential; one that fails gets no calls. The endpoints must be IP addresses, unless the gateway has egress.allowedCIDRs."
        ),
    ]
