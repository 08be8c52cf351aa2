"""One object's status document, from all that it depends on. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from headgate.api.base import GROUP
from headgate.api.conditions import ConditionStatus, ConditionType
from headgate.api.status import (
    AncestorRef,
    AncestorStatus,
    CredentialState,
    CredentialStatus,
    GatewayStatus,
    PolicyInForce,
    PolicyStatus,
    UpstreamStatus,
)
from headgate.compile.conditions import Conditions, Making, Proxies, programmed, ready, resolved, spell_time
from headgate.compile.wellbeing import Health, Wellbeing
from headgate.model.observations import ACKNOWLEDGED, ObjectReport, ProbeReport, SectionReport
from headgate.model.plan import Upstream
from headgate.model.refs import ObjectRef
from headgate.model.verdict import CredentialUse, Judgement, TargetVerdict, Verdict

CONTROLLER = f"{GROUP}/controller"
#: How many targets a status lists, as GEP-713 has it.
ANCESTORS = 16

Document = UpstreamStatus | GatewayStatus | PolicyStatus
#: What an upstream's wellbeing is judged by: the upstream as it is served, the reports of each of its sections, and what
#: probes say.
Heard = tuple[Upstream, tuple[tuple[SectionReport, ...], ...], ProbeReport | None]


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a document depends on besides time. Compared to know whether to make another. `heard` is compared first:
    most reports say nothing new, and judging ten thousand upstreams to find that out would take longer."""

    verdict: Verdict
    proxies: Proxies = ()
    unheard: tuple[str, ...] = ()
    objects: tuple[ObjectReport, ...] = ()
    unreadable: tuple[tuple[ObjectRef, str], ...] = ()
    attached: int = 0
    wellbeing: Wellbeing | None = None
    heard: Heard | None = field(default=None, compare=False)


def document(inputs: Inputs, before: Document | None, now: datetime) -> Document:
    """The document; `before` is what the object had until now."""
    verdict = inputs.verdict
    conditions = Making(verdict.generation, before.conditions if before else (), now)
    refs = resolved(verdict, dict(inputs.unreadable))
    in_force = programmed(verdict, inputs.proxies, inputs.objects, inputs.unheard)
    conditions.put(ConditionType.ACCEPTED, verdict.accepted)
    conditions.put(ConditionType.RESOLVED_REFS, refs)
    conditions.put(ConditionType.PROGRAMMED, in_force)
    conditions.put(ConditionType.READY, ready(verdict.accepted, refs, in_force))
    match verdict.ref.kind:
        case "UpstreamService":
            return _upstream(inputs, conditions, before)
        case "IntegrationGateway":
            reason, since = _not_ready(conditions)
            return GatewayStatus(
                observed_generation=verdict.generation,
                conditions=conditions.all(),
                attached_upstreams=inputs.attached,
                proxies=sum(connected for connected, _ in inputs.proxies),
                reason=reason,
                since=since,
            )
        case _:
            return _policy(verdict, conditions, before, now)


_HEALTHY = {
    Health.HEALTHY: ConditionStatus.TRUE,
    Health.DEGRADED: ConditionStatus.FALSE,
    Health.UNHEALTHY: ConditionStatus.FALSE,
    Health.UNKNOWN: ConditionStatus.UNKNOWN,
}


def _upstream(inputs: Inputs, conditions: Making, before: Document | None) -> UpstreamStatus:
    verdict, well = inputs.verdict, inputs.wellbeing or Wellbeing()
    conditions.put(ConditionType.HEALTHY, Judgement(_HEALTHY[well.health], well.reason, well.message))
    reason, since = _trouble(well, conditions)
    return UpstreamStatus(
        observed_generation=verdict.generation,
        conditions=conditions.all(),
        address=_address(inputs) or None,
        gateway=verdict.gateways[0] if verdict.gateways else None,
        provider=verdict.provider or None,
        host=verdict.host or None,
        health=well.health,
        circuit=well.circuit or None,
        reason=reason,
        since=since,
        policies=tuple(
            PolicyInForce(kind=each.policy.kind, name=each.policy.name, section_name=each.section)
            for each in verdict.policies[:256]
        ),
        credentials=_credentials(inputs, before.credentials if isinstance(before, UpstreamStatus) else ()),
    )


def _address(inputs: Inputs) -> str:
    """Where its own Service could not be made, the upstream is called by its path."""
    verdict = inputs.verdict
    missing = [(each.kind, each.name) for each in inputs.objects if each.result.missing]
    by_path = ("Service", verdict.ref.name) in missing and verdict.address_by_path
    return by_path or verdict.address


def _credentials(inputs: Inputs, before: tuple[CredentialStatus, ...]) -> tuple[CredentialStatus, ...]:
    known = {(each.name, each.section_name): each for each in before}
    return tuple(
        CredentialStatus(
            name=each.name,
            section_name=each.section,
            secret_resource_version=each.version or None,
            state=_state(inputs, each, known.get((each.name, each.section))),
        )
        for each in inputs.verdict.credentials[:256]
    )


def _state(inputs: Inputs, use: CredentialUse, before: CredentialStatus | None) -> CredentialState:
    """A version that all have taken once stays in use, whatever else they have yet to take: none goes back to an older one."""
    if not use.current:
        return CredentialState.MISSING
    if not inputs.verdict.live:
        return CredentialState.UNUSED
    same = before is not None and use.version and before.secret_resource_version == use.version
    if same and before is not None and before.state is CredentialState.IN_USE:
        return CredentialState.IN_USE
    if inputs.unheard or not all(connected for connected, _ in inputs.proxies):
        return CredentialState.UNKNOWN
    if any(each != ACKNOWLEDGED for _, each in inputs.proxies):
        return CredentialState.ROLLING
    return CredentialState.IN_USE


def _trouble(well: Wellbeing, conditions: Making) -> tuple[str | None, str | None]:
    """What is wrong, in one word, and since when: what was declared is not in force, else the provider does badly."""
    reason, since = _not_ready(conditions)
    if reason is not None:
        return reason, since
    healthy = conditions[ConditionType.HEALTHY]
    if healthy.status == ConditionStatus.FALSE.value:
        return well.failure, spell_time(well.since) if well.since else healthy.last_transition_time
    return None, None


def _not_ready(conditions: Making) -> tuple[str | None, str | None]:
    """Why what was declared is not in force, in one word, and since when."""
    found = conditions[ConditionType.READY]
    return (None, None) if found.status == ConditionStatus.TRUE.value else (found.reason, found.last_transition_time)


def _policy(verdict: Verdict, conditions: Making, before: Document | None, now: datetime) -> PolicyStatus:
    known = (
        {each.ancestor_ref: each.conditions for each in before.ancestors} if isinstance(before, PolicyStatus) else {}
    )
    reason, since = _not_ready(conditions)
    return PolicyStatus(
        observed_generation=verdict.generation,
        conditions=conditions.all(),
        reason=reason,
        since=since,
        ancestors=tuple(_ancestor(verdict, target, known, now) for target in verdict.targets[:ANCESTORS]),
    )


def _ancestor(
    verdict: Verdict, target: TargetVerdict, known: Mapping[AncestorRef, Conditions], now: datetime
) -> AncestorStatus:
    ref = AncestorRef(
        group=GROUP,
        kind=target.target.kind,
        name=target.target.name,
        namespace=target.target.namespace,
        section_name=target.section,
    )
    conditions = Making(verdict.generation, known.get(ref, ()), now)
    conditions.put(ConditionType.ACCEPTED, target.accepted)
    return AncestorStatus(ancestor_ref=ref, controller_name=CONTROLLER, conditions=conditions.all())
