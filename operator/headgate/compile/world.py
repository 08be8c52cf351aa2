"""The entry of this package: a Snapshot to the Plan.

Whole-world meaning at incremental cost: every run looks at everything, but a version of an upstream is compiled again only
when something that went into it has another revision. Call it from one thread at a time per Memo.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from headgate.api.upstream import UpstreamService
from headgate.compile import gateways as gateways_
from headgate.compile import patch, verdicts
from headgate.compile import policies as policies_
from headgate.compile.draft import Compiled
from headgate.compile.gateways import Gateways
from headgate.compile.memo import Memo, Slot
from headgate.compile.origins import Notes
from headgate.compile.outcome import Outcome
from headgate.compile.policies import Policies
from headgate.compile.tls import everyones
from headgate.compile.upstream import compile_upstream, references
from headgate.model.fleet import Fleet
from headgate.model.plan import Gateway, SecretMaterial, Upstream
from headgate.model.refs import ObjectRef
from headgate.model.snapshot import Broken, Declared, Snapshot
from headgate.model.verdict import Plan, Verdict
from headgate.providers.registry import BUILT_IN, Profiles


def compile_snapshot(snapshot: Snapshot, memo: Memo, profiles: Profiles = BUILT_IN) -> Plan:
    """What every gateway shall do, and what is to be said of every object. Never raises for what the models accept."""
    around = _surroundings(snapshot, memo, profiles)
    if around.still:
        plan = _little(snapshot, memo, around, profiles)
        if plan is not None:
            return plan
    compiler = _Compiler(snapshot, memo, around, profiles)
    outcomes = {key: compiler.outcome(key, snapshot.upstreams[key]) for key in sorted(snapshot.upstreams)}
    plans = _assemble(outcomes, around.gateways, memo)
    record = verdicts.of_all(snapshot, outcomes, around.gateways, around.policies, memo)
    plan = Plan(
        gateways=plans,
        verdicts=MappingProxyType({ref: verdict for ref, (_, verdict) in record.items()}),
        good=verdicts.good(snapshot, outcomes, around.gateways, around.policies),
        references=compiler.references | frozenset(_gateway_references(around.gateways)),
    )
    # All at once and at the end: a run that breaks off leaves what the one before it knew.
    memo.snapshot, memo.profiles = snapshot, profiles
    memo.gateways, memo.policies = around.gateways, around.policies
    memo.current, memo.older = compiler.current, compiler.older
    memo.plan, memo.outcomes, memo.verdicts = plan, outcomes, record
    return plan


@dataclass(frozen=True, slots=True)
class Examined:
    """One upstream, compiled for whoever wants to know why. `notes` are of the version in force, or of the current one where
    none is; None if that could not be read. `verdicts` are right where they concern this upstream."""

    outcome: Outcome
    notes: Notes | None
    verdicts: Mapping[ObjectRef, Verdict]
    gateways: Gateways
    policies: Policies


def examine(snapshot: Snapshot, key: str, profiles: Profiles = BUILT_IN) -> Examined:
    """Compile one upstream (`namespace/name`), with notes. KeyError if it isn't declared."""
    around = _surroundings(snapshot, Memo(), profiles)
    compiler = _Compiler(snapshot, Memo(), around, profiles, {})
    outcome = compiler.outcome(key, snapshot.upstreams[key])
    record = verdicts.of_all(snapshot, {key: outcome}, around.gateways, around.policies, Memo())
    older = outcome.older is not None and outcome.in_force is outcome.older
    revision = outcome.declared.last_good_revision if older else outcome.declared.revision
    return Examined(
        outcome,
        compiler.notes.get(revision) if compiler.notes else None,
        MappingProxyType({ref: verdict for ref, (_, verdict) in record.items()}),
        around.gateways,
        around.policies,
    )


def referred(snapshot: Snapshot) -> frozenset[ObjectRef]:
    """The Secrets and ConfigMaps that current versions refer to, without compiling anything: for a source to read them
    before. A Plan tells which there are; this may leave some out."""
    current = (each.current for each in snapshot.upstreams.values() if not isinstance(each.current, Broken))
    found = {ref for each in current for ref in references(each.spec, each.metadata.namespace)}
    return frozenset(found.union(_gateway_references(gateways_.resolve(snapshot))))


def _little(snapshot: Snapshot, memo: Memo, around: _Surroundings, profiles: Profiles) -> Plan | None:
    """The Plan if all that has changed is inside of a few upstreams."""
    keys = patch.touched(snapshot, memo)
    if keys is None:
        return None
    compiler = _Compiler(snapshot, memo, around, profiles)
    outcomes = {key: compiler.outcome(key, snapshot.upstreams[key]) for key in keys}
    return patch.patched(snapshot, memo, patch.Touched(outcomes, compiler.current, compiler.older))


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """All but the upstreams. `usable`: what the memo knows was made with the same settings and profiles. `still`: nothing
    of this has changed since."""

    gateways: Gateways
    policies: Policies
    usable: bool
    still: bool


def _surroundings(snapshot: Snapshot, memo: Memo, profiles: Profiles) -> _Surroundings:
    """Gateways and policies, the same objects as last time where they are equal: comparing them then costs nothing."""
    before, gateways = memo.snapshot, gateways_.resolve(snapshot)
    if before is None or memo.policies is None or before.settings != snapshot.settings or memo.profiles is not profiles:
        return _Surroundings(gateways, policies_.resolve(snapshot), usable=False, still=False)
    same_gateways = memo.gateways == gateways
    policies = policies_.resolve(snapshot, before, memo.policies)
    return _Surroundings(
        memo.gateways if memo.gateways is not None and same_gateways else gateways,
        policies,
        usable=True,
        still=same_gateways
        and policies is memo.policies
        and before.data is snapshot.data
        and before.namespaces is snapshot.namespaces,
    )


class _Compiler:
    """One run over the upstreams. `current` and `older` become what the next run may use: this one's, and no more. `notes`,
    where given, are filled by revision."""

    def __init__(
        self,
        snapshot: Snapshot,
        memo: Memo,
        around: _Surroundings,
        profiles: Profiles,
        notes: dict[str, Notes] | None = None,
    ) -> None:
        self.notes = notes
        self._snapshot, self._memo, self._around, self._profiles = snapshot, memo, around, profiles
        self._gateways, self._policies = around.gateways, around.policies
        self._known = (memo.current, memo.older) if around.usable else ({}, {})
        self.current: dict[str, Slot] = {}
        self.older: dict[str, Slot] = {}
        self._references: set[ObjectRef] = set()

    def outcome(self, key: str, declared: Declared[UpstreamService]) -> Outcome:
        """The current version, and the last good one where the current can't be served."""
        current = older = None
        if not isinstance(declared.current, Broken):
            current = self._version(
                key, declared.ref, declared.current, declared.revision, self._known[0], self.current
            )
            if current.upstream is not None:
                return Outcome(declared, current, gateway=self._gateway_key(declared.current))
        if declared.last_good is not None and declared.last_good_revision != declared.revision:
            older = self._version(
                key, declared.ref, declared.last_good, declared.last_good_revision, self._known[1], self.older
            )
        gateway = self._gateway_key(declared.last_good) if older is not None and declared.last_good else ""
        return Outcome(declared, current, older, gateway)

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
        before = memory.get(key)
        known = before if before is not None and before.revision == revision else None
        if known is not None and self._around.still:
            self._references.update(known.references)
            remember[key] = known
            return known.compiled
        gateway = gateways_.gateway_of(
            self._gateways, self._snapshot.namespaces, ref.namespace, version.spec.gateway_ref
        )
        attached = self._policies.attached(ref, getattr(gateway, "ref", None))
        refs = known.references if known else references(version.spec, ref.namespace)
        self._references.update(refs)
        revisions = [self._data_revisions(each) for each in refs]
        stamp = (gateway, attached.stamp, tuple(current for current, _ in revisions))
        fallback = tuple(older for _, older in revisions)
        if known is None or known.stamp != stamp or not (known.independent or known.fallback == fallback):
            self._memo.compiled += 1
            notes = None if self.notes is None else self.notes.setdefault(revision, Notes())
            compiled = compile_upstream(
                ref, version, gateway, attached, self._snapshot.data, self._profiles, self._snapshot.settings, notes
            )
            if before is not None and before.compiled.upstream == compiled.upstream:
                # Nothing of it has changed for the proxies, and by this they see so at once.
                compiled = replace(compiled, upstream=before.compiled.upstream)
            known = Slot(revision, refs, stamp, fallback, compiled)
        remember[key] = known
        return known.compiled

    def _data_revisions(self, ref: ObjectRef) -> tuple[str, str]:
        entry = self._snapshot.data.get(ref)
        if entry is None:
            return ("", "")
        return (
            f"{entry.current.revision}@{entry.current.version}" if entry.current else "",
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
        before = memo.plan.gateways.get(key) if memo.plan else None
        plan = Gateway(
            ref=facts.ref,
            listener=facts.listener,
            upstreams=MappingProxyType(upstreams[key]),
            secrets=MappingProxyType(
                {
                    name: _owned(name, material, owners, facts.ref, before.secrets.get(name) if before else None)
                    for name, (material, owners) in sorted(materials[key].items(), key=_name)
                }
            ),
            fleet=gateways.outcomes[key].fleet if key in gateways.outcomes else Fleet(),
        )
        plans[key] = before if before == plan else plan
    return MappingProxyType(plans)


def _name(item: tuple[str, object]) -> str:
    return item[0]


def _owned(
    name: str, material: SecretMaterial, owners: Iterable[ObjectRef], gateway: ObjectRef, before: SecretMaterial | None
) -> SecretMaterial:
    """The material with its owners; the same object as before where it is equal."""
    # The well-known CAs are everyone's and no one's; thousands of owners would change with every upstream.
    shared = (gateway,) if everyones(name) else tuple(sorted(set(owners)))
    if before is not None and (before.owners, before.kind) == (shared, material.kind):
        same = before.value is material.value and before.private_key is material.private_key
        if same:
            return before
    return replace(material, owners=shared)
