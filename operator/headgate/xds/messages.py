"""What goes in and out of a stream's state machine, and its limits. Frozen values; protobuf is met only in `session.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headgate.envoy.resource import Resource, TypeUrl


@dataclass(frozen=True, slots=True)
class Order:
    """Limits of a stream. `patience` in seconds; `batch_bytes` bounds a response unless one resource alone is larger."""

    patience: float = 10.0
    batch_resources: int = 256
    batch_bytes: int = 1 << 20
    #: Up to so many changes of a type that one bad resource spoils go one by one; more than that is bulk.
    single_up_to: int = 64
    first_scopes_bytes: int = 32 << 20


@dataclass(frozen=True, slots=True)
class Request:
    """A DeltaDiscoveryRequest. `error` is the NACK's message, None otherwise."""

    type_url: TypeUrl
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)
    nonce: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """A DeltaDiscoveryResponse: additions or removals, never both."""

    type_url: TypeUrl
    nonce: str
    resources: tuple[Resource, ...] = ()
    removed: tuple[str, ...] = ()
