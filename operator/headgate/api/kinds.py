"""All kinds, in one place: a new kind is a module and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from headgate.api.attachment import PolicySpec
from headgate.api.circuitbreaker import CircuitBreaker
from headgate.api.gateway import IntegrationGateway
from headgate.api.meta import Kind
from headgate.api.ratelimit import RateLimit
from headgate.api.retrypolicy import RetryPolicy
from headgate.api.upstream import UpstreamService

KINDS: Mapping[str, type[Kind]] = MappingProxyType(
    {kind.names.kind: kind for kind in (IntegrationGateway, UpstreamService, RetryPolicy, CircuitBreaker, RateLimit)}
)


def _is_policy(kind: type[Kind]) -> bool:
    spec = kind.model_fields["spec"].annotation
    return isinstance(spec, type) and issubclass(spec, PolicySpec)


#: The names of those that are attached to others (`api.attachment`), sorted.
POLICIES: tuple[str, ...] = tuple(sorted(name for name, kind in KINDS.items() if _is_policy(kind)))
