"""What compile and the proxies say of an object: the stuff that conditions are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from headgate.api.conditions import ConditionStatus, Reason
from headgate.model.plan import Gateway
from headgate.model.refs import ObjectRef


@dataclass(frozen=True, slots=True)
class Judgement:
    """One condition's content, before generation and times are put to it."""

    status: ConditionStatus
    reason: Reason
    message: str = ""


@dataclass(frozen=True, slots=True)
class TargetVerdict:
    """How a policy stands towards one of its targets."""

    target: ObjectRef
    section: str | None
    accepted: Judgement


@dataclass(frozen=True, slots=True)
class PolicyUse:
    """A policy in force on an upstream; `section` None: on all of its sections."""

    policy: ObjectRef
    section: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What compile found about one object. `live` tells whether anything of it is served (its last good version, if
    the current one is not accepted); `gateways` are the keys of those that carry it."""

    ref: ObjectRef
    generation: int
    accepted: Judgement
    resolved: Judgement
    live: bool = False
    gateways: tuple[str, ...] = ()
    targets: tuple[TargetVerdict, ...] = ()
    # An upstream's own columns.
    provider: str = ""
    host: str = ""
    address: str = ""
    sections: tuple[str, ...] = ()
    policies: tuple[PolicyUse, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The outcome of one compile: what every gateway shall do, and what is to be said of every object.

    `good`: the objects whose current version compiled clean, with its revision: the Store keeps those as last good.
    """

    gateways: Mapping[str, Gateway] = field(default_factory=lambda: MappingProxyType({}))
    verdicts: Mapping[ObjectRef, Verdict] = field(default_factory=lambda: MappingProxyType({}))
    good: Mapping[ObjectRef, str] = field(default_factory=lambda: MappingProxyType({}))
