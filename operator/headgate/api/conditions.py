"""Conditions: their types, and every reason that Headgate ever gives.

A reason is CamelCase and stands for one cause; the message beside it is a sentence that says what to do.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from headgate.api.base import Model


class ConditionType(StrEnum):
    #: The object itself is valid, attached and not in conflict with another.
    ACCEPTED = "Accepted"
    #: Everything that it refers to (Secrets, gateways, targets) is there and usable.
    RESOLVED_REFS = "ResolvedRefs"
    #: Every connected proxy has acknowledged what this generation compiled to, and the Service by which it is called leads to one.
    PROGRAMMED = "Programmed"
    #: The three above: what was declared is in force.
    READY = "Ready"
    #: How the provider is doing; no part of Ready.
    HEALTHY = "Healthy"


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Reason(StrEnum):
    # Accepted
    ACCEPTED = "Accepted"
    INVALID_SPEC = "InvalidSpec"
    UNKNOWN_PROVIDER = "UnknownProvider"
    INVALID_REGEX = "InvalidRegex"
    FORBIDDEN_ADDRESS = "ForbiddenAddress"
    CONFLICTED = "Conflicted"
    TARGET_NOT_FOUND = "TargetNotFound"
    DUPLICATE_NAME = "DuplicateName"
    NOT_ALLOWED_BY_GATEWAY = "NotAllowedByGateway"
    # ResolvedRefs
    RESOLVED_REFS = "ResolvedRefs"
    GATEWAY_NOT_FOUND = "GatewayNotFound"
    GATEWAY_NOT_ACCEPTED = "GatewayNotAccepted"
    SECRET_NOT_FOUND = "SecretNotFound"
    SECRET_KEY_NOT_FOUND = "SecretKeyNotFound"
    INVALID_SECRET = "InvalidSecret"
    SECRET_FORBIDDEN = "SecretForbidden"
    # Programmed
    PROGRAMMED = "Programmed"
    PENDING = "Pending"
    REJECTED_BY_PROXY = "RejectedByProxy"
    RENDER_FAILED = "RenderFailed"
    NO_PROXY_CONNECTED = "NoProxyConnected"
    NOT_ACCEPTED = "NotAccepted"
    SERVICE_NAME_TAKEN = "ServiceNameTaken"
    OBJECT_NAME_TAKEN = "ObjectNameTaken"
    OBJECT_REFUSED = "ObjectRefused"
    REPLICA_UNREACHABLE = "ReplicaUnreachable"
    NO_POD_READY = "NoPodReady"
    # Ready
    READY = "Ready"
    # Healthy
    HEALTHY = "Healthy"
    NO_TRAFFIC_YET = "NoTrafficYet"
    CIRCUIT_OPEN = "CircuitOpen"
    CALLS_FAILING = "CallsFailing"
    CREDENTIAL_REJECTED = "CredentialRejected"
    PROJECT_PAUSED = "ProjectPaused"
    PROBE_FAILED = "ProbeFailed"


class Condition(Model):
    """One condition of an object, as `metav1.Condition`."""

    type: Annotated[str, Field(max_length=316, description="The condition's type, CamelCase.")]
    status: Annotated[Literal["True", "False", "Unknown"], Field(description="True, False or Unknown.")]
    observed_generation: Annotated[
        int | None,
        Field(default=None, ge=0, description="The metadata.generation that this condition was computed from."),
    ]
    last_transition_time: Annotated[
        str,
        Field(
            default="", description="When the status last changed, RFC 3339.", json_schema_extra={"format": "date-time"}
        ),
    ]
    reason: Annotated[str, Field(max_length=1024, description="One word for the cause, CamelCase.")]
    message: Annotated[str, Field(default="", max_length=32768, description="A sentence that says what to do.")]
