"""The status of each kind: what Headgate says back. No phase and no counters: what moves with every call is a metric."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, Strict

from headgate.api.base import Model
from headgate.api.conditions import Condition
from headgate.api.types import Seq, Unique

Conditions = Annotated[
    Seq[Condition], Field(default=(), max_length=16, description="Conditions, one of each type."), Unique("type")
]
ObservedGeneration = Annotated[
    int | None,
    Field(default=None, ge=0, description="The metadata.generation that this status was computed from."),
]

Trouble = Annotated[
    str | None,
    Field(default=None, max_length=1024, description="One word for what is wrong; empty when nothing is."),
]
Since = Annotated[
    str | None,
    Field(
        default=None,
        description="Since when it has been wrong, RFC 3339.",
        json_schema_extra={"format": "date-time"},
    ),
]


class AncestorRef(Model):
    """An object that a policy applies to."""

    group: Annotated[str, Field(max_length=253, description="API group of the object.")]
    kind: Annotated[str, Field(max_length=63, description="Kind of the object.")]
    name: Annotated[str, Field(max_length=253, description="Name of the object.")]
    namespace: Annotated[str, Field(max_length=63, description="Namespace of the object.")]
    section_name: Annotated[
        str | None, Field(default=None, max_length=63, description="The one section meant. Left out: all of it.")
    ]


class AncestorStatus(Model):
    """How a policy stands towards one of its targets."""

    ancestor_ref: Annotated[AncestorRef, Field(description="The target.")]
    controller_name: Annotated[str, Field(max_length=253, description="Who wrote this: headgate.dev/controller.")]
    conditions: Conditions


class PolicyStatus(Model):
    """Status of a RetryPolicy, CircuitBreaker or RateLimit."""

    observed_generation: ObservedGeneration
    conditions: Conditions
    reason: Trouble
    since: Since
    ancestors: Annotated[
        Seq[AncestorStatus],
        Field(default=(), max_length=16, description="Each target, and how the policy stands towards it."),
    ]


class PolicyInForce(Model):
    """A policy that shapes an upstream."""

    kind: Annotated[str, Field(max_length=63, description="Kind of the policy.")]
    name: Annotated[str, Field(max_length=253, description="Name of the policy.")]
    section_name: Annotated[
        str | None,
        Field(default=None, max_length=63, description="The section that it shapes. Left out: all of them."),
    ]


class CredentialState(StrEnum):
    """How far a credential's value has come to the proxies."""

    #: All proxies send this one: the one before may go.
    IN_USE = "InUse"
    #: Some proxies may send the one before still.
    ROLLING = "Rolling"
    #: The Secret, or its key, is not there or of no use; the value used last, if any, stays in force.
    MISSING = "Missing"
    #: The upstream is not served.
    UNUSED = "Unused"
    #: No proxy is connected that could say so, or a replica of the operator does not answer.
    UNKNOWN = "Unknown"


class CredentialStatus(Model):
    """How far a credential has come."""

    name: Annotated[str, Field(max_length=63, description="Name of the credential.")]
    section_name: Annotated[
        str | None,
        Field(default=None, max_length=63, description="The section whose own it is. Left out: it is for all of them."),
    ]
    secret_resource_version: Annotated[
        str | None,
        Field(
            default=None,
            max_length=253,
            description="The metadata.resourceVersion of the Secret that the value is from. Left out where there is none.",
        ),
    ]
    state: Annotated[
        CredentialState,
        Strict(False),
        Field(
            description="InUse: all proxies send the value of this version, so the one before may go. Rolling: some may send the one before still. Missing: the Secret, or its key, is not there or of no use; the value used last stays in force. Unused: the upstream is not served. Unknown: no proxy is connected, or a replica of the operator does not answer."
        ),
    ]


class UpstreamStatus(Model):
    """Status of an UpstreamService."""

    observed_generation: ObservedGeneration
    conditions: Conditions
    address: Annotated[
        str | None, Field(default=None, max_length=512, description="The base URL by which applications call it.")
    ]
    gateway: Annotated[
        str | None, Field(default=None, max_length=317, description="The gateway that serves it, namespace/name.")
    ]
    provider: Annotated[
        str | None,
        Field(
            default=None,
            max_length=63,
            description="The profile that fills what is left out: the one named, else generic.",
        ),
    ]
    host: Annotated[
        str | None,
        Field(
            default=None,
            max_length=253,
            description="The provider's host in force, after the profile has filled what was left out.",
        ),
    ]
    health: Annotated[
        str | None,
        Field(
            default=None,
            max_length=63,
            description="Healthy, Degraded, Unhealthy or Unknown, by what proxies and probes see.",
        ),
    ]
    circuit: Annotated[
        str | None,
        Field(default=None, max_length=63, description="Closed, HalfOpen or Open, with how many of the sections."),
    ]
    reason: Trouble
    since: Since
    policies: Annotated[
        Seq[PolicyInForce], Field(default=(), max_length=256, description="The policies that shape it.")
    ]
    credentials: Annotated[
        Seq[CredentialStatus],
        Field(default=(), max_length=256, description="Its credentials, and how far their newest values have come."),
    ]


class GatewayStatus(Model):
    """Status of an IntegrationGateway."""

    observed_generation: ObservedGeneration
    conditions: Conditions
    attached_upstreams: Annotated[int | None, Field(default=None, ge=0, description="How many upstreams it serves.")]
    proxies: Annotated[int | None, Field(default=None, ge=0, description="How many proxies are connected.")]
    reason: Trouble
    since: Since
