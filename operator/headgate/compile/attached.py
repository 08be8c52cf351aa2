"""What applies to one upstream: its own policies and its gateway's, and which of them counts for a section.

Frozen values. `policies` makes them, the features of RetryPolicy, CircuitBreaker, RateLimit and the like read them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from headgate.api.attachment import PolicySpec
from headgate.model.refs import ObjectRef
from headgate.model.shared import shared

S = TypeVar("S", bound=PolicySpec)


@dataclass(frozen=True, slots=True)
class Policy(Generic[S]):
    """A policy with the version of it that is in force; `stamp` is its revision."""

    ref: ObjectRef
    spec: S
    created: datetime
    stamp: str

    @property
    def seniority(self) -> tuple[datetime, str]:
        """The least is the one that wins."""
        return (self.created, self.ref.key)


@dataclass(frozen=True, slots=True)
class OnObject(Generic[S]):
    """The policies of one kind on one object, by section (None: the whole object), the winner first. `stamp` is equal
    when they are."""

    by_section: Mapping[str | None, tuple[Policy[S], ...]] = field(default_factory=lambda: MappingProxyType({}))
    stamp: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Nearest(Generic[S]):
    """A policy in force on a section: whether by the upstream (else by its gateway), and by which section's name."""

    policy: Policy[S]
    own: bool
    section: str | None


@dataclass(frozen=True, slots=True)
class Near(Generic[S]):
    """What applies to one upstream: its own policies and its gateway's."""

    upstream: OnObject[S]
    gateway: OnObject[S]

    def ranked(self, section: str) -> Iterator[Nearest[S]]:
        """The policies for the section, the nearest first: of an exclusive kind that one counts."""
        for own, on, name in ((True, self.upstream, section), (True, self.upstream, None), (False, self.gateway, None)):
            found = on.by_section.get(name)
            if found:
                yield Nearest(found[0], own, name)

    def every(self, section: str) -> Iterator[tuple[Policy[S], str | None]]:
        """Every policy for the section, each once, and the section that it was attached to."""
        seen = set()
        for on, name in ((self.upstream, section), (self.upstream, None), (self.gateway, None)):
            for policy in on.by_section.get(name, ()):
                if (policy.ref, name) not in seen:
                    seen.add((policy.ref, name))
                    yield policy, name


@dataclass(frozen=True, slots=True)
class Attached:
    """All that applies to one upstream, by the model of the policies' spec."""

    near: Mapping[type[PolicySpec], Near[Any]]

    def of(self, spec: type[S]) -> Near[S]:
        """What applies of one kind of policy."""
        return self.near[spec]

    @property
    def stamp(self) -> tuple[object, ...]:
        """Equal when all of it is."""
        return shared(tuple(on.stamp for near in self.near.values() for on in (near.upstream, near.gateway)))
