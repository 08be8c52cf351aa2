"""Conditions being made: their times, and what ResolvedRefs, Programmed and Ready come to. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache

from headgate.api.conditions import Condition, ConditionStatus, ConditionType, Reason
from headgate.compile.findings import MESSAGE_MAX, judge
from headgate.model.observations import PODS, Acknowledgement, ObjectReport, ObjectResult
from headgate.model.refs import ObjectRef
from headgate.model.verdict import Finding, Judgement, Verdict

Conditions = tuple[Condition, ...]
#: Of each gateway that carries an object: how many proxies are connected, and how they took it.
Proxies = tuple[tuple[int, Acknowledgement], ...]
_WHY = "they are starting, or something keeps them from it, and then `headgate check` says what"


class Making:
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
        since = before.last_transition_time if before and unmoved else self._now
        self._made[kind] = _condition(kind, judgement, self._generation, since)

    def __getitem__(self, kind: ConditionType) -> Condition:
        return self._made[kind]

    def all(self) -> Conditions:
        """In the order in which they were put."""
        return tuple(self._made.values())


@lru_cache(maxsize=1024)
def _condition(kind: ConditionType, judgement: Judgement, generation: int, since: str) -> Condition:
    """Most of ten thousand objects are in order in the same words since the same second: they share what says so."""
    return Condition(
        type=kind,
        status=judgement.status.value,
        observed_generation=generation,
        last_transition_time=since,
        reason=judgement.reason,
        message=judgement.message,
    )


def spell_time(moment: datetime) -> str:
    """RFC 3339 in UTC and whole seconds, as Kubernetes writes times."""
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def resolved(verdict: Verdict, unreadable: Mapping[ObjectRef, str]) -> Judgement:
    """ResolvedRefs: what is said to be missing and in truth may not be read is said to be just that."""
    if not unreadable:
        return verdict.resolved
    return judge([_forbidden(each, unreadable) for each in verdict.unresolved], Reason.RESOLVED_REFS)


def _forbidden(finding: Finding, unreadable: Mapping[ObjectRef, str]) -> Finding:
    about = finding.about
    if about is None or about not in unreadable:
        return finding
    kept = "; the value used last stays in force" if finding.message.endswith("stays in force") else ""
    resource = f"{about.kind.lower()}s"
    message = (
        f"{about} may not be read ({unreadable[about]}): give Headgate's ServiceAccount a Role in namespace "
        f"{about.namespace} with get, list and watch of {resource}{kept}"
    )
    return replace(finding, reason=Reason.SECRET_FORBIDDEN, message=message)


def programmed(
    verdict: Verdict, proxies: Proxies, objects: tuple[ObjectReport, ...] = (), unheard: tuple[str, ...] = ()
) -> Judgement:
    """Programmed. `objects` are those of its own that are missing in the cluster, and what it waits for there; `unheard`:
    replicas whose proxies nobody can ask."""
    if verdict.accepted.status is not ConditionStatus.TRUE or not verdict.live:
        return _not_in_force(verdict)
    failed = dict.fromkeys(words for _, each in proxies for words in each.failed)
    if failed:
        message = (
            f"Headgate can't put it into the proxy's terms, which is a bug, perhaps a plug-in's: {'; '.join(failed)}"
        )
        return Judgement(ConditionStatus.FALSE, Reason.RENDER_FAILED, message[:MESSAGE_MAX])
    refused = dict.fromkeys(words for _, each in proxies for words in each.rejected)
    if refused:
        message = f"the proxy refuses it and stays on what it had: {'; '.join(refused)}"
        return Judgement(ConditionStatus.FALSE, Reason.REJECTED_BY_PROXY, message[:MESSAGE_MAX])
    if missing := [each for each in objects if each.result.missing]:
        return _not_made(verdict.ref, missing)
    if not unheard and not all(connected for connected, _ in proxies):
        without = ", ".join(key for key, (connected, _) in zip(verdict.gateways, proxies, strict=True) if not connected)
        message = (
            f"no proxy of gateway {without} is connected that could say so: its pods are starting, or something keeps them "
            "from it, and then `headgate check` says what"
        )
        return Judgement(ConditionStatus.UNKNOWN, Reason.NO_PROXY_CONNECTED, message[:MESSAGE_MAX])
    waiting = sum(each.pending for _, each in proxies)
    if waiting:
        count = sum(connected for connected, _ in proxies)
        return Judgement(ConditionStatus.FALSE, Reason.PENDING, f"{waiting} of {count} proxies have yet to take it")
    if unheard:
        message = (
            f"what the proxies made of it that are connected to {', '.join(unheard)} is not known: it does not answer"
        )
        return Judgement(ConditionStatus.UNKNOWN, Reason.REPLICA_UNREACHABLE, message[:MESSAGE_MAX])
    return _awaited(verdict.ref, objects) if objects else Judgement(ConditionStatus.TRUE, Reason.PROGRAMMED)


def _awaited(owner: ObjectRef, objects: Sequence[ObjectReport]) -> Judgement:
    """All proxies have it, and a call would not come to them."""
    gone = any(each.result is ObjectResult.UNREADY for each in objects)
    message = "; ".join(_lacking(owner, each) for each in objects)
    return Judgement(ConditionStatus.FALSE, Reason.NO_POD_READY if gone else Reason.PENDING, message[:MESSAGE_MAX])


def _lacking(owner: ObjectRef, report: ObjectReport) -> str:
    match report.result:
        case ObjectResult.UNREADY:
            return f"no pod of gateway {report.name} is ready any more, so that calls find nobody: {_WHY}"
        case ObjectResult.STARTING:
            return f"no pod of gateway {report.name} is ready yet, so that calls would find nobody: {_WHY}"
        case ObjectResult.SETTLING if report.kind == PODS:
            return f"a pod of gateway {report.name} is ready since a moment: nodes are about to hear where it is"
        case ObjectResult.SETTLING:
            return f"{report.kind} {owner.namespace}/{report.name} was made a moment ago: nodes are about to hear of it"
        case _ if report.kind == PODS:
            return f"whether a pod of gateway {report.name} is ready is not known yet"
        case _:
            return f"{report.kind} {owner.namespace}/{report.name} is being made"


def _not_made(owner: ObjectRef, objects: Sequence[ObjectReport]) -> Judgement:
    """The reason is the first one's."""
    said = [_missing(owner, each) for each in objects]
    message = "; ".join(dict.fromkeys(message for _, message in said))
    return Judgement(ConditionStatus.FALSE, said[0][0], message[:MESSAGE_MAX])


def _missing(owner: ObjectRef, report: ObjectReport) -> tuple[Reason, str]:
    what = f"{report.kind} {owner.namespace}/{report.name}"
    match report.result:
        case ObjectResult.REFUSED:
            return Reason.OBJECT_REFUSED, f"the API server does not take {what}: {report.message}"
        case ObjectResult.TAKEN if report.kind == "Service" and owner.kind == "UpstreamService":
            message = (
                f"{what} is there already and is somebody else's, so that calls by this name don't come to the gateway: "
                "rename one of the two, or set serviceMode: None and call the upstream by its path at the gateway"
            )
            return Reason.SERVICE_NAME_TAKEN, message
        case _:
            message = f"{what} is there already and is somebody else's: rename it, or the {owner.kind}"
            return Reason.OBJECT_NAME_TAKEN, message


def _not_in_force(verdict: Verdict) -> Judgement:
    if verdict.accepted.status is not ConditionStatus.TRUE:
        served = "what is sound of it stays" if verdict.targets else "the version before it stays"
        rest = f"{served} in force" if verdict.live else "nothing of it is in force"
        return Judgement(ConditionStatus.FALSE, Reason.NOT_ACCEPTED, f"{rest}: see Accepted")
    if verdict.resolved.status is not ConditionStatus.TRUE:
        return Judgement(ConditionStatus.FALSE, Reason.NOT_ACCEPTED, "nothing of it is in force: see ResolvedRefs")
    return Judgement(ConditionStatus.UNKNOWN, Reason.PENDING, "no upstream that it would shape is served yet")


def ready(*parts: Judgement) -> Judgement:
    """The summary: the first that is False, else the first that is Unknown, else True."""
    for status in (ConditionStatus.FALSE, ConditionStatus.UNKNOWN):
        for part in parts:
            if part.status is status:
                return part
    return Judgement(ConditionStatus.TRUE, Reason.READY)
