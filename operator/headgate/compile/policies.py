"""Attachment: which policies apply to which objects, and what each policy hears about its targets.

Some kinds are exclusive (`RULES`): one per target, the nearest to a section wins whole. Of the others all are enforced. Of
several exclusive ones on the same target the oldest wins, then the first by `namespace/name`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, cast

from headgate.api.attachment import PolicySpec, TargetSelector
from headgate.api.circuitbreaker import CircuitBreakerSpec
from headgate.api.conditions import ConditionStatus, Reason
from headgate.api.meta import Kind
from headgate.api.ratelimit import RateLimitSpec
from headgate.api.retrypolicy import RetryPolicySpec
from headgate.compile import breaker, limits, retry
from headgate.compile.attached import Attached, Near, OnObject, Policy
from headgate.compile.findings import Findings
from headgate.model.overlay import differing, same_keys
from headgate.model.refs import ObjectRef
from headgate.model.snapshot import Broken, Declared, Snapshot
from headgate.model.verdict import Judgement

Check = Callable[[Any, Findings], None]

_LATE = datetime.max.replace(tzinfo=UTC)
_ACCEPTED = Judgement(ConditionStatus.TRUE, Reason.ACCEPTED)


@dataclass(frozen=True, slots=True)
class Rules:
    """How one kind of policy is attached. `check` finds what is wrong with a spec wherever it is attached."""

    spec: type[PolicySpec]
    check: Check
    exclusive: bool


#: Every kind of policy: a new one is a line here.
RULES: Mapping[str, Rules] = MappingProxyType(
    {
        "CircuitBreaker": Rules(CircuitBreakerSpec, breaker.check, exclusive=True),
        "RateLimit": Rules(RateLimitSpec, limits.check, exclusive=False),
        "RetryPolicy": Rules(RetryPolicySpec, retry.check, exclusive=True),
    }
)


@dataclass(frozen=True, slots=True)
class Target:
    """One target of one policy and how it stands there, as far as that is known without the upstream's sections."""

    ref: ObjectRef
    section: str | None
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class PolicyOutcome:
    """What came of one declared policy: what is wrong with its current version, and its targets."""

    findings: Findings
    targets: tuple[Target, ...] = ()
    older: bool = False


@dataclass(frozen=True, slots=True)
class OfKind:
    """The policies of one kind, by the object that they are on."""

    on: Mapping[ObjectRef, OnObject[PolicySpec]]
    outcomes: Mapping[str, PolicyOutcome]

    def near(self, upstream: ObjectRef, gateway: ObjectRef | None) -> Near[PolicySpec]:
        """What applies to this upstream on this gateway."""
        return Near(self.on.get(upstream, _NOTHING), self.on.get(gateway, _NOTHING) if gateway else _NOTHING)


_NOTHING: OnObject[PolicySpec] = OnObject()


@dataclass(frozen=True, slots=True)
class Policies:
    """All policies of a Snapshot, by kind."""

    by_kind: Mapping[str, OfKind]

    def attached(self, upstream: ObjectRef, gateway: ObjectRef | None) -> Attached:
        """What applies to this upstream on this gateway."""
        return Attached({RULES[kind].spec: every.near(upstream, gateway) for kind, every in self.by_kind.items()})


def resolve(snapshot: Snapshot, before: Snapshot | None = None, known: Policies | None = None) -> Policies:
    """Judge and attach every policy. `known` came of `before`: a kind for which nothing has changed since is taken from it,
    and `known` itself is what comes out if that is so of all."""
    still = _still(before, snapshot) if before is not None and known is not None else frozenset()
    if known is not None and still == RULES.keys():
        return known
    world = _Targets(snapshot)
    return Policies(
        MappingProxyType(
            {
                kind: known.by_kind[kind]
                if known is not None and kind in still
                else _kind(snapshot.policies[kind], rules, world)
                for kind, rules in RULES.items()
            }
        )
    )


def _still(before: Snapshot, now: Snapshot) -> frozenset[str]:
    """The kinds of which `resolve` would find the same: of upstreams and gateways only their existence and labels count."""
    if before.gateways is not now.gateways or not same_keys(before.upstreams, now.upstreams):
        return frozenset()
    others = differing(before.upstreams, now.upstreams)
    labels = all(_labels(before.upstreams[key]) == _labels(now.upstreams[key]) for key in others)
    return frozenset(
        kind
        for kind in RULES
        if before.policies[kind] is now.policies[kind]
        and (labels or not any(_selects(each) for each in now.policies[kind].values()))
    )


def _selects(declared: Declared[Any]) -> bool:
    versions = (declared.current, declared.last_good)
    return any(isinstance(each, Kind) and bool(each.spec.target_selectors) for each in versions)  # type: ignore[attr-defined]


def _labels(declared: Declared[Any]) -> Mapping[str, str]:
    version = declared.last_good if isinstance(declared.current, Broken) else declared.current
    labels: Mapping[str, str] = version.metadata.labels if version is not None else {}
    return labels


class _Targets:
    """What there is to attach to."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._objects: dict[str, dict[str, dict[str, Declared[Kind]]]] = {}
        self._snapshot = snapshot

    def exists(self, ref: ObjectRef) -> bool:
        """Whether the object is declared, sound or not."""
        return ref.key in (self._snapshot.upstreams if ref.kind == "UpstreamService" else self._snapshot.gateways)

    def selected(self, namespace: str, selector: TargetSelector) -> list[ObjectRef]:
        """The objects with the selector's labels."""
        found = []
        for declared in self._in(selector.kind, namespace):
            labels = _labels(declared)
            if all(labels.get(name) == value for name, value in selector.match_labels.items()):
                found.append(declared.ref)
        return sorted(found)

    def _in(self, kind: str, namespace: str) -> Iterable[Declared[Kind]]:
        if kind not in self._objects:
            by_namespace: dict[str, dict[str, Declared[Kind]]] = {}
            every = self._snapshot.upstreams if kind == "UpstreamService" else self._snapshot.gateways
            for key, declared in every.items():
                by_namespace.setdefault(declared.ref.namespace, {})[key] = cast("Declared[Kind]", declared)
            self._objects[kind] = by_namespace
        return self._objects[kind].get(namespace, {}).values()


def _kind(declared: Mapping[str, Declared[Any]], rules: Rules, world: _Targets) -> OfKind:
    outcomes: dict[str, tuple[Findings, Policy[PolicySpec] | None, bool]] = {}
    on: dict[ObjectRef, dict[str | None, list[Policy[PolicySpec]]]] = {}
    for key, each in sorted(declared.items()):
        _, policy, _ = outcomes[key] = _in_force(each, rules.check)
        if policy is not None:
            for ref, section in _targets(policy, world):
                on.setdefault(ref, {}).setdefault(section, []).append(policy)
    for by_section in on.values():
        for policies in by_section.values():
            policies.sort(key=lambda policy: policy.seniority)
    return OfKind(
        MappingProxyType(_on_objects(on, exclusive=rules.exclusive)),
        MappingProxyType(
            {
                key: PolicyOutcome(findings, _judged(policy, world, on, exclusive=rules.exclusive), older)
                for key, (findings, policy, older) in outcomes.items()
            }
        ),
    )


def _in_force(declared: Declared[Any], check: Check) -> tuple[Findings, Policy[PolicySpec] | None, bool]:
    """What is wrong with the current version, the policy in force, and whether that is an older version."""
    findings, good = Findings(), declared.last_good
    if not isinstance(declared.current, Broken):
        check(declared.current.spec, findings)
        if not findings.invalid:
            return findings, _policy(declared.current, declared.ref, declared.revision), False
    if good is None or declared.last_good_revision == declared.revision or _unsound(good, check):
        return findings, None, False
    return findings, _policy(good, declared.ref, declared.last_good_revision), True


def _unsound(policy: Any, check: Check) -> bool:
    findings = Findings()
    check(policy.spec, findings)
    return bool(findings.invalid)


def _policy(version: Any, ref: ObjectRef, revision: str) -> Policy[PolicySpec]:
    created = version.metadata.creation_timestamp or _LATE
    if created.tzinfo is None:
        created = created.replace(tzinfo=UTC)
    return Policy(ref, version.spec, created, revision)


def _targets(policy: Policy[PolicySpec], world: _Targets) -> Iterable[tuple[ObjectRef, str | None]]:
    """Each once, in the order in which the policy names them."""
    namespace = policy.ref.namespace
    found: dict[tuple[ObjectRef, str | None], None] = {}
    for target in policy.spec.target_refs:
        found[ObjectRef(target.kind, namespace, target.name), target.section_name] = None
    for selector in policy.spec.target_selectors:
        found.update({(ref, None): None for ref in world.selected(namespace, selector)})
    return found


def aims(snapshot: Snapshot, declared: Declared[Any]) -> tuple[tuple[ObjectRef, str | None], ...]:
    """The targets, and their sections, that the current version names, whether it is in force or not; none if it can't be
    read."""
    if isinstance(declared.current, Broken):
        return ()
    policy = _policy(declared.current, declared.ref, declared.revision)
    return tuple(_targets(policy, _Targets(snapshot)))


def _on_objects(
    on: Mapping[ObjectRef, Mapping[str | None, list[Policy[PolicySpec]]]], *, exclusive: bool
) -> dict[ObjectRef, OnObject[PolicySpec]]:
    """One value for all the objects on which it is the same: a policy may select thousands."""
    known: dict[tuple[tuple[str, str, str], ...], OnObject[PolicySpec]] = {}
    found = {}
    for ref, by_section in on.items():
        made = _on_object(by_section, exclusive=exclusive)
        found[ref] = known.setdefault(made.stamp, made)
    return found


def _on_object(by_section: Mapping[str | None, list[Policy[PolicySpec]]], *, exclusive: bool) -> OnObject[PolicySpec]:
    kept = {name: tuple(policies[:1] if exclusive else policies) for name, policies in by_section.items()}
    every = [(name or "", policy) for name, policies in kept.items() for policy in policies]
    every.sort(key=lambda each: (each[0], each[1].ref))
    return OnObject(
        MappingProxyType(kept),
        tuple((name, policy.ref.key, policy.stamp) for name, policy in every),
    )


def _judged(
    policy: Policy[PolicySpec] | None,
    world: _Targets,
    on: Mapping[ObjectRef, Mapping[str | None, list[Policy[PolicySpec]]]],
    *,
    exclusive: bool,
) -> tuple[Target, ...]:
    if policy is None:
        return ()
    return tuple(
        Target(ref, section, _stands(policy, ref, section, world, on[ref][section], exclusive=exclusive))
        for ref, section in _targets(policy, world)
    )


def _stands(
    policy: Policy[PolicySpec],
    ref: ObjectRef,
    section: str | None,
    world: _Targets,
    rivals: list[Policy[PolicySpec]],
    *,
    exclusive: bool,
) -> Judgement:
    if not world.exists(ref):
        message = f"there is no {ref}: create it, or mend the name"
        return Judgement(ConditionStatus.FALSE, Reason.TARGET_NOT_FOUND, message)
    if exclusive and rivals[0].ref != policy.ref:
        where = f"section {section} of {ref}" if section else str(ref)
        message = f"{rivals[0].ref} is attached to {where} already and comes first: merge the two, or take one away"
        return Judgement(ConditionStatus.FALSE, Reason.CONFLICTED, message)
    return _ACCEPTED
