"""Probes: a cheap call now and then, made by Headgate itself, that tells whether the provider is well and takes the key."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from headgate.api.base import Model
from headgate.api.healthcheck import StatusRange
from headgate.api.rules import at_least
from headgate.api.types import Duration, PathAndQuery, Seq


class Probe(Model):
    """How the provider is asked, from time to time, whether it is well and takes the credentials. It goes past the
    gateway: no limit counts it, and no breaker."""

    interval: Annotated[
        Duration | None,
        Field(
            default=None,
            description="Time between two probes, at least 10s; a little is added by chance. They count against what the provider allows. Default 5m, or more where the provider's profile asks for it.",
        ),
    ]
    path: Annotated[
        PathAndQuery | None,
        Field(
            default=None,
            description="Path to GET, as a caller would write it, with or without a query: basePath goes before it, and it is sent with the credentials of the section that it belongs to. Default: what the provider's profile knows; without either there are no probes.",
        ),
    ]
    expected_statuses: Annotated[
        Seq[StatusRange],
        Field(
            default=(),
            max_length=8,
            description="Statuses that say that all is well, in any of these ranges. Default 200 to 299.",
        ),
    ]
    disabled: Annotated[bool, Field(default=False, description="Make no probes. Default false.")]

    rules = (at_least("interval", "10s"),)
