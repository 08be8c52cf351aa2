"""Status documents: verdicts joined with what the proxies acknowledged, how the sections do, and what probes say.

Pure. At ten thousand objects of which one changed, one document is made: the others are last time's, the same objects,
so that a writer sees by identity that there is nothing to write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

from headgate.api.base import GROUP
from headgate.api.conditions import Condition, ConditionStatus, ConditionType, Reason
from headgate.api.status import AncestorRef, AncestorStatus, GatewayStatus, PolicyInForce, PolicyStatus, UpstreamStatus
from headgate.compile.replaced import replaced
from headgate.compile.wellbeing import Health, Wellbeing, of_upstream
from headgate.model.observations import (
    Acknowledgement,
    Acknowledgements,
    ProbeReport,
    ProbeReports,
    SectionReport,
    SectionReports,
)
from headgate.model.plan import Upstream
from headgate.model.refs import ObjectRef
from headgate.model.verdict import Judgement, Plan, TargetVerdict, Verdict

CONTROLLER = f"{GROUP}/controller"
#: How many targets a status lists, as GEP-713 has it.
ANCESTORS = 16

Document = UpstreamStatus | GatewayStatus | PolicyStatus
Conditions = tuple[Condition, ...]


#: What an upstream's wellbeing is judged by: the upstream as it is served, the reports of each of its sections, and what
#: probes say.
_Heard = tuple[Upstream, tuple[tuple[SectionReport, ...], ...], ProbeReport | None]
#: What is heard of all upstreams.
_Reports = tuple[SectionReports, ProbeReports]
_NONE: ProbeReports = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _Inputs:
    """All that a document depends on besides time. Compared to know whether to make another. `heard` is compared first:
    most reports say nothing new, and judging ten thousand upstreams to find that out would take longer."""

    verdict: Verdict
    proxies: tuple[tuple[int, Acknowledgement], ...] = ()
    attached: int = 0
    wellbeing: Wellbeing | None = None
    heard: _Heard | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Status:
    """An object's status document. One that was read from somewhere (`Status(document)`) serves as `previous` too."""

    document: Document
    inputs: _Inputs | None = None


@dataclass(slots=True)
class StatusMemo:
    """What the last call was given, and gave. It belongs to one caller and thread; it changes how long a call takes, and
    never what comes out."""

    plan: Plan | None = field(default=None, repr=False)
    connected: Mapping[str, int] = field(default_factory=dict)
    told: frozenset[ObjectRef] = frozenset()
    reports: SectionReports = field(default_factory=dict, repr=False)
    probes: ProbeReports = field(default_factory=dict, repr=False)
    result: Mapping[ObjectRef, Status] | None = field(default=None, repr=False)


def statuses(
    plan: Plan,
    acks: Acknowledgements,
    reports: SectionReports,
    previous: Mapping[ObjectRef, Status],
    now: datetime,
    memo: StatusMemo | None = None,
    probes: ProbeReports = _NONE,
) -> Mapping[ObjectRef, Status]:
    """The status of every object that the Plan has a verdict on. An unchanged one is the very object in `previous`.

    `memo` is for a caller that gives as `previous` what it got the last time: then only what may have changed is looked
    at. `reports` and `probes` must not be changed afterwards.
    """
    memo = memo if memo is not None else StatusMemo()
    connected = {key: acks.connected(key) for key in plan.gateways}
    told = frozenset(ref for key in plan.gateways for ref in acks.told(key))
    heard = (reports, probes)
    touched = _touched(plan, connected, told, heard, memo) if memo.result is previous else None
    made = {}
    for ref in plan.verdicts if touched is None else touched:
        before = previous.get(ref)
        status = _status(plan, plan.verdicts[ref], acks, heard, before, now)
        if touched is None or status is not before:
            made[ref] = status
    result = MappingProxyType(made) if touched is None else replaced(previous, made)
    memo.plan, memo.connected, memo.told, memo.result = plan, connected, told, result
    memo.reports, memo.probes = heard
    return result


def _touched(
    plan: Plan, connected: Mapping[str, int], told: frozenset[ObjectRef], heard: _Reports, memo: StatusMemo
) -> set[ObjectRef] | None:
    """The objects whose status may be another one than last time's; None where that may be all."""
    before = memo.plan
    if before is None or memo.connected != connected or before.verdicts.keys() != plan.verdicts.keys():
        return None
    touched = set(told | memo.told)
    if before.verdicts is not plan.verdicts:
        touched.update(ref for ref, verdict in plan.verdicts.items() if before.verdicts[ref] is not verdict)
    for key, gateway in plan.gateways.items():
        touched.add(gateway.ref)
        one = before.gateways[key].upstreams if key in before.gateways else {}
        if one is not gateway.upstreams:
            touched.update(each.ref for name, each in gateway.upstreams.items() if one.get(name) is not each)
    reports, probes = heard
    sections = {key for key in memo.reports.keys() | reports.keys() if memo.reports.get(key) != reports.get(key)}
    if memo.probes is not probes:
        changed = {key for key in memo.probes.keys() | probes.keys() if memo.probes.get(key) != probes.get(key)}
        touched.update(ObjectRef("UpstreamService", *key.split("/", 1)) for key in changed)
    touched.update(ObjectRef("UpstreamService", *section.split("/")[:2]) for _, section in sections)
    return touched & plan.verdicts.keys()


def _status(
    plan: Plan,
    verdict: Verdict,
    acks: Acknowledgements,
    reports: _Reports,
    before: Status | None,
    now: datetime,
) -> Status:
    """One object's status; `before` if that says the same."""
    ref = verdict.ref
    proxies = tuple((acks.connected(key), acks.of(key, ref)) for key in verdict.gateways)
    heard = _heard(plan, verdict, reports) if ref.kind == "UpstreamService" else None
    if before is None:
        inputs = _inputs(plan, verdict, proxies, heard)
        return Status(_document(inputs, None, now), inputs)
    known = before.inputs
    same = (proxies, heard)
    if heard is not None and known is not None and known.verdict is verdict and (known.proxies, known.heard) == same:
        return before
    inputs = _inputs(plan, verdict, proxies, heard)
    return before if known == inputs else Status(_document(inputs, before.document, now), inputs)


def _inputs(
    plan: Plan, verdict: Verdict, proxies: tuple[tuple[int, Acknowledgement], ...], heard: _Heard | None
) -> _Inputs:
    match verdict.ref.kind:
        case "UpstreamService":
            return _Inputs(verdict, proxies, wellbeing=_wellbeing(heard), heard=heard)
        case "IntegrationGateway":
            gateway = plan.gateways.get(verdict.ref.key)
            return _Inputs(verdict, proxies, attached=len(gateway.upstreams) if gateway else 0)
        case _:
            return _Inputs(verdict, proxies)


def _heard(plan: Plan, verdict: Verdict, reports: _Reports) -> _Heard | None:
    if not verdict.gateways:
        return None
    gateway = verdict.gateways[0]
    upstream = plan.gateways[gateway].upstreams[verdict.ref.key]
    sections, probes = reports
    said = tuple([sections.get((gateway, section.id), ()) for section in upstream.sections])
    return upstream, said, probes.get(verdict.ref.key)


def _wellbeing(heard: _Heard | None) -> Wellbeing:
    return Wellbeing() if heard is None else of_upstream(*heard)


def _document(inputs: _Inputs, before: Document | None, now: datetime) -> Document:
    verdict = inputs.verdict
    conditions = _Conditions(verdict.generation, before.conditions if before else (), now)
    programmed = _programmed(verdict, inputs.proxies)
    conditions.put(ConditionType.ACCEPTED, verdict.accepted)
    conditions.put(ConditionType.RESOLVED_REFS, verdict.resolved)
    conditions.put(ConditionType.PROGRAMMED, programmed)
    conditions.put(ConditionType.READY, _ready(verdict.accepted, verdict.resolved, programmed))
    match verdict.ref.kind:
        case "UpstreamService":
            return _upstream(inputs, conditions)
        case "IntegrationGateway":
            return GatewayStatus(
                observed_generation=verdict.generation,
                conditions=conditions.all(),
                attached_upstreams=inputs.attached,
                proxies=sum(connected for connected, _ in inputs.proxies),
            )
        case _:
            return _policy(verdict, conditions, before, now)


class _Conditions:
    """Conditions being made. The time of each moves only when its status does."""

    def __init__(self, generation: int, before: Conditions, now: datetime) -> None:
        self._generation = generation
        self._before = {each.type: each for each in before}
        self._now = spell_time(now)
        self._made: dict[str, Condition] = {}

    def put(self, kind: ConditionType, judgement: Judgement) -> None:
        """Add a condition."""
        before = self._before.get(kind)
        unmoved = before is not None and before.status == judgement.status and before.last_transition_time
        self._made[kind] = Condition(
            type=kind,
            status=judgement.status.value,
            observed_generation=self._generation,
            last_transition_time=before.last_transition_time if before and unmoved else self._now,
            reason=judgement.reason,
            message=judgement.message,
        )

    def __getitem__(self, kind: ConditionType) -> Condition:
        return self._made[kind]

    def all(self) -> Conditions:
        """In the order in which they were put."""
        return tuple(self._made.values())


def spell_time(moment: datetime) -> str:
    """RFC 3339 in UTC and whole seconds, as Kubernetes writes times."""
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def _programmed(verdict: Verdict, proxies: tuple[tuple[int, Acknowledgement], ...]) -> Judgement:
    if verdict.accepted.status is not ConditionStatus.TRUE or not verdict.live:
        return _not_in_force(verdict)
    failed = dict.fromkeys(words for _, each in proxies for words in each.failed)
    if failed:
        message = (
            f"Headgate can't put it into the proxy's terms, which is a bug, perhaps a plug-in's: {'; '.join(failed)}"
        )
        return Judgement(ConditionStatus.FALSE, Reason.RENDER_FAILED, message[:32_000])
    refused = dict.fromkeys(words for _, each in proxies for words in each.rejected)
    if refused:
        message = f"the proxy refuses it and stays on what it had: {'; '.join(refused)}"
        return Judgement(ConditionStatus.FALSE, Reason.REJECTED_BY_PROXY, message[:32_000])
    if not all(connected for connected, _ in proxies):
        message = "no proxy is connected that could say so"
        return Judgement(ConditionStatus.UNKNOWN, Reason.NO_PROXY_CONNECTED, message)
    waiting = sum(each.pending for _, each in proxies)
    if waiting:
        count = sum(connected for connected, _ in proxies)
        return Judgement(ConditionStatus.FALSE, Reason.PENDING, f"{waiting} of {count} proxies have yet to take it")
    return Judgement(ConditionStatus.TRUE, Reason.PROGRAMMED)


def _not_in_force(verdict: Verdict) -> Judgement:
    if verdict.accepted.status is not ConditionStatus.TRUE:
        served = "what is sound of it stays" if verdict.targets else "the version before it stays"
        rest = f"{served} in force" if verdict.live else "nothing of it is in force"
        return Judgement(ConditionStatus.FALSE, Reason.NOT_ACCEPTED, f"{rest}: see Accepted")
    if verdict.resolved.status is not ConditionStatus.TRUE:
        return Judgement(ConditionStatus.FALSE, Reason.NOT_ACCEPTED, "nothing of it is in force: see ResolvedRefs")
    return Judgement(ConditionStatus.UNKNOWN, Reason.PENDING, "no upstream that it would shape is served yet")


def _ready(*parts: Judgement) -> Judgement:
    """The summary: the first that is False, else the first that is Unknown, else True."""
    for status in (ConditionStatus.FALSE, ConditionStatus.UNKNOWN):
        for part in parts:
            if part.status is status:
                return part
    return Judgement(ConditionStatus.TRUE, Reason.READY)


_HEALTHY = {
    Health.HEALTHY: ConditionStatus.TRUE,
    Health.DEGRADED: ConditionStatus.FALSE,
    Health.UNHEALTHY: ConditionStatus.FALSE,
    Health.UNKNOWN: ConditionStatus.UNKNOWN,
}


def _upstream(inputs: _Inputs, conditions: _Conditions) -> UpstreamStatus:
    verdict, well = inputs.verdict, inputs.wellbeing or Wellbeing()
    conditions.put(ConditionType.HEALTHY, Judgement(_HEALTHY[well.health], well.reason, well.message))
    reason, since = _trouble(well, conditions)
    return UpstreamStatus(
        observed_generation=verdict.generation,
        conditions=conditions.all(),
        address=verdict.address or None,
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
    )


def _trouble(well: Wellbeing, conditions: _Conditions) -> tuple[str | None, str | None]:
    """What is wrong, in one word, and since when: what was declared is not in force, else the provider does badly."""
    ready, healthy = conditions[ConditionType.READY], conditions[ConditionType.HEALTHY]
    if ready.status != ConditionStatus.TRUE.value:
        return ready.reason, ready.last_transition_time
    if healthy.status == ConditionStatus.FALSE.value:
        return well.failure, spell_time(well.since) if well.since else healthy.last_transition_time
    return None, None


def _policy(verdict: Verdict, conditions: _Conditions, before: Document | None, now: datetime) -> PolicyStatus:
    known = (
        {each.ancestor_ref: each.conditions for each in before.ancestors} if isinstance(before, PolicyStatus) else {}
    )
    return PolicyStatus(
        observed_generation=verdict.generation,
        conditions=conditions.all(),
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
    conditions = _Conditions(verdict.generation, known.get(ref, ()), now)
    conditions.put(ConditionType.ACCEPTED, target.accepted)
    return AncestorStatus(ancestor_ref=ref, controller_name=CONTROLLER, conditions=conditions.all())
