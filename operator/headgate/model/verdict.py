"""What compile and the proxies say of an object: the stuff that conditions are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from headgate.api.conditions import ConditionStatus, Reason
from headgate.model.plan import Gateway
from headgate.model.refs import ObjectRef

#: The way to a field in the object's YAML: keys and list indexes, `("spec", "sections", 1, "name")`.
Path = tuple[str | int, ...]


def spell(path: Path) -> str:
    """A path as people write it: `spec.sections[1].name`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to mend in an object. `message` says what to do, without naming the field; `path` does that. `about`: the
    Secret or ConfigMap that is missing or of no use."""

    path: Path
    reason: Reason
    message: str
    about: ObjectRef | None = None

    def __str__(self) -> str:
        return f"{spell(self.path)}: {self.message}" if self.path else self.message


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
class CredentialUse:
    """A credential of an upstream, `section` None: of all its sections. `version`: the resourceVersion of the Secret that the
    value in force is from, empty where there is none. `current`: that is the Secret as it is."""

    name: str
    section: str | None
    version: str
    current: bool


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
    #: What the judgements say, one by one and with the field to blame.
    findings: tuple[Finding, ...] = ()
    #: Those of them that `resolved` says.
    unresolved: tuple[Finding, ...] = ()
    # An upstream's own columns.
    provider: str = ""
    host: str = ""
    address: str = ""
    #: Where it can be called by its path at its gateway's Service, which needs no Service of its own.
    address_by_path: str = ""
    sections: tuple[str, ...] = ()
    policies: tuple[PolicyUse, ...] = ()
    credentials: tuple[CredentialUse, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The outcome of one compile: what every gateway shall do, and what is to be said of every object.

    `good`: the objects whose current version compiled clean, with its revision: the Store keeps those as last good. A
    Secret or ConfigMap is among them when it is used and nothing that uses it had to fall back to an older version.
    `references`: every Secret and ConfigMap that anything refers to, there or not.
    """

    gateways: Mapping[str, Gateway] = field(default_factory=lambda: MappingProxyType({}))
    verdicts: Mapping[ObjectRef, Verdict] = field(default_factory=lambda: MappingProxyType({}))
    good: Mapping[ObjectRef, str] = field(default_factory=lambda: MappingProxyType({}))
    references: frozenset[ObjectRef] = frozenset()
