"""The entry of this package: a Snapshot to the Plan.

Whole-world meaning at incremental cost: every run looks at everything, but a version of an upstream is compiled again only
when something that went into it has another revision. Call it from one thread at a time per Memo.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from headgate.api.upstream import UpstreamService
from headgate.compile import gateways as gateways_
from headgate.compile import policies as policies_
from headgate.compile import verdicts
from headgate.compile.draft import Compiled
from headgate.compile.gateways import Gateways
from headgate.compile.memo import Memo, Slot
from headgate.compile.outcome import Outcome
from headgate.compile.policies import Policies
from headgate.compile.tls import SYSTEM_ROOTS
from headgate.compile.upstream import compile_upstream, references
from headgate.model.plan import Gateway, SecretMaterial, Upstream
from headgate.model.refs import ObjectRef
from headgate.model.snapshot import Broken, Declared, Snapshot
from headgate.model.verdict import Plan
from headgate.providers.registry import BUILT_IN, Profiles


def compile_snapshot(snapshot: Snapshot, memo: Memo, profiles: Profiles = BUILT_IN) -> Plan:
    """What every gateway shall do, and what is to be said of every object. Never raises for what the models accept."""
    gateways, policies = _surroundings(snapshot, memo, profiles)
    compiler = _Compiler(snapshot, memo, profiles, gateways, policies)
    outcomes = {key: compiler.outcome(key, snapshot.upstreams[key]) for key in sorted(snapshot.upstreams)}
    compiler.finish()
    plans = _assemble(outcomes, gateways, memo)
    return Plan(
        gateways=plans,
        verdicts=verdicts.of_all(snapshot, outcomes, gateways, policies, memo),
        good=verdicts.good(snapshot, outcomes, gateways, policies),
        references=compiler.references | frozenset(_gateway_references(gateways)),
    )


def _surroundings(snapshot: Snapshot, memo: Memo, profiles: Profiles) -> tuple[Gateways, Policies]:
    """Gateways and policies, the same objects as last time where they are equal: comparing them then costs nothing."""
    before = memo.snapshot
    if memo.settings != snapshot.settings or memo.profiles is not profiles:
        memo.current, memo.older, before = {}, {}, None
        memo.gateways = memo.policies = None
    gateways = gateways_.resolve(snapshot)
    if memo.gateways is not None and memo.gateways == gateways:
        gateways = memo.gateways
    same = before is not None and all(
        getattr(before, name) is getattr(snapshot, name)
        for name in ("gateways", "upstreams", "retry_policies", "circuit_breakers", "rate_limits")
    )
    if memo.policies is None or not same:
        memo.policies = policies_.resolve(snapshot)
    memo.snapshot, memo.settings, memo.profiles, memo.gateways = snapshot, snapshot.settings, profiles, gateways
    return gateways, memo.policies


class _Compiler:
    """One run over the upstreams. What the memo holds afterwards is what this run used."""

    def __init__(
        self, snapshot: Snapshot, memo: Memo, profiles: Profiles, gateways: Gateways, policies: Policies
    ) -> None:
        self._snapshot, self._memo, self._profiles = snapshot, memo, profiles
        self._gateways, self._policies = gateways, policies
        self._current: dict[str, Slot] = {}
        self._older: dict[str, Slot] = {}
        self._references: set[ObjectRef] = set()

    def outcome(self, key: str, declared: Declared[UpstreamService]) -> Outcome:
        """The current version, and the last good one where the current can't be served."""
        current = older = None
        if not isinstance(declared.current, Broken):
            current = self._version(
                key, declared.ref, declared.current, declared.revision, self._memo.current, self._current
            )
            if current.upstream is not None:
                return Outcome(declared, current, gateway=self._gateway_key(declared.current))
        if declared.last_good is not None and declared.last_good_revision != declared.revision:
            older = self._version(
                key, declared.ref, declared.last_good, declared.last_good_revision, self._memo.older, self._older
            )
        gateway = self._gateway_key(declared.last_good) if older is not None and declared.last_good else ""
        return Outcome(declared, current, older, gateway)

    def finish(self) -> None:
        """Leave to the next run what this one used, and no more."""
        self._memo.current, self._memo.older = self._current, self._older

    @property
    def references(self) -> frozenset[ObjectRef]:
        """Every Secret and ConfigMap that a version looked at refers to."""
        return frozenset(self._references)

    def _gateway_key(self, version: UpstreamService) -> str:
        ref = version.spec.gateway_ref
        if ref is None:
            return self._gateways.default or ""
        return f"{ref.namespace or version.metadata.namespace}/{ref.name}"

    def _version(
        self,
        key: str,
        ref: ObjectRef,
        version: UpstreamService,
        revision: str,
        memory: Mapping[str, Slot],
        remember: dict[str, Slot],
    ) -> Compiled:
        known = memory.get(key)
        if known is not None and known.revision != revision:
            known = None
        gateway = gateways_.gateway_of(
            self._gateways, self._snapshot.namespaces, ref.namespace, version.spec.gateway_ref
        )
        attached = self._policies.attached(ref, getattr(gateway, "ref", None))
        refs = known.references if known else references(version.spec, ref.namespace)
        self._references.update(refs)
        stamp = (gateway, attached.stamp, tuple(self._data_revision(each) for each in refs))
        if known is None or known.stamp != stamp:
            self._memo.compiled += 1
            compiled = compile_upstream(
                ref, version, gateway, attached, self._snapshot.data, self._profiles, self._snapshot.settings
            )
            known = Slot(revision, refs, stamp, compiled)
        remember[key] = known
        return known.compiled

    def _data_revision(self, ref: ObjectRef) -> tuple[str, str]:
        entry = self._snapshot.data.get(ref)
        if entry is None:
            return ("", "")
        return (
            entry.current.revision if entry.current else "",
            entry.last_good.revision if entry.last_good else "",
        )


def _gateway_references(gateways: Gateways) -> Iterable[ObjectRef]:
    for outcome in gateways.outcomes.values():
        yield from outcome.references


def _assemble(outcomes: Mapping[str, Outcome], gateways: Gateways, memo: Memo) -> Mapping[str, Gateway]:
    """Each gateway with its upstreams and exactly the secrets that they refer to."""
    upstreams: dict[str, dict[str, Upstream]] = {key: {} for key in gateways.facts}
    materials: dict[str, dict[str, tuple[SecretMaterial, list[ObjectRef]]]] = {key: {} for key in gateways.facts}
    for key, outcome in outcomes.items():
        version = outcome.in_force
        if version is None or version.upstream is None:
            continue
        upstreams[outcome.gateway][key] = version.upstream
        for material in version.materials:
            _, owners = materials[outcome.gateway].setdefault(material.name, (material, []))
            owners.append(outcome.declared.ref)
    plans = {}
    for key, facts in sorted(gateways.facts.items()):
        if facts.certificate is not None:
            _, owners = materials[key].setdefault(facts.certificate.name, (facts.certificate, []))
            owners.append(facts.ref)
        plan = Gateway(
            ref=facts.ref,
            listener=facts.listener,
            upstreams=MappingProxyType(upstreams[key]),
            secrets=MappingProxyType(
                {
                    name: _owned(name, material, owners, facts.ref)
                    for name, (material, owners) in sorted(materials[key].items())
                }
            ),
        )
        before = memo.plans.get(key)
        plans[key] = before if before == plan else plan
    memo.plans = plans
    return MappingProxyType(plans)


def _owned(name: str, material: SecretMaterial, owners: Iterable[ObjectRef], gateway: ObjectRef) -> SecretMaterial:
    # The well-known CAs are everyone's and no one's; thousands of owners would change with every upstream.
    return replace(material, owners=(gateway,) if name == SYSTEM_ROOTS else tuple(sorted(set(owners))))
