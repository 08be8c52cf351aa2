"""Verdicts: what is to be said of every object, and which versions are good enough to be kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from headgate.api.conditions import ConditionStatus, Reason
from headgate.api.kinds import KINDS
from headgate.compile.draft import Misfit
from headgate.compile.findings import judge
from headgate.compile.gateways import GatewayOutcome, Gateways
from headgate.compile.memo import Memo
from headgate.compile.outcome import Outcome
from headgate.compile.policies import OfKind, Policies, PolicyOutcome, Target
from headgate.infra.network import host_names
from headgate.model.fleet import ServiceMode
from headgate.model.plan import Listener
from headgate.model.refs import ObjectRef
from headgate.model.snapshot import Broken, Declared, Settings, Snapshot
from headgate.model.verdict import Finding, Judgement, TargetVerdict, Verdict

_ACCEPTED = Judgement(ConditionStatus.TRUE, Reason.ACCEPTED)
_UNREAD = Judgement(ConditionStatus.UNKNOWN, Reason.NOT_ACCEPTED, "looked at when the object itself is in order")
_RESOLVED = Judgement(ConditionStatus.TRUE, Reason.RESOLVED_REFS)
_STAYS = "; until it is mended the version before it stays in force"


#: What went into a verdict, and the verdict.
Judged = tuple[tuple[object, ...], Verdict]
Made = dict[ObjectRef, Judged]


def of_all(
    snapshot: Snapshot, outcomes: Mapping[str, Outcome], gateways: Gateways, policies: Policies, memo: Memo
) -> Made:
    """A verdict for every declared object with what went into it, sorted. One equal to last time's is the same object."""
    usage, record = _Usage(outcomes), _Record(memo.verdicts)
    for kind in sorted(KINDS):  # so that the whole is sorted
        match kind:
            case "UpstreamService":
                for outcome in outcomes.values():
                    ref = outcome.declared.ref
                    record.made[ref] = of_upstream(outcome, gateways, snapshot.settings, memo.verdicts.get(ref))
            case "IntegrationGateway":
                for key in sorted(snapshot.gateways):
                    declared, gateway = snapshot.gateways[key], gateways.outcomes[key]
                    record.put(declared.ref, (declared.current, gateway), partial(_gateway, declared, gateway))
            case _:
                _put_policies(record, snapshot.policies[kind], policies.by_kind[kind], usage, gateways)
    return record.made


def of_upstream(outcome: Outcome, gateways: Gateways, settings: Settings, before: Judged | None) -> Judged:
    """The verdict on one upstream, with what went into it; `before` is last time's."""
    facts = gateways.facts.get(outcome.gateway)
    listener = facts.listener if facts else None
    inputs = (outcome.declared.current, outcome.current, outcome.older, outcome.gateway, listener, settings)
    return _judged(inputs, before, lambda: _upstream(outcome, listener, settings))


class _Record:
    """Verdicts being made. Where the same went in as last time, last time's comes out, and costs a comparison."""

    def __init__(self, before: Made) -> None:
        self._before = before
        self.made: Made = {}

    def put(self, ref: ObjectRef, inputs: tuple[object, ...], make: Callable[[], Verdict]) -> None:
        """Add a verdict; `inputs` are all that it depends on."""
        self.made[ref] = _judged(inputs, self._before.get(ref), make)


def _judged(inputs: tuple[object, ...], before: Judged | None, make: Callable[[], Verdict]) -> Judged:
    if before is not None and before[0] == inputs:
        return before
    verdict = make()
    return (inputs, before[1] if before is not None and before[1] == verdict else verdict)


def _put_policies(
    record: _Record, every: Mapping[str, Declared[Any]], of_kind: OfKind, usage: _Usage, gateways: Gateways
) -> None:
    for key in sorted(every):
        declared, outcome = every[key], of_kind.outcomes[key]
        inputs = (
            declared.current,
            outcome,
            usage.gateways.get(declared.ref),
            usage.misfits.get(declared.ref),
            tuple(usage.sections(each.ref) for each in outcome.targets if each.section is not None),
            tuple(each.ref.key in gateways.facts for each in outcome.targets),
        )
        record.put(declared.ref, inputs, partial(_policy, declared, outcome, usage, gateways))


def good(
    snapshot: Snapshot, outcomes: Mapping[str, Outcome], gateways: Gateways, policies: Policies
) -> Mapping[ObjectRef, str]:
    """The objects whose current version compiled clean, with its revision."""
    found: dict[ObjectRef, str] = {}
    used: set[ObjectRef] = set()
    outdated: set[ObjectRef] = set()
    for key, declared in snapshot.gateways.items():
        gateway = gateways.outcomes[key]
        used |= gateway.used
        outdated |= gateway.outdated
        if gateway.facts is not None and not gateway.older:
            found[declared.ref] = declared.revision
    for outcome in outcomes.values():
        version = outcome.in_force
        if version is not None:
            used.update(version.used)
            outdated |= version.outdated
            if version is outcome.current:
                found[outcome.declared.ref] = outcome.declared.revision
    for kind, of_kind in policies.by_kind.items():
        for key, policy in snapshot.policies[kind].items():
            if not isinstance(policy.current, Broken) and not of_kind.outcomes[key].findings.invalid:
                found[policy.ref] = policy.revision
    for ref in used - outdated:
        entry = snapshot.data.get(ref)
        if entry is not None and entry.current is not None:
            found[ref] = entry.current.revision
    return MappingProxyType(dict(sorted(found.items())))


def _generation(declared: Declared[Any]) -> int:
    if isinstance(declared.current, Broken):
        return declared.current.generation
    generation: int = declared.current.metadata.generation
    return generation


def _accepted(current: object, findings: Iterable[Finding], *, stays: bool) -> Judgement:
    """`stays`: an older version is in force instead."""
    if isinstance(current, Broken):
        judgement = Judgement(ConditionStatus.FALSE, current.reason, current.message)
    else:
        judgement = judge(tuple(findings), Reason.ACCEPTED)
    if stays and judgement.status is not ConditionStatus.TRUE:
        return Judgement(judgement.status, judgement.reason, judgement.message + _STAYS)
    return judgement


def _gateway(declared: Declared[Any], outcome: GatewayOutcome) -> Verdict:
    findings = outcome.findings
    broken = isinstance(declared.current, Broken)
    return Verdict(
        ref=declared.ref,
        generation=_generation(declared),
        accepted=_accepted(declared.current, findings.invalid, stays=outcome.older),
        resolved=_UNREAD if broken else judge(findings.unresolved, Reason.RESOLVED_REFS),
        live=outcome.facts is not None,
        gateways=(declared.ref.key,) if outcome.facts is not None else (),
        findings=(*findings.invalid, *findings.unresolved),
        unresolved=tuple(findings.unresolved),
    )


def _upstream(outcome: Outcome, listener: Listener | None, settings: Settings) -> Verdict:
    declared, current, served = outcome.declared, outcome.current, outcome.in_force
    stays = served is not None and served is not current
    told = served or current
    address, by_path = _addresses(outcome, listener, settings)
    return Verdict(
        ref=declared.ref,
        generation=_generation(declared),
        accepted=_accepted(declared.current, current.invalid if current else (), stays=stays),
        resolved=_UNREAD if current is None else judge(current.unresolved, Reason.RESOLVED_REFS),
        live=served is not None,
        gateways=(outcome.gateway,) if served is not None else (),
        findings=(*current.invalid, *current.unresolved) if current else (),
        unresolved=current.unresolved if current else (),
        provider=told.provider if told else "",
        host=told.host if told else "",
        address=address,
        address_by_path=by_path,
        sections=told.sections if told else (),
        policies=served.policies if served else (),
        credentials=told.credentials if told else (),
    )


def _addresses(outcome: Outcome, listener: Listener | None, settings: Settings) -> tuple[str, str]:
    """The base URL for applications, and the one by path where there are Services, which calls by host need."""
    served, ref = outcome.in_force, outcome.declared.ref
    if served is None or served.upstream is None or listener is None:
        return "", ""
    if settings.listen is not None:
        return f"{listener.url}/{ref.key}", ""
    by_host = f"{listener.scheme}://{ref.name}.{ref.namespace}"
    if not settings.services:
        return by_host, ""
    # The gateway's Service has the scheme's own port, whatever the listener's is.
    gateway = ObjectRef("IntegrationGateway", *outcome.gateway.split("/", 1))
    by_path = f"{listener.scheme}://{host_names(gateway, settings.cluster_domain)[1]}/{ref.key}"
    return by_path if served.upstream.service_mode is ServiceMode.NONE else by_host, by_path


class _Usage:
    """Where policies turned out to be in force, and where they don't fit."""

    def __init__(self, outcomes: Mapping[str, Outcome]) -> None:
        self.gateways: dict[ObjectRef, set[str]] = {}
        self.misfits: dict[ObjectRef, list[Misfit]] = {}
        self._outcomes = outcomes
        for outcome in outcomes.values():
            served = outcome.in_force
            if served is None:
                continue
            for use in served.policies:
                self.gateways.setdefault(use.policy, set()).add(outcome.gateway)
            for misfit in served.misfits:
                self.misfits.setdefault(misfit.policy, []).append(misfit)

    def sections(self, upstream: ObjectRef) -> tuple[str, ...]:
        """The sections of an upstream; empty where they are not known."""
        outcome = self._outcomes.get(upstream.key)
        version = (outcome.in_force or outcome.current) if outcome else None
        return version.sections if version else ()


def _policy(declared: Declared[Any], outcome: PolicyOutcome, usage: _Usage, gateways: Gateways) -> Verdict:
    ref = declared.ref
    misfits = usage.misfits.get(ref, [])
    targets = tuple(_target(each, misfits, usage) for each in outcome.targets)
    own = _accepted(declared.current, outcome.findings.invalid, stays=outcome.older)
    serving = usage.gateways.get(ref, set()) | {
        each.target.key
        for each in targets
        if each.target.kind == "IntegrationGateway"
        and each.accepted.status is ConditionStatus.TRUE
        and each.target.key in gateways.facts
    }
    return Verdict(
        ref=ref,
        generation=_generation(declared),
        accepted=_with_targets(own, targets, readable=not isinstance(declared.current, Broken)),
        resolved=_UNREAD if isinstance(declared.current, Broken) else _RESOLVED,
        live=bool(serving),
        gateways=tuple(sorted(serving)),
        targets=targets,
        findings=(*outcome.findings.invalid, *(each.finding for each in misfits)),
    )


def _target(target: Target, misfits: Iterable[Misfit], usage: _Usage) -> TargetVerdict:
    judgement = target.judgement
    if judgement.status is ConditionStatus.TRUE and target.section is not None:
        sections = usage.sections(target.ref)
        if sections and target.section not in sections:
            message = f"{target.ref} has no section {target.section}: it has {', '.join(sections)}"
            judgement = Judgement(ConditionStatus.FALSE, Reason.TARGET_NOT_FOUND, message)
    here = [each.finding for each in misfits if (each.target, each.target_section) == (target.ref, target.section)]
    if judgement.status is ConditionStatus.TRUE and here:
        judgement = judge(here, Reason.ACCEPTED)
    return TargetVerdict(target.ref, target.section, judgement)


def _with_targets(own: Judgement, targets: tuple[TargetVerdict, ...], *, readable: bool) -> Judgement:
    """A policy is accepted when it is sound and every one of its targets takes it."""
    if own.status is not ConditionStatus.TRUE:
        return own
    refused = [each.accepted for each in targets if each.accepted.status is not ConditionStatus.TRUE]
    if refused:
        message = "; ".join(dict.fromkeys(each.message for each in refused))
        return Judgement(ConditionStatus.FALSE, refused[0].reason, message)
    if readable and not targets:
        message = "no object has the labels in targetSelectors: label one, or mend the selector"
        return Judgement(ConditionStatus.FALSE, Reason.TARGET_NOT_FOUND, message)
    return own
